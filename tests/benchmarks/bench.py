"""The table of speed: the field's usual way, the same with a tuned allocator, and padray's ways, side by side.

    python -m tests.benchmarks.bench             # `make bench`: under 10 minutes, writes results/bench-quick.json
    python -m tests.benchmarks.bench --full      # `make bench-full`: all rows, 5 times, writes results/bench.json
    python -m tests.benchmarks.bench --row "distil" --way float32 --repeats 3      # some of it, written nowhere

Each figure is taken in a process of its own (measured.py), one column after the other, then all again; shown is the
median, in the file the smallest and largest too. Process CPU time is the figure, since other work on a machine moves
it least; seconds by the wall stand beside it in the file, as do the CPU seconds before the first unit ("start": what
is compiled or loaded, and touched for the first time) and peak memory above what the process held before it. --full
keeps compiled programs in a folder of its own, so each column's first start is that of a machine that has none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import baseline
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine
from tests.benchmarks.workloads import PROTOCOL, Case, Way

# glibc keeps what is freed, and asks the system for large pages: no page is touched for the first time twice.
TUNED = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:"
    "glibc.malloc.trim_threshold=100000000000:glibc.malloc.top_pad=268435456"
}
QUICK_S = 540.0  # of `make bench`, the last measurement's own seconds not counted
LIMIT_S = 1200.0  # of one measurement


@dataclass(frozen=True)
class Column:
    """A way, in an environment.

    Attributes:
        must: which of a row's factors it is held to.
        kinds: the kinds of work that it differs for.
    """

    name: str
    way: Way
    environment: dict[str, str] = field(default_factory=dict)
    must: str | None = None
    kinds: tuple[str, ...] = ("expert", "distil", "evaluation", "distribution", "gradient")


BASELINE = "baseline"
COLUMNS = (
    Column(BASELINE, Way("baseline")),
    Column("baseline tuned", Way("baseline"), TUNED),
    Column("float32", Way("padray"), must="float32"),
    Column("bf16", Way("padray", {"precision": "bf16"}), must="bf16", kinds=("expert", "distil")),
    Column("not compiled", Way("padray", {"compile": "off"})),
    Column("float32 unroll", Way("padray", distill={"gradient": "unroll"}), kinds=("distil",)),
    Column("kept graphs", Way("padray", {"compile": "off", "memory_budget": 8.0}), kinds=("distil",)),
)


@dataclass(frozen=True)
class Row:
    """A piece of work, and how often it is done: `short` units to begin with, then `long` that count.

    Attributes:
        must: times as fast as the baseline, at least, by what the columns call it.
        quick: whether `make bench` has it.
    """

    name: str
    unit: str
    case: Case
    short: int
    long: int
    must: dict[str, float] = field(default_factory=dict)
    quick: bool = True

    def columns(self) -> list[Column]:
        return [column for column in COLUMNS if self.case.kind in column.kinds]

    def figure(self, found: dict[str, Any], clock: str = "cpu") -> float:
        """Seconds of what the row is about; an evaluation is put together from its epochs and its tests."""
        each: float = found[f"{clock}_s"]
        if self.case.kind == "evaluation":
            return PROTOCOL * each + float(found[f"test_{clock}_s"])
        return each


def _distil(ipc: int, steps: int, long: int, quick: bool = True) -> Row:
    case = Case("distil", 32, batch=100, ipc=ipc, steps=steps, soft=ipc > 1)
    must = {"float32": 1.7, "bf16": 2.5}
    return Row(f"distil W32 IPC {ipc} N={steps}", "iteration", case, 1, long, must, quick)


def _gradient(ipc: int, epochs: int, long: int, quick: bool = True) -> Row:
    """As DSA is published: a network is fresh at 1 image per class, and trained between two iterations at 10."""
    case = Case("gradient", 32, ipc=ipc, steps=epochs)
    return Row(f"DSA W32 IPC {ipc}", "iteration", case, 1, 1 + long, {}, quick)


def _memory(steps: int) -> Row:
    """One iteration and no more, so that its figure has all that is done for the first time in it."""
    case = Case("distil", 32, batch=100, ipc=10, steps=steps, soft=True)
    return Row(f"memory W32 IPC 10 N={steps}", "iteration", case, 1, 0, {}, quick=False)


def _evaluation(name: str, case: Case, short: int, long: int, quick: bool = True) -> Row:
    return Row(f"evaluation {name} IPC {case.ipc}, 5 seeds", "evaluation", case, short, long, {"float32": 3.0}, quick)


def _narrow(ipc: int) -> Case:
    return Case("evaluation", 32, ipc=ipc, soft=ipc > 1, seeds=5)


def _digits(ipc: int) -> Case:
    return Case("evaluation", 32, 2, (1, 8, 8), ipc=ipc, soft=ipc > 1, seeds=5, test=360)


ROWS = (
    Row("expert step W32", "step", Case("expert", 32), 2, 8, {"float32": 1.5, "bf16": 2.5}),
    Row("expert step W128", "step", Case("expert", 128), 2, 4, {"float32": 1.9, "bf16": 3.0}),
    _distil(1, 20, 3),
    _distil(10, 20, 1),
    _evaluation("digits", _digits(10), 10, 60),
    Row("DM W32 IPC 10", "iteration", Case("distribution", 32, ipc=10), 1, 3, {"float32": 1.5}),
    _gradient(1, 0, 2),
    _gradient(10, 50, 1, quick=False),
    _evaluation("W32", _narrow(1), 2, 22),
    _evaluation("W32", _narrow(10), 2, 10, quick=False),
    _evaluation("digits", _digits(1), 20, 120, quick=False),
    _distil(1, 40, 3, quick=False),
    _distil(10, 40, 2, quick=False),
    *map(_memory, (8, 20, 40, 80)),
)


def taken(row: Row, column: Column, programs: str | None = None) -> dict[str, Any]:
    """One measurement, in a fresh process; `error` where it failed.

    Args:
        programs: where compiled programs are kept; without it, where this machine has them.
    """
    asked = {"case": asdict(row.case), "way": asdict(column.way), "short": row.short, "long": row.long}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **column.environment}
    if programs is not None:
        environment["XDG_CACHE_HOME"] = programs
    line = [sys.executable, "-m", "tests.benchmarks.measured", json.dumps(asked)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LIMIT_S:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summed(row: Row, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of a row's column, and the smallest and largest figure."""
    good = [one for one in found if "error" not in one]
    if not good:
        return {"error": found[-1]["error"]}
    figures = [row.figure(one) for one in good]
    names = [name for name in good[0] if all(one.get(name) is not None for one in good)]
    parts = {name: round(statistics.median(one[name] for one in good), 5) for name in names}
    wall = statistics.median(row.figure(one, "wall") for one in good)
    return {
        "figure_cpu_s": round(statistics.median(figures), 5),
        "least": round(min(figures), 5),
        "most": round(max(figures), 5),
        "figure_wall_s": round(wall, 5),
        "repeats": len(good),
        "failed": len(found) - len(good),
        "most_start_cpu_s": round(max(one["start_cpu_s"] for one in good), 5),
        **parts,
    }


