"""How long until a set is as good: the usual loop and padray on the same experts, data and start.

    python -m tests.benchmarks.time_to_accuracy FOLDER --data FOLDER     # writes results/time_to_accuracy.json

Narrow CIFAR-10, IPC 1. Every side and seed is a process of its own on one core with one thread; what is noted is its
CPU seconds, compilers included: the first of padray's processes finds no compiled programs on the machine, the others
do. padray's begin before it opens its storage, the usual loop's when snapshots, start and data lie in its memory. What
stood after every EVERY iterations is judged afterwards by the same fresh networks on the validation split. The time to
an accuracy is that of the first such set whose mean over the seeds reaches it.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from padray.configuration import loading
from padray.evaluation.protocol import ValidationSpec, validation_accuracies
from padray.experts.training import Draws, samples_of
from padray.fingerprint import DistillInputs
from padray.machine.numerics import decide
from padray.stages import distill, pipeline
from padray.stages.base import Context
from padray.stages.distiller import Distiller, DistillWork, Member
from padray.stages.inline import InlineRunner
from padray.stages.materials import Source
from padray.store.opening import open_location
from padray.store.shards import read_rows
from padray.synthetic.set import Learned
from tests.benchmarks import baseline
from tests.benchmarks.measured import Clock, pin
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine

SIDES = ("baseline", "padray")
SEEDS, NETWORKS, EPOCHS = 3, 3, 200
ITERATIONS, EVERY = 300, 25
SETTINGS = ("distill.validation.seeds=0", "compute.threads=1", "distill.max_loss=1000")
LEARNED = ("images", "labels", "lr")


class Standing(NamedTuple):
    """What has been learned after some iterations, and the CPU seconds until then."""

    iteration: int
    cpu_s: float
    learned: Learned


def opened(folder: Path, data: str, seed: int) -> tuple[Context, DistillWork]:
    """A distillation whose experts are there."""
    overrides = (*SETTINGS, f"data.path={data}", f"distill.iterations={ITERATIONS}", f"distill.seed={seed}")
    loaded = loading.load("cifar10-narrow-ipc1", overrides)
    context = Context(loaded.name, loaded.config, open_location(str(folder / "runs")), InlineRunner())
    places = pipeline.run(context, "experts").identities
    read = DistillInputs(places["data"], places["experts"])
    return context, distill._work(context, read, read.identity(context.config))


def by_padray(work: DistillWork) -> Iterator[Standing]:
    """A distillation as the command makes it."""
    began = Clock.now()
    distiller = work.open(Member())
    yield Standing(0, 0.0, distiller.state.learned)
    for _ in distiller.run():
        state = distiller.state
        if state.iteration % EVERY == 0:
            yield Standing(state.iteration, Clock.now().since(began).cpu, state.learned)


def by_baseline(work: DistillWork, seed: int) -> Iterator[Standing]:
    """The usual loop with the settings of the same distillation, from the start that padray makes."""
    config = work.config
    settings, distiller = config.distill, Distiller(work, Member())
    learned, experts = distiller.state.learned, distiller.materials.experts
    items = [experts.manifest.object(f"expert-{number:04d}") for number in range(experts.count)]
    trajectories = [read_rows(experts.folder, item, range(config.experts.epochs + 1)) for item in items]
    torch.manual_seed(seed)
    draw = random.Random(seed)
    channels, side, _ = distiller.dataset.shape
    net = baseline.ConvNet(channels, side, distiller.dataset.classes, config.network.width, config.network.depth)
    matching = baseline.TrajectoryMatching(learned.images, learned.labels, settings.student_lr)
    rates = (settings.lr_images, settings.lr_student_lr, settings.labels.lr)
    for optimiser, lr in zip(matching.optimisers, rates, strict=True):
        optimiser.param_groups[0]["lr"] = lr
    yield Standing(0, 0.0, learned)
    began = Clock.now()
    for iteration in range(1, ITERATIONS + 1):
        trajectory, start = draw.choice(trajectories), draw.randint(0, settings.windows.max_start)
        target = trajectory[start + settings.expert_epochs]
        matching.iterate(net, trajectory[start], target, settings.batch, settings.student_steps)
        if iteration % EVERY == 0:
            cpu_s = Clock.now().since(began).cpu
            parts = (matching.images, matching.labels, matching.lr)
            yield Standing(iteration, cpu_s, Learned(*(part.detach().clone() for part in parts)))


def one(folder: Path, data: str, side: str, seed: int) -> None:
    """Distil on one core, and keep what stood."""
    _, work = opened(folder, data, seed)
    pin()
    torch.set_num_threads(1)
    standings = list(by_padray(work) if side == "padray" else by_baseline(work, seed))
    tensors = {f"{name}-{k.iteration}": getattr(k.learned, name).contiguous() for k in standings for name in LEARNED}
    save_file(tensors, folder / f"{side}-{seed}.safetensors")
    (folder / f"{side}-{seed}.json").write_text(json.dumps({str(k.iteration): k.cpu_s for k in standings}))


def judged(folder: Path, context: Context, read: DistillInputs) -> dict[str, Any]:
    """For each side by iteration: the CPU seconds, and the validation accuracies by seed."""
    dataset = Source(context.config, context.location, read).dataset()
    numerics = decide(context.config.compute)
    device = numerics.use()
    held = samples_of(dataset, "validation", device, numerics.dtype)
    sides: dict[str, Any] = {}
    for side in SIDES:
        rows = []
        for iteration in range(0, ITERATIONS + 1, EVERY):
            seconds, accuracies = [], []
            for seed in range(SEEDS):
                tensors = load_file(folder / f"{side}-{seed}.safetensors")
                learned = Learned(*(tensors[f"{name}-{iteration}"] for name in LEARNED))
                draws = Draws(seed, "distill", "validation")
                spec = ValidationSpec(held, context.config.evaluation, EPOCHS, NETWORKS, draws)
                found = validation_accuracies(learned, context.config.network, dataset, spec)
                accuracies.append(statistics.fmean(value or 0.0 for value in found))
                seconds.append(json.loads((folder / f"{side}-{seed}.json").read_text())[str(iteration)])
            row = {"iteration": iteration, "cpu_s": round(statistics.median(seconds), 1), "first_cpu_s": seconds[0]}
            rows.append({**row, "accuracy": round(statistics.fmean(accuracies), 4), "by_seed": accuracies})
            print(side, rows[-1], flush=True)
        sides[side] = rows
    return sides


def times(sides: dict[str, Any], samples: int) -> dict[str, Any]:
    """CPU seconds to the accuracy that both reach, and to nine tenths of the way there from the start."""
    both = min(max(row["accuracy"] for row in sides[side]) for side in SIDES)
    begun = max(sides[side][0]["accuracy"] for side in SIDES)
    found = {}
    for name, level in (("what both reach", both), ("nine tenths of the way", begun + 0.9 * (both - begun))):
        first = {side: next(row for row in sides[side] if row["accuracy"] >= level) for side in SIDES}
        seconds = {side: row["cpu_s"] for side, row in first.items()}
        found[name] = {
            "accuracy": round(level, 4),
            "iterations": {side: row["iteration"] for side, row in first.items()},
            "cpu_s": seconds,
            "times_as_fast": round(seconds["baseline"] / seconds["padray"], 2),
            "times_as_fast_with_compiling": round(seconds["baseline"] / first["padray"]["first_cpu_s"], 2),
        }
    return found | {"validation_samples": samples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's files")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "SEED"), help="this process's part")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.one:
        one(asked.folder, asked.data, asked.one[0], int(asked.one[1]))
        return
    context, work = opened(asked.folder, asked.data, 0)
    for seed in range(SEEDS):
        for side in SIDES:
            if not (asked.folder / f"{side}-{seed}.json").is_file():
                line = [sys.executable, "-m", "tests.benchmarks.time_to_accuracy", asked.folder, "--data", asked.data]
                environment = {**os.environ, "XDG_CACHE_HOME": str(asked.folder / "cache")}
                subprocess.run([*map(str, line), "--one", side, str(seed)], check=True, env=environment)
                print(side, seed, "distilled", flush=True)
    sides = judged(asked.folder, context, work.source.read)
    held = len(work.source.dataset().splits["validation"])
    result = {
        "command": "python -m tests.benchmarks.time_to_accuracy FOLDER --data FOLDER",
        "machine": machine(),
        "settings": ["cifar10-narrow-ipc1", *SETTINGS, f"distill.iterations={ITERATIONS}"],
        "judged": f"mean over {SEEDS} distillations of {NETWORKS} networks of {EPOCHS} epochs each, on validation",
        "times": times(sides, held),
        "sides": sides,
    }
    (RESULTS / "time_to_accuracy.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["times"], indent=1))


if __name__ == "__main__":
    main()
