"""Calibrated plans: every kind of work is measured by the code that does it, and the sum is about what a run takes."""

import itertools
import time
from types import SimpleNamespace

import pytest

from tests.planning.conftest import counted, events, make, plan


@pytest.fixture
def quick(monkeypatch):
    """As little as can be measured."""
    monkeypatch.setattr("padray.planning.calibrate._LONG_S", 0.0)


@pytest.mark.parametrize(
    "overrides",
    [
        ("distill.importance.order=alternate", "evaluation.controls.full=true", "experts.rho=0.01"),
        ("distill.gradient=unroll", "distill.labels.kind=hard", "network.norm=batch", "distill.init=noise"),
        ("evaluation.protocol=rded-kd", "evaluation.teacher.network=lenet", "compute.precision=float64"),
        ("search.space={distill.lr_images: {type: float, low: 1, high: 2}}", "distill.student_lr=1.0e-6"),
    ],
)
def test_every_kind_of_work_is_measured_and_nothing_is_written(settings, tmp_path, quick, overrides):
    told = plan(settings, tmp_path / "none", *overrides, calibrated=True, price=3.0)
    assert all(line["seconds"] > 0 for line in told["stages"] if line["stage"] != "data")
    assert told["total"]["money"] == pytest.approx(3 * told["total"]["hours"]) and told["total"]["hours"] > 0
    assert told["device"].startswith("CPU") or "thread" in told["device"]
    assert not (tmp_path / "none").exists()


def test_on_one_thread_other_work_on_the_machine_does_not_count(settings, tmp_path, quick, monkeypatch):
    """A machine that is so busy that minutes pass between any two looks at the clock."""
    passed = itertools.count(0.0, 600.0)
    slow = SimpleNamespace(perf_counter=lambda: next(passed), process_time=time.process_time)
    monkeypatch.setattr("padray.planning.calibrate.time", slow)
    hours = [
        plan(settings, tmp_path, f"compute.threads={threads}", calibrated=True)["total"]["hours"] for threads in (1, 2)
    ]
    assert hours[0] < 600 / 3600 < hours[1]


def test_only_what_is_to_do_and_never_ran_is_measured(settings, finished, quick):
    told = plan(settings, finished, "experts.count=4", calibrated=True)
    assert {line["stage"] for line in told["stages"] if line["measured"] == "calibrated"} == {"distill"}


@pytest.mark.chaos
def test_the_calibrated_sum_is_about_what_the_run_takes(settings, tmp_path):
    overrides = ("distill.iterations=120", "evaluation.epochs=60", "experts.epochs=20", "scores.epochs=5")
    told = plan(settings, tmp_path, *overrides, calibrated=True)
    make(settings, tmp_path, *overrides)
    took = sum(event["seconds"] for event in events(tmp_path))
    assert counted(told)
    assert 1 / 3 < told["total"]["hours"] * 3600 / took < 3
