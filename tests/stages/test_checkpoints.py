"""When states are stored, that storing goes on beside the work, and that no byte depends on when it did."""

import itertools
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from padray.config import ComputeSettings
from padray.errors import InfrastructureError, InputError
from padray.machine.numerics import decide
from padray.methods import state as states
from padray.stages import checkpoints, stored
from padray.stages.checkpoints import CheckpointWriter, Rhythm
from padray.store.artifacts import Folder
from padray.store.location import LocalLocation
from padray.store.roots import all_manifests
from padray.synthetic.set import Learned
from tests.roots import chain, different
from tests.roots import stored as objects

PLACE = f"distilled/x-{'0' * 12}"


def state(iteration: int) -> states.State:
    learned = Learned(torch.zeros(2, 1, 1, 2), torch.zeros(2, 2), torch.tensor(0.1))
    return replace(states.start(learned, None), iteration=iteration)


def checkpoint_writer(
    location: LocalLocation, seconds: float = 60.0, resumed: checkpoints.Checkpoint | None = None
) -> CheckpointWriter:
    return CheckpointWriter(Folder(location, PLACE, "f" * 64), decide(ComputeSettings()), resumed, seconds)


def names(root: Path, kind: str = "checkpoint") -> list[str]:
    return [path.name.rsplit("-", 1)[0] for path in sorted(root.rglob(f"{kind}-*"))]


# -- when


def due(rhythm: Rhythm, iteration_s: float, until: float) -> list[float]:
    """At which seconds a loop with such iterations stores."""
    found, now = [], 0.0
    while now < until:
        now += iteration_s
        if rhythm.is_due(now):
            rhythm.taken = now
            found.append(round(now, 1))
    return found


def test_a_kill_costs_at_most_the_seconds_that_are_asked_for_whatever_an_iteration_takes():
    assert due(Rhythm(60.0, 0.0), 0.5, 190) == [60.0, 120.0, 180.0]
    assert due(Rhythm(60.0, 0.0), 40.0, 200) == [40.0, 80.0, 120.0, 160.0, 200.0]
    slow = Rhythm(60.0, 0.0)
    slow.took(seconds=5.0, core_seconds=0.1)  # a state is only there 5 s after it was taken
    assert due(slow, 0.5, 120) == [55.0, 110.0]


def test_storing_takes_at_most_two_percent_of_the_cores(monkeypatch):
    monkeypatch.setattr(checkpoints.os, "sched_getaffinity", lambda _: {0, 1})
    rhythm = Rhythm(60.0, 0.0)
    rhythm.took(seconds=9.0, core_seconds=4.0)
    assert due(rhythm, 1.0, 250) == [100.0, 200.0]


# -- beside the work


