"""Sets as DC, DSA and DM save them: one file of several runs, with NumPy's numbers in it."""

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from padray.exchange import foreign
from padray.exchange.sets import ImportOptions
from padray.synthetic.set import USUAL_LR
from tests.exchange.conftest import Chain, peer_set
from tests.exchange.test_sets import Harmful, bring, refused, tensors

NAME = "res_DC_digits_ConvNet_2ipc.pt"


def runs_file(folder: Path, runs: int = 2, **changes: object) -> Path:
    """What DC's script saves: a list of [images, labels], and the accuracies as NumPy has them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(10).repeat_interleave(2)
    data = [[torch.randn(20, 1, 8, 8, generator=draw), labels.clone()] for _ in range(runs)]
    accuracies = {"ConvNet": [np.float64(0.4), np.float32(0.5), 0.6]}
    torch.save({"data": data, "accs_all_exps": accuracies, **changes}, folder / NAME)
    return folder / NAME


def test_the_last_run_arrives_unchanged_and_is_evaluated_with_the_usual_lr(chain: Chain, tmp_path, run):
    source = runs_file(tmp_path / "dc")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(source, weights_only=True)
    made = bring(chain, source.parent)
    last = torch.load(source, weights_only=False)["data"][-1]
    found = tensors(made)
    assert torch.equal(found["images"], last[0]) and torch.equal(found["labels"], last[1]) and "lr" not in found
    assert made["lr"] == USUAL_LR and made["label_kind"] == "hard" and made["ipc"] == 2
    assert made["notes"] == [f"{NAME} holds the sets of 2 runs; the last one is taken"]
    assert bring(chain, source, told=ImportOptions(lr=0.05))["lr"] == pytest.approx(0.05)
    name = made["use"].split()[-1]
    output = run("evaluate", name, "--storage", chain.root, "--runner", "inline", "--json").out
    assert '"lr": 0.01' in output


def test_numbers_of_old_and_new_numpy_are_read_by_no_code_of_numpy(tmp_path):
    """NumPy 1 called its modules otherwise; a number of 2 GB in a file of a few bytes is nothing."""
    path = runs_file(tmp_path)
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    (name,) = (name for name in records if name.endswith("data.pkl"))
    old = records[name].replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != records[name]
    huge = old.replace(b"X" + struct.pack("<I", 2) + b"f8", b"X" + struct.pack("<I", 11) + b"V2000000000")
    assert huge != old
    for content in (old, huge):
        with zipfile.ZipFile(path, "w") as archive:
            for place, record in records.items():
                archive.writestr(place, content if place == name else record)
        images, labels, runs = foreign.last_run(path)
        assert (tuple(images.shape), len(labels), runs) == ((20, 1, 8, 8), 20, 2)


def test_numpy_is_let_in_by_such_files_alone(chain, tmp_path):
    source = peer_set(tmp_path / "peer")
    torch.save(np.float64(0.02), source / "lr_best.pt")
    refused(chain, source, r"lr_best\.pt is not a file of tensors alone")
    runs_file(tmp_path)
    foreign.last_run(tmp_path / NAME)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / NAME, weights_only=True)


def test_code_beside_the_runs_is_refused_and_does_not_run(chain, tmp_path):
    for place in ("accs_all_exps", "data"):
        path = runs_file(tmp_path / "dc", **{place: [Harmful(tmp_path / "ran")]})
        refused(chain, path, "is not a file of tensors alone: .* padray never runs")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"data": []}, "a dictionary whose `data` is a list"),
        ({"data": [[torch.zeros(20, 1, 8, 8)]]}, "a dictionary whose `data` is a list"),
        ({"data": [[np.float64(1), torch.zeros(20)]]}, "res_DC_digits_ConvNet_2ipc.pt must be a tensor"),
        ({"data": [[torch.zeros(20, 1, 8, 8), [0] * 20]]}, "its labels must be a tensor"),
        ({"data": [[torch.zeros(20, 1, 8, 8), torch.zeros(20, dtype=torch.int64)]]}, "class 0 has 20 images"),
    ],
)
def test_what_cannot_be_such_a_file_is_refused(chain, tmp_path, content, sentence):
    refused(chain, runs_file(tmp_path / "dc", **content), sentence)


def test_a_folder_of_several_is_asked_for_one(chain, tmp_path):
    source = runs_file(tmp_path / "dc")
    (source.parent / "res_DSA_digits_ConvNet_2ipc.pt").write_bytes(source.read_bytes())
    refused(chain, source.parent, r"holds several \(res_DC.*, res_DSA.*\): name one of them")
    assert bring(chain, source)["ipc"] == 2
