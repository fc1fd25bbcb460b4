"""What happens on a Ray of two GPUs that exist by name alone; a process of its own, since a process joins one Ray.

python -m tests.cluster.on_gpus SETTINGS FOLDER prints what was seen as one JSON object.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padray.cluster import session
from padray.config import Config
from padray.errors import WorkError
from padray.stages import pipeline
from padray.stages.base import Done, Make, Unit
from padray.store.artifacts import StoredObject
from padray.store.location import LocalLocation
from tests.cluster.conftest import make_context

session.settle_environment()
import ray  # noqa: E402
import torch  # noqa: E402

from padray.cluster import pool  # noqa: E402
from padray.cluster.probe import probing  # noqa: E402

ONE = ("experts.count=1", "scores.networks=1")
BESIDE = ("cluster.gpus_per_worker=0", "cluster.gpus_per_cell=0")


@dataclass(frozen=True)
class Looking:
    """Units that note what they hold and see; `crowded` needs a GPU of its own, `huge` more than one has."""

    notes: Path
    config: Config

    def prepare(self) -> Make:
        def make(unit: Unit) -> StoredObject:
            context = ray.get_runtime_context()
            share = context.get_assigned_resources().get("GPU", 0.0)
            sees = os.environ.get("CUDA_VISIBLE_DEVICES"), context.get_accelerator_ids()["GPU"]
            with (self.notes / unit.id).open("a") as file:
                file.write(json.dumps([share, *sees]) + "\n")
            if unit.id == "huge" or (unit.id == "crowded" and share < 1):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return StoredObject(f"a/{unit.id}-000000000000.bin", 1, "0")

        return make


def looked(notes: Path, device: str, ids: list[str], share: float) -> dict[str, Any]:
    """What became of units, and what each attempt at them held and saw."""
    notes.mkdir()
    work = Looking(notes, Config.model_validate({"compute": {"device": device}}))
    units = [Unit("evaluate", id, "f") for id in ids]
    told, error = [], ""
    try:
        with probing(LocalLocation(notes.parent / "probed")) as probe:
            for item in pool.run(work, units, pool.Demand(1, share, 64, 10, probe)):
                told.append([type(item).__name__, item.unit.id])
                assert not isinstance(item, Done) or item.numerics["device"] == "cpu"
    except WorkError as refusal:
        error = f"{type(refusal).__name__}: {refusal}"
    attempts = {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in notes.iterdir()}
    return {"told": told, "error": error, "attempts": attempts}


def chained(settings: Path, root: Path, *overrides: str) -> dict[str, Any]:
    """The tiny chain up to its experts: what was told of the machines, and how it ended."""
    context, said, error = make_context(settings, root, "ray", (*ONE, *overrides)), [], ""
    context.notify = lambda progress: said.append(progress.text) if progress.stage == "machines" else None
    try:
        pipeline.run(context, "experts")
    except WorkError as refusal:
        error = f"{type(refusal).__name__}: {refusal}"
    return {"said": said, "error": error, "experts": len(list(root.rglob("expert-*.safetensors")))}


def main(settings: Path, folder: Path) -> None:
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    ray.init(address="local", num_cpus=2, num_gpus=2, object_store_memory=100_000_000, **quiet)
    print(
        json.dumps(
            {
                "chain": chained(settings, folder / "runs"),
                "beside": chained(settings, folder / "runs", *BESIDE),
                "none": looked(folder / "none", "auto", ["one"], 0),
                "shared": looked(folder / "shared", "cpu", ["one", "crowded", "huge"], 0.25),
            }
        )
    )
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
