"""Ctrl-C and SIGTERM at any moment of a distillation: its last state is kept, and the same command goes on from it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from padray.commandline import commands
from padray.errors import DivergedError, InfrastructureError, Interrupted
from padray.experts import training
from padray.machine import interruption
from padray.methods import loop
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.stages import distill, distiller, pipeline
from padray.stages.checkpoints import CheckpointWriter
from padray.store.location import LocalLocation
from tests.roots import chain, different, stored

SELDOM = "distill.checkpoint_seconds=60"  # so that only what is interrupted stores anything


@pytest.fixture(scope="module")
def undisturbed(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed") / "runs"
    chain(settings, str(root), SELDOM, until="distill")
    return root


@pytest.fixture
def root(undisturbed: Path, tmp_path: Path) -> Path:
    """A root in which only the distillation is to do."""
    return Path(shutil.copytree(undisturbed, tmp_path / "runs", ignore=shutil.ignore_patterns("distilled", "events")))


@pytest.fixture
def signals() -> Iterator[None]:
    """Both are heard here, also where a shell runs these tests in the background; and everything is as before after."""
    before = {each: signal.getsignal(each) for each in interruption.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def at(count: int, function, error: BaseException | None = None):
    """The function, but its `count`th call is interrupted before it does anything."""
    calls = iter(range(1, 1000))

    def counted(*arguments, **options):
        if next(calls) == count:
            raise error or KeyboardInterrupt
        return function(*arguments, **options)

    return counted


MOMENTS = {
    "in an iteration": (TrajectoryMatching, "contribute", 12, 5),  # 2 trajectories
    "between two": (TrajectoryMatching, "step", 6, 5),
    "while an iterate is judged": (distiller, "validation_accuracies", 2, 9),
    "while a line is told": (loop, "describe", 7, 7),
    "before the first": (TrajectoryMatching, "contribute", 1, 0),
    "before a state counts": (CheckpointWriter, "offer", 7, 7),
    "while the last one is stored": (CheckpointWriter, "store", 1, 12),
    "before the set is stored": (distiller.Distiller, "_finish", 1, 12),
    "before it is listed": (distill, "_commit", 1, 12),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_last_state_is_kept_and_the_same_command_leaves_the_same_bytes(
    settings, root, undisturbed, monkeypatch, moment
):
    place, name, count, kept = MOMENTS[moment]
    with monkeypatch.context() as patched, pytest.raises(Interrupted) as caught:
        patched.setattr(place, name, at(count, getattr(place, name)))
        chain(settings, str(root), SELDOM, until="distill")
    told = f"interrupted; the state after {kept} of 12 iterations is kept, and the same command goes on from it"
    assert str(caught.value) == told if kept else str(caught.value).startswith("interrupted before an iteration was ")
    seen: list[int] = []
    again = commands.context(str(settings), commands.Request((SELDOM,), str(root), "inline"))
    again.notify = lambda progress: seen.append(progress.done) if progress.stage == "distill" else None
    pipeline.run(again, "distill")
    assert seen == list(range(kept, 13)), "it says where it goes on from, and no iteration is made again"
    assert different(stored(str(root)), stored(str(undisturbed))) == []


class Swallowing:
    """When it is collected a signal comes: the KeyboardInterrupt is then raised where Python prints and drops it."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler runs between two of these at the latest
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place, name", [(TrajectoryMatching, "step"), (training, "_train_epoch")])
def test_a_signal_that_python_drops_is_heard_all_the_same(settings, root, signals, monkeypatch, place, name):
    ours, count = getattr(place, name), iter(range(1000))

    def swallowed(*arguments, **options):
        if next(count) == 5:
            Swallowing()
        return ours(*arguments, **options)

    monkeypatch.setattr(place, name, swallowed)
    with interruption.listening(), pytest.raises((KeyboardInterrupt, Interrupted)):
        chain(settings, str(root), SELDOM, until="evaluate")
    assert next(count) == 6, "nothing more was begun"


def test_a_fault_of_padray_keeps_the_last_state_too(settings, root, monkeypatch):
    monkeypatch.setattr(TrajectoryMatching, "step", at(6, TrajectoryMatching.step, ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        chain(settings, str(root), SELDOM, until="distill")
    assert [path.name[:17] for path in root.rglob("checkpoint-*")] == ["checkpoint-000005"]


@pytest.mark.parametrize(
    "error, told",
    [
        (
            DivergedError("too far"),
            "too far; the state after 5 of 12 iterations is kept, and distill.iterations=5 makes",
        ),
        (InfrastructureError("lost"), "lost; the state after 5 of 12 iterations is kept, and the same command goes on"),
    ],
)
def test_a_failure_says_what_is_kept_and_whether_trying_again_helps(settings, root, monkeypatch, error, told):
    monkeypatch.setattr(TrajectoryMatching, "step", at(6, TrajectoryMatching.step, error))
    with pytest.raises(type(error)) as caught:
        chain(settings, str(root), SELDOM, until="distill")
    assert str(caught.value).startswith(told)


def test_where_the_storage_fails_too_what_was_stored_before_is_told(settings, root, monkeypatch):
    class Full(LocalLocation):
        def put(self, key: str, content: bytes) -> None:
            if "/checkpoint-" in key and "/checkpoint-000004-" not in key:
                raise InfrastructureError("no space left")
            super().put(key, content)

    monkeypatch.setattr("padray.stages.checkpoints.Rhythm.is_due", lambda self, now: True)
    monkeypatch.setattr(
        CheckpointWriter, "offer", lambda self, state: self.store(state) if state.iteration >= 4 else None
    )
    with pytest.raises(
        InfrastructureError, match="no space left; the state after 4 of 12 iterations is kept, and the s"
    ):
        chain(settings, Full(root), SELDOM, until="distill")


# -- signals


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_ends_a_command_with_its_sentence_and_code(settings, root, run, monkeypatch, signals, number):
    step, calls = TrajectoryMatching.step, iter(range(1, 100))

    def struck(*arguments):
        if next(calls) == 6:
            os.kill(os.getpid(), number)
        return step(*arguments)

    monkeypatch.setattr(TrajectoryMatching, "step", struck)
    said = run("distill", settings, "--storage", root, "--runner", "inline", "--set", SELDOM, "--json")
    assert said.code == 130
    assert said.json == {
        "error": "interrupted; the state after 5 of 12 iterations is kept, and the same command goes on from it"
    }
    assert "Traceback" not in said.err


def test_the_second_signal_ends_the_process_at_once(signals):
    program = """
import os, signal, sys, time
from padray.machine import interruption
with interruption.listening():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        print("heard", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "heard\n", "")


def test_a_library_that_answers_in_our_place_is_overruled_and_what_was_before_comes_back(signals):
    def foreign(number, frame):
        raise AssertionError("of somebody else")

    before = signal.signal(signal.SIGTERM, foreign)
    with interruption.listening():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interruption.renew()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, foreign)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.listening():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "nohup"
        assert signal.getsignal(signal.SIGTERM) is not foreign
    assert signal.getsignal(signal.SIGTERM) is foreign
    interruption.renew()
    assert signal.getsignal(signal.SIGTERM) is foreign, "nobody listens"
    signal.signal(signal.SIGTERM, before)
