"""Run a recipe in this process and keep what it reached beside the command that made it.

python -m tests.benchmarks.record digits-ipc1 --storage FOLDER     # writes results/digits-ipc1.json
"""

import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    name, *options = sys.argv[1:]
    command = [sys.executable, "-m", "padray.commandline.cli", "run", name, "--runner", "inline", "--json", *options]
    done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    settings = [option for option in options if "=" in option and not option.startswith("data.path")]
    files = ["data.path=FOLDER"] if any(option.startswith("data.path") for option in options) else []
    result = {
        "command": " ".join(["padray run", name, "--runner inline", *(f"--set {text}" for text in settings + files)]),
        "evaluation": done["evaluation"],
        "set": done["set"],
        "seconds": {stage: round(seconds, 1) for stage, seconds in done["seconds"].items()},
        "reused": done["reused"],
        "peak_MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "machine": {"cores": os.cpu_count(), "kind": platform.machine(), "torch": torch.__version__},
    }
    stem = "-".join([name, *(text.replace("=", "").replace(".", "") for text in settings)])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