Found = dict[tuple[str, str], list[dict[str, Any]]]


def result(rows: Iterable[Row], found: Found) -> dict[str, Any]:
    """What is written: for each row its columns, how many times as fast as the baseline they are, and what must be."""
    table: dict[str, Any] = {}
    for row in rows:
        columns = {c.name: summed(row, found[row.name, c.name]) for c in row.columns() if (row.name, c.name) in found}
        base = columns.get(BASELINE, {}).get("figure_cpu_s")
        for column in row.columns():
            one = columns.get(column.name, {})
            if base and "figure_cpu_s" in one and column.name != BASELINE:
                one["times_as_fast"] = round(base / one["figure_cpu_s"], 2)
                if column.must in row.must:
                    one["must"] = row.must[column.must]
        if columns:
            table[row.name] = {"unit": row.unit, "case": asdict(row.case), "columns": columns}
            if row.case.kind == "distil":
                table[row.name]["snapshots_MB"] = round(_snapshots(row.case) / 2**20, 2)
    return table


def _snapshots(case: Case) -> int:
    """Bytes of a student's N parameter vectors, which the exact gradient needs beside one step's graph."""
    channels, side, _ = case.shape
    net = baseline.ConvNet(channels, side, case.classes, case.width, case.depth)
    return case.steps * 4 * sum(parameter.numel() for parameter in net.parameters())


def shown(table: dict[str, Any], columns: Iterable[str]) -> str:
    """The table for a terminal: CPU seconds, how many times as fast as the baseline, peak memory."""
    names = [name for name in columns if any(name in row["columns"] for row in table.values())]
    lines = [f"{'CPU s a unit (times as fast / at least), peak MB':50}" + "".join(f"{name:>30}" for name in names)]
    for name, row in table.items():
        cells = [_cell(row["columns"].get(column)) for column in names]
        lines.append(f"{name + ', ' + row['unit']:50}" + "".join(f"{cell:>30}" for cell in cells))
    return "\n".join(lines)


def _cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    if "error" in one:
        return "failed"
    least = f"/{one['must']:g}" if "must" in one else ""
    times = f" ({one['times_as_fast']:.2f}x{least})" if "times_as_fast" in one else ""
    return f"{one['figure_cpu_s']:.4g}{times} {one['peak_MB']:.0f} MB"


def measure(
    rows: list[Row], ways: list[str], repeats: int, until: float, programs: str | None = None
) -> Iterator[Found]:
    """All figures so far, after each measurement; none is begun after `until`, a moment of time.monotonic."""
    found: Found = {}
    for repeat in range(repeats):
        for row in rows:
            for column in row.columns():
                if ways and column.name not in ways:
                    continue
                if time.monotonic() > until:
                    return
                one = taken(row, column, programs)
                found.setdefault((row.name, column.name), []).append(one)
                said = one.get("error") or f"{row.figure(one):.4g} CPU s a {row.unit}, {one['peak_MB']:.0f} MB"
                print(f"{repeat + 1}/{repeats} {row.name}, {column.name}: {said}", file=sys.stderr, flush=True)
                yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--row", default="", help="only rows whose name has this in it")
    parser.add_argument("--way", action="append", default=[], help="only this column; may be repeated")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    part = bool(asked.row or asked.way)
    rows = [row for row in ROWS if asked.row in row.name and (row.quick or asked.full or part)]
    if not rows:
        parser.error(f"no row has {asked.row!r} in its name; there are: {'; '.join(row.name for row in ROWS)}")
    repeats = asked.repeats or (5 if asked.full else 3)
    until = time.monotonic() + (float("inf") if asked.full or part else QUICK_S)
    path = asked.output or (None if part else RESULTS / ("bench.json" if asked.full else "bench-quick.json"))
    about = {
        "command": " ".join(["python -m tests.benchmarks.bench", *sys.argv[1:]]),
        "machine": machine(),
        "tuned": TUNED,
        "commit": _commit(),
    }
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as folder:
        for found in measure(rows, asked.way, repeats, until, folder if asked.full else None):
            table = result(rows, found)
            if path:  # after each, so that an end by force loses nothing
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps({**about, "rows": table}, indent=1) + "\n")
    print(shown(table, [column.name for column in COLUMNS]))


def _commit() -> str:
    line = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()


if __name__ == "__main__":
    main()
