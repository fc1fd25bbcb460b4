"""A plan against what the run then takes: CPU seconds and bytes, several times over.

python -m tests.benchmarks.plan_reality demo                                        # some minutes a repetition
python -m tests.benchmarks.plan_reality cifar10-narrow-ipc1 --data FOLDER --repeats 3

Each repetition plans on an empty storage (`--calibrate`), then makes the same run in one process, then compares:
- CPU seconds of the run's process, from the operating system, without those of a run that has nothing left to do;
- seconds of its units by the events table, which also contain waiting for a busy machine, as the plan's own do;
- bytes that the artefacts' objects hold, by stage, without manifests, histories and reports, which no plan counts.
Of a search the plan says the most that it may take, for which experts its trials ask is not known before. So the bytes
are compared twice: as the plan has them, and with as many units of what it calls "at most" as there came to be.
A further plan for one node with one worker then says the wall hours again, now from the events of that run.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine

SECONDS_GOAL, BYTES_GOAL = 1.5, 0.05
RATIOS = ("ratio_cpu", "ratio_units", "ratio_bytes", "ratio_bytes_at_most")
OBJECTS = {  # of each room, the objects that a plan counts
    "datasets": "*",
    "scores": "network-*",
    "experts": "expert-*",
    "distilled": "set-*",
    "evaluations": "*",
}


def padray(*arguments: str) -> tuple[dict[str, Any], float, float]:
    """What a command prints with `--json`, its CPU seconds and its seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "padray.commandline.cli", *arguments, "--json"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(said), cpu_s, time.monotonic() - began


def events(root: Path) -> list[dict[str, Any]]:
    lines = [line for path in sorted((root / "events").iterdir()) for line in path.read_text().splitlines()]
    return [event for event in map(json.loads, lines) if event["event"] == "finished"]


def stored(root: Path) -> dict[str, int]:
    """Bytes by room; a set's last checkpoint is counted with it, as the plan does."""
    found = {
        room: sum(
            path.stat().st_size
            for path in root.glob(f"{room}/*/{name}")
            if path.is_file() and path.name != "manifest.json"
        )
        for room, name in OBJECTS.items()
    }
    checkpoints = sum(path.stat().st_size for path in root.glob("distilled/*/checkpoint-*"))
    return {**found, "distilled": found["distilled"] + checkpoints}


def once(options: list[str], name: str) -> dict[str, Any]:
    """One repetition, on a storage of its own."""
    with tempfile.TemporaryDirectory(prefix="padray-plan-") as folder:
        given = [name, "--storage", folder, *options]
        planned, _, _ = padray("plan", *given, "--calibrate")
        _, cpu_s, wall_s = padray("run", *given, "--runner", "inline")
        _, idle_s, _ = padray("run", *given, "--runner", "inline")
        units = events(Path(folder))
        again, _, _ = padray("plan", *given, "--nodes", "1")
        rooms = {
            "data": "datasets",
            "scores": "scores",
            "experts": "experts",
            "distill": "distilled",
            "search": "distilled",
            "evaluate": "evaluations",
        }
        told, came = dict.fromkeys(OBJECTS, 0), dict.fromkeys(OBJECTS, 0.0)
        shares = shares_made(planned, units)
        for line in planned["stages"]:
            told[rooms[line["stage"]]] += line["bytes"]
            came[rooms[line["stage"]]] += line["bytes"] * (shares[line["stage"]] if line["at_most"] else 1)
        there, plan_s = stored(Path(folder)), planned["total"]["hours"] * 3600
    unit_s = sum(unit["seconds"] for unit in units)
    return {
        "plan_s": round(plan_s, 1),
        "cpu_s": round(cpu_s - idle_s, 1),
        "idle_cpu_s": round(idle_s, 1),
        "units_s": round(unit_s, 1),
        "wall_s": round(wall_s, 1),
        "ratio_cpu": round(plan_s / (cpu_s - idle_s), 3),
        "ratio_units": round(plan_s / unit_s, 3),
        "units_planned": planned["total"]["to_do"],
        "units_made": len(units),
        "left_after": again["total"]["to_do"],
        "by_stage_s": {
            stage: [round(_planned(planned, stage), 1), round(_took(units, stage), 1)]
            for stage in dict.fromkeys(unit["stage"] for unit in units)
        },
        "bytes": {room: [round(came[room]), there[room]] for room in OBJECTS},
        "ratio_bytes": round(sum(came.values()) / sum(there.values()), 4),
        "ratio_bytes_at_most": round(sum(told.values()) / sum(there.values()), 4),
    }


def shares_made(planned: dict[str, Any], units: list[dict[str, Any]]) -> dict[str, float]:
    """Of each stage the share that came to be of the units that were planned at most."""
    shares = {}
    for stage in {line["stage"] for line in planned["stages"]}:
        lines = [line for line in planned["stages"] if line["stage"] == stage]
        most = sum(line["to_do"] for line in lines if line["at_most"])
        certain = sum(line["to_do"] for line in lines) - most
        made = sum(unit["stage"] == stage for unit in units)
        shares[stage] = min(1.0, max(0, made - certain) / most) if most else 1.0
    return shares


def _planned(told: dict[str, Any], stage: str) -> float:
    """Seconds of a stage; a trial of a search is a distillation to the events table."""
    alike = ("distill", "search") if stage == "distill" else (stage,)
    return sum(line["hours"] or 0.0 for line in told["stages"] if line["stage"] in alike) * 3600


def _took(units: list[dict[str, Any]], stage: str) -> float:
    return float(sum(unit["seconds"] for unit in units if unit["stage"] == stage))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("recipe", choices=["demo", "cifar10-narrow-ipc1"])
    asked.add_argument("--data", help="the folder with CIFAR-10's files")
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--set", action="append", default=[], dest="settings", metavar="K=V")
    given = asked.parse_args()
    settings = list(given.settings)
    shown = " ".join(f"--set {setting}" for setting in settings)
    if given.data:
        settings.append(f"data.path={given.data}")
    options = [part for setting in settings for part in ("--set", setting)]
    runs = []
    for _ in range(given.repeats):
        runs.append(once(options, given.recipe))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
        keep(given.recipe, f"python -m tests.benchmarks.plan_reality {given.recipe} {shown}".strip(), runs)


def keep(recipe: str, command: str, runs: list[dict[str, Any]]) -> None:
    """Write the repetitions so far, so that one that is broken off costs itself alone."""
    middle = {key: statistics.median(run[key] for run in runs) for key in RATIOS}
    file = RESULTS / "plan_reality.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    found[recipe] = {
        "command": command,
        "machine": machine(),
        "median": middle,
        "within_goal": {
            "seconds": 1 / SECONDS_GOAL <= middle["ratio_cpu"] <= SECONDS_GOAL,
            "bytes": abs(middle["ratio_bytes"] - 1) <= BYTES_GOAL,
        },
        "runs": runs,
    }
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
