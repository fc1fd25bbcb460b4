"""What a fresh process takes before it works, in CPU seconds and in seconds by the wall.

    python -m tests.benchmarks.startup           # writes results/startup.json
    python -m tests.benchmarks.startup --code FOLDER --module padray.cli --label before    # of an earlier checkout

`help` is `padray --help`; `finished` the tiny chain's `padray run` where all is there already; `first expert` that
`padray experts` for one expert where data and scores are there; `listed` is `padray ls`. Each is a process of its own
with `--runner inline`, repeated in turns; CPU seconds are those of the process and of what it started.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine
from tests.conftest import TINY

REPEATS = 5
ONE = ("--set", "experts.count=1")


class Code(NamedTuple):
    """A checkout of padray, and its module for the command line."""

    folder: Path
    module: str


def padray(code: Code, *arguments: object) -> dict[str, float]:
    """A command's CPU seconds and seconds."""
    before, began = _children(), time.monotonic()
    line = [sys.executable, "-m", code.module, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(code.folder)}
    subprocess.run(line, capture_output=True, check=True, env=environment, cwd=code.folder)
    return {"cpu_s": _children() - before, "wall_s": time.monotonic() - began}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(code: Code, ready: Path) -> dict[str, dict[str, float]]:
    """Each command once, on the folder where all is ready."""
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as place:
        fresh, settings = Path(place) / "runs", ready / "tiny.yaml"
        shutil.copytree(ready / "scored", fresh)
        done = ("--storage", ready / "done", "--runner", "inline")
        return {
            "help": padray(code, "--help"),
            "listed": padray(code, "ls", "--storage", ready / "done"),
            "finished": padray(code, "run", settings, *done),
            "first expert": padray(code, "experts", settings, "--storage", fresh, "--runner", "inline", *ONE),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--module", default="padray.commandline.cli")
    parser.add_argument("--label", default="after")
    asked = parser.parse_args()
    code, turns = Code(asked.code.resolve(), asked.module), []
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as place:
        ready = Path(place)
        (ready / "tiny.yaml").write_text(TINY)
        padray(code, "scores", ready / "tiny.yaml", "--storage", ready / "scored", "--runner", "inline")
        padray(code, "run", ready / "tiny.yaml", "--storage", ready / "done", "--runner", "inline")
        for _ in range(REPEATS):
            turns.append(measured(code, ready))
    path = RESULTS / "startup.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=code.folder, capture_output=True, text=True)
    result |= {"command": "python -m tests.benchmarks.startup", "machine": machine(), "repeats": REPEATS}
    result["runs"][asked.label] = {
        "commit": commit.stdout.strip(),
        "median": {name: _of(turns, name, statistics.median) for name in turns[0]},
        "least": {name: _of(turns, name, min) for name in turns[0]},
        "most": {name: _of(turns, name, max) for name in turns[0]},
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _of(turns: list[dict[str, dict[str, float]]], name: str, pick: Any) -> dict[str, float]:
    return {figure: round(pick(turn[name][figure] for turn in turns), 2) for figure in ("cpu_s", "wall_s")}


if __name__ == "__main__":
    main()
