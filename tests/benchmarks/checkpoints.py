"""What storing the state of a distillation costs: every 100 iterations in the way of the work, against once a minute.

    python -m tests.benchmarks.checkpoints     # writes results/checkpoints.json; takes some minutes

States as large as those of CIFAR-10 at IPC 50 and of Tiny ImageNet at IPC 50 (what is learned, its momentum, the best
iterate), and a quick loop on one thread, which computes all the time and takes QUICK_S for an iteration. Before: the
loop stored every 100th state itself. After: a thread stores one as often as `Rhythm` lets it on this machine, and what
that takes from the loop is how much longer the same work takes while it does than before and after it. Other work on
the machine moves that by more than it is, in either direction, so its least and its most are told beside the median.
Medians over REPEATS turns, taken alternately.
"""

import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from padray.config import ComputeSettings
from padray.machine.numerics import decide
from padray.methods import state as states
from padray.stages.checkpoints import CheckpointWriter
from padray.store.artifacts import Folder
from padray.store.location import LocalLocation
from padray.store.pieces import size_of
from padray.synthetic.set import Learned
from tests.benchmarks.serving import machine

RESULT = Path(__file__).parent / "results" / "checkpoints.json"
QUICK_S, EVERY, MINUTE, REPEATS = 0.1, 100, 60.0, 7
SETS = {"cifar10, ipc 50": (500, 10, (3, 32, 32)), "tiny imagenet, ipc 50": (10_000, 200, (3, 64, 64))}


def state(samples: int, classes: int, shape: tuple[int, int, int]) -> states.State:
    learned = Learned(torch.randn(samples, *shape), torch.randn(samples, classes), torch.tensor(0.01))
    return states.start(learned, None).judged(0.5)


def work(matrix: torch.Tensor, count: int) -> float:
    """Seconds of `count` pieces of work."""
    began = time.perf_counter()
    for _ in range(count):
        matrix = torch.tanh(matrix @ matrix)
    return time.perf_counter() - began


class Bench:
    """A state, a folder and a piece of work of a few milliseconds."""

    def __init__(self, made: states.State, root: str) -> None:
        self.state, self.root, self.turn = made, root, 0
        self.matrix = torch.randn(256, 256) / 256
        work(self.matrix, 50)
        self.piece_s = statistics.median(work(self.matrix, 20) / 20 for _ in range(9))

    def checkpoint_writer(self) -> CheckpointWriter:
        """As it is before anything is stored, in a folder of its own, and a state that was never stored."""
        self.turn += 1
        folder = Folder(LocalLocation(self.root), f"distilled/x{self.turn}-{'0' * 12}", "f" * 64)
        return CheckpointWriter(folder, decide(ComputeSettings()), None, MINUTE)

    def in_the_way(self) -> float:
        """Seconds for which the loop waits when it stores a state itself."""
        checkpoint_writer, began = self.checkpoint_writer(), time.perf_counter()
        checkpoint_writer.store(replace(self.state, iteration=1))
        return time.perf_counter() - began

    def beside(self, duration: float) -> tuple[float, float, float]:
        """Seconds by which a loop takes longer while a thread stores a state, and those that the thread takes.

        Also those until the next state is stored, by what this one took.
        """
        count = max(20, int(2 * duration / self.piece_s))  # twice as long, so that all of the storing lies within
        alone, checkpoint_writer = work(self.matrix, count), self.checkpoint_writer()
        ends: list[float] = []
        began = time.perf_counter()
        future = checkpoint_writer.writer.submit(checkpoint_writer._write, replace(self.state, iteration=1))
        future.add_done_callback(lambda _: ends.append(time.perf_counter()))
        together = work(self.matrix, count)
        future.result()
        alone = (alone + work(self.matrix, count)) / 2
        return together - alone, ends[0] - began, checkpoint_writer.rhythm.pause


def measure(made: states.State, root: str) -> dict[str, Any]:
    bench = Bench(made, root)
    size = size_of(states.encode(made, {}))
    waits, delays, takes, pauses = [], [], [], []
    for _ in range(REPEATS):
        waits.append(bench.in_the_way())
        for kept, seconds in zip((delays, takes, pauses), bench.beside(waits[-1]), strict=True):
            kept.append(seconds)
        for path in Path(root).rglob("checkpoint-*"):
            path.unlink()
    wait, pause = statistics.median(waits), statistics.median(pauses)
    interval = EVERY * QUICK_S + wait
    before, after = _told(waits, interval, size), _told(delays, pause, size)
    return {
        "state_MB": round(size / 1e6, 1),
        "before": before,
        "after": {**after, "thread_s_median": round(statistics.median(takes), 4)},
        "times_fewer_bytes": round(pause / interval, 1),
    }


def _told(seconds: list[float], interval: float, size: int) -> dict[str, Any]:
    """What the loop loses each time, as a share of the time from one to the next; and the bytes that are written."""
    median = statistics.median(seconds)
    return {
        "s_in_the_way_median": round(median, 4),
        "least_and_most": [round(min(seconds), 4), round(max(seconds), 4)],
        "interval_s": round(interval, 1),
        "share": round(median / interval, 5),
        "GB_per_hour": round(size * 3600 / interval / 1e9, 2),
    }


def main() -> None:
    torch.set_num_threads(1)
    about, found = machine(), {}
    for name, size in SETS.items():
        with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as root:
            found[name] = measure(state(*size), root)
        print(name, json.dumps(found[name], indent=1), flush=True)
    result = {
        "command": "python -m tests.benchmarks.checkpoints",
        "machine": about,
        "repeats": REPEATS,
        "loop": f"{QUICK_S} s an iteration, one thread, every {EVERY}th stored by the loop before",
        "sets": found,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
