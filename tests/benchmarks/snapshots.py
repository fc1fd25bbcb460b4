"""Two random snapshots: padray's ranged reads against loading a pickle whole, as the papers' scripts do.

    python -m tests.benchmarks.snapshots          # writes results/snapshots.json

10 experts of 51 snapshots of 320,010 float32: a list of experts, each a list of epochs, each a list of tensors, in one
file of torch.save; the same in padray's shards, in a folder and on a real S3 server. What is asked for is a start and
its target, M epochs on, of a random expert, as a trainer does; and, `apart`, any two snapshots. padray checks every
row's checksum; the pickle has none that is checked. Every variant has fresh processes of its own; they take turns, with
all files in the page cache.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from padray.draws import generator
from padray.store.artifacts import Folder, Manifest
from padray.store.opening import open_location
from padray.store.shards import encode
from padray.store.stream import stream

RESULT = Path(__file__).parent / "results" / "snapshots.json"
EXPERTS, ROWS, PARAMETERS, M = 10, 51, 320_010, 2
PROCESSES, TURNS = 3, 10  # of each variant; a turn is one pair of snapshots
VARIANTS = ("pickle", "folder", "folder apart", "s3", "s3 apart")
FINGERPRINT = "0" * 64
PATH = f"experts/benchmark-{FINGERPRINT[:12]}"
PICKLE = "replay_buffer_0.pt"
Place = tuple[int, int]  # an expert and an epoch
Pair = tuple[torch.Tensor, torch.Tensor]


# -- what is read


def expert(number: int) -> torch.Tensor:
    """Snapshots (R, P): a random walk."""
    return torch.randn(ROWS, PARAMETERS, generator=generator(0, "snapshots", number)).cumsum(dim=0)


def write_pickle(folder: Path) -> int:
    """The file, and how many bytes it has; every parameter is a tensor of its own."""
    from padray.networks import factory
    from padray.networks.flat import FlatNetwork
    from padray.networks.settings import NetworkSettings

    network = FlatNetwork(factory.build(NetworkSettings(width=128, depth=3), (3, 32, 32), 10, 0))
    assert network.size == PARAMETERS
    trajectories = [
        [[row[span.start : span.stop].view(span.shape).clone() for span in network.spans] for row in expert(k)]
        for k in range(EXPERTS)
    ]
    torch.save(trajectories, folder / PICKLE)
    return (folder / PICKLE).stat().st_size


def write_shards(root: str) -> None:
    """The artefact: a shard for each expert, then the manifest."""
    folder, items = Folder(open_location(root), PATH, FINGERPRINT), []
    for number in range(EXPERTS):
        content, rows = encode(expert(number), {})
        items.append(folder.put(f"expert-{number:04d}", "safetensors", content, {"rows": rows}))
    folder.commit(Manifest(FINGERPRINT, "experts", {}, {}, {}, tuple(items)))


# -- who reads it: a process of its own, which is told the pairs line by line


def read(variant: str, place: str) -> None:
    """Read pairs and tell of each what it took; first of all, what being ready took."""
    torch.set_num_threads(1)
    imported, began = resident(), time.perf_counter()
    take = from_pickle(place) if variant == "pickle" else from_shards(place)
    ready = resident()
    print(json.dumps({"seconds": time.perf_counter() - began, "bytes": ready - imported}), flush=True)
    for line in sys.stdin:
        first, second = json.loads(line)
        forget_peak()
        began = time.perf_counter()
        pair = take(tuple(first), tuple(second))
        took = {"seconds": time.perf_counter() - began, "bytes": resident("VmHWM") - ready}
        print(json.dumps(took | {"read": [zlib.crc32(row.numpy()) for row in pair]}), flush=True)
        del pair


def from_pickle(path: str) -> Callable[[Place, Place], Pair]:
    def take(first: Place, second: Place) -> Pair:
        trajectories = torch.load(path, weights_only=False)  # the scripts' own way, and the faster one
        one_P, two_P = (torch.cat([part.reshape(-1) for part in trajectories[k][e]]) for k, e in (first, second))
        return one_P, two_P

    return take


def from_shards(root: str) -> Callable[[Place, Place], Pair]:
    folder = Folder(open_location(root), PATH, FINGERPRINT)
    items = folder.require().objects

    def take(first: Place, second: Place) -> Pair:
        asked = [(items[number], epoch) for number, epoch in (first, second)]
        groups = [tuple(asked)] if first[0] == second[0] else [(one,) for one in asked]  # as the trainer's stream does
        one_P, two_P = (row for group in stream(folder, groups) for row in group)
        return one_P, two_P

    return take


def resident(line: str = "VmRSS") -> int:
    """Bytes of this process in memory: now (VmRSS), or at their peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return next(int(text.split()[1]) * 1024 for text in status.splitlines() if text.startswith(f"{line}:"))


