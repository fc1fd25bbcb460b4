"""How this process takes memory from the system, where that is glibc's: freed blocks are kept for the next step.

By default glibc hands back every freed block of more than 128 KiB or so and takes fresh, zeroed pages for the next,
which costs a training step up to half of its time. Blocks of up to 32 MiB are kept here; larger ones still go back
when they are freed, so that a process that has let go of a dataset does not hold on to its gigabytes.
"""

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt's names for its parameters
_LARGE = 32 * 2**20  # the most that glibc lets be kept
_KEPT = 2**30  # free bytes at the end of the heap above which it shrinks
_STRIDE = 64 * 2**20  # by which it grows


@cache
def keep_freed_memory() -> bool:
    """Have freed memory kept from now on; whether this system can."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) for name, value in (
        (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _STRIDE),
    ))  # fmt: skip
