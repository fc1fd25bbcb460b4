"""What a distillation says of its wait for snapshots: the time that the loop stood still for them, and no other."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from padray.configuration import loading
from padray.methods.method import Contribution
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.stages import distiller, pipeline
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from padray.store.stream import stream
from tests.conftest import TINY

ITERATIONS = 6
SLOW_S = 0.2
SHORT = (f"distill.iterations={ITERATIONS}", "distill.trajectories=1", "distill.validation.seeds=0")


def run(settings: Path, root: Path, until: str) -> None:
    loaded = loading.load(str(settings), SHORT)
    pipeline.run(Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner()), until)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wait")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    run(settings, folder / "runs", "experts")
    return settings, folder / "runs"


def distilled(experts: tuple[Path, Path], root: Path) -> dict[str, Any]:
    """Distil elsewhere; what the events tell of it."""
    settings, there = experts
    shutil.copytree(there, root)
    run(settings, root, "distill")
    (path,) = (root / "events").glob("distill-*.jsonl")
    (finished,) = (event for event in map(json.loads, path.read_text().splitlines()) if event["event"] == "finished")
    return finished


def test_slow_reads_are_waited_for(experts, tmp_path, monkeypatch):
    def slow(*arguments: Any) -> Iterator[tuple[torch.Tensor, ...]]:
        for rows in stream(*arguments):
            time.sleep(SLOW_S)
            yield rows

    monkeypatch.setattr(distiller, "stream", slow)
    told = distilled(experts, tmp_path / "runs")
    assert ITERATIONS * SLOW_S <= told["waited_s"] < told["seconds"]


def test_slow_steps_are_no_wait(experts, tmp_path, monkeypatch):
    quick = TrajectoryMatching.contribute

    def slow(*arguments: Any) -> Contribution:
        time.sleep(SLOW_S)
        return quick(*arguments)

    monkeypatch.setattr(TrajectoryMatching, "contribute", slow)
    told = distilled(experts, tmp_path / "runs")
    assert told["seconds"] > ITERATIONS * SLOW_S
    assert 0 < told["waited_s"] < ITERATIONS * SLOW_S / 2
