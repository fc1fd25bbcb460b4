"""How near a set's samples come to real ones: the question whether somebody's data can be seen in it.

The distance of two samples is the root of their mean squared difference over all values: of images in pixels from 0 to
1, preprocessing undone; of tables and series in standard deviations of each feature or channel over the training
split. Legend: Q samples asked about, N training samples, D values of a sample, K classes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from padray.methods.figure_data import Floats

_CHUNK = 1 << 26  # bytes of candidates and their distances held at once
_FEW = 30  # distances that are seen best one by one
_WORK = 1e11  # multiplications that a report may take for it

Read = Callable[[Tensor], Tensor]


class NearestInfo(NamedTuple):
    """The nearest real training sample of each of Q samples, by its row, and how far it is; the same of real ones.

    Attributes:
        places: which samples of the set they are, (Q,).
        rows, distances: (Q,), by rows of the dataset.
        yardstick: distances of as many random real samples to the real ones nearest to them, themselves left out.
        which: what the samples are called.
        unit: what a distance of 1 is.
        total: how many samples the set has.
        names: of the classes of all samples asked about, (Q,).
    """

    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: Floats
    yardstick: Floats
    which: str
    unit: str
    total: int
    names: tuple[str, ...]

    @property
    def caption(self) -> str:
        """What was measured, and how the set compares with the yardstick."""
        own, real = np.median(self.distances), np.median(self.yardstick)
        of = "" if len(self.places) == self.total else f" (the first {len(self.places):,} of {self.total:,}, by class)"
        near = int((self.distances < self.yardstick.min()).sum())
        count = "all" if near == len(self.distances) > 1 else near or "none"
        come = "comes" if near <= 1 else "come"
        dots = "Each dot is a sample. " if self.is_few else ""
        return (
            f"{dots}Distance of each of the {self.which}{of} to the real training sample that is nearest, {self.unit}: "
            f"median {own:.3f}, least {self.distances.min():.3f}. Of as many random real samples to their nearest "
            f"other: median {real:.3f}, least {self.yardstick.min():.3f}; {count} of the "
            f"{self.which} {come} nearer to a real one than any of these to another. A distance near 0 would be a copy."
        )

    @property
    def is_few(self) -> bool:
        """Whether so few were asked about that each is drawn."""
        return len(self.distances) <= _FEW

    @property
    def closest(self) -> list[int]:
        """For each class the place in these arrays of its closest sample, in the classes' order."""
        best: dict[str, int] = {}
        for place, name in enumerate(self.names):
            if name not in best or self.distances[place] < self.distances[best[name]]:
                best[name] = place
        return list(best.values())


def asked_about(classes: int, ipc: int, training: int, numbers: int) -> Tensor:
    """The places of the samples to ask about, (Q,): all, or the first of each class where that takes too long."""
    per_class = max(1, min(ipc, int(_WORK / (classes * training * numbers))))
    return torch.arange(classes * ipc).view(classes, ipc)[:, :per_class].flatten()


def nearest(queries_QD: Tensor, rows_N: Tensor, read: Read, own_Q: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each query the row of the nearest candidate, (Q,), and its distance, (Q,) float64.

    Args:
        rows_N: the candidates.
        read: candidates by their rows, (n, D) float32; few of them are asked for at a time.
        own_Q: the row that each query is itself, which is left out.
    """
    best, closest = torch.full((len(queries_QD),), torch.inf), torch.full((len(queries_QD),), -1)
    squares = queries_QD.square().sum(dim=1, keepdim=True)
    for rows, part in _chunks(rows_N, read, queries_QD):
        distances = squares + part.square().sum(dim=1) - 2 * queries_QD @ part.T
        if own_Q is not None:
            distances[own_Q[:, None] == rows] = torch.inf
        least, place = distances.min(dim=1)
        better = least < best
        best, closest = torch.where(better, least, best), torch.where(better, rows[place], closest)
    return closest, _exact(queries_QD, closest, read)


def _chunks(rows_N: Tensor, read: Read, queries_QD: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    count, numbers = queries_QD.shape
    for rows in torch.split(rows_N, max(1, _CHUNK // (4 * (3 * count + 2 * numbers)))):
        yield rows, read(rows)


def _exact(queries_QD: Tensor, found_Q: Tensor, read: Read) -> Tensor:
    """The distances of pairs in float64, for a difference of squares says little of what is nearly equal."""
    pairs = zip(torch.split(queries_QD, 256), torch.split(found_Q, 256), strict=True)
    return torch.cat([(own.double() - read(rows).double()).square().mean(dim=1).sqrt() for own, rows in pairs])
