"""The memory that this machine has left, asked for before it is taken.

Where none is left the system kills the process without a word, so what may be large is measured first.
"""

from pathlib import Path

from padray.errors import InfrastructureError

_CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def check_memory(need: int, what: str, remedy: str) -> None:
    """Refuse what needs more bytes than are free, before any are taken. Raises InfrastructureError."""
    free = free_memory()
    if free is not None and need > free:
        raise InfrastructureError(f"{what} needs {_gib(need)} of memory, and {_gib(free)} are free here: {remedy}")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def free_memory(system: Path = Path("/")) -> int | None:
    """Bytes of this machine, or of what its container may have, that are free. None where the system does not say.

    Files that the system keeps in memory count as free, for they give way.
    """
    kilobytes = _number(system / "proc/meminfo", "MemAvailable:")
    limits = [] if kilobytes is None else [1024 * kilobytes]
    for limit, usage in _CGROUPS:
        most, used = (_number(system / "sys/fs/cgroup" / name) for name in (limit, usage))
        if most is not None and used is not None:
            files = _number((system / "sys/fs/cgroup" / limit).with_name("memory.stat"), "inactive_file") or 0
            limits.append(max(0, most - used + files))
    return min(limits, default=None)


def _number(path: Path, name: str = "") -> int | None:
    """The number in a file of the system, or behind a name in it."""
    try:
        lines = [line.removeprefix(name).split() for line in path.read_text().splitlines() if line.startswith(name)]
        return int(lines[0][0])
    except (OSError, ValueError, IndexError):  # "max" is no limit
        return None
