"""Successive halving against no stopping at equal cost: what the best trial of each is worth, on validation and test.

python -m tests.benchmarks.early_stopping 0 1 2 --storage FOLDER     # seeds of searches; minutes each on one core
python -m tests.benchmarks.early_stopping 0 1 2 --storage FOLDER --task cifar10-narrow --data FOLDER

Each seed makes two searches over the same space, from the same defaults with the same experts: one of `--trials`
full trials, and one with `search.stopping: asha` that goes on until it has cost as much, judging included.
The cost is counted in forward-equivalents: a sample's pass forward is one, its pass backward two. A student's step is
passed forward and backward, made again, and passed backward a second time for the exact gradient: twelve a sample. A
judging network is trained, three a sample and epoch, and looks once at the validation split.
Results are added to results/early_stopping.json, seed by seed.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

from padray import fingerprint
from padray.config import Config
from padray.configuration import loading
from padray.search import driver, trials
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import data, pipeline
from padray.stages.base import Context, Inputs
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine

STEP, TRAINED, LOOK = 12, 3, 1  # forward-equivalents of a sample
SEARCH = (
    "evaluation.controls.lrs=[0.03]",
    "evaluation.seeds=5",
    "search.epochs=60",
    "search.startup_trials=4",
    "search.rungs=3",
    "search.reduction=3",
    "search.trials=500",
)


def space(images: tuple[float, float], labels: tuple[float, float], student: tuple[float, float]) -> str:
    """The learning rates, each between two bounds, and FIEM's share."""
    rates = {"distill.lr_images": images, "distill.labels.lr": labels, "distill.student_lr": student}
    lines = [f"{name}: {{type: float, low: {low}, high: {high}, log: true}}" for name, (low, high) in rates.items()]
    return "search.space={" + ", ".join([*lines, "distill.selection.alpha: {type: float, low: 0, high: 0.75}"]) + "}"


SETTINGS = {
    "digits": ("small-digits", "distill.iterations=162", *SEARCH, space((0.03, 300), (0.01, 100), (0.002, 0.2))),
    "cifar10-narrow": (
        "small-cifar10",
        "data.limit_per_class=500",
        "data.validation=0.2",
        "distill.iterations=81",
        *SEARCH,
        space((1, 10_000), (0.02, 200), (0.001, 0.1)),
    ),
}


@dataclass(frozen=True)
class Task:
    """A recipe with its overrides, and the storage that its searches share."""

    recipe: str
    overrides: tuple[str, ...]
    storage: str

    def context(self, *more: str) -> Context:
        config = loading.load(self.recipe, (*self.overrides, *more)).config
        return Context("early_stopping", config, open_location(self.storage), InlineRunner())


def cost(config: Config, records: list[TrialRecord], held: int) -> dict[str, float]:
    """What the trials took so far."""
    settings, took = config.distill, driver.cost(config, records)
    samples = settings.student_steps * min(settings.batch, 10 * settings.ipc) * settings.trajectories
    judge = (config.search.epochs or config.evaluation.judging.epochs) * 10 * settings.ipc * TRAINED + held * LOOK
    return {**took, "forward_equivalents": took["iterations"] * samples * STEP + took["judges"] * judge}


def searched(task: Task, seed: int, stopping: str, full: int, budget: float | None = None) -> dict[str, Any]:
    """One search: so many full trials, or as much as the budget holds."""
    context = task.context(f"search.seed={seed}", f"search.stopping={stopping}")
    config = context.config
    found = data.make(context)
    held = len(Inputs(context.location, found).dataset().splits["validation"])
    place = fingerprint.search_identity(config, found)
    work = SearchWork(context.name, config, Inputs(context.location, found), place)
    pipeline.run(replace(context, artifacts={}), "experts")
    fresh, began = not work.all(), time.process_time()
    run = work.run_inline(context)
    while True:
        records = list(work.all().values())
        spent = cost(config, records, held)
        ended = [record for record in records if record.ended]
        if len(ended) >= full if budget is None else spent["forward_equivalents"] >= budget:
            break
        next(run)
    run.close()
    seconds = time.process_time() - began
    best = trials.best(records)
    assert best is not None, "trial 0 finishes"
    outcome = pipeline.run(replace(context, config=work.config_of(best.parameters), artifacts={}), "evaluate")
    row = next(row for row in outcome.rows if row.source == "distilled")
    return {
        **driver.counts(records),
        **spent,
        "cpu_s": round(seconds, 1) if fresh else None,
        "best": best.number,
        "validation": best.value,
        "test": row.mean,
        "defaults_validation": records[0].value,
    }


def summary(seeds: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation over the searches, and of asha minus none, search by search."""

    def spread(values: list[float]) -> dict[str, float]:
        return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}

    told: dict[str, Any] = {"n": len(seeds)}
    for what in ("validation", "test"):
        for kind in ("none", "asha"):
            told[f"{what}_{kind}"] = spread([one[kind][what] for one in seeds.values()])
        told[f"{what}_difference"] = spread([one["asha"][what] - one["none"][what] for one in seeds.values()])
    told["test_defaults"] = spread([one["defaults_test"] for one in seeds.values()])
    return told


def defaults_test(task: Task) -> float:
    outcome = pipeline.run(task.context(), "evaluate")
    return float(next(row for row in outcome.rows if row.source == "distilled").mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--task", choices=SETTINGS, default="digits")
    parser.add_argument("--data", help="folder of CIFAR-10's files")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--file", default="early_stopping.json")
    asked = parser.parse_args()
    recipe, *overrides = SETTINGS[asked.task]
    files = (f"data.path={asked.data}",) if asked.data else ()
    task = Task(recipe, (*overrides, *files), asked.storage)
    file = RESULTS / asked.file
    result = json.loads(file.read_text()) if file.exists() else {"tasks": {}}
    command = "python -m tests.benchmarks.early_stopping 0 1 2 --storage FOLDER [--task cifar10-narrow --data FOLDER]"
    for seed in asked.seeds:
        none = searched(task, seed, "none", asked.trials)
        asha = searched(task, seed, "asha", asked.trials, none["forward_equivalents"])
        seeds = result["tasks"].get(asked.task, {}).get("seeds", {})
        seeds[str(seed)] = {"none": none, "asha": asha, "defaults_test": defaults_test(task)}
        result["tasks"][asked.task] = {
            "settings": SETTINGS[asked.task],
            "trials": asked.trials,
            "seeds": seeds,
            "summary": summary(seeds),
            "machine": machine(),
        }
        file.write_text(json.dumps({"command": command, **result}, indent=1) + "\n")
        print(json.dumps({"seed": seed, **seeds[str(seed)]}, indent=1), flush=True)


if __name__ == "__main__":
    main()
