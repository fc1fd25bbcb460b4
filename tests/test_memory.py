"""What is free is what the machine has, or less where a container may have less; too much is refused beforehand."""

from pathlib import Path

import pytest

from padray.errors import InfrastructureError
from padray.machine import memory


def system(root: Path, **files: str) -> Path:
    """The files in which a system tells of its memory."""
    places = {
        "meminfo": "proc/meminfo",
        "most": "sys/fs/cgroup/memory.max",
        "used": "sys/fs/cgroup/memory.current",
        "stat": "sys/fs/cgroup/memory.stat",
        "old_most": "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "old_used": "sys/fs/cgroup/memory/memory.usage_in_bytes",
        "old_stat": "sys/fs/cgroup/memory/memory.stat",
    }
    for name, text in files.items():
        path = root / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MACHINE = "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 5000 kB\n"


@pytest.mark.parametrize(
    "files, free",
    [
        ({}, None),
        ({"meminfo": MACHINE}, 5_120_000),
        ({"meminfo": MACHINE, "most": "max\n", "used": "7\n"}, 5_120_000),
        ({"meminfo": MACHINE, "most": "4000000\n", "used": "1000000\n"}, 3_000_000),
        (
            {"meminfo": MACHINE, "most": "4000000", "used": "3000000", "stat": "anon 1\ninactive_file 500000\n"},
            1_500_000,
        ),
        ({"meminfo": MACHINE, "most": "10", "used": "20"}, 0),
        ({"old_most": "9000", "old_used": "4000", "old_stat": "inactive_file 10\n"}, 5_010),
        ({"meminfo": "MemAvailable: much\n"}, None),
    ],
)
def test_what_is_free(tmp_path, files, free):
    assert memory.free_memory(system(tmp_path, **files)) == free


def test_this_machine_has_some():
    free = memory.free_memory()
    assert free is None or free > 2**20


def test_too_much_is_refused_and_where_nobody_says_nothing_is(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**30)
    memory.check_memory(2**30, "it", "less of it")
    with pytest.raises(InfrastructureError, match=r"^it needs 1\.5 GiB of memory, and 1\.0 GiB are free here: less"):
        memory.check_memory(3 * 2**29, "it", "less of it")
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    memory.check_memory(2**80, "it", "less of it")
