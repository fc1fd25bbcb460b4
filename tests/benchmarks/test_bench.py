"""The benchmark of speed: both sides do every kind of work, and the table says what was measured."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
import torch

from tests.benchmarks import bench
from tests.benchmarks.bench import BASELINE, COLUMNS, ROWS, Column, Row
from tests.benchmarks.measured import measure
from tests.benchmarks.workloads import Case, Way, per_unit

TINY = {"width": 4, "depth": 2, "shape": (1, 8, 8), "classes": 3, "batch": 4, "steps": 2, "test": 9}
FIGURES = {"cpu_s": 1.0, "wall_s": 1.0, "start_cpu_s": 0.5, "ready_cpu_s": 2.0, "peak_MB": 10.0, "later_peak_MB": None}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def asked(kind: str, way: Way) -> dict:
    return {"case": asdict(Case(kind, **TINY)), "way": asdict(way), "short": 2, "long": 20}


@pytest.mark.parametrize("kind", ["expert", "distil", "evaluation", "distribution", "gradient"])
@pytest.mark.parametrize("column", [column for column in COLUMNS if not column.environment], ids=lambda one: one.name)
def test_every_way_does_every_kind_of_work(kind, column):
    """All but the compiler, which takes its time."""
    compute = column.way.compute if column.way.side == "baseline" else {**column.way.compute, "compile": "off"}
    if kind in column.kinds:
        figures = measure(asked(kind, replace(column.way, compute=compute)))
        assert figures["cpu_s"] > 0 and figures["wall_s"] > 0 and figures["peak_MB"] >= 0
        assert ("test_cpu_s" in figures) == (kind == "evaluation")


def test_a_measurement_is_a_process_of_its_own():
    row = Row("tiny", "iteration", Case("distil", **TINY), 1, 2)
    found = bench.taken(row, COLUMNS[1])
    assert "error" not in found and found["cpu_s"] > 0 and found["ready_cpu_s"] > 0.1


def test_a_case_arrives_as_it_was_sent():
    case = Case("distil", **TINY)
    sent = Case(**json.loads(json.dumps(asdict(case))))
    assert sent == case and hash(sent) == hash(case)  # programs are looked up by shape


def test_a_measurement_that_fails_says_why_and_the_others_go_on():
    row = Row("tiny", "iteration", Case("distil", **TINY), 1, 2)
    failed = bench.taken(row, Column("x", Way("baseline"), {"PYTHONHASHSEED": "none"}))  # Python itself refuses it
    assert failed["error"].startswith("Python runtime state")  # the last line of what it says
    table = bench.result([row], {(row.name, BASELINE): [failed], (row.name, "float32"): [FIGURES, failed]})
    columns = table["tiny"]["columns"]
    assert columns[BASELINE] == failed and columns["float32"]["failed"] == 1
    assert "times_as_fast" not in columns["float32"] and "failed" in bench.shown(table, [BASELINE, "float32"])


def test_the_table_has_medians_the_spread_and_how_many_times_as_fast():
    row = Row("tiny", "step", Case("expert", **TINY), 2, 2, {"float32": 1.5})
    found = {
        (row.name, BASELINE): [{**FIGURES, "cpu_s": seconds} for seconds in (3.0, 1.0, 2.0)],
        (row.name, "float32"): [{**FIGURES, "cpu_s": 0.5, "wall_s": 0.75}],
    }
    columns = bench.result([row], found)["tiny"]["columns"]
    assert [columns[BASELINE][name] for name in ("least", "figure_cpu_s", "most", "repeats")] == [1.0, 2.0, 3.0, 3]
    assert columns["float32"]["times_as_fast"] == 4.0 and columns["float32"]["must"] == 1.5
    assert columns["float32"]["figure_wall_s"] == 0.75
    assert "(4.00x/1.5) 10 MB" in bench.shown({"tiny": {"unit": "step", "columns": columns}}, ["float32"])


def test_an_evaluation_is_its_epochs_and_its_tests():
    row = Row("tiny", "evaluation", Case("evaluation", **TINY), 2, 2)
    assert row.figure({"cpu_s": 2.0, "test_cpu_s": 7.0}) == 1001 * 2.0 + 7.0


def test_a_unit_is_the_difference_of_two_lengths_and_never_below_nothing():
    assert per_unit(7.0, 3.0, 10, 2) == 0.5 and per_unit(3.0, 3.5, 10, 2) == 0.3


def test_nothing_is_begun_after_its_time(monkeypatch):
    monkeypatch.setattr(bench, "taken", lambda row, column, programs: FIGURES)
    assert not list(bench.measure(list(ROWS), [], 2, until=float("-inf")))
    last = list(bench.measure(list(ROWS[:2]), [], 2, until=float("inf")))[-1]
    assert {len(found) for found in last.values()} == {2}
    assert {column for _, column in last} == {"baseline", "baseline tuned", "float32", "bf16", "not compiled"}


def test_a_column_is_in_the_rows_that_it_differs_for():
    rows = {row.case.kind: [column.name for column in row.columns()] for row in ROWS}
    assert "float32 unroll" in rows["distil"] and "float32 unroll" not in rows["expert"]
    assert "bf16" in rows["expert"] and "bf16" not in rows["evaluation"]
