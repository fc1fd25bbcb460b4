"""Sets that go out: the same values in the same order, in files that others open with nothing of padray."""

import hashlib
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from padray.commandline import commands
from padray.commandline.console import Console
from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.exchange import outgoing
from padray.exchange.formats import Outgoing
from padray.exchange.sets import ImportOptions
from padray.exchange.targets import LAYOUTS, files_of
from padray.synthetic.set import Learned, SyntheticSet
from tests.exchange.conftest import Chain, peer_set

OF_IMAGES = [layout for layout in LAYOUTS if layout not in ("csv", "parquet")]


def take(chain: Chain, layout: str, destination: Path, name: str | None = None) -> dict:
    return asdict(commands.export(name or chain.set_name, layout, str(destination), str(chain.root)))


def stored(chain: Chain) -> dict[str, torch.Tensor]:
    (path,) = (chain.root / chain.set_name).glob("set-*.safetensors")
    return load_file(path)


def read(path: Path) -> torch.Tensor:
    return torch.load(path, weights_only=True)


def brought(chain: Chain, source: Path, *overrides: str) -> str:
    request = commands.Request(overrides, str(chain.root), "inline")
    made = commands.import_artifact(
        str(source), "pt", str(chain.settings), ImportOptions(), request, Console(as_json=True)
    )
    return made.use.split()[-1]


def test_what_goes_out_as_pt_and_comes_in_again_reaches_the_same_accuracies(chain, tmp_path):
    take(chain, "pt", tmp_path / "out")
    name, original = brought(chain, tmp_path / "out"), stored(chain)
    for kind in ("images", "labels", "lr"):
        assert torch.equal(read(tmp_path / "out" / f"{kind}_best.pt"), original[kind])
    request = commands.Request((), str(chain.root), "inline")
    rows = commands.evaluate([name], request, Console(as_json=True)).evaluation
    theirs = {row.architecture: row.values for row in rows if row.source == "distilled"}
    ours = {row.architecture: row.values for row in chain.outcome.rows if row.source == "distilled"}
    assert theirs == ours and len(ours) == 2


def test_ddranking_gets_plain_tensors_class_after_class(chain, tmp_path):
    out, original = tmp_path / "out", stored(chain)
    take(chain, "ddranking", out)
    assert torch.equal(read(out / "images.pt"), original["images"])
    assert torch.equal(read(out / "labels.pt"), original["labels"]) and read(out / "labels.pt").shape == (10, 10)
    assert read(out / "lr.pt").item() == original["lr"].item()
    told = (out / "README.txt").read_text()
    assert "mode S, criterion sce" in told and "(x - mean) / std" in told
    hard = brought(chain, peer_set(tmp_path / "peer", torch.arange(10).flip(0)))
    take(chain, "ddranking", tmp_path / "hard", hard)
    assert not (tmp_path / "hard" / "labels.pt").exists()  # they are rebuilt from the order
    assert torch.equal(read(tmp_path / "hard" / "images.pt"), read(tmp_path / "peer" / "images_best.pt").flip(0))


def decoded(png: bytes) -> torch.Tensor:
    """The pixels of a PNG file, (ch, H, W)."""
    return torchvision.transforms.functional.pil_to_tensor(Image.open(io.BytesIO(png)))


