"""One measurement in a process of its own, which bench.py starts: `python -m tests.benchmarks.measured JSON`.

The process is pinned to one core and has one thread. The cost of a unit is the difference of two lengths, so that
imports, compiling and the first touch of memory are apart; all are told. CPU seconds are the process's and those of
what it started (a compiler), peak memory is what the process held at most above what it held before the first unit.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Clock(NamedTuple):
    """CPU seconds and seconds, at a moment or between two."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Clock":
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(sum(one.ru_utime + one.ru_stime for one in used), time.perf_counter())

    def since(self, earlier: "Clock") -> "Clock":
        return Clock(self.cpu - earlier.cpu, self.wall - earlier.wall)


def pin() -> None:
    """Keep to one core: of those that this process may have, the one that was idlest just now."""
    before = _idle()
    time.sleep(0.2)
    after = _idle()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0), key=lambda core: after.get(core, 0) - before.get(core, 0))})


def _idle() -> dict[int, int]:
    """How long each core has been idle, in the system's ticks."""
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return {int(row[0][3:]): int(row[4]) for row in rows if row and row[0][:3] == "cpu" and row[0][3:].isdigit()}


def held(what: str) -> int:
    """Bytes that the process holds (VmRSS), or has held at most since `forget_peak` (VmHWM)."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def forget_peak() -> bool:
    """Count the peak anew, where the system lets a process."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def lasted(work: Any, units: int) -> Clock:
    began = Clock.now()
    work.advance(units)
    return Clock.now().since(began)


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """The figures of one process."""
    import torch
    import torch._dynamo  # torch.optim brings it with its first step: in no way's peak, then

    from tests.benchmarks.workloads import Case, Evaluation, Way, per_unit, usual

    torch.set_num_threads(1)
    case, way, short, long = Case(**asked["case"]), Way(**asked["way"]), asked["short"], asked["long"]
    if way.side == "baseline":
        work = usual(case, torch.device("cpu"))
    else:
        from tests.benchmarks.ours import ours

        work = ours(case, way)
    ready = Clock.now()
    base, forgot = held("VmRSS"), forget_peak()  # the system counts pages in batches: a peak may read as less
    first = lasted(work, short)
    peak_first = held("VmHWM")
    forgot = forget_peak() and forgot
    if isinstance(work, Evaluation):  # begins anew each time
        again, more = lasted(work, short), lasted(work, long)
        each = Clock(*(per_unit(a, b, long, short) for a, b in zip(more, again, strict=True)))
    else:
        again = lasted(work, long) if long else first
        each = Clock(again.cpu / (long or short), again.wall / (long or short))
    peak_later = held("VmHWM")
    found: dict[str, Any] = {
        "cpu_s": each.cpu,
        "wall_s": each.wall,
        "start_cpu_s": first.cpu - short * each.cpu,
        "ready_cpu_s": ready.cpu,
        "peak_MB": (max(base, peak_first, peak_later) - base) / 2**20,
        "later_peak_MB": (max(base, peak_later) - base) / 2**20 if forgot and long else None,
    }
    if isinstance(work, Evaluation):
        began = Clock.now()
        work.test()
        found |= dict(zip(("test_cpu_s", "test_wall_s"), Clock.now().since(began), strict=True))
    return found


if __name__ == "__main__":
    pin()
    print(json.dumps(measure(json.loads(sys.argv[1]))))
