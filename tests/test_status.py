"""`padray status`: what is unfinished and how far, what the stages took, and what a killed driver leaves of it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from padray.commandline import console_tables
from padray.operations.status import Taken, status_of
from padray.stages import events
from padray.store.artifacts import Folder
from padray.store.opening import open_location
from tests.cluster.conftest import command
from tests.conftest import Run


def stages(told: dict) -> dict[str, tuple[int, int]]:
    return {line["stage"]: (line["units"], line["lost"]) for line in told["stages"]}


def test_a_killed_run_s_work_is_told_and_the_finished_one_s_too(tiny, tmp_path, run: Run):
    root = tmp_path / "runs"
    killed = command(
        "evaluate",
        tiny,
        "--storage",
        root,
        "--runner",
        "inline",
        environment={**os.environ, "PADRAY_CRASH_AT": "distill:checkpoint:8"},
    )
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    folder = next((root / "distilled").iterdir())
    for path in folder.iterdir():
        os.utime(path, (time.time() - 600,) * 2)
    told = run("status", "--storage", root, "--json").json
    (line,) = told["unfinished"]
    assert line["artifact"] == f"distilled/{folder.name}" and line["stage"] == "distill"
    assert line["last"] == "checkpoint-000008" and line["objects"]["checkpoint"] >= 1
    assert 599 < line["idle_s"] < 700 and told["finished"] == 3
    assert stages(told) == {"scores": (2, 0), "experts": (3, 0)}
    shown = run("status", "--storage", root)
    assert "10 min ago" in shown.out and "3 finished, 1 unfinished" in shown.out
    assert run("evaluate", tiny, "--storage", root, "--runner", "inline").code == 0
    told = run("status", "--storage", root, "--json").json
    assert told["unfinished"] == [] and told["finished"] == 6
    assert stages(told)["experts"] == (3, 0) and stages(told)["evaluate"][0] >= 8
    assert all(line["seconds"] > 0 and line["hosts"] == 1 for line in told["stages"])


def test_events_are_written_while_a_stage_goes_on(tmp_path, monkeypatch):
    location = open_location(str(tmp_path))
    record = events.Recorder(location, "experts")
    lost = {"event": "lost", "stage": "experts"}
    record.add([lost])
    assert status_of(location).stages == [], "not every unit is a write"
    monkeypatch.setattr(events, "_FLUSH_S", 0.0)
    record.add([{"event": "finished", "stage": "experts", "seconds": 1800.0, "host": "a"}])
    record.flush()
    assert len(open_location(str(tmp_path)).keys("events")) == 1, "the same event is not written twice"
    assert status_of(location).stages == [Taken("experts", units=1, seconds=1800.0, lost=1, hosts=1)]
    shown = console_tables.of_stages(status_of(location).stages)
    assert list(shown.columns[2].cells) == ["30 min"], "hours of two digits say nothing of a minute"


@pytest.mark.parametrize(
    "line", [b"[]", b"nonsense", b'{"stage": 1, "event": "lost"}', b'{"stage": "x", "event": "y"}']
)
def test_events_that_anybody_may_have_put_there_are_refused_in_a_sentence(tmp_path: Path, run: Run, line: bytes):
    Folder(open_location(str(tmp_path)), "events", "").put("experts-1", "jsonl", line + b"\n")
    said = run("status", "--storage", tmp_path)
    assert said.code == 2 and "is not what padray writes there: delete it" in said.err


def test_a_folder_that_is_no_storage_is_told(tmp_path: Path, run: Run):
    (tmp_path / "notes.txt").write_text(json.dumps("mine"))
    said = run("status", "--storage", tmp_path)
    assert said.code == 2 and "is no storage of padray" in said.err
