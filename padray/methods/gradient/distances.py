"""How far the gradients of synthetic samples are from those of real ones (DC Eq. 9 and 10, and its two alternatives).

FIEM (PAD Table 7a) leaves out of the distance what begins before int(alpha * P) of the flattened parameters: rows
where rows are compared, numbers where vectors are. That a row is in or out as a whole is ours, for the paper's text
leaves it open.

Legend: P parameters; a tensor's rows R are its first axis, a row's numbers J all others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from padray.errors import InputError
from padray.methods.gradient.settings import GradientSettings
from padray.networks.flat import Span

EPSILON = 1e-6  # beside the product of two norms
Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Kept:
    """What of the gradients is compared.

    Attributes:
        first_rows: of each tensor the first row that is; None for one that has no rows, a bias or a norm's scale.
        first: the first number that is, of all tensors end to end.
        size: P.
    """

    first_rows: tuple[int | None, ...]
    rows: int
    all_rows: int
    first: int
    size: int


def kept(alpha: float, spans: Sequence[Span]) -> Kept:
    """What FIEM keeps of parameters that lie at `spans`."""
    size = spans[-1].stop
    cut = int(alpha * size)
    first_rows = tuple(_first_row(span, cut) if len(span.shape) > 1 else None for span in spans)
    rows = [
        (span.shape[0], span.shape[0] - first)
        for span, first in zip(spans, first_rows, strict=True)
        if first is not None
    ]
    return Kept(first_rows, sum(left for _, left in rows), sum(all_ for all_, _ in rows), cut, size)


def _first_row(span: Span, cut: int) -> int:
    length = (span.stop - span.start) // span.shape[0]
    return min(span.shape[0], max(0, -((span.start - cut) // length)))


def by_rows(real: Tensors, fake: Tensors, keeps: Kept) -> torch.Tensor:
    """1 - cosine of two rows (J,), summed over the rows of all tensors that have some, ()."""
    terms = [
        _cosine_distances(a[first:].flatten(1), b[first:].flatten(1)).sum()
        for a, b, first in zip(real, fake, keeps.first_rows, strict=True)
        if first is not None and first < len(a)
    ]
    return torch.stack(terms).sum()


def cosine(real: Tensors, fake: Tensors, keeps: Kept) -> torch.Tensor:
    """1 - cosine of all numbers as one vector, ()."""
    return _cosine_distances(_vector(real, keeps), _vector(fake, keeps))


def mse(real: Tensors, fake: Tensors, keeps: Kept) -> torch.Tensor:
    """The squared distance of all numbers as one vector, a sum and no mean, ()."""
    return ((_vector(real, keeps) - _vector(fake, keeps)) ** 2).sum()


def _cosine_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """1 - cosine along the last axis."""
    norms = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    distances: torch.Tensor = 1 - (a * b).sum(dim=-1) / (norms + EPSILON)
    return distances


def _vector(tensors: Tensors, keeps: Kept) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])[keeps.first :]


DISTANCES: dict[str, Callable[[Tensors, Tensors, Kept], torch.Tensor]] = {"rows": by_rows, "cosine": cosine, "mse": mse}


@dataclass(frozen=True)
class Distance:
    """The distance that the settings ask for, between gradients of a network's parameters."""

    settings: GradientSettings
    keeps: Kept

    def __call__(self, real: Tensors, fake: Tensors) -> torch.Tensor:
        """Between tensors of the parameters' shapes, ()."""
        return DISTANCES[self.settings.distance](real, fake, self.keeps) * self.scale

    @property
    def scale(self) -> float:
        """What `selection.rescale` makes of what is kept."""
        if self.settings.selection.rescale == "none":
            return 1.0
        if self.settings.distance == "rows":
            return self.keeps.all_rows / self.keeps.rows
        return self.keeps.size / (self.keeps.size - self.keeps.first)


def distance_of(settings: GradientSettings, spans: Sequence[Span]) -> Distance:
    """The distance in a network whose parameters lie at `spans`. Raises InputError if nothing of it is left."""
    keeps = kept(settings.selection.alpha, spans)
    if settings.distance == "rows" and not keeps.rows:
        raise InputError(
            f"distill.selection.alpha is {settings.selection.alpha:g}, and no row of a weight begins behind that share "
            f"of the network's {keeps.size} parameters: lower it"
        )
    return Distance(settings, keeps)
