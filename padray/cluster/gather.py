"""What Ray Train's workers hand each other while they distil: every iteration's contributions, whole.

They are gathered, not reduced: every worker then sums them in their order, so the sum's bytes do not depend on
how many workers there are.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from padray.methods.method import Contribution
from padray.stages.distiller import Member

T = TypeVar("T")


class PeerLostError(Exception):
    """Another worker is gone, as far as this one can see."""


class PeerLeftError(Exception):
    """A worker, this one or another, ends on purpose, and so all do."""


@contextmanager
def _exchanging() -> Iterator[None]:
    """What fails in here fails because another worker does not answer."""
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises
        raise PeerLostError(str(error)) from error


class Group:
    """One worker's part in the exchange.

    Before every exchange the workers agree whether all go on, and once more at the end, so that one that leaves always
    meets the others: none waits for it, and none has to guess from a broken connection what became of it.

    Args:
        stop: set where this worker is to leave with its next exchange.
    """

    def __init__(self, rank: int, size: int, stop: threading.Event) -> None:
        self.rank, self.size, self.stop = rank, size, stop

    def member(self) -> Member:
        """What the distillation knows of this worker."""
        return Member(self.rank, self.size, self.gather, self.from_first)

    def agree(self) -> None:
        """Go on together, or not at all. Raises PeerLeftError."""
        if self.size == 1:
            leaving = self.stop.is_set()
        else:
            flag = torch.tensor(int(self.stop.is_set()))
            with _exchanging():
                dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            leaving = bool(flag)
        if leaving:
            raise PeerLeftError

    def leave(self) -> None:
        """Have the others end as well, where they next wait for this worker."""
        self.stop.set()
        with suppress(PeerLeftError, PeerLostError):
            self.agree()

    def from_first(self, make: Callable[[], T]) -> T:
        """What worker 0 makes, on every worker. Raises what it raised there, and PeerLeftError on the others."""
        if self.size == 1:
            return make()
        held: list[Any] = [None, True]
        try:
            if self.rank == 0:
                held = [make(), False]
        finally:
            with _exchanging():
                dist.broadcast_object_list(held, src=0)
        value, failed = held
        if failed:
            raise PeerLeftError
        return value  # type: ignore[no-any-return]

    def gather(self, own: list[Contribution], count: int) -> list[Contribution]:
        """All `count` contributions of all workers in their order; copies, so their bytes are those that were made."""
        self.agree()
        if self.size == 1:
            return own
        most, like = -(-count // self.size), own[0]
        padding = [torch.zeros_like(_pack(like))] * (most - len(own))
        packed = torch.stack([_pack(item) for item in own] + padding).cpu()
        parts = [torch.empty_like(packed) for _ in range(self.size)]
        with _exchanging():
            dist.all_gather(parts, packed)
        held = [len(Member(rank, self.size).numbers(count)) for rank in range(self.size)]
        device = like["loss"].device
        return [_unpack(row.to(device), like) for part, n in zip(parts, held, strict=True) for row in part[:n]]


def _pack(item: Contribution) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in item.values()])


def _unpack(row: torch.Tensor, like: Contribution) -> Contribution:
    parts = torch.split(row, [tensor.numel() for tensor in like.values()])
    return {name: part.view(like[name].shape) for name, part in zip(like, parts, strict=True)}
