"""Signs of life: what another process sees of a run, of one that was killed, and of one that ended before its work."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from padray.errors import InfrastructureError, Interrupted
from padray.machine.activity import Step
from padray.operations import heartbeat
from padray.operations.heartbeat import Command, beating, signs
from padray.stages.base import Progress
from padray.stages.inline import InlineRunner
from padray.stages.progress import Running, Workers
from padray.store.location import LocalLocation
from tests.cluster.conftest import command, wait_for
from tests.conftest import Run

DISTIL = Command("distill", "tiny")


class Spread(InlineRunner):
    """A runner that says what it is told to say of its workers."""

    told = Workers()

    def workers(self) -> Workers:
        return self.told


class Counted(LocalLocation):
    """A folder that counts what is put there, and fails when it is told to."""

    puts, broken = 0, False

    def put(self, key: str, content: bytes) -> None:
        self.puts += 1
        if self.broken:
            raise InfrastructureError("the disk is full")
        super().put(key, content)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "TICK_S", 0.01)
    monkeypatch.setattr(heartbeat, "CHANGED_S", 0.0)


@pytest.fixture
def location(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "runs")


def ignore(progress: Progress) -> None:
    pass


def in_storage(location: LocalLocation) -> list[tuple[str, str, list[tuple[str, int, int]]]]:
    """Of every sign: its run, why it ended, and its stages."""
    found = sorted(signs(location), key=lambda each: each[0].run)
    return [(sign.run, sign.end, [(s.stage, s.done, s.total) for s in sign.stages]) for sign, _ in found]


def test_another_process_sees_how_far_a_run_is_and_what_a_killed_one_was_at(tiny, tmp_path, run: Run):
    root = tmp_path / "runs"
    typed = ("distill", tiny, "--storage", root, "--runner", "inline", "--set", "distill.iterations=100000")

    def of_distilling() -> dict | None:
        (told,) = run("status", "--storage", root, "--json").json["runs"] or [{"stages": []}]
        (stage,) = [each for each in told["stages"] if each["stage"] == "distill"] or [None]
        return told | stage if stage and stage["rate"] else None

    going = command(*typed)
    try:
        first = wait_for("the distillation", of_distilling, 90, pause=0.5)
        later = wait_for(
            "an iteration", lambda: (now := of_distilling())["done"] > first["done"] and now, 30, pause=0.5
        )
        assert first["state"] == later["state"] == "running" and first["command"] == "distill"
        assert first["run"] == "tiny" and first["total"] == 100_000 and "loss" in later["text"]
        assert later["left_s"] == pytest.approx((100_000 - later["done"]) / later["rate"])
        assert [each["unit"] for each in later["running"]] == ["the set"]
        assert later["running"][0]["node"] == later["host"] == socket.gethostname()
        shown = run("status", "--storage", root).out
        assert "of 100,000" in shown and "experts" in shown and "running for" in shown and "1 running" in shown
    finally:
        going.send_signal(signal.SIGKILL)
        going.communicate(timeout=30)
    (left,) = (root / "running").iterdir()
    os.utime(left, (time.time() - 600,) * 2)
    (told,) = run("status", "--storage", root, "--json").json["runs"]
    assert told["state"] == "silent" and 599 < told["age_s"] < 700
    shown = run("status", "--storage", root).out
    assert re.search(r"last sign of life 10 min ago at iteration [\d,]+ of 100,000, nothing since then: killed", shown)
    assert "running for" not in shown
    assert ", 1 running" not in shown
    assert run("verify", "--storage", root).code == 0, "a sign of life is nothing to repair"
    again = command(*typed)
    wait_for("the same command in its place", lambda: not left.exists() and list((root / "running").iterdir()), 90)
    again.send_signal(signal.SIGTERM)  # whoever runs these tests in the background has Ctrl-C ignored
    _, err = again.communicate(timeout=60)
    assert re.search(r"distill \d+/100000.*\nrun 3/4 stages: distill", err), "on plain lines: the stage, and the run"
    (told,) = run("status", "--storage", root, "--json").json["runs"]
    assert told["state"] == "stopped" and told["end"] == "interrupted" and told["running"] == []
    shown = run("status", "--storage", root).out
    assert re.search(r"stopped at iteration [\d,]+ of 100,000 \d+ s ago \(interrupted\); the same command goes", shown)


def test_what_came_to_its_end_leaves_nothing(location: Counted):
    with beating(DISTIL, location, InlineRunner(), ignore) as hear:
        hear(Progress("distill", 1, 2))
        wait_for("a sign", lambda: in_storage(location))
        assert in_storage(location) == [("tiny", "", [("distill", 1, 2)])]
    assert location.keys("running") == []


def test_what_did_not_says_where_it_stands_until_it_goes_on(location: Counted):
    for run, error in (("tiny", InfrastructureError("no room")), ("other", Interrupted("kept"))):
        with pytest.raises(type(error)), beating(Command("distill", run), location, InlineRunner(), ignore) as hear:
            hear(Progress("experts", 3, 3))
            hear(Progress("distill", 1, 2))
            raise error
    stages = [("experts", 3, 3), ("distill", 1, 2)]
    ends = [("other", "interrupted", stages), ("tiny", "InfrastructureError: no room", stages)]
    assert in_storage(location) == ends
    with beating(DISTIL, location, InlineRunner(), ignore) as hear:
        hear(Progress("distill", 1, 2))
        wait_for("it goes on", lambda: [end for _, end, _ in in_storage(location)] == ["interrupted", ""])
    assert in_storage(location) == ends[:1], "another command's stays"


def test_signs_are_seldom_while_nothing_changes(location: Counted, monkeypatch: pytest.MonkeyPatch):
    runner, said = Spread(), []
    with beating(DISTIL, location, runner, said.append) as hear:
        hear(Progress("experts", 1, 4))
        wait_for("a sign", lambda: location.puts)
        time.sleep(0.3)  # thirty ticks
        assert location.puts == 1
        runner.told = Workers((Running("expert-0001", "a/1"),), 2, 1, 1)
        wait_for("the workers", lambda: location.puts == 2)
        (sign, _), *_ = signs(location)
        assert sign.summary == "1 running, 2 pending, 1 node, 1 lost" and sign.running[0].node == "a/1"
        assert said[-1].workers.summary() == sign.summary, "the progress line hears of it without a finished unit"
        monkeypatch.setattr(heartbeat, "SAME_S", 0.1)
        wait_for("a sign that says the same", lambda: location.puts == 3)


def test_who_worked_on_the_stage_before_is_not_told_of_the_next(location: Counted, monkeypatch: pytest.MonkeyPatch):
    """Asked for seldom, but anew where a stage begins."""
    monkeypatch.setattr(heartbeat, "TICK_S", 60.0)
    runner, said = Spread(), []
    runner.told = Workers((Running("the set", steps=(Step("judging on validation"),), is_unit=False),))
    with beating(DISTIL, location, runner, said.append) as hear:
        hear(Progress("distill", 1, 2))
        runner.told = Workers()
        hear(Progress("distill", 2, 2))
        hear(Progress("evaluate", 0, 2))
    assert [each.workers.steps() for each in said] == ["judging on validation", "judging on validation", ""]


def test_a_storage_that_fails_costs_signs_and_no_work(location: Counted):
    location.broken = True
    with beating(DISTIL, location, InlineRunner(), ignore) as hear:
        hear(Progress("distill", 1, 2))
        wait_for("an attempt", lambda: location.puts)
    with pytest.raises(ZeroDivisionError), beating(DISTIL, location, InlineRunner(), ignore) as hear:
        hear(Progress("distill", 1, 2))
        raise ZeroDivisionError


@pytest.mark.parametrize("content", [b"[]", b"nonsense", b'{"run": 1}', b'"' + b"x" * (1 << 20) + b'"'])
def test_a_sign_that_padray_did_not_write_is_refused_in_a_sentence(tmp_path: Path, run: Run, content: bytes):
    LocalLocation(tmp_path).put("running/0-1.json", content)
    said = run("status", "--storage", tmp_path)
    assert said.code == 2 and "running/0-1.json" in said.err and "is not what padray writes there: delete" in said.err


def test_what_a_sign_says_fits_on_a_line(location: Counted, run: Run):
    with pytest.raises(ValueError), beating(Command("run", "x"), location, InlineRunner(), ignore) as hear:
        hear(Progress("distill", 1, 2, "a\x1b[31m\nb" + "c" * 5000))
        raise ValueError
    (told,) = json.loads(run("status", "--storage", location.root, "--json").out)["runs"]
    assert told["stages"][0]["text"].isprintable() and len(told["stages"][0]["text"]) < 600
