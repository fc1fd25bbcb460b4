"""Killed with SIGKILL at named points: the same command finishes, redoes nothing finished, and gives the same bytes."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests import fresh
from tests.conftest import TINY
from tests.fresh import Ended

# Of what a distillation goes on from, all that the tiny chain leaves out; the last iterate, which used it, is the set.
EVERYTHING = (
    "distill.validation.seeds=0",
    "distill.ema_decay=0.9",
    "distill.keep_lr_positive=log",
    "distill.lr_student_lr=1",
    "distill.importance.order=alternate",
    "distill.importance.momentum=0.9",
    "distill.importance.constraint=softmax",
    "distill.importance.granularity=channel",
)


def padray(
    tiny: Path, root: Path, crash_at: str = "", *, until: str = "evaluate", overrides: tuple[str, ...] = ()
) -> Ended:
    changes = [part for text in overrides for part in ("--set", text)]
    environment = {**os.environ, "PADRAY_CRASH_AT": crash_at}
    return fresh.padray(
        tiny.parent, until, tiny, "--runner", "inline", "--storage", root, "--json", *changes, environment=environment
    )


def made(root: Path) -> list[str]:
    """The units that were made, in order, as the events tell."""
    lines = [line for path in sorted((root / "events").glob("*.jsonl")) for line in path.read_text().splitlines()]
    events = [json.loads(line) for line in lines]
    return [event["unit"] for event in events if event["event"] == "finished"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    done = padray(settings, folder / "runs")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "crashes",
    [
        ["experts:before-put:1", "experts:after-put:2"],
        ["distill:iteration:6", "distill:checkpoint:8"],
        ["distill:iteration:12", "distill:checkpoint:12"],
        ["scores:before-put:1", "evaluate:before-put:1"],
    ],
    ids=["experts", "distill", "distill-end", "scores-evaluate"],
)
def test_killed_twice_and_run_again(tiny, tmp_path, undisturbed, crashes):
    root = tmp_path / "runs"
    for crash in crashes:
        killed = padray(tiny, root, crash)
        assert killed.returncode == -signal.SIGKILL, f"{crash} was not reached: {killed.stderr}"
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("expert-*.safetensors")}
    done = padray(tiny, root)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["set"] == undisturbed["set"]
    assert result["evaluation"] == undisturbed["evaluation"]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    if "distill" in crashes[0]:
        assert "distill 1/12" not in done.stderr
    assert not list(root.rglob(".put-*")) or "put" in crashes[0]


def test_killed_while_averages_momenta_and_turns_are_in_use(tiny, tmp_path):
    whole = padray(tiny, tmp_path / "whole", until="distill", overrides=EVERYTHING)
    assert whole.returncode == 0, whole.stderr
    for crash in ("distill:iteration:7", "distill:checkpoint:8"):
        killed = padray(tiny, tmp_path / "runs", crash, until="distill", overrides=EVERYTHING)
        assert killed.returncode == -signal.SIGKILL, f"{crash} was not reached: {killed.stderr}"
    done = padray(tiny, tmp_path / "runs", until="distill", overrides=EVERYTHING)
    assert done.returncode == 0, done.stderr
    assert "distill 8/12: goes on from 8" in done.stderr and "distill 7/12" not in done.stderr
    assert json.loads(done.stdout)["set"] == json.loads(whole.stdout)["set"]


def test_finished_units_are_not_made_again(tiny, tmp_path):
    root = tmp_path / "runs"
    assert padray(tiny, root, "evaluate:before-put:1").returncode == -signal.SIGKILL
    assert padray(tiny, root).returncode == 0
    units = made(root)
    assert len(units) == len(set(units))
    assert sum(unit.startswith("expert-") for unit in units) == 3


def test_a_damaged_expert_is_made_again(tiny, tmp_path, undisturbed):
    root = tmp_path / "runs"
    assert padray(tiny, root, "experts:after-put:2").returncode == -signal.SIGKILL
    shard = next(root.rglob("expert-0001-*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    done = padray(tiny, root)
    assert json.loads(done.stdout)["set"] == undisturbed["set"]
