"""What Ray costs against one process: the seconds before the first unit, and those around each unit.

    python -m tests.benchmarks.overhead          # writes results/overhead.json

The same experts, a few and many of them, by `--runner inline` and by `--runner ray` with one actor at a time, each run
a fresh process on a storage of its own where data and scores are ready; the runners take turns. Start-up is a
command's seconds without those of its units, for the few; `per_unit_s` is what a further expert takes beyond the
seconds of its own training, which are those of the events table.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine
from tests.conftest import TINY

FEW, MANY, REPEATS = 4, 44, 5
RUNNERS = {"inline": ("--runner", "inline"), "ray": ("--runner", "ray", "--set", "cluster.max_actors=1")}


def padray(*arguments: object) -> float:
    """A command's seconds."""
    began = time.monotonic()
    line = [sys.executable, "-m", "padray.commandline.cli", *map(str, arguments), "--json"]
    subprocess.run(line, capture_output=True, check=True)
    return time.monotonic() - began


def unit_seconds(root: Path) -> float:
    """What all experts took, as their workers measured it."""
    lines = [line for path in (root / "events").glob("experts-*") for line in path.read_text().splitlines()]
    return sum(event["seconds"] for event in map(json.loads, lines) if event["event"] == "finished")


def around(ready: Path, runner: str, count: int) -> float:
    """A command's seconds beyond those of its units."""
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as place:
        root = Path(place) / "runs"
        shutil.copytree(ready / "runs", root)
        size = ("--set", f"experts.count={count}")
        took = padray("experts", ready / "tiny.yaml", "--storage", root, *RUNNERS[runner], *size)
        return took - unit_seconds(root)


def main() -> None:
    figures: dict[str, list[dict[str, float]]] = {runner: [] for runner in RUNNERS}
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as place:
        ready = Path(place)
        (ready / "tiny.yaml").write_text(TINY)
        padray("scores", ready / "tiny.yaml", "--storage", ready / "runs", "--runner", "inline")
        for turn in range(REPEATS):
            for runner in sorted(RUNNERS, reverse=bool(turn % 2)):
                few, many = around(ready, runner, FEW), around(ready, runner, MANY)
                figures[runner].append({"startup_s": few, "per_unit_s": (many - few) / (MANY - FEW)})
    medians: dict[str, Any] = {
        runner: {name: round(statistics.median(one[name] for one in turns), 4) for name in turns[0]}
        for runner, turns in figures.items()
    }
    spread = {
        runner: {name: [round(pick(one[name] for one in turns), 4) for pick in (min, max)] for name in turns[0]}
        for runner, turns in figures.items()
    }
    result = {
        "command": "python -m tests.benchmarks.overhead",
        "machine": machine(),
        "experts": [FEW, MANY],
        "repeats": REPEATS,
        "median": medians,
        "spread": spread,
    }
    (RESULTS / "overhead.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
