"""How long the trainer waits for snapshots that lie on a real S3 server, against the time of its steps.

    python -m tests.benchmarks.data_wait [--data FOLDER]     # CIFAR-10's files; writes results/data_wait.json

The presets' networks, sets and student steps, in one process; but few experts of few epochs and few iterations, for
neither wait nor step depends on how good they are. padray measures the wait itself. The first iteration is told apart:
nothing can be read ahead of it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from padray.configuration import loading
from padray.methods.loop import Metrics
from padray.stages import pipeline
from padray.stages.base import Context, Distilling
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from tests.benchmarks.serving import SERVER, machine, serving

RESULT = Path(__file__).parent / "results" / "data_wait.json"
ITERATIONS = 60
SHORT = (f"distill.iterations={ITERATIONS}", "experts.count=2")
PRESETS = {"digits-ipc1": ("experts.epochs=12",), "cifar10-narrow-ipc1": ("experts.epochs=8",)}


class Watch(InlineRunner):
    """The in-process runner; it notes what each iteration took and how much of that was waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.waited_s: list[float] = []

    def distill(self, work: Distilling) -> Iterator[Metrics]:
        began = time.perf_counter()
        for metrics in super().distill(work):
            now = time.perf_counter()
            self.seconds.append(now - began)
            self.waited_s.append(metrics["waited_s"])
            yield metrics
            began = time.perf_counter()


def measure(preset: str, overrides: tuple[str, ...], root: str) -> dict[str, Any]:
    """Run a preset up to its set and look at the distillation."""
    loaded, watch = loading.load(preset, (*SHORT, *overrides)), Watch()
    context = Context(loaded.name, loaded.config, open_location(root), watch)
    found = pipeline.run(context, "distill").identities
    row = context.folder(found["experts"]).require().objects[0].extra["rows"]["size"] * 4
    seconds, waited_s = watch.seconds[1:], watch.waited_s[1:]
    shares = [wait / whole for wait, whole in zip(waited_s, seconds, strict=True)]
    return {
        "overrides": [text for text in (*SHORT, *overrides) if not text.startswith("data.path")],
        "bytes_per_iteration": 2 * row * loaded.config.distill.trajectories,
        "iterations": len(seconds),
        "step_ms_median": round(1e3 * statistics.median(seconds), 1),
        "wait_ms_median": round(1e3 * statistics.median(waited_s), 3),
        "wait_ms_most": round(1e3 * max(waited_s), 3),
        "steps_s": round(sum(seconds), 2),
        "waits_s": round(sum(waited_s), 4),
        "share_median": round(statistics.median(shares), 5),
        "share_total": round(sum(waited_s) / sum(seconds), 5),
        "first_fill_ms": round(1e3 * watch.waited_s[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="folder of CIFAR-10's files; without it, digits alone")
    path, found = parser.parse_args().data, {}
    about = machine()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="padray-benchmark-")))
        root = stack.enter_context(serving(folder))
        for preset, overrides in PRESETS.items():
            if preset.startswith("cifar10"):
                if not path:
                    continue
                overrides = (*overrides, "data.limit_per_class=100", f"data.path={path}")
            found[preset] = measure(preset, overrides, root)
            print(preset, json.dumps(found[preset], indent=1), flush=True)
    result = {
        "command": f"python -m tests.benchmarks.data_wait{' --data FOLDER' if path else ''}",
        "machine": about,
        "server": f"{SERVER}: its CPU time slows the steps",
        "presets": found,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
