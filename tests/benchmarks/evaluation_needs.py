"""What the cells of an evaluation take, CPU seconds and memory, where no validation split is held out.

    python -m tests.benchmarks.evaluation_needs NAME --data FOLDER [--code FOLDER]     # adds to evaluation_needs.json

The 12 cells of narrow CIFAR-10 at IPC 1 on all 50,000 training images: 3 of the set, 8 that choose the control's
learning rate and 1 more at the chosen one, in one process. How good experts and set are plays no part, and 20 epochs
stand for the preset's 300: what is trained is the same before and after, what is looked at is what is measured.
`--code` names a checkout whose padray is measured, e.g. that of an earlier commit. Data, expert and set are made first,
by another process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.serving import machine

RESULT = Path(__file__).parent / "results" / "evaluation_needs.json"
SETTINGS = (
    "data.limit_per_class=null",
    "data.validation=0",
    "experts.count=1",
    "experts.epochs=2",
    "distill.iterations=1",
    "distill.expert_epochs=1",
    "distill.windows={min_start: 0, start: 1, max_start: 1}",
    "distill.validation.seeds=0",
    "evaluation.seeds=3",
    "evaluation.epochs=20",
    "compute.threads=1",
)


def padray(code: Path, verb: str, root: str, data: str) -> dict[str, Any]:
    """Run a command of that checkout's padray; what it took."""
    options = [option for text in (*SETTINGS, f"data.path={data}") for option in ("--set", text)]
    command = [
        sys.executable,
        "-m",
        "padray.commandline.cli",
        verb,
        "cifar10-narrow-ipc1",
        "--runner",
        "inline",
        "--json",
        "--storage",
        root,
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(code)}, cwd=code)
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    _, status, took = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{verb} failed: {said}")
    return {"said": said, "usage": took}


def measured(code: Path, data: str) -> dict[str, Any]:
    """The cells' figures."""
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as root:
        padray(code, "distill", root, data)
        found = padray(code, "evaluate", root, data)
        cells = len(list(Path(root).glob("evaluations/*/cell-*.json")))
    usage: resource.struct_rusage = found["usage"]
    rows = {row["source"]: row["values"] for row in found["said"]["evaluation"]}
    return {
        "cells": cells,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_MB": usage.ru_maxrss // 1024,
        "values": rows,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", help="what is measured, e.g. before")
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's files")
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[2], help="a checkout of padray")
    asked = parser.parse_args()
    kept: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {"runs": {}}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=asked.code, capture_output=True, text=True)
    runs = kept["runs"] | {asked.name: {"commit": commit.stdout.strip(), **measured(asked.code.resolve(), asked.data)}}
    result = {
        "command": "python -m tests.benchmarks.evaluation_needs NAME --data FOLDER --code FOLDER",
        "settings": ["cifar10-narrow-ipc1", *SETTINGS],
        "runs": runs,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(runs[asked.name], indent=1))


if __name__ == "__main__":
    main()
