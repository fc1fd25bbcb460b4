"""Sets of others: what their files hold arrives unchanged, and what cannot be right is refused in one sentence."""

import json
import os
import pickle
import struct
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from padray.commandline import commands
from padray.commandline.console import Console
from padray.errors import InfrastructureError, InputError
from padray.exchange.sets import ImportOptions
from tests.exchange.conftest import Chain, peer_set

JSON = Console(as_json=True)


def bring(chain: Chain, source: Path, *overrides: str, told: ImportOptions | None = None) -> dict:
    request = commands.Request(overrides, str(chain.root), "inline")
    options = told or ImportOptions()
    return asdict(commands.import_artifact(str(source), "pt", str(chain.settings), options, request, JSON))


def tensors(made: dict) -> dict[str, torch.Tensor]:
    (path,) = Path(made["artifact"]).glob("set-*.safetensors")
    return load_file(path)


def refused(chain: Chain, source: Path, sentence: str, *overrides: str, told: ImportOptions | None = None) -> None:
    before = sorted(chain.root.glob("distilled/*"))
    with pytest.raises(InputError, match=sentence) as error:
        bring(chain, source, *overrides, told=told)
    assert "\n" not in str(error.value) and sorted(chain.root.glob("distilled/*")) == before


def test_an_imported_set_holds_the_files_values_and_is_found_evaluated_and_shown(chain, tmp_path, run):
    source = peer_set(tmp_path / "peer")
    made = bring(chain, source)
    found = tensors(made)
    assert torch.equal(found["images"], torch.load(source / "images_best.pt"))
    assert torch.equal(found["labels"], torch.load(source / "labels_best.pt"))
    assert found["lr"].item() == pytest.approx(0.02) and {"preprocessing.mean", "preprocessing.std"} <= set(found)
    name = made["use"].split()[-1]
    assert name.startswith("distilled/digits-convnet2w4-imported-ipc1-") and made["ipc"] == 1
    assert name in run("ls", "--storage", chain.root, "--json").out
    shown = json.loads(run("show", name, "--storage", chain.root, "--json").out)
    assert shown["facts"]["provenance"] == "imported" and shown["settings"]["distill"]["ipc"] == 1
    rows = json.loads(run("evaluate", name, "--storage", chain.root, "--runner", "inline", "--json").out)["evaluation"]
    assert [(row["architecture"], row["source"]) for row in rows] == [
        ("convnet2w4", "distilled"),
        ("convnet2w4", "random"),
        ("mlp2w8", "distilled"),
        ("mlp2w8", "random"),
    ]
    assert {row["n"] for row in rows} == {2}


def test_the_same_files_and_settings_are_the_same_folder_and_other_ones_another(chain, tmp_path):
    source = peer_set(tmp_path / "peer")
    first = bring(chain, source)
    assert bring(chain, peer_set(tmp_path / "elsewhere"))["artifact"] == first["artifact"]
    torch.save(torch.tensor(0.03), source / "lr_best.pt")
    others = [
        bring(chain, source),
        bring(chain, source, told=ImportOptions(lr=0.02)),
        bring(chain, source, "network=mlp"),
    ]
    assert len({made["fingerprint"] for made in (first, *others)}) == 4


def test_whitening_goes_into_the_set_and_a_stranger_trains_on_it(chain, tmp_path):
    made = bring(chain, peer_set(tmp_path / "peer"), "data.preprocessing=zca")
    t = tensors(made)
    assert t["preprocessing.whiten"].shape == (64, 64)
    product = t["preprocessing.whiten"] @ t["preprocessing.unwhiten"]
    assert torch.allclose(product, torch.eye(64), atol=1e-3)
    assert "validation samples" in made["notes"][0]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    sgd = torch.optim.SGD(network.parameters(), lr=t["lr"].item(), momentum=0.9)
    losses = []
    for _ in range(20):
        sgd.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(t["images"]), t["labels"].softmax(dim=1))
        loss.backward()
        sgd.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_hard_labels_out_of_order_are_put_class_after_class_and_told(chain, tmp_path):
    labels = torch.arange(9, -1, -1).repeat(2)  # 9 … 0, 9 … 0
    source = peer_set(tmp_path / "peer", labels)
    images = torch.arange(20.0).view(20, 1, 1, 1).expand(20, 1, 8, 8).clone()
    torch.save(images, source / "images_best.pt")
    made = bring(chain, source)
    found = tensors(made)
    assert found["labels"].tolist() == [label for label in range(10) for _ in range(2)]
    expected = [place for label in range(10) for place in range(20) if labels[place] == label]
    assert found["images"][:, 0, 0, 0].tolist() == expected
    assert made["notes"] == ["the samples were not in the order of their classes; they were put into it"]
    assert made["label_kind"] == "hard" and made["ipc"] == 2


