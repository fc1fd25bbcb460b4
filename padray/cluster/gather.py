"""What Ray Train's workers hand each other while they distil: every iteration's contributions, whole.

They are gathered, not reduced: every worker then sums them in trajectory order, so the sum's bytes do not depend on
how many workers there are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from padray.distill.loop import Contribution
from padray.matching.student import Gradient
from padray.stages.distill import Member

T = TypeVar("T")


class PeerLostError(Exception):
    """Another worker is gone, as far as this one can see."""


@contextmanager
def _exchanging() -> Iterator[None]:
    """What fails in here fails because another worker does not answer."""
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises
        raise PeerLostError(str(error)) from error


def from_first(make: Callable[[], T]) -> T:
    """What worker 0 makes, on every worker."""
    held: list[Any] = [make() if dist.get_rank() == 0 else None]
    with _exchanging():
        dist.broadcast_object_list(held, src=0)
    found: T = held[0]
    return found


def gather(own: list[Contribution], count: int, size: int) -> list[Contribution]:
    """The contributions of all workers in trajectory order; copies, so their bytes are those that were made."""
    share = -(-count // size)
    like = own[0]
    packed = torch.stack([_pack(item) for item in own] + [torch.zeros_like(_pack(like))] * (share - len(own))).cpu()
    parts = [torch.empty_like(packed) for _ in range(size)]
    with _exchanging():
        dist.all_gather(parts, packed)
    held = [len(Member(rank, size).trajectories(count)) for rank in range(size)]
    return [_unpack(row.to(like.loss.device), like) for part, n in zip(parts, held, strict=True) for row in part[:n]]


def _tensors(item: Contribution) -> list[torch.Tensor]:
    gradient = item.gradient
    found = [item.loss, gradient.images, gradient.labels, gradient.lr, item.weights, item.layers]
    return [tensor for tensor in found if tensor is not None]


def _pack(item: Contribution) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in _tensors(item)])


def _unpack(row: torch.Tensor, like: Contribution) -> Contribution:
    shapes = _tensors(like)
    parts = iter(
        part.view(shape.shape)
        for part, shape in zip(torch.split(row, [s.numel() for s in shapes]), shapes, strict=True)
    )
    loss, images = next(parts), next(parts)
    labels = next(parts) if like.gradient.labels is not None else None
    lr = next(parts)
    weights = next(parts) if like.weights is not None else None
    return Contribution(loss, Gradient(images, labels, lr), weights, next(parts))
