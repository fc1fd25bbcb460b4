"""The GPU programme, at toy size on the CPU: all of it runs, without the libraries that no GPU machine needs."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.benchmarks.gpu import __main__ as programme_of
from tests.benchmarks.gpu import chain, paths, roofline
from tests.benchmarks.gpu.record import VARIANTS, Programme, Results, Variant, toy

# Runs the parts in one process that can import none of the blocked modules; PyArrow is for the last part alone.
PROGRAM = """
import sys
from pathlib import Path
for name in ("ray", "sklearn", "optuna", "boto3", "pyarrow"):
    sys.modules[name] = None
from tests.benchmarks.gpu.__main__ import main
words = ["--device", "cpu", "--quick", "--output", sys.argv[1]]
main([*words, "--part", "paths", "--part", "speed"])
del sys.modules["pyarrow"]
main([*words, "--part", "chain"])
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a whole quick run has written."""
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def programme(path: Path, seconds: float = 1e6) -> Programme:
    return Programme("cpu", True, time.monotonic() + seconds, Results(path))


def test_every_part_comes_to_its_end(found):
    assert all(found[part]["whole"]["state"] == "done" for part in ("paths", "speed", "chain"))
    assert '"error"' not in json.dumps(found) and found["about"]["machine"]["torch"] == torch.__version__


def test_every_path_is_as_near_to_float64_as_eager_float32(found):
    for name in (*paths.PATHS, "whitening"):
        held = found["paths"][name]["within_twice_eager"]
        assert held and all(held.values()), name
        assert found["paths"][name].get("failed", {}) == {}
    exact = {variant.name for variant in VARIANTS if variant.exact}
    assert set(found["paths"]["trajectory soft"]["within_twice_eager"]) == exact


def test_the_same_work_twice_gives_the_same_bytes(found):
    for name in paths.PATHS:
        assert found["paths"][f"{name}, twice"]["same_bytes"]["deterministic"], name


def test_every_kind_of_work_is_beside_the_baseline_and_below_its_roof(found):
    for kind in ("expert", "distil", "evaluation", "distribution"):
        ways = found["speed"][kind]["ways"]
        assert {"baseline", "baseline, no TF32", "float32", "TF32"} <= set(ways)
        assert ways["float32"]["times_as_fast"] > 0 and ways["float32"]["roofline"]["attainable_TFLOPs"] > 0


def test_the_run_ends_with_accuracies(found):
    rows = found["chain"]["evaluation"]["rows"]
    assert {row["source"] for row in rows} == {"distilled", "random"}
    assert found["chain"]["experts"]["count"] == 2 and found["chain"]["distill"]["iterations"] == 6


def test_what_fails_is_told_and_the_next_piece_is_made(tmp_path):
    results = Results(tmp_path / "gpu.json")

    def fails() -> None:
        raise RuntimeError("no such kernel\nand more")

    assert results.attempt("paths", "a", fails)["error"] == "RuntimeError: no such kernel"
    results.attempt("paths", "b", lambda: {"s": 0.123456789})
    kept = json.loads((tmp_path / "gpu.json").read_text())["paths"]  # after each piece, for a kill may come
    assert "no such kernel" in kept["a"]["error"] and kept["b"]["s"] == 0.12346


def test_a_wrong_path_is_seen(tmp_path, monkeypatch):
    right = paths.on_device
    wrong = {"TF32": 1.0, "float32": 1 + 1e-3}
    monkeypatch.setattr(
        paths,
        "on_device",
        lambda make, case, programme, variant, distill: {
            name: part * wrong.get(variant.name, 1.0)
            for name, part in right(make, case, programme, variant, distill).items()
        },
    )
    held = paths.compare(programme(tmp_path / "gpu.json"), "trajectory hard")["within_twice_eager"]
    others = dict.fromkeys(("float32 unroll", "float32, graphs kept", "deterministic"), True)
    assert held == {"float32": False, **others}


def test_a_variant_that_fails_leaves_the_others(tmp_path, monkeypatch):
    broken = Variant("broken", distill={"gradient": "no-such"})
    monkeypatch.setattr(paths, "VARIANTS", (Variant("float32"), broken))
    found = paths.compare(programme(tmp_path / "gpu.json"), "trajectory hard")
    assert set(found["failed"]) == {"broken"} and found["within_twice_eager"] == {"float32": True}


@pytest.mark.parametrize("found", [{}, {"a": torch.tensor([1.0, float("nan")])}], ids=["missing", "not finite"])
def test_what_cannot_be_compared_is_infinitely_wrong(found):
    assert paths.error(found, {"a": torch.tensor([1.0, 2.0])}) == float("inf")


def test_needs_grow_by_the_step():
    case = replace(toy("distil"), augment="none", steps=5, batch=6)
    cpu = torch.device("cpu")
    flops = roofline.needs(case, cpu).flops
    assert flops == roofline._counted(case, cpu).flops > roofline.needs(replace(case, steps=2), cpu).flops


def test_traffic_is_what_operations_read_and_write_and_no_view_of_it():
    a, b = torch.ones(4, 4), torch.ones(4, 4)
    with roofline._Traffic() as traffic:
        c = (a + b).view(16)[:8].detach()  # two read, one written
        c.relu_()  # read, and written in place
    assert traffic.bytes == 3 * 64 + 2 * 32


def test_achieved_is_held_against_the_lower_of_the_two_ceilings():
    limits = roofline.Ceilings({"ieee": 100e12}, bandwidth=1e12)
    bound = roofline.line(roofline.Needs(10e12, 1e12), 1.0, limits, "ieee")
    assert bound["attainable_TFLOPs"] == 10 and bound["share"] == 1.0
    assert roofline.line(roofline.Needs(10e12, 1e9), 1.0, limits, "ieee")["share"] == 0.1


def test_an_npz_of_samples_is_read_in_both_layouts(tmp_path):
    images = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    labels = np.array([0, 1, 0, 1])
    for layout in (images, images.transpose(0, 3, 1, 2)):
        arrays = {"train_images": layout, "train_labels": labels, "test_images": layout, "test_labels": labels}
        np.savez(tmp_path / "data.npz", **arrays)
        raw = chain.real(tmp_path / "data.npz")
        assert np.array_equal(raw.train.images, images.transpose(0, 3, 1, 2)) and raw.class_names == ("0", "1")
    np.savez(tmp_path / "data.npz", train_images=images)
    with pytest.raises(ValueError, match="no array train_labels"):
        chain.real(tmp_path / "data.npz")


def test_a_part_that_hangs_is_ended_and_the_next_one_begins(tmp_path, monkeypatch, capsys):
    begun = []

    def run(line, timeout, **_):
        begun.append((line[line.index("--part") + 1], timeout))
        raise subprocess.TimeoutExpired(line, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    output = ["--output", str(tmp_path / "gpu.json"), "--minutes", "1"]
    assert programme_of.main(["--device", "cpu", "--quick", *output]) == 0
    assert [part for part, _ in begun] == ["paths", "speed", "chain"]
    assert all(timeout <= 60 + programme_of.GRACE_S for _, timeout in begun)
    assert capsys.readouterr().out.count("a kill") == 3


def test_a_file_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        programme_of.main(["--device", "cpu", "--quick", "--data", "nowhere.npz"])
    assert end.value.code == 2 and "nowhere.npz is no file" in capsys.readouterr().err
