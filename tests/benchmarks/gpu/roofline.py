"""What a device can do at most, what a piece of work needs, and how near it comes.

A piece of work needs so many FLOPs (PyTorch's counter: convolutions and matrix products) and moves so many bytes
(those that its operations read and write, one by one, as eager PyTorch does it). Attainable are the smaller of the
device's rate of matrix products and of its bandwidth times FLOPs per byte. Both are measured here. A fused kernel moves
fewer bytes, so what is compiled may come to more than is attainable by this count.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.gpu.record import Variant, timed
from tests.benchmarks.workloads import Case, usual


class Needs(NamedTuple):
    """FLOPs, and bytes read and written."""

    flops: float
    bytes: float


class _Traffic(TorchDispatchMode):
    """Adds up what every operation reads and writes; one that only looks at what it is given anew moves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        made = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        places = {one.untyped_storage().data_ptr() for one in read}
        anew = any(one.untyped_storage().data_ptr() not in places for one in made)
        if func._schema.is_mutable or (anew and not func.is_view):
            self.bytes += sum(one.numel() * one.element_size() for one in (*read, *made))
        return out


def _counted(case: Case, device: torch.device) -> Needs:
    work = usual(case, device)
    with FlopCounterMode(display=False) as flops, _Traffic() as traffic:
        work.advance(1)
    return Needs(flops.get_total_flops(), traffic.bytes)


def needs(case: Case, device: torch.device) -> Needs:
    """Of a unit of the case, in the baseline's way, which makes nothing twice.

    Of N student steps the first two are counted; all after the first are alike where a batch is the set, or divides it.
    """
    if case.kind == "expert":
        whole = _counted(case, device)  # an epoch
        return Needs(whole.flops / case.epoch, whole.bytes / case.epoch)
    if case.kind != "distil" or case.steps <= 2:
        return _counted(case, device)
    one, two = (_counted(replace(case, steps=steps), device) for steps in (1, 2))
    return Needs(*(a + (case.steps - 1) * (b - a) for a, b in zip(one, two, strict=True)))


class Ceilings(NamedTuple):
    """FLOP/s of matrix products by how float32 is taken (`ieee`, `tf32`) and in bf16, and bytes/s of a copy."""

    flops: dict[str, float]
    bandwidth: float


def ceilings(device: torch.device, quick: bool) -> Ceilings:
    """The best of a few tries."""
    side, times = (256, 2) if quick else (8192, 10)

    def rate(dtype: torch.dtype) -> float:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        best = min(timed(device, lambda: [a @ b for _ in range(times)]) for _ in range(3))
        return times * 2 * side**3 / best

    found: dict[str, float] = {}
    for name, variant in (("ieee", Variant("float32")), ("tf32", Variant("TF32", tf32="all"))):
        with variant.switched():
            found[name] = rate(torch.float32)
    found["bf16"] = rate(torch.bfloat16)
    numbers = torch.ones(2**18 if quick else 2**29, device=device)
    into = torch.empty_like(numbers)
    best = min(timed(device, lambda: into.copy_(numbers)) for _ in range(3))
    return Ceilings(found, 2 * numbers.numel() * 4 / best)


def line(need: Needs, seconds: float, limits: Ceilings, kind: str) -> dict[str, float]:
    """Achieved and attainable TFLOP/s; `kind` names the ceiling of matrix products."""
    achieved, intensity = need.flops / seconds, need.flops / max(1.0, need.bytes)
    attainable = min(limits.flops[kind], limits.bandwidth * intensity)
    return {
        "achieved_TFLOPs": achieved / 1e12,
        "attainable_TFLOPs": attainable / 1e12,
        "share": achieved / attainable,
        "flop_per_byte": intensity,
    }
