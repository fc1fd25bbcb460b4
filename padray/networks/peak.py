"""Peak memory of a training step and of a look, counted on tensors that have shapes but no values.

Every operation of the real network is called on PyTorch's `meta` device, and the bytes that live at once are added
up, so nothing is computed. What convolutions borrow for themselves is not in it: on CPUs some 5 to 15 % more were
measured (tests/benchmarks/results/adjoint_memory.json). Axes: B samples of a batch, P parameters, K classes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Shape
from padray.networks.settings import NetworkSettings

LOOK_BATCH = 1000  # samples that are looked at in one go


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the tensors that live after each operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self.held.setdefault(reference.cdata, (reference, storage.nbytes()))
        gone = [key for key, (held, _) in self.held.items() if held.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            del self.held[key]
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return out


@lru_cache(maxsize=64)
def shaped(network: NetworkSettings, shape: Shape, classes: int, dtype: torch.dtype) -> FlatNetwork:
    """The network without values: sizes, spans and buffers are those of the real one."""
    with torch.device("meta"):
        built = factory.build(network, shape, classes, 0)
    return FlatNetwork(built.to(dtype).train())


def peak_of(run: Callable[[], object]) -> int:
    """Bytes that live at once at most while `run` calls operations on tensors of PyTorch's `meta` device."""
    with _Live() as live:
        run()
    peak: int = live.peak
    return peak


@lru_cache(maxsize=256)
def training_peak(flat: FlatNetwork, shape: Shape, classes: int, batch: int, dtype: torch.dtype) -> int:
    """Bytes of a training step's activations and gradients at a batch of B."""
    images = torch.empty(batch, *shape, device="meta", dtype=dtype)
    labels = torch.empty(batch, classes, device="meta", dtype=dtype)

    def step() -> None:
        F.cross_entropy(flat(flat.flatten().requires_grad_(), images), labels).backward()  # type: ignore[no-untyped-call]

    return peak_of(step)


@lru_cache(maxsize=256)
def look_peak(flat: FlatNetwork, shape: Shape, count: int, dtype: torch.dtype) -> int:
    """Bytes of a forward pass of `count` samples, at most `LOOK_BATCH` at a time."""
    images = torch.empty(min(count, LOOK_BATCH), *shape, device="meta", dtype=dtype)
    flat.module.eval()

    def look() -> None:
        with torch.no_grad():
            flat.module(images)

    peak = peak_of(look)
    flat.module.train()
    return peak