def test_probabilities_come_back_from_the_stored_logits(chain, tmp_path):
    probabilities = (4 * torch.eye(10)).softmax(dim=1)
    probabilities[0] = torch.eye(10)[0]  # zeros, too
    source = peer_set(tmp_path / "peer", probabilities)
    refused(chain, source, "look like probabilities: say --labels probabilities")
    found = tensors(bring(chain, source, told=ImportOptions(labels="probabilities")))
    assert torch.allclose(found["labels"].softmax(dim=1), probabilities, atol=1e-6)
    assert torch.equal(tensors(bring(chain, source, told=ImportOptions(labels="logits")))["labels"], probabilities)


def test_labels_that_name_other_classes_than_their_places_are_told(chain, tmp_path):
    made = bring(chain, peer_set(tmp_path / "peer", 3 * torch.eye(10)[[1, 0, *range(2, 10)]]))
    assert made["notes"] == ["2 of 10 labels name another class than their place in class order does"]


def test_the_best_of_a_folder_is_taken_or_the_one_that_is_named(chain, tmp_path):
    source = peer_set(tmp_path / "peer")
    for kind in ("images", "labels", "lr"):
        torch.save(torch.load(source / f"{kind}_best.pt") * 2, source / f"{kind}_500.pt")
    torch.save(torch.zeros(10, 1, 8, 8), source / "images_zca_best.pt")  # to look at, not to train on
    assert bring(chain, source)["lr"] == pytest.approx(0.02)
    assert bring(chain, source / "images_500.pt")["lr"] == pytest.approx(0.04)
    for kind in ("images", "labels", "lr"):
        torch.save(torch.load(source / f"{kind}_500.pt"), source / f"ema_{kind}_700.pt")
        (source / f"{kind}_best.pt").unlink()
    refused(chain, source, "holds several .*ema_images_700.pt, images_500.pt.* name one")
    made = bring(chain, source / "ema_images_700.pt", told=ImportOptions(lr=0.1))
    assert made["lr"] == pytest.approx(0.1)


class Harmful:
    """A pickle that would leave a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_refused_and_does_not_run(chain, tmp_path):
    source = peer_set(tmp_path / "peer")
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        for name in ("images_best.pt", "labels_best.pt", "lr_best.pt"):
            whole = (source / name).read_bytes()
            write(Harmful(tmp_path / "ran"), source / name)
            refused(chain, source, f"{name} is not a file of tensors alone: .* padray never runs")
            (source / name).write_bytes(whole)
    assert not (tmp_path / "ran").exists()


def test_a_file_cut_short_is_refused(chain, tmp_path):
    source = peer_set(tmp_path / "peer")
    for content in (b"", b"PK", (source / "images_best.pt").read_bytes()[:-100]):
        (source / "images_best.pt").write_bytes(content)
        refused(chain, source, "images_best.pt")


def packed(path: Path, more: int = 0) -> None:
    """The archive again with compressed records, the tensor's with `more` zeros behind it."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content + bytes(more) * name.endswith("data/0"))


