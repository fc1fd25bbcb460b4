"""The settings of where work runs and where it is kept. Only `compute.precision` changes what is computed."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from padray.settings.sections import Place, Positive, Section, Units

_LEAST_SHARE = 0.0001  # Ray counts no finer


def _share(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "auto" and not (number and (value == 0 or _LEAST_SHARE <= value <= 1)):
        raise ValueError("must be auto, 0, or a share of one GPU such as 0.25 or 1")
    return value


GpuShare = Annotated[Literal["auto"] | float, BeforeValidator(_share)]


class ClusterSettings(Section):
    """How work spreads over a Ray cluster. Nothing here changes what is computed.

    `workers` is the number of Ray Train workers of a distillation, or [fewest, most]. An actor, a worker and a cell
    take `compute.threads` CPUs (a Train worker `cpus_per_worker` where that is set) and the share of a GPU named here.
    A share of `auto` is 0 where `compute.device` is cpu, or is auto on a cluster that has no GPUs and, as far as can
    be read, starts none; else a worker takes a whole GPU, and a cell as much of one as its memory needs
    (cluster/gpus.py). What takes 0 sees no GPU and works on the CPU. `max_actors`: those that make experts, scoring
    networks or cells at a time, waiting ones included. `max_losses`: nodes that may go without anything finished in
    between, and times that the same work may be lost.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset(
        {"workers", "max_actors", "cpus_per_worker", "gpus_per_worker", "gpus_per_cell", "max_losses"}
    )
    workers: Units | tuple[Units, Units] = 1
    max_actors: Units = 256
    cpus_per_worker: Positive | None = None
    gpus_per_worker: GpuShare = "auto"
    gpus_per_cell: GpuShare = "auto"
    max_losses: Annotated[int, Field(ge=0)] = 10

    @model_validator(mode="after")
    def _fewest_first(self) -> "ClusterSettings":
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            raise ValueError(f"workers is [fewest, most] (got {list(self.workers)})")
        return self

    @property
    def most_workers(self) -> int:
        """The largest number of Train workers that may take part."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class ComputeSettings(Section):
    """The machine. Only `precision` changes what a stage means; the rest is recorded as its numerics.

    precision: `bf16` makes the convolutions and matrix products of experts, of scoring networks and of the way back
    through a student in bfloat16; students themselves and evaluations stay float32. compile: machine code for
    gradients, made once on a machine by its C++ compiler; it rounds otherwise than `off` does. `auto`: on CPUs that
    have a compiler, where the work to come is worth it. allocator: `tuned` keeps memory that was used, in place of
    handing it back to the system after every step.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"device", "threads", "compile", "allocator"})
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    precision: Literal["float32", "bf16", "float64"] = "float32"
    compile: Literal["auto", "on", "off"] = "auto"
    allocator: Literal["tuned", "system"] = "tuned"


class StorageSettings(Section):
    """Where everything is kept. `cache`: a folder on each machine for at most `cache_gb` of what object storage held.

    Large datasets, preprocessed, are mapped from files in it; without it, in the user's own cache (`XDG_CACHE_HOME`).
    `tensorboard`: a folder on each machine for event files; without it, in the root where that is a folder, and nowhere
    where it is object storage. Nothing here changes what is computed.
    """

    root: Place = "./runs"
    cache: Place | None = None
    cache_gb: Annotated[float, Field(gt=0, le=1e6)] = 20.0
    tensorboard: Place | None = None
