"""Event files, read back as TensorBoard reads them: points of a step that a later file takes back do not count."""

import struct
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from padray.commandline import commands
from padray.evaluation import summary
from padray.evaluation.protocol import Cell
from padray.evaluation.summary import CellResult
from padray.fingerprint import Identity
from padray.networks.settings import NetworkSettings
from padray.stages import pipeline, stored, tensorboard
from padray.stages.base import Context
from padray.stages.pipeline import Outcome
from padray.stages.tensorboard import Curves
from tests.conftest import TINY, Run

SET = Identity("distill", "name-ipc1", "f" * 64)


def make(settings: Path, root: Path | str, *overrides: str) -> Context:
    return commands.context(str(settings), commands.Request(overrides, str(root), "inline"))


def events(path: Path):
    """The events of a file."""
    from tensorboardX.proto.event_pb2 import Event

    content, at = path.read_bytes(), 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        yield Event.FromString(content[at + 12 : at + 12 + size])
        at += 16 + size


def points(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value; a step that is there twice fails."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        for event in events(path):
            if event.session_log.status == SessionLog.START:
                for values in found.values():
                    for step in [step for step in values if step >= event.step]:
                        del values[step]
            for value in event.summary.value:
                assert event.step not in found[value.tag], f"{value.tag} has step {event.step} twice"
                found[value.tag][event.step] = value.simple_value
    return dict(found)


def near(values: dict[int, float]) -> object:
    return pytest.approx(values, rel=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, Outcome, Path]:
    folder = tmp_path_factory.mktemp("tensorboard")
    (folder / "tiny.yaml").write_text(TINY)
    context = make(folder / "tiny.yaml", folder / "runs")
    return context, pipeline.run(context, "evaluate"), folder / "runs"


def test_the_curves_are_the_history(finished):
    context, outcome, root = finished
    distilled = outcome.identities["distill"]
    shown = points(root / "tensorboard" / distilled.folder.removeprefix("distilled/"))
    history = stored.load_history(context.folder(distilled), 12)
    for key, tag in tensorboard._TAGS.items():
        told = {row["iteration"] + 1: row[key] for row in history}
        assert shown[tag] == near({step: value for step, value in told.items() if value is not None})
    assert sorted(shown["distill/loss"]) == list(range(1, 13))
    assert sorted(shown["distill/validation_accuracy"]) == [5, 10]


def test_the_evaluation_is_the_table_and_its_cells(finished):
    context, outcome, root = finished
    folder = root / "tensorboard" / outcome.identities["distill"].folder.removeprefix("distilled/") / "evaluation"
    shown = points(folder)
    for row in outcome.rows:
        where = f"{row.source}/{row.architecture}"
        assert shown[f"evaluation/{where}"] == near({12: row.mean})
        assert shown[f"cells/{where}"] == near(dict(enumerate(row.values)))
    assert len(shown) == 2 * len(outcome.rows)
    files = sorted(folder.iterdir())
    pipeline.run(make(context_file(context, root), root), "evaluate")
    assert sorted(folder.iterdir()) == files, "nothing was made, so nothing is told again"


def test_of_the_cells_that_choose_a_learning_rate_the_chosen_ones_are_shown(tiny, tmp_path):
    context, network = make(tiny, tmp_path / "runs"), NetworkSettings(name="mlp", width=8)
    cells = {
        Cell("random", network, 0, lr): CellResult("random", network.label, 0, lr, "train", 0.5, 0.5, test, test, 10, 3)
        for lr, test in ((0.01, 0.9), (0.1, 0.2))
    }
    rows = [summary.row(network.label, "random", [cells[Cell("random", network, 0, 0.01)]])]
    tensorboard.show_evaluation(context, SET, rows, cells)
    shown = points(tmp_path / "runs/tensorboard/name-ipc1-ffffffffffff/evaluation")
    assert shown[f"cells/random/{network.label}"] == near({0: 0.9})


def context_file(context: Context, root: Path) -> Path:
    return root.parent / f"{context.name}.yaml"


def test_a_resumed_run_has_each_point_once_and_a_longer_one_goes_on(tiny, tmp_path):
    context = make(tiny, tmp_path / "runs")
    told = {"skipped": 0, "not_finite": 0, "student_lr": 0.5}
    with pytest.raises(KeyboardInterrupt), Curves(context, SET) as curves:
        for iteration in range(9):
            curves.add({**told, "iteration": iteration, "loss": 1.0})
        raise KeyboardInterrupt
    with Curves(context, SET) as curves:
        for iteration in range(5, 12):  # from the checkpoint
            curves.add({**told, "iteration": iteration, "loss": None if iteration == 7 else 2.0})
    shown = points(tmp_path / "runs/tensorboard" / SET.folder.removeprefix("distilled/"))
    losses = {step: 1.0 if step <= 5 else 2.0 for step in range(1, 13) if step != 8}
    assert shown["distill/loss"] == losses, "what is not finite is no point"
    assert sorted(shown["distill/student_lr"]) == list(range(1, 13))


def test_the_settings_may_name_a_folder_and_object_storage_has_none(tiny, tmp_path, finished):
    root, there = tmp_path / "runs", tmp_path / "there"
    context = make(tiny, root, f"storage.tensorboard={there}")
    outcome = pipeline.run(context, "evaluate")
    assert not (root / "tensorboard").exists()
    (folder,) = there.iterdir()
    assert outcome.identities["distill"].folder == f"distilled/{folder.name}" and len(points(folder)) == 5
    assert outcome.set_digest == finished[1].set_digest
    assert not [path for path in root.rglob("*") if path.is_file() and str(there).encode() in path.read_bytes()]

    class Bucket:
        uri = "s3://bucket/prefix"

    context.location = Bucket()
    assert tensorboard.folder_of(context, SET) == there / "name-ipc1-ffffffffffff"
    context = make(tiny, root)
    context.location = Bucket()
    assert tensorboard.folder_of(context, SET) is None
    with Curves(context, SET) as curves:
        curves.add({"iteration": 0, "loss": 1.0})


@pytest.mark.parametrize("what", ["a file in the way", "no tensorboardX"])
def test_what_cannot_be_written_is_said_once_and_costs_no_work(tiny, tmp_path, run: Run, monkeypatch, what):
    (tmp_path / "there").write_text("mine")
    if what == "no tensorboardX":
        monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    said = run(
        "distill",
        tiny,
        "--storage",
        tmp_path / "runs",
        "--runner",
        "inline",
        "--set",
        f"storage.tensorboard={tmp_path / 'there'}",
    )
    told = "no more event files for TensorBoard are written: Not a directory"
    told = "tensorboardX is not installed here, so no event files" if what == "no tensorboardX" else told
    assert said.code == 0 and said.err.count(told) == 1
    assert (tmp_path / "there").read_text() == "mine"
