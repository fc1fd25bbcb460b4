"""What a driver spends on units that others make: requests, CPU seconds and memory, by how many units there are.

    python -m tests.benchmarks.driver_cost          # writes results/driver_cost.json

Experts, trials of a search and cells of an evaluation, 100, 1,000 and (cells) 10,000 of them, made by a stand-in for a
cluster: it stores a small object for each unit and computes nothing, on a connection of its own, and what that takes is
not counted. What a trial tries is the driver's to say, so Optuna's time is in it. `new` makes them all, `rerun` finds
them all there. Every size is a fresh process; memory is what its peak grows by. Nothing
that a driver does may grow faster than the units: `slope` is the exponent between the two largest sizes (1: linear).
"""

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from padray import fingerprint
from padray.configuration import loading
from padray.search import driver, trials
from padray.search.trial_run import Queue, SearchWork
from padray.search.trials import TrialRecord
from padray.stages import cells, data, experts, pipeline
from padray.stages.base import Context, Done, Inputs, Lost, Unit, Work
from padray.stages.inline import InlineRunner
from padray.store.artifacts import Folder
from padray.store.location import LocalLocation
from padray.store.shards import encode
from tests.benchmarks.listing import Counted
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine
from tests.conftest import TINY

SIZES = {"experts": (100, 1000), "trials": (100, 1000), "cells": (100, 1000, 10000)}
SPACE = (
    "search.space={distill.lr_images: {type: float, low: 0.1, high: 10, log: true}, distill.labels.lr: {type: float, "
    "low: 0.1, high: 10, log: true}, distill.selection.alpha: {type: float, low: 0, high: 0.75}}"
)
FEW = ("experts.count=1", "scores.networks=1", "evaluation.architectures=[]", "evaluation.seeds=2")


class Elsewhere(InlineRunner):
    """Stands in for a cluster: units come back stored, and the driver's clock stops while they are made."""

    def __init__(self, location: LocalLocation) -> None:
        self.location, self.cpu_s = location, 0.0

    @contextmanager
    def _not_the_driver(self) -> Iterator[None]:
        began = time.process_time()
        yield
        self.cpu_s += time.process_time() - began

    def map(self, work: Work, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        for unit in units:
            with self._not_the_driver():
                item = self._expert(work, unit) if isinstance(work, experts.ExpertWork) else self._cell(work, unit)
            yield Done(unit, item, 0.01, "elsewhere", {})

    def search(self, work: SearchWork, context: Context) -> Iterator[TrialRecord]:  # type: ignore[override]
        queue = Queue(work, work.limits(context))
        while trial := queue.next():
            yield trial
            with self._not_the_driver():
                value = (trial.number * 7919 % 97) / 97
                done = replace(trial, state="finished", value=value, values=(value,) * 3, set_sha256=str(trial.number))
                trials.write(Folder(self.location, work.identity.folder, work.identity.fingerprint), done)
            yield done
            queue.done(trial.number)

    def _expert(self, work: experts.ExpertWork, unit: Unit) -> Any:
        folder = Folder(self.location, work.experts.folder, work.experts.fingerprint)
        content, rows = encode(torch.full((7, 4), float(int(unit.id[-4:]))), {"unit": unit.id})
        return folder.put(unit.id, "safetensors", content, {"rows": rows})

    def _cell(self, work: Any, unit: Unit) -> Any:
        cell = work.cells[unit.id]
        place = work.places[cell.source]
        share = (cell.seed % 97) / 97
        judged = {"lr": cell.lr or 0.01, "lr_chosen_on": "validation" if cell.lr else None, "samples": 10, "epochs": 6}
        about = {"source": cell.source, "architecture": cell.network.label, "seed": cell.seed}
        chosen = {"validation": share, "validation_balanced": share, "test": share, "test_balanced": share}
        result = {**about, **judged, **chosen, "diverged": False}
        folder = Folder(self.location, place.folder, place.fingerprint)
        return folder.put(cell.id, "json", json.dumps(result).encode(), {cells._SAID: result})


def prepared(root: Path) -> Path:
    """The tiny chain's settings; its dataset, scores, one expert and set are stored."""
    settings = root / "tiny.yaml"
    settings.write_text(TINY)
    config = loading.load(str(settings), FEW).config
    pipeline.run(Context("tiny", config, LocalLocation(root / "runs"), InlineRunner()), "distill")
    return settings


def once(kind: str, count: int) -> dict[str, dict[str, float]]:
    """In this process: the units made, then found."""
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as place:
        root = Path(place)
        settings = prepared(root)
        more = {
            "experts": (f"experts.count={count}",),
            "trials": (f"search.trials={count}", SPACE),
            "cells": (f"evaluation.seeds={count // 2}",),
        }
        config = loading.load(str(settings), FEW + more[kind]).config
        found = {}
        for turn in ("new", "rerun"):
            location, runner = Counted(root / "runs", 0.0), Elsewhere(LocalLocation(root / "runs"))
            before, peak, began = time.process_time(), _peak_mb(), time.monotonic()
            make(kind, Context("tiny", config, location, runner))
            found[turn] = {
                "requests": location.requests,
                "cpu_s": round(time.process_time() - before - runner.cpu_s, 3),
                "s": round(time.monotonic() - began, 2),
                "grows_MB": round(_peak_mb() - peak, 1),
            }
        return found


def make(kind: str, context: Context) -> None:
    """The command that makes the units, up to there."""
    if kind != "trials":
        pipeline.run(context, "experts" if kind == "experts" else "evaluate")
        return
    found = data.make(context)
    place = fingerprint.search_identity(context.config, found)
    work = SearchWork(context.name, context.config, Inputs(context.location, found), place)
    work.all()
    driver._search(context, work)
    assert len(work.records()) == context.config.search.trials


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def slope(small: float, large: float, times: float) -> float:
    """The exponent by which a figure grows where there are so many times as many units."""
    return round(math.log(large / small) / math.log(times), 2)


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps(once(sys.argv[1], int(sys.argv[2]))))
        return
    figures: dict[str, Any] = {}
    for kind, sizes in SIZES.items():
        for count in sizes:
            line = [sys.executable, "-m", "tests.benchmarks.driver_cost", kind, str(count)]
            done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
            figures.setdefault(kind, {})[str(count)] = json.loads(done.stdout)
        small, large = (figures[kind][str(count)] for count in sizes[-2:])
        times = sizes[-1] / sizes[-2]
        figures[kind]["slope"] = {
            turn: {key: slope(small[turn][key], large[turn][key], times) for key in ("requests", "cpu_s")}
            for turn in ("new", "rerun")
        }
    result = {"command": "python -m tests.benchmarks.driver_cost", "machine": machine(), "figures": figures}
    (RESULTS / "driver_cost.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
