"""What bfloat16 costs in accuracy: experts and sets of both precisions, judged by the same float32 networks.

    python -m tests.benchmarks.precision FOLDER --data FOLDER [--for SECONDS]     # writes results/precision.json

The first FOLDER keeps experts, sets and figures: where time runs out, the same command goes on. Every precision has
its own experts, from the same seeds; every seed is a distillation of its own, whose last iterate trains fresh networks
by the standard protocol, tested on the test split. Gradients are compiled for both.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from padray.configuration import loading
from padray.stages import pipeline, stored
from padray.stages.base import Context, Inputs
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from padray.store.shards import read_header
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine
from tests.benchmarks.start_labels import NETWORKS, test_accuracies

SEEDS = 3
PRECISIONS = ("float32", "bf16")
LAST = ("distill.validation.seeds=0", "compute.threads=1", "compute.compile=on")  # the last iterate counts
_CIFAR10 = ("experts.count=3", "evaluation.epochs=150")
TASKS = {
    "digits, IPC 10": ("digits-ipc10", ("distill.iterations=300", "evaluation.epochs=150")),
    "narrow CIFAR-10, IPC 1": ("cifar10-narrow-ipc1", (*_CIFAR10, "distill.iterations=130")),
    "narrow CIFAR-10, IPC 10": (
        "cifar10-narrow-ipc1",
        (*_CIFAR10, "distill.ipc=10", "distill.batch=100", "distill.iterations=40", "distill.init=real"),
    ),
}


def run(folder: Path, task: str, precision: str, seed: int, data: str) -> dict[str, Any]:
    """One distillation, its networks' accuracies, and its experts' on the validation split after every epoch."""
    preset, overrides = TASKS[task]
    path = (f"data.path={data}",) if preset.startswith("cifar10") else ()
    own = (f"compute.precision={precision}", f"distill.seed={seed}")
    loaded = loading.load(preset, (*overrides, *LAST, *path, *own))
    context = Context(loaded.name, loaded.config, open_location(str(folder / "runs")), InlineRunner())
    places = pipeline.run(context, "distill").identities
    learned = stored.load_set(context.folder(places["distill"]), loaded.config.distill.iterations).learned
    dataset = Inputs(context.location, places["data"]).dataset()
    values = test_accuracies(context.config, dataset, learned)
    return {
        "seed": seed,
        "mean": statistics.fmean(values),
        "values": values,
        "experts": curve(context, places["experts"]),
    }


def curve(context: Context, place: Any) -> list[float]:
    """The experts' mean accuracy after each epoch."""
    folder = context.folder(place)
    headers = [read_header(folder, item) for item in folder.require().objects]
    curves = [header["facts"]["validation_accuracy"] for header in headers]
    return [round(statistics.fmean(each), 4) for each in zip(*curves, strict=True)]


def table(figures: dict[str, Any]) -> dict[str, Any]:
    """By task and precision: mean and deviation over the distillations, and the differences of equal seeds."""
    tasks: dict[str, Any] = {}
    for name, one in figures.items():
        task, precision, _ = name.split("/")
        tasks.setdefault(task, {}).setdefault(precision, []).append(one)
    return {task: {**{p: summed(runs) for p, runs in ways.items()}, **paired(ways)} for task, ways in tasks.items()}


def summed(runs: list[dict[str, Any]]) -> dict[str, Any]:
    means = [one["mean"] for one in runs]
    spread = round(statistics.stdev(means), 4) if len(means) > 1 else None
    last = runs[0]["experts"][-1] if runs[0]["experts"] else None
    return {"mean": round(statistics.fmean(means), 4), "std": spread, "n": len(means), "expert": last, "runs": runs}


def paired(ways: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    by_seed = [{one["seed"]: one["mean"] for one in ways.get(precision, [])} for precision in PRECISIONS]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    return {"bf16 - float32": [round(by_seed[1][seed] - by_seed[0][seed], 4) for seed in seeds]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's files")
    parser.add_argument("--for", type=float, dest="seconds", help="begin no distillation after so many seconds")
    asked, began = parser.parse_args(), time.monotonic()
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / "figures.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    names = [f"{task}/{precision}/{seed}" for task in TASKS for seed in range(SEEDS) for precision in PRECISIONS]
    for name in (name for name in names if name not in figures):
        if asked.seconds and time.monotonic() - began > asked.seconds:
            print(f"{len(figures)} are there; the same command goes on")
            break
        task, precision, seed = name.split("/")
        figures[name] = run(asked.folder, task, precision, int(seed), asked.data)
        kept.write_text(json.dumps(figures))
        print(name, f"{figures[name]['mean']:.4f} after {time.monotonic() - began:.0f} s", flush=True)
    result = {
        "command": "python -m tests.benchmarks.precision FOLDER --data FOLDER",
        "machine": machine(),
        "settings": {task: [preset, *overrides, *LAST] for task, (preset, overrides) in TASKS.items()},
        "accuracy": f"test, in [0, 1]; a distillation's is the mean of {NETWORKS} fresh float32 networks",
        "tasks": table(figures),
    }
    (RESULTS / "precision.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
