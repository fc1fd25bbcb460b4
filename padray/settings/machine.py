"""The settings of where work runs and where it is kept. Only `compute.precision` changes what is computed."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from padray.sections import Count, NotNegative, Positive, Section


class ClusterSettings(Section):
    """How work spreads over a Ray cluster. Nothing here changes what is computed.

    `workers` is the number of Ray Train workers of a distillation, or [fewest, most]. An actor, a worker and a cell
    take `compute.threads` CPUs (a Train worker `cpus_per_worker` where that is set) and the GPUs named here.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset(
        {"workers", "max_experts", "cpus_per_worker", "gpus_per_worker", "gpus_per_cell", "max_losses"}
    )
    workers: Count | tuple[Count, Count] = 1
    max_experts: Count = 64
    cpus_per_worker: Positive | None = None
    gpus_per_worker: NotNegative = 0.0
    gpus_per_cell: NotNegative = 0.0
    max_losses: Annotated[int, Field(ge=0)] = 10

    @property
    def most_workers(self) -> int:
        """The largest number of Train workers that may take part."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class ComputeSettings(Section):
    """The machine. Only `precision` changes what a stage means; the rest is recorded as its numerics."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"device", "threads"})
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    precision: Literal["float32", "float64"] = "float32"


class StorageSettings(Section):
    """Where everything is kept. `cache`: a folder on each machine for at most `cache_gb` of what object storage held.

    Nothing here changes what is computed.
    """

    root: str = "./runs"
    cache: str | None = None
    cache_gb: Positive = 20.0
