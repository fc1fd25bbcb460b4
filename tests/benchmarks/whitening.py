"""What it takes a worker to come to its first batch of whitened data, and the memory of several on one machine.

    python -m tests.benchmarks.whitening [--data FOLDER] [--before COMMIT]     # writes results/whitening.json

FOLDER: CIFAR-10's files; without it, random images of Tiny ImageNet's size alone, whose matrices are random too, for
fitting them is not what is measured. COMMIT: the last one where every process whitened for itself; its code is taken
from git. Workers start one after the other and stay, each with one thread; seconds begin after the imports. Memory is
the kernel's (smaps_rollup), less that of a worker without data: unique is what no other process has, the sum is that of
all of them, where what they share counts once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from padray.commandline import commands
from padray.config import DataSettings
from padray.data import datasets, whitening
from padray.data.datasets import Dataset
from padray.stages import facts, pipeline, stored
from padray.store.artifacts import Folder, Manifest
from padray.store.location import LocalLocation
from tests.benchmarks.serving import machine

RESULT = Path(__file__).parent / "results" / "whitening.json"
WORKERS = 4
TINY_SAMPLES = 8000  # of 3x64x64; Tiny ImageNet has 100,000
BEFORE = "46f759f"
PLACE = ("datasets/benchmark-0123456789ab", "0123456789ab" + "0" * 52)
WORKER = """
import sys, time
import torch
from padray.experts.training import samples_of
from padray.stages import stored
from padray.store.artifacts import Folder
from padray.store.location import LocalLocation
torch.set_num_threads(1)
root, path, fingerprint = sys.argv[1:]
def batch(dataset, name):
    samples = samples_of(dataset, name, torch.device("cpu"), torch.float32)
    return samples, samples.images[torch.randperm(len(samples.labels))[:256]].sum()
if root:
    began = time.perf_counter()
    dataset = stored.load_dataset(Folder(LocalLocation(root), path, fingerprint))
    held = [batch(dataset, "train")]
    first = time.perf_counter() - began
    held.append(batch(dataset, "validation"))
    began = time.perf_counter()
    samples_of(dataset, "validation", torch.device("cpu"), torch.float32)
    print(first, time.perf_counter() - began, flush=True)
else:
    print(0, 0, flush=True)
sys.stdin.readline()
"""


def cifar10(folder: str, scratch: Path) -> Dataset:
    """CIFAR-10 with PAD's whitening; a tenth of the training samples are held out."""
    overrides = ("data.dataset=cifar10", f"data.path={folder}", "data.preprocessing=zca", "data.validation=0.1")
    context = commands.context("digits-ipc1", commands.Request(overrides, str(scratch), "inline"))
    made = pipeline.run(context, "data").identities["data"]
    return stored.load_dataset(context.folder(made))


def tiny() -> Dataset:
    """Images of Tiny ImageNet's size, and matrices of that size."""
    draw = torch.Generator().manual_seed(0)
    shape, numbers = (3, 64, 64), 3 * 64 * 64
    images = torch.randint(0, 256, (TINY_SAMPLES, *shape), generator=draw, dtype=torch.uint8)
    values = {"mean": torch.rand(numbers, generator=draw)}
    values |= {name: torch.randn(numbers, numbers, generator=draw) / 100 for name in ("whiten", "unwhiten")}
    cut = TINY_SAMPLES // 10
    rows = {"train": torch.arange(cut, TINY_SAMPLES), "validation": torch.arange(cut), "test": torch.arange(0)}
    labels = torch.arange(TINY_SAMPLES) % 200
    fitted = whitening.Preprocessing("zca", values, DataSettings().zca_eps)
    return Dataset.of(images, labels, tuple(map(str, range(200))), rows, fitted)


def store(dataset: Dataset, root: Path, *, apart: bool) -> None:
    """As it is stored now, or all in one object as it was."""
    large, whitening.LARGE = whitening.LARGE, whitening.LARGE if apart else sys.maxsize
    try:
        folder = Folder(LocalLocation(root), *PLACE)
        plain = datasets.Dataset.of(
            dataset.images,
            dataset.labels,
            dataset.class_names,
            dataset.splits,
            whitening.Preprocessing.from_tensors(dataset.preprocessing.meta(), dataset.preprocessing.tensors()),
        )
        objects = [folder.put(stem, "safetensors", part) for stem, part in stored.encode_dataset(plain).items()]
        told = facts.plain(facts.facts_of(dataset, {}))
        folder.commit(Manifest(PLACE[1], "data", {}, {}, {}, tuple(objects), told))
    finally:
        whitening.LARGE = large


def memory(process: int) -> dict[str, int]:
    """Bytes of a process, by the kernel's names."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def measure(code: Path, root: Path, cache: Path) -> dict[str, Any]:
    """Workers of this code, one after the other; then the memory of all."""
    environment = {**os.environ, "PYTHONPATH": str(code), "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    running, seconds = [], []
    try:
        for place in ["", *[str(root)] * WORKERS]:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, place, *PLACE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=code,
            )
            running.append(worker)
            assert worker.stdout is not None
            seconds.append([float(text) for text in worker.stdout.readline().split()])
        os.sync()  # pages that are still to be written count as if they were the process's own
        idle, *found = [memory(worker.pid) for worker in running]
    finally:
        for worker in running:
            worker.communicate("\n")
    unique = [one["Private_Clean"] + one["Private_Dirty"] for one in found]
    empty = idle["Private_Clean"] + idle["Private_Dirty"]
    return {
        "first_s": round(seconds[1][0], 2),
        "following_s": [round(first, 2) for first, _ in seconds[2:]],
        "validation_again_s": round(statistics.median(again for _, again in seconds[1:]), 3),
        "unique_MB_each": round(statistics.median(unique) / 1e6 - empty / 1e6),
        "unique_MB_sum": round((sum(unique) - WORKERS * empty) / 1e6),
        "sum_MB": round((sum(one["Pss"] for one in found) - WORKERS * idle["Pss"]) / 1e6),
    }


def checkout(commit: str, place: Path) -> Path:
    """The code of a commit."""
    place.mkdir()
    packed = subprocess.run(["git", "archive", commit, "padray"], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(place)], input=packed, check=True)
    return place


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="folder of CIFAR-10's files")
    parser.add_argument("--before", default=BEFORE, help="a commit")
    given, found = parser.parse_args(), {}
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as name:
        scratch = Path(name)
        codes = {"before": checkout(given.before, scratch / "before"), "after": Path.cwd()}
        makers = {"tiny-like": tiny} | (
            {"cifar10": lambda: cifar10(given.data, scratch / "runs")} if given.data else {}
        )
        for label, make in makers.items():
            dataset = make()
            sizes = {name: len(rows) for name, rows in dataset.splits.items()}
            found[label] = {"shape": list(dataset.shape), "samples": sizes}
            for version, code in codes.items():
                root = scratch / f"{label}-{version}"
                store(dataset, root, apart=version == "after")
                found[label][version] = measure(code, root, scratch / f"cache-{label}")
                print(label, version, json.dumps(found[label][version]), flush=True)
    data = " --data FOLDER" if given.data else ""
    result = {
        "command": f"python -m tests.benchmarks.whitening{data} --before {given.before}",
        "machine": machine(),
        "workers": WORKERS,
        "datasets": found,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
