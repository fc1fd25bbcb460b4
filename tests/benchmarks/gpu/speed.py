"""How fast: experts, distillation and evaluation on the device, the baseline's way and padray's, with peak memory.

Times are by the wall, after the device is done: a unit is an expert's step, an iteration, an epoch of all networks.
The first unit, which compiles and touches memory for the first time, is told apart.
"""

import gc
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from tests.benchmarks.gpu.record import VARIANTS, Programme, Variant, synchronize, timed, toy
from tests.benchmarks.gpu.roofline import Ceilings, Needs, ceilings, line, needs
from tests.benchmarks.ours import ours
from tests.benchmarks.workloads import PROTOCOL, Case, Evaluation, Work, per_unit, usual

_BASELINE = Variant("baseline", tf32="convolutions")  # as PyTorch has it unless told otherwise
_USUAL = (_BASELINE, Variant("baseline, no TF32"))
_THREADS = torch.get_num_threads()


def cases(programme: Programme) -> dict[str, Case]:
    """What is measured, in order of weight."""
    if programme.quick:
        kinds = ("expert", "distil", "evaluation", "distribution")
        return {kind: toy(kind, soft=kind in ("distil", "evaluation"), seeds=2) for kind in kinds}
    tiny: dict[str, Any] = {"shape": (3, 64, 64), "depth": 4, "classes": 200}
    distil: dict[str, Any] = {"steps": 80, "soft": True}
    return {
        "expert, CIFAR-10": Case("expert", 128, epoch=20),
        "distil, CIFAR-10 IPC 10": Case("distil", 128, ipc=10, batch=100, **distil),
        "evaluation, CIFAR-10 IPC 10, 5 seeds": Case("evaluation", 128, ipc=10, soft=True, seeds=5),
        "distil, CIFAR-10 IPC 1": Case("distil", 128, ipc=1, batch=10, **distil),
        "distil, CIFAR-10 IPC 50": Case("distil", 128, ipc=50, batch=500, **distil),
        "distil, Tiny ImageNet IPC 1": Case("distil", 128, ipc=1, batch=200, **tiny, **{**distil, "steps": 60}),
        "expert, Tiny ImageNet": Case("expert", 128, epoch=10, **tiny),
        "evaluation, CIFAR-10 IPC 1, 5 seeds": Case("evaluation", 128, ipc=1, soft=True, seeds=5),
        "evaluation, CIFAR-10 IPC 50, 5 seeds": Case("evaluation", 128, ipc=50, soft=True, seeds=5),
        "evaluation, Tiny ImageNet IPC 1, 5 seeds": Case("evaluation", 128, ipc=1, soft=True, seeds=5, **tiny),
        "DM, CIFAR-10 IPC 10": Case("distribution", 128, ipc=10),
    }


def variants_of(case: Case) -> list[Variant]:
    """The baseline and what differs for this case; `deterministic` is no way to be fast."""
    fast = [one for one in VARIANTS if not one.deterministic and (case.kind == "distil" or not one.of_students)]
    return [*_USUAL, *fast]


def work_of(case: Case, variant: Variant, programme: Programme) -> Work:
    if variant in _USUAL:
        torch.set_num_threads(_THREADS)  # which padray's way has set
        return usual(case, programme.on)
    return ours(case, variant.way(programme.device))


def measured(case: Case, variant: Variant, programme: Programme, seconds: float) -> dict[str, float]:
    """Seconds a unit over about so many seconds, those of the first one beyond that, and peak memory above base."""
    device = programme.on
    synchronize(device)
    base = _memory(device, forget=True)
    work = work_of(case, variant, programme)
    step = case.epoch if case.kind == "expert" else 1
    with variant.switched() if variant in _USUAL else nullcontext():
        first = timed(device, lambda: work.advance(step))
        again = timed(device, lambda: work.advance(step))
        times = max(1, min(1000, int(seconds / again)))
        if isinstance(work, Evaluation):  # begins anew each time
            longer = timed(device, lambda: work.advance(step + times))
            each = per_unit(longer, again, step + times, step)
        else:
            each = timed(device, lambda: work.advance(times * step)) / (times * step)
        found = {"s": each, "first_s": first - step * each, "units": float(times * step)}
        if isinstance(work, Evaluation):
            found["test_s"] = timed(device, work.test)
            found["whole_s"] = PROTOCOL * each + found["test_s"]
    if device.type == "cuda":
        found["peak_MB"] = (_memory(device) - base) / 2**20
    return found


def _memory(device: torch.device, forget: bool = False) -> int:
    """Bytes that tensors take now, or have taken at most since that was asked."""
    if device.type != "cuda":
        return 0
    if forget:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return torch.cuda.max_memory_allocated(device)


def compared(case: Case, programme: Programme, limits: Ceilings, seconds: float) -> dict[str, Any]:
    """All ways of a case, each with its roofline line and how many times as fast as the baseline it is."""
    found: dict[str, Any] = {}
    need = _tried(lambda: needs(case, programme.on), programme)
    for variant in variants_of(case):
        if programme.left() < 0:
            found[variant.name] = {"error": "no time was left"}
            continue
        one = _tried(lambda variant=variant: measured(case, variant, programme, seconds), programme)
        if "error" not in one:
            if isinstance(need, Needs) and one["s"] > 0:
                one["roofline"] = line(need, one["s"], limits, "ieee" if variant.tf32 == "none" else "tf32")
            base = found.get(_BASELINE.name, {})
            if variant is not _BASELINE and "error" not in base:
                figure = "whole_s" if "whole_s" in one else "s"
                one["times_as_fast"] = base[figure] / one[figure]
        found[variant.name] = one
    return {"ways": found, "needs": need._asdict() if isinstance(need, Needs) else need}


def _tried(make: Any, programme: Programme) -> Any:
    """What it gives; the error of one that fails, such as graphs that no memory holds."""
    try:
        return make()
    except Exception as error:
        if programme.on.type == "cuda":
            torch.cuda.empty_cache()
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def run(programme: Programme) -> None:
    """The device's ceilings, then case by case; the time is shared out among what is left to measure."""
    results = programme.results
    limits = ceilings(programme.on, programme.quick)
    results.put(
        "speed", "ceilings", {"TFLOPs": {k: v / 1e12 for k, v in limits.flops.items()}, "GB/s": limits.bandwidth / 1e9}
    )
    wanted = cases(programme)
    for number, (name, case) in enumerate(wanted.items()):
        share = programme.left() / (len(wanted) - number) / len(variants_of(case))
        seconds = 0.0 if programme.quick else min(5.0, max(0.0, share / 3))
        if programme.left() < 0:
            results.put("speed", name, {"error": "no time was left"})
            continue
        results.attempt("speed", name, lambda case=case, s=seconds: compared(case, programme, limits, s))
        _in_half(name, case, programme, limits, seconds)


def _in_half(name: str, case: Case, programme: Programme, limits: Ceilings, seconds: float) -> None:
    """Where the baseline's graphs do not fit, both ways again at fewer steps, until they do."""
    while case.kind == "distil" and case.steps > 10 and programme.left() > 0:
        ways = programme.results.found["speed"][name].get("ways", {})
        if "OutOfMemory" not in ways.get(_BASELINE.name, {}).get("error", ""):
            return
        case = replace(case, steps=case.steps // 2)
        name = f"{name}, N={case.steps}"
        programme.results.attempt("speed", name, lambda case=case: compared(case, programme, limits, seconds))
