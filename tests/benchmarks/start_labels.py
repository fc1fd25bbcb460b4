"""What the labels of a set should start from: three rules, on narrow CIFAR-10 and on digits.

    python -m tests.benchmarks.start_labels FOLDER --data FOLDER [--for SECONDS]   # writes results/start_labels.json

The first FOLDER keeps experts, sets and figures: where time runs out, the same command goes on. Every task has one
group of experts; every rule and seed a distillation of its own, whose last iterate trains fresh networks by the
standard protocol, tested on the test split. A distillation starts from other images with every seed, and from the
same ones with every rule. First of all it is told how many samples a start has that no expert gets right: only there
do `right` and `right or all` differ.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from padray.config import Config
from padray.configuration import loading
from padray.data.datasets import Dataset
from padray.evaluation.controls import samples_of_set
from padray.evaluation.protocol import RealSplits, judge, recipe_for
from padray.experts.training import Draws, samples_of
from padray.machine.numerics import decide
from padray.stages import pipeline, stored
from padray.stages.base import Context, Inputs
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from padray.synthetic import start
from padray.synthetic.set import Learned
from tests.benchmarks.serving import machine

RESULT = Path(__file__).parent / "results" / "start_labels.json"
SEEDS, NETWORKS = 3, 5
LAST = ("distill.validation.seeds=0", "compute.threads=1")  # the last iterate counts: nothing is chosen
_CIFAR10 = ("experts.count=3", "distill.init=real", "evaluation.epochs=150")
TASKS = {
    "narrow CIFAR-10, IPC 10, init real": (
        "cifar10-narrow-ipc1",
        (*_CIFAR10, "distill.ipc=10", "distill.iterations=60"),
    ),
    "narrow CIFAR-10, IPC 1, init real": ("cifar10-narrow-ipc1", (*_CIFAR10, "distill.iterations=60")),
    "digits, IPC 10, init correct": ("digits-ipc10", ("distill.iterations=150", "evaluation.epochs=150")),
}
Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


# -- the rules: logits of the experts (E, M, K) and classes (M,) -> logits (M, K)


def right(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
    """The mean of those that are right; where none is, the mean of all or, if that names another class, a plain one."""
    mean = right_or_all(logits_EMK, labels_M)
    plain = start.plain_logits(labels_M, logits_EMK.shape[2]).to(mean.dtype)
    return torch.where((mean.argmax(dim=1) == labels_M)[:, None], mean, plain)


def right_or_all(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
    """The mean of those that are right; where none is, the mean of all, whatever that names."""
    are_right = logits_EMK.argmax(dim=2) == labels_M
    votes = torch.where(are_right.any(dim=0), are_right, torch.ones_like(are_right)).to(logits_EMK.dtype)
    return (logits_EMK * votes[:, :, None]).sum(dim=0) / votes.sum(dim=0)[:, None]


def everyone(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
    """The mean of all, right or wrong."""
    return logits_EMK.mean(dim=0)


RULES: dict[str, Rule] = {"right": right, "right or all": right_or_all, "all": everyone}


# -- one set


def told(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> dict[str, int]:
    """What a start looks like: its samples, those that no expert gets right, and those that all of them get right."""
    hits_EM = logits_EMK.argmax(dim=2) == labels_M
    return {
        "samples": len(labels_M),
        "nobody_right": int((~hits_EM.any(dim=0)).sum()),
        "all_right": int(hits_EM.all(dim=0).sum()),
    }


def distil(root: Path, preset: str, overrides: tuple[str, ...], rule: Rule) -> tuple[dict[str, int], Learned, Context]:
    """A set whose labels start by the rule, in a root that holds the experts already; and how it started."""
    loaded, seen = loading.load(preset, overrides), list[dict[str, int]]()

    def started(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
        seen.append(told(logits_EMK, labels_M))
        return rule(logits_EMK, labels_M)

    context = Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner())
    with mock.patch.object(start, "soft_labels", started):
        found = pipeline.run(context, "distill").identities
    context.stored_data = found["data"]
    learned = stored.load_set(context.folder(found["distill"]), loaded.config.distill.iterations).learned
    note = root / f"start-{found['distill'].fingerprint[:12]}.json"  # a distillation that goes on has started before
    if seen:
        note.write_text(json.dumps(seen[0]))
    return json.loads(note.read_text()), learned, context


def test_accuracies(config: Config, dataset: Dataset, learned: Learned) -> list[float]:
    """Of fresh networks trained on the set by the standard protocol."""
    device, dtype = decide(config.compute).use(), learned.images.dtype
    splits = RealSplits(None, samples_of(dataset, "test", device, dtype))
    recipe = recipe_for(config.evaluation.judging, config.evaluation.judging.epochs, float(learned.lr))
    training, draws = samples_of_set(learned, device), Draws(config.seed_of("evaluation"), "evaluation", "")
    found = []
    for k in range(NETWORKS):
        own = replace(draws, unit=f"distilled-{config.network.label}-{k}")
        score = judge(training, config.network, recipe, own, dataset, splits)
        assert score.test is not None
        found.append(score.test.plain)
    return found


def share_experts(base: Path, root: Path) -> None:
    """All rules have the same dataset and experts."""
    for room in ("datasets", "experts"):
        shutil.copytree(base / room, root / room, dirs_exist_ok=True)


# -- the comparison


def run(folder: Path, task: str, rule: str, seed: int, data: str) -> dict[str, Any]:
    """One distillation and its networks; what was done before is not done again."""
    base, root = folder / "base", folder / rule.replace(" ", "-")
    preset, overrides = TASKS[task]
    settings = (*overrides, *LAST, *((f"data.path={data}",) if preset.startswith("cifar10") else ()))
    loaded = loading.load(preset, settings)
    pipeline.run(Context(loaded.name, loaded.config, open_location(str(base)), InlineRunner()), "experts")
    share_experts(base, root)
    started, learned, context = distil(root, preset, (*settings, f"distill.seed={seed}"), RULES[rule])
    assert context.stored_data is not None
    values = test_accuracies(context.config, Inputs(context.location, context.stored_data).dataset(), learned)
    return {"seed": seed, "start": started, "mean": round(statistics.fmean(values), 5), "values": values}


def as_right(found: dict[str, Any], task: str, rule: str, seed: int) -> dict[str, Any] | None:
    """The figures of rule `right`, where every sample of the start has an expert that is: no other set comes out."""
    one: dict[str, Any] | None = found.get(f"{task}/right/{seed}")
    return {**one, "same_as": "right"} if one and rule == "right or all" and not one["start"]["nobody_right"] else None


def table(found: dict[str, Any]) -> dict[str, Any]:
    """By task and rule: the mean over the distillations, each the mean of its networks."""
    tasks: dict[str, Any] = {}
    for name, one in found.items():
        task, rule, _ = name.split("/")
        tasks.setdefault(task, {}).setdefault(rule, []).append(one)
    return {
        task: {
            rule: {
                "mean": round(statistics.fmean(one["mean"] for one in runs), 4),
                "std": round(statistics.stdev(one["mean"] for one in runs), 4) if len(runs) > 1 else None,
                "n": len(runs),
                "distillations": runs,
            }
            for rule, runs in rules.items()
        }
        for task, rules in tasks.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's files")
    parser.add_argument("--for", type=float, dest="seconds", help="begin no distillation after so many seconds")
    asked, began = parser.parse_args(), time.monotonic()
    kept = asked.folder / "figures.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    missing = [
        (task, rule, seed)
        for task in TASKS
        for seed in range(SEEDS)
        for rule in RULES
        if f"{task}/{rule}/{seed}" not in found
    ]
    for task, rule, seed in missing:
        if asked.seconds and time.monotonic() - began > asked.seconds:
            print(f"{len(found)} are there; the same command goes on")
            break
        one = as_right(found, task, rule, seed) or run(asked.folder, task, rule, seed, asked.data)
        found[f"{task}/{rule}/{seed}"] = one
        kept.write_text(json.dumps(found))
        print(task, rule, json.dumps(one), f"after {time.monotonic() - began:.0f} s", flush=True)
    result = {
        "command": "python -m tests.benchmarks.start_labels FOLDER --data FOLDER",
        "machine": machine(),
        "settings": {task: [preset, *overrides, *LAST] for task, (preset, overrides) in TASKS.items()},
        "accuracy": f"test, in [0, 1]; a distillation's is the mean of {NETWORKS} fresh networks",
        "tasks": table(found),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