class Held(LocalLocation):
    """A folder that is slow, or full."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.free, self.asked, self.full = threading.Event(), threading.Event(), False
        self.keys: list[str] = []

    def put(self, key: str, content: bytes) -> None:
        self.keys.append(key)
        self.asked.set()
        assert self.free.wait(60)
        if self.full:
            raise InfrastructureError("no space left")
        super().put(key, content)


@pytest.fixture
def always_due(monkeypatch) -> None:
    monkeypatch.setattr(Rhythm, "is_due", lambda self, now: True)


def test_the_work_goes_on_while_one_state_is_stored_and_others_are_not_queued_behind_it(tmp_path, always_due):
    location = Held(tmp_path)
    left = checkpoint_writer(location)
    left.offer(state(1))
    assert location.asked.wait(60)
    for iteration in (2, 3, 4):
        left.offer(state(iteration))  # comes back, though nothing can be stored
    location.free.set()
    left.writing.result()
    left.offer(state(5))
    for iteration in (6, 4):
        left.store(state(iteration))
    assert names(tmp_path) == ["checkpoint-000005", "checkpoint-000006"], "the newest two"
    assert len(location.keys) == 3, "2 to 4 never were, nor is what is older stored after a newer one"


def test_what_befalls_a_write_is_raised_in_the_work_and_the_state_can_still_be_stored(tmp_path, always_due):
    location = Held(tmp_path)
    location.full = True
    location.free.set()
    left = checkpoint_writer(location)
    left.offer(state(1))
    left.writing.exception()
    with pytest.raises(InfrastructureError, match="no space left"):
        left.offer(state(2))
    assert left.stored == 0 and names(tmp_path) == []
    location.full = False
    left.store(state(2))
    assert left.stored == 2 and names(tmp_path) == ["checkpoint-000002"]


def test_with_no_seconds_every_state_is_there_before_the_work_goes_on(tmp_path):
    left = checkpoint_writer(LocalLocation(tmp_path), seconds=0.0)
    for iteration in (1, 2, 3):
        left.offer(state(iteration))
        assert names(tmp_path)[-1] == f"checkpoint-{iteration:06d}"


# -- the history


def test_parts_are_cut_at_fixed_iterations_and_a_checkpoint_holds_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CUT", 5)
    folder, left = Folder(LocalLocation(tmp_path), PLACE, "f" * 64), checkpoint_writer(LocalLocation(tmp_path))
    for iteration in range(9):
        left.note({"iteration": iteration, "loss": 0.5 if iteration % 4 else None, "layers": [1.0, None]})
    left.store(state(3))
    assert names(tmp_path, "history") == []
    assert [row["iteration"] for row in checkpoints.newest(folder, 100).recent] == [0, 1, 2]
    left.store(state(8))  # the row of an iteration is noted before its state is
    assert names(tmp_path, "history") == ["history-000000-000004"]
    found = checkpoints.newest(folder, 100)
    assert [row["iteration"] for row in found.recent] == [5, 6, 7] and len(found.parts) == 1
    left.store(state(9))
    assert checkpoints.newest(folder, 100).recent[3] == {"iteration": 8, "loss": None, "layers": [1.0, None]}
    assert names(tmp_path) == ["checkpoint-000008", "checkpoint-000009"]


def test_the_bytes_that_are_left_do_not_depend_on_when_states_were_stored(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CUT", 5)
    root, seldom = str(tmp_path / "seldom"), "distill.checkpoint_seconds=60"
    chain(settings, root, seldom, until="distill")
    assert names(tmp_path / "seldom") == ["checkpoint-000012"]
    parts = ["history-000000-000004", "history-000005-000009", "history-000010-000011"]
    assert names(tmp_path / "seldom", "history") == parts
    chances, other = itertools.cycle([True, False, False, True, False]), str(tmp_path / "often")
    monkeypatch.setattr(Rhythm, "is_due", lambda self, now: next(chances))
    chain(settings, other, seldom, until="distill")
    assert different(objects(root), objects(other)) == []


def test_a_longer_run_leaves_what_it_leaves_alone_whether_it_went_on_or_not(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CUT", 5)
    longer, alone, after = "distill.iterations=14", str(tmp_path / "alone"), str(tmp_path / "after")
    chain(settings, alone, longer, until="distill")
    chain(settings, after, until="distill")
    (short,) = (key for key in objects(after) if "/history-000010-000011" in key)
    chain(settings, after, longer, until="distill")
    changed = [key for key in different(objects(alone), objects(after)) if not key.endswith("manifest.json")]
    assert [key.split("/")[-1].rsplit("-", 1)[0] for key in changed] == ["history-000010-000011", "set-000012"]
    ((path, manifest),) = [made for made in all_manifests(LocalLocation(after)) if made[0].startswith("distilled/")]
    history = stored.load_history(Folder(LocalLocation(after), path, manifest.fingerprint), 14)
    assert short in changed and [row["iteration"] for row in history] == list(range(14))


def test_a_run_goes_on_from_a_checkpoint_of_format_2_whose_history_is_all_in_parts(settings, tmp_path, monkeypatch):
    once, root = str(tmp_path / "once"), tmp_path / "runs"
    chain(settings, once, until="distill")
    chain(settings, str(root), "distill.iterations=8", until="distill")
    ((path, manifest),) = [made for made in all_manifests(LocalLocation(root)) if made[0].startswith("distilled/")]
    folder = Folder(LocalLocation(root), path, manifest.fingerprint)
    new = checkpoints.newest(folder, 8)
    parts = [checkpoints._put_part(folder, new.recent[first : first + 4]) for first in (0, 4)]
    for name in ("manifest.json", *(item.key.split("/")[-1] for item in manifest.objects)):
        (root / path / name).unlink()
    monkeypatch.setattr(states, "CHECKPOINT_FORMAT", 2)
    facts = {"fingerprint": folder.fingerprint, "numerics": new.numerics, "history": [asdict(part) for part in parts]}
    folder.put("checkpoint-000008", "safetensors", states.encode(new.state, facts))
    monkeypatch.undo()
    chain(settings, str(root), until="distill")
    assert names(root, "history") == [f"history-{first:06d}-{first + 3:06d}" for first in (0, 4, 8)]
    changed = different(objects(once), objects(str(root)))
    assert not [key for key in changed if "/set-" in key], "the same set"
    assert [row["iteration"] for row in stored.load_history(folder, 12)] == list(range(12))


# -- what anybody may have put there


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"fingerprint": "f" * 64, "numerics": {}, "history": [{"key": 1}]},
        {"fingerprint": "f" * 64, "numerics": {}, "history": [], "recent": [{"loss": 1.0}]},
    ],
)
def test_what_only_looks_like_a_checkpoint_is_refused_by_its_key(tmp_path, facts):
    folder = Folder(LocalLocation(tmp_path), PLACE, "f" * 64)
    item = folder.put("checkpoint-000003", "safetensors", states.encode(state(3), facts))
    with pytest.raises(InputError, match=rf"{item.key} in .* not a checkpoint that padray wrote"):
        checkpoints.newest(folder, 3)


def test_names_that_are_no_checkpoints_are_left_alone(tmp_path):
    folder = Folder(LocalLocation(tmp_path), PLACE, "f" * 64)
    folder.put("checkpoint-last", "safetensors", b"mine")
    assert checkpoints.newest(folder, 99) is None and checkpoints.reached(folder, 99) == 0
    checkpoints.prune(folder, 99, keep=0)
    assert len(folder.keys()) == 1