def undone(chain: Chain) -> torch.Tensor:
    """The set's images as 8 bits, by a formula of our own."""
    t = stored(chain)
    mean, std = (t[f"preprocessing.{name}"].view(1, -1, 1, 1) for name in ("mean", "std"))
    return ((t["images"] * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def test_an_imagefolder_is_one_that_torchvision_reads(chain, tmp_path):
    take(chain, "imagefolder", tmp_path / "out")
    folder, expected = torchvision.datasets.ImageFolder(tmp_path / "out"), undone(chain)
    assert len(folder) == 10 and folder.targets == list(range(10))
    for (image, _), pixels in zip(folder, expected, strict=True):
        assert torch.equal(torchvision.transforms.functional.pil_to_tensor(image)[:1], pixels)
    described = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert described["labels"]["3/00000.png"] == pytest.approx(stored(chain)["labels"][3].tolist())
    assert "lost" in described["images"]


def test_a_parquet_file_holds_images_labels_and_their_types(chain, tmp_path):
    take(chain, "hf", tmp_path / "out")
    (path,) = (tmp_path / "out" / "data").iterdir()
    table, expected = pq.read_table(path), undone(chain)
    assert table.column("label").to_pylist() == list(range(10))
    assert torch.equal(torch.tensor(table.column("soft_label").to_pylist()), stored(chain)["labels"])
    for cell, pixels in zip(table.column("image").to_pylist(), expected, strict=True):
        assert torch.equal(decoded(cell["bytes"]), pixels) and cell["path"].endswith(".png")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and features["soft_label"]["length"] == 10
    assert features["label"] == {"names": [str(digit) for digit in range(10)], "_type": "ClassLabel"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n") and "path: data/train-*.parquet" in card and "is lost" in card


@pytest.mark.parametrize("layout", OF_IMAGES)
def test_every_layout_says_what_the_set_is(chain, tmp_path, layout):
    made = take(chain, layout, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "metadata.json").read_text())
    (path,) = (chain.root / chain.set_name).glob("set-*.safetensors")
    assert described["set_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == made["sha256"]
    assert described["class_names"] == [str(digit) for digit in range(10)] and described["dataset"] == "digits"
    assert described["label_kind"] == "raw logits" and described["lr"] == stored(chain)["lr"].item()
    assert described["preprocessing"]["kind"] == "normalize"
    assert described["preprocessing"]["mean"] == stored(chain)["preprocessing.mean"].tolist()


def test_whitening_goes_out_as_tensors(chain, tmp_path):
    name = brought(chain, peer_set(tmp_path / "peer"), "data.preprocessing=zca")
    for layout in ("pt", "ddranking"):
        take(chain, layout, tmp_path / layout, name)
        whitening = read(tmp_path / layout / "preprocessing.pt")
        assert set(whitening) == {"mean", "whiten", "unwhiten"}
        described = json.loads((tmp_path / layout / "metadata.json").read_text())
        assert described["preprocessing"] == {"kind": "zca", "eps": 0.1} and described["provenance"] == "imported"


def test_an_empty_destination_is_not_this_folder(chain):
    with pytest.raises(InputError, match="DEST is empty; name a folder"):
        commands.export(chain.set_name, "pt", "", str(chain.root))


@pytest.mark.parametrize("layout", OF_IMAGES)
def test_a_folder_is_never_overwritten_unless_it_holds_the_same(chain, tmp_path, layout):
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    assert not take(chain, layout, out)["reused"]
    assert all(take(chain, layout, out)["reused"] for _ in range(5))
    (out / "metadata.json").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        take(chain, layout, out)
    assert (out / "metadata.json").read_text() == "mine" and [path.name for path in out.parent.iterdir()] == ["out"]


def synthetic(shape: tuple[int, int, int]) -> SyntheticSet:
    facts = {"class_names": ["a", "b"], "dataset": "mine", "shape": list(shape), "network": {}, "fingerprint": "0"}
    draw = torch.Generator().manual_seed(0)
    learned = Learned(torch.rand(4, *shape, generator=draw), torch.tensor([0, 0, 1, 1]), torch.tensor(0.1))
    return SyntheticSet(learned, Preprocessing(), facts)


def test_colours_keep_their_order_and_every_image_its_class():
    made = synthetic((3, 5, 4))
    files = files_of(Outgoing(made, "0"), "imagefolder")
    assert list(files) == ["a/00000.png", "a/00001.png", "b/00000.png", "b/00001.png", "metadata.json"]
    assert torch.equal(decoded(files["b/00000.png"]), (made.learned.images[2] * 255).round().to(torch.uint8))
    table = pq.read_table(io.BytesIO(files_of(Outgoing(made, "0"), "hf")["data/train-00000-of-00001.parquet"]))
    assert table.column_names == ["image", "label"] and table.column("label").to_pylist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["ape", "zebra"], ["ape", "zebra"]),
        (["zebra", "ape"], ["0-zebra", "1-ape"]),
        (["a/b", "../c"], ["0-a_b", "1-.._c"]),
        (["Ape", "ape"], ["0-Ape", "1-ape"]),
    ],
)
def test_folders_have_the_classes_names_and_sort_as_the_classes_do(names, folders, tmp_path):
    made = synthetic((3, 5, 4))
    made.facts["class_names"] = names
    files = files_of(Outgoing(made, "0"), "imagefolder")
    outgoing.put_all(files, tmp_path / "out")
    read = torchvision.datasets.ImageFolder(tmp_path / "out")
    assert read.classes == folders and read.targets == [0, 0, 1, 1]
    assert json.loads(files["metadata.json"])["folders"] == dict(zip(folders, names, strict=True))


def test_images_are_no_table():
    for layout in ("csv", "parquet"):
        with pytest.raises(InputError, match="images are no table: --to imagefolder or hf"):
            files_of(Outgoing(synthetic((3, 5, 4)), "0"), layout)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 1, 64), (3, 1, 1)])
def test_what_is_no_picture_goes_out_as_tensors_only(shape):
    for layout in ("imagefolder", "hf"):
        with pytest.raises(InputError, match=r"not pictures.*--to pt"):
            files_of(Outgoing(synthetic(shape), "0"), layout)
    assert torch.load(io.BytesIO(files_of(Outgoing(synthetic(shape), "0"), "pt")["images_best.pt"])).shape[1:] == shape


def test_the_command_tells_where_and_ends_with_code_2(chain, tmp_path, run):
    (tmp_path / "file").write_text("mine")
    wrong = [
        ((chain.set_name, tmp_path / "x", "--to", "npz"), "there are pt, ddranking, imagefolder, hf, csv, parquet"),
        (("distilled/nothing", tmp_path / "x", "--to", "pt"), "`padray ls` lists"),
        ((chain.set_name, tmp_path / "file", "--to", "pt"), "is a file"),
        ((chain.set_name, tmp_path / "file" / "below", "--to", "pt"), "cannot write to"),
    ]
    for arguments, part in wrong:
        said = run("export", *arguments, "--storage", chain.root)
        assert said.code == 2 and said.out == "" and said.err.count("\n") == 1 and part in said.err, said
    said = run("export", chain.set_name, tmp_path / "out", "--to", "pt", "--storage", chain.root)
    assert said.code == 0 and f"as pt in {tmp_path / 'out'}" in said.out
    assert "already there" in run("export", chain.set_name, tmp_path / "out", "--to", "pt", "--storage", chain.root).out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("destination", ["", "~nobody-of-that-name/x", "x" * 5000, "a\0b", "loop/x"])
def test_a_destination_that_cannot_be_is_told_on_one_line(chain, tmp_path, monkeypatch, destination):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError) as caught:
        take(chain, "pt", destination)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_a_folder_with_a_fifo_under_a_file_s_name_is_not_waited_for(chain, tmp_path):
    take(chain, "pt", tmp_path / "out")
    (tmp_path / "out" / "lr_best.pt").unlink()
    os.mkfifo(tmp_path / "out" / "lr_best.pt")
    with pytest.raises(InputError, match="FIFO"):
        take(chain, "pt", tmp_path / "out")