def several_times(path: Path) -> None:
    """The archive with a directory that tells of each record a hundred times, as zip bombs do."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    content = path.read_bytes()
    begin = content.rindex(b"PK\x01\x02", 0, content.index(b"PK\x01\x02") + 4)
    end = content.rindex(b"PK\x05\x06")
    directory = content[begin:end].split(b"PK\x06\x06")[0] * 100
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 100 * len(infos), 100 * len(infos), len(directory), begin, 0)
    path.write_bytes(content[:begin] + directory + tail)


@pytest.mark.parametrize("pack", [packed, lambda path: packed(path, 1 << 28), several_times])
def test_an_archive_that_would_grow_when_it_is_read_is_refused_unread(chain, tmp_path, monkeypatch, pack):
    source = peer_set(tmp_path / "peer")
    pack(source / "images_best.pt")
    assert (source / "images_best.pt").stat().st_size < 1 << 20
    read, reads = torch.load, list[object]()
    monkeypatch.setattr(torch, "load", lambda file, **how: reads.append(file) or read(file, **how))
    refused(chain, source, r"images_best.pt promises more bytes than it has: it is compressed, .* save it again")
    assert len(reads) == 1, "the learning rate"


def test_a_file_that_is_larger_than_memory_is_refused_unread(chain, tmp_path):
    source = peer_set(tmp_path / "peer")
    os.truncate(source / "labels_best.pt", 1 << 42)
    with pytest.raises(InfrastructureError, match=r"labels_best.pt needs 4,096.0 GiB of memory, and .* are free here"):
        bring(chain, source)


@pytest.mark.parametrize("name", ["images_best.pt", "labels_best.pt", "lr_best.pt"])
@pytest.mark.parametrize("what", ["FIFO", "loop", "device", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(chain, tmp_path, name, what):
    path = peer_set(tmp_path / "peer") / name
    path.unlink()
    if what == "FIFO":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to({"loop": name, "device": "/dev/zero"}[what])
    refused(chain, path.parent, name if (name, what) != ("lr_best.pt", "loop") else "give it as --lr NUMBER")


@pytest.mark.parametrize("source", ["", "~nobody-of-that-name/x", "x" * 5000, "a\0b", "nowhere"])
def test_a_source_that_cannot_be_is_told_on_one_line(chain, source):
    with pytest.raises(InputError) as caught:
        bring(chain, source)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", [torch.uint16, torch.uint32, torch.uint64, torch.uint8, torch.int8, torch.int16])
def test_class_indices_of_every_type_of_whole_numbers_arrive(chain, tmp_path, kind):
    made = bring(chain, peer_set(tmp_path / "peer", torch.arange(10).to(kind)))
    assert tensors(made)["labels"].dtype == torch.int64 and tensors(made)["labels"].tolist() == list(range(10))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_every_type_arrive_as_the_numbers_that_they_are(chain, tmp_path, kind):
    source = peer_set(tmp_path / "peer")
    for name in ("images", "labels", "lr"):
        torch.save(torch.load(source / f"{name}_best.pt").to(kind), source / f"{name}_best.pt")
    found = tensors(bring(chain, source))
    for name in ("images", "labels", "lr"):
        assert torch.equal(found[name], torch.load(source / f"{name}_best.pt").float())


def test_probabilities_in_half_precision_come_back_from_the_stored_logits(chain, tmp_path):
    source = peer_set(tmp_path / "peer", torch.eye(10, dtype=torch.float16))
    found = tensors(bring(chain, source, told=ImportOptions(labels="probabilities")))
    assert torch.allclose(found["labels"].softmax(dim=1), torch.eye(10), atol=1e-6)


SPOILT = [
    (
        "images",
        torch.full((10, 1, 8, 8), 1e300, dtype=torch.float64),
        "images hold NaN or infinity, or a number beyond",
    ),
    ("images", torch.zeros(10, 1, 8, 4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "does not convert"),
    ("labels", torch.full((10, 10), 1e300, dtype=torch.float64), "labels hold NaN or infinity, or a number beyond"),
    ("labels", torch.full((10,), 1 << 63, dtype=torch.uint64), "is outside 0..9"),
    ("labels", torch.zeros(10, dtype=torch.bool), r"class indices or numbers \(got bool\)"),
    ("labels", torch.zeros(10, 10, dtype=torch.complex64), r"class indices or numbers \(got complex64\)"),
    ("lr", torch.tensor(1e-60, dtype=torch.float64), "one positive number that float32 can hold"),
    ("lr", torch.tensor(1e-40, dtype=torch.float64), "one positive number that float32 can hold"),
    ("lr", torch.tensor(1e300, dtype=torch.float64), "one positive number that float32 can hold"),
    ("lr", torch.tensor([]), "one positive number"),
    ("lr", torch.tensor(True), r"one positive number \(got bool\)"),
    ("lr", torch.tensor(0.1 + 0j), r"one positive number \(got complex64\)"),
    ("images", torch.zeros(10, 3, 8, 8), r"shape \[3, 8, 8\], but those of the dataset \[1, 8, 8\]"),
    ("images", torch.zeros(10, 64), "samples, channels, height, width"),
    ("images", torch.zeros(10, 1, 8, 8, dtype=torch.uint8), "must hold floats"),
    ("images", torch.zeros(1).expand(10, 1, 8, 8), "bytes do not fill its shape"),
    ("images", torch.zeros(11, 1, 8, 8), "11 images cannot be equally many"),
    ("images", torch.zeros(300, 1, 8, 8), "30 images per class are more than the 2[0-9] training samples"),
    ("images", torch.full((10, 1, 8, 8), torch.nan), "images hold NaN"),
    ("images", [torch.zeros(1, 8, 8)] * 10, r"images_best.pt must be a tensor \(got list\)"),
    ("images", torch.zeros(10, 1, 8, 8, device="meta"), "not a plain tensor"),
    ("labels", torch.zeros(10, 9), r"soft labels must be \[10, 10\] numbers"),
    ("labels", torch.full((10, 10), torch.inf), "labels hold NaN or infinity"),
    ("labels", torch.arange(20), "labels must be 10 class indices"),
    ("labels", torch.arange(1, 11), "label 10 is outside 0..9"),
    ("labels", torch.tensor([0, 0, *range(2, 10)]), "class 0 has 2 images, but every class must have 1"),
    ("lr", torch.tensor(-0.1), "learning rate must be one positive number"),
    ("lr", torch.tensor([0.1, 0.2]), "learning rate must be one positive number"),
    ("lr", "0.1", "must be a tensor"),
]


@pytest.mark.parametrize("name, content, sentence", SPOILT, ids=[sentence[:30] for _, _, sentence in SPOILT])
def test_what_does_not_fit_is_refused(chain, tmp_path, name, content, sentence):
    source = peer_set(tmp_path / "peer")
    torch.save(content, source / f"{name}_best.pt")
    refused(chain, source, sentence)


def test_probabilities_must_be_some(chain, tmp_path):
    refused(chain, peer_set(tmp_path / "peer"), "sum is 1", told=ImportOptions(labels="probabilities"))


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ((), ("--lr NUMBER", "no lr_")),
        *((("--lr", lr), ("one positive number",)) for lr in ("0", "-1", "nan", "inf", "1e-60", "1e-40", "1e300")),
        (("--lr", "0.1", "--labels", "words"), ("--labels words is not known",)),
        (("--lr", "0.1", "--set", "data.size=16"), ("[1, 8, 8]",)),
        (("--lr", "0.1", "--set", "network={name: lenet, norm: batch}"), ("lenet has no norm",)),
    ],
)
def test_the_command_ends_with_code_2_and_one_sentence(chain, tmp_path, run, arguments, parts):
    source = peer_set(tmp_path / "peer", lr=None)
    given = ("--from", "pt", "--config", chain.settings, "--storage", chain.root, *arguments)
    said = run("import", source, *given)
    assert said.code == 2 and said.out == ""
    (sentence,) = [line for line in said.err.splitlines() if not line.startswith("data ")]
    assert sentence.startswith("padray: ") and all(part in sentence for part in parts), sentence


def test_the_command_says_what_it_made_and_what_to_do_next(chain, tmp_path, run):
    given = ("--from", "pt", "--config", chain.settings, "--storage", chain.root)
    said = run("import", peer_set(tmp_path / "peer", lr=None), *given, "--lr", "0.02")
    assert said.code == 0 and "next: padray evaluate distilled/digits-convnet2w4-imported-ipc1-" in said.out
    for wrong, part in (("folder", "cannot read the folder"), (".", "it holds none")):
        said = run("import", tmp_path / wrong, *given)
        assert said.code == 2 and part in said.err
    said = run("import", tmp_path, "--from", "npz", "--config", chain.settings)
    assert said.code == 2 and "there are pt and mtt-buffer" in said.err
