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


GpuShare = Annotated[
    Literal["auto"] | float,
    BeforeValidator(_share),
    Field(json_schema_extra={"allowed": "`auto`, 0, or a share of one GPU such as 0.25 or 1"}),
]


class ClusterSettings(Section):
    """How work spreads over a Ray cluster. Nothing here changes what is computed.

    A share of a GPU of `auto` is 0 where `compute.device` is cpu, or is auto on a cluster that has no GPUs and, as far
    as can be read, starts none (cluster/gpus.py). What takes 0 sees no GPU and works on the CPU.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset(
        {"workers", "max_actors", "cpus_per_worker", "gpus_per_worker", "gpus_per_cell", "max_losses"}
    )
    workers: Units | tuple[Units, Units] = 1
    """Ray Train workers of a distillation, or [fewest, most]. [ours]"""
    max_actors: Units = 256
    """Actors that make experts, scoring networks or cells at a time, waiting ones included. [ours]"""
    cpus_per_worker: Positive | None = None
    """CPUs of a Train worker; left out, `compute.threads`, as an actor and a cell take. [ours]"""
    gpus_per_worker: GpuShare = "auto"
    """The share of a GPU that an expert, a Train worker, a trial and a teacher take. `auto`: none where
    `compute.device` is cpu or there are no GPUs, else a whole one. What takes none works on the CPU. [ours]"""
    gpus_per_cell: GpuShare = "auto"
    """The share that a cell of the evaluation takes. `auto`: none, or what its memory needs. [ours]"""
    max_losses: Annotated[int, Field(ge=0)] = 10
    """Nodes that may go without anything finished in between, and times that the same work may be lost. [ours]"""

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
    """The machine. Only `precision` changes what a stage means; the rest is recorded as its numerics."""

    UNITS: ClassVar[frozenset[str]] = frozenset(
        {"device", "threads", "compile", "tf32", "deterministic", "memory_budget", "allocator"}
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live. `cuda` asks for GPUs that an autoscaler has yet to start. [ours]"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of each process that computes. [ours]"""
    precision: Literal["float32", "bf16", "float64"] = "float32"
    """`bf16`: convolutions and matrix products of experts, of scoring networks and of the way back through a student;
    students themselves and evaluations stay float32. The only setting here that changes a result's meaning. [ours]"""
    compile: Literal["auto", "on", "off"] = "auto"
    """Machine code for gradients, features and accuracies, made once on a machine by its C++ compiler; it rounds
    otherwise than `off` does. `auto`: on CPUs that have a compiler, where the work to come is worth it. [ours]"""
    tf32: bool = False
    """On GPUs float32 products and convolutions in TF32: 10 bits of mantissa in place of 23, at several times the
    speed. On CPUs it does nothing. [ours]"""
    deterministic: bool = False
    """On GPUs only operations that give the same bytes every time, which are slower. The augmentation `reflectcrop` of
    images that are learned has none, and is refused. CPUs do so anyway. [ours]"""
    memory_budget: Annotated[float, Field(gt=0, le=1e5)] | None = None
    """GB that a student and its way back may take where gradients are not compiled and `distill.gradient` is `exact`:
    graphs are kept as far as they fit, for up to a fifth less time. Left out, those of one step. [ours]"""
    allocator: Literal["tuned", "system"] = "tuned"
    """`tuned` keeps memory that was used, in place of handing it back after every step. [ours]"""

    @property
    def budget_bytes(self) -> float:
        """`memory_budget` in bytes; 0 without one."""
        return 1e9 * (self.memory_budget or 0)


class StorageSettings(Section):
    """Where everything is kept. Nothing here changes what is computed."""

    root: Place = "./runs"
    """A folder, or s3://bucket/prefix; `--storage` is the same. [ours]"""
    cache: Place | None = None
    """A folder on each machine for what object storage held and for preprocessed data; without it, only the latter,
    in the user's own cache (`XDG_CACHE_HOME`). [ours]"""
    cache_gb: Annotated[float, Field(gt=0, le=1e6)] = 20.0
    """How much of it, at most; the least recently used goes first. [ours]"""
    tensorboard: Place | None = None
    """A folder on each machine for event files; without it, in the root where that is a folder, and nowhere where it
    is object storage. [ours]"""
