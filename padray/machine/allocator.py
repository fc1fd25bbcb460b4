"""How this process takes memory from the system, where that is glibc's: freed blocks are kept for the next step.

By default glibc hands back every large block that is freed and takes fresh, zeroed pages for the next, which costs a
training step up to a half more. Here blocks lie in the heap whatever their size, and up to 1 GiB that is free at its
end stays with the process. It may hold more than it uses, for what is freed in the middle waits to be used again; the
most that it ever holds grows little (tests/benchmarks/results/bench.json: peak memory).
"""

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # mallopt's names for its parameters
_KEPT = 2**30
_STRIDE = 64 * 2**20  # by which the heap grows


@cache
def keep_freed_memory() -> bool:
    """Have freed memory kept from now on; whether this system can."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _STRIDE))
    return all(mallopt(name, value) for name, value in wanted)