def forget_peak() -> None:
    """From here on, VmHWM is the peak of what comes; getrusage's would be that of the imports."""
    Path("/proc/self/clear_refs").write_text("5")


# -- the comparison


class Reader:
    """A variant's process."""

    def __init__(self, variant: str, place: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.snapshots", variant, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard

    def ask(self, places: tuple[Place, Place]) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(places), file=self.process.stdin, flush=True)
        return self.hear()

    def end(self) -> None:
        self.process.communicate()


def compare(places: dict[str, str]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """What being ready and what each pair took, by variant."""
    ready: dict[str, list[Any]] = {variant: [] for variant in VARIANTS}
    took: dict[str, list[Any]] = {variant: [] for variant in VARIANTS}
    checksums = [[zlib.crc32(row.numpy()) for row in expert(number)] for number in range(EXPERTS)]
    for process in range(PROCESSES):
        readers = {variant: Reader(variant, places[variant]) for variant in VARIANTS}
        for variant, reader in readers.items():
            ready[variant].append(reader.ready)
        for turn in range(process * TURNS, (process + 1) * TURNS):
            asked = {variant: drawn(turn, "apart" in variant) for variant in VARIANTS}
            shift = turn % len(VARIANTS)  # none is always the one after the pickle
            for variant in VARIANTS[shift:] + VARIANTS[:shift]:
                took[variant].append(readers[variant].ask(asked[variant]))
                right = [checksums[number][epoch] for number, epoch in asked[variant]]
                assert took[variant][-1]["read"] == right, "not the same snapshots"
            print(f"{turn + 1}/{PROCESSES * TURNS}", {v: round(t[-1]["seconds"], 4) for v, t in took.items()})
        for reader in readers.values():
            reader.end()
    return ready, took


def drawn(turn: int, apart: bool) -> tuple[Place, Place]:
    """Two places of a turn: a start and its target, or any two of two experts."""
    draw = generator(0, "snapshots", "apart" if apart else "pair", turn)
    first, second = torch.randperm(EXPERTS, generator=draw)[:2].tolist()
    start, other = torch.randint(ROWS - M, (2,), generator=draw).tolist()
    return ((first, start), (second, other)) if apart else ((first, start), (first, start + M))


def told(ready: list[Any], took: list[Any], slowest_s: float) -> dict[str, float]:
    """One variant's figures."""
    seconds = [one["seconds"] for one in took]
    median = statistics.median(seconds)
    return {
        "ms_median": round(1e3 * median, 3),
        "ms_least": round(1e3 * min(seconds), 3),
        "ms_most": round(1e3 * max(seconds), 3),
        "times_faster": round(slowest_s / median, 1),
        "first_pair_MB": megabytes(took[::TURNS], statistics.median),
        "peak_MB": megabytes(took, max),
        "ready_MB": megabytes(ready, statistics.median),
        "ready_ms": round(1e3 * statistics.median(one["seconds"] for one in ready), 1),
    }


def megabytes(found: list[Any], choose: Callable[[Iterable[float]], float]) -> float:
    return round(choose([one["bytes"] for one in found]) / 2**20, 2)


def main() -> None:
    from tests.benchmarks.serving import SERVER, machine, serving

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="padray-benchmark-")))
        place, root = str(folder / "root"), stack.enter_context(serving(folder))
        size = write_pickle(folder)
        write_shards(place)
        write_shards(root)
        os.sync()  # what is still to be written to the disk would disturb
        about = machine()
        ready, took = compare(
            {"pickle": str(folder / PICKLE), **dict.fromkeys(VARIANTS[1:3], place), **dict.fromkeys(VARIANTS[3:], root)}
        )
        shutil.rmtree(folder / "root")
    slowest_s = statistics.median(one["seconds"] for one in took["pickle"])
    result = {
        "command": "python -m tests.benchmarks.snapshots",
        "machine": about,
        "server": SERVER,
        "data": f"{EXPERTS} experts x {ROWS} x {PARAMETERS} float32; two snapshots are {2 * PARAMETERS * 4} bytes",
        "pickle_bytes": size,
        "repeats": PROCESSES * TURNS,
        "processes": f"{PROCESSES} fresh ones of each variant, {TURNS} pairs each, in turns; page cache warm",
        "memory": "resident, above that of the process once it is ready: imports, client and manifest read (ready_MB)",
        "variants": {variant: told(ready[variant], took[variant], slowest_s) for variant in VARIANTS},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        read(sys.argv[1], sys.argv[2])
    else:
        main()
