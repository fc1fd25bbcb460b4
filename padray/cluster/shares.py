"""Who takes how much of a GPU: one decision, from the settings and from what the cluster has.

What takes no share sees no GPU (session.QUIET) and works on the CPU; what takes one sees that GPU alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from padray.config import Config
from padray.errors import Failure, GpuFullError, InputError

WHOLE = 1.0
_MOST_CELLS = 16  # on one GPU: more of them only wait for each other
_USABLE = 0.9  # of a GPU's memory: the rest is lost between the pieces
_STEPS = 10_000  # in which Ray counts a GPU
_SETTINGS = ("gpus_per_worker", "gpus_per_cell")


@dataclass(frozen=True)
class Gpus:
    """The GPUs of a cluster.

    Attributes:
        there: those of the nodes that are up.
        may_come: whether the autoscaler may start some; None where that cannot be read.
    """

    there: float = 0.0
    may_come: bool | None = False


def check(config: Config) -> None:
    """Refuse settings that ask for GPUs and take none. Raises InputError."""
    for name in _SETTINGS:
        if config.compute.device == "cuda" and getattr(config.cluster, name) == 0:
            raise InputError(
                f"cluster.{name} is 0, but compute.device is cuda: what takes no share of a GPU sees none; leave "
                f"cluster.{name} at auto, or set compute.device to auto or cpu"
            )


def of_worker(config: Config, gpus: Gpus) -> float:
    """What an expert, a scoring network, a teacher, a Train worker and a trial's distillation take of a GPU."""
    share = config.cluster.gpus_per_worker
    return WHOLE * _wanted(config, gpus) if isinstance(share, str) else share


def of_cell(config: Config, gpus: Gpus, fits: Callable[[], float]) -> float:
    """What a cell takes of a GPU.

    Args:
        fits: the share that its size needs, asked only where it counts.
    """
    share = config.cluster.gpus_per_cell
    if not isinstance(share, str):
        return share
    return fits() if _wanted(config, gpus) else 0.0


def _wanted(config: Config, gpus: Gpus) -> bool:
    """Whether `auto` means GPUs. Where they are asked for by name, a cluster that has none yet may start some."""
    device = config.compute.device
    return device == "cuda" or (device == "auto" and bool(gpus.there or gpus.may_come))


def fitting(needed: int, memory: int) -> float:
    """A share 1/k, rounded down so that k of them are not more than a GPU as Ray counts.

    Args:
        needed: bytes of what is to share a GPU.
        memory: bytes of the GPU.
    """
    beside = max(1, min(_MOST_CELLS, int(_USABLE * memory) // max(1, needed)))
    return math.floor(_STEPS / beside) / _STEPS


def is_shared(share: float) -> bool:
    """Whether others may have a part of the same GPU."""
    return 0 < share < WHOLE


def alone(error: Failure) -> Failure:
    """What made work fail that had a whole GPU; if that was full, it says so."""
    return GpuFullError(f"{error}; it had a GPU to itself") if isinstance(error, GpuFullError) else error


def remarks(config: Config, gpus: Gpus, known: float, seen: int) -> list[str]:
    """Sentences about GPUs that nobody uses, or that may be there for all that is known.

    Args:
        known: GPUs of this machine, as Ray was told.
        seen: those that PyTorch sees on it.
    """
    if config.compute.device == "cpu":
        return []
    sentences, settings = [], {name: getattr(config.cluster, name) for name in _SETTINGS}
    if gpus.there and 0 in settings.values():
        unused = " and ".join(f"cluster.{name}=0" for name, share in settings.items() if share == 0)
        sentences.append(f"{unused} leaves the cluster's {gpus.there:g} GPUs unused; auto would use them")
    if seen > known:
        sentences.append(
            f"PyTorch sees {seen} GPUs on this machine, but Ray was told of {known:g}: the others are unused; start "
            f"Ray here with --num-gpus={seen}"
        )
    if "auto" in settings.values() and gpus.may_come is None and not _wanted(config, gpus):
        sentences.append(
            "no node has a GPU, and whether an autoscaler may start some cannot be read here, so the CPUs are used; "
            "compute.device=cuda asks for GPUs all the same, compute.device=cpu ends this remark"
        )
    return sentences
