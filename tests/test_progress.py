"""How far work is, within a unit, a stage and a run: what is told while it goes on, and what it is foretold to take."""

import io
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rich.console
import torch

from padray.commandline import commands, live
from padray.config import Config
from padray.configuration import loading
from padray.experts.training import Draws, Recipe, Samples, train
from padray.machine import activity
from padray.machine.activity import Step
from padray.networks import factory, programs
from padray.networks.settings import NetworkSettings
from padray.operations import heartbeat
from padray.operations.heartbeat import Command, beating
from padray.stages import data, pipeline
from padray.stages.facts import DatasetFacts, Splits
from padray.stages.inline import InlineRunner
from padray.stages.outlook import Course, operations
from padray.stages.progress import Ahead, Progress, Running, Watched, Workers
from padray.store.location import LocalLocation
from tests.cluster.conftest import wait_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


NETWORK = NetworkSettings(name="mlp", width=4, depth=1)
RECIPE = Recipe(4, 5, 0.1, 0.9, 0.0, "none")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Time goes on when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def on(seconds: float) -> None:
        now[0] += seconds

    yield on


def test_a_training_says_its_epoch_and_how_long_it_still_takes(clock: Callable[[float], None]):
    images, labels = torch.zeros(20, 1, 2, 2), torch.arange(20) % 2
    network = factory.build(NETWORK, (1, 2, 2), 2, 0)
    training = train(network, Samples(images, labels), RECIPE, Draws(0, "experts", "expert-0000"))
    for epoch in range(3):
        next(training)
        clock(10.0)
        (step,) = activity.steps()
        assert (step.what, step.done, step.total, step.seconds) == ("epoch", epoch + 1, 4, 10.0 * (epoch + 1))
        assert step.left_s == pytest.approx(10.0 * (3 - epoch)) and str(step) == f"epoch {epoch + 2} of 4"
    training.close()
    assert activity.steps() == (), "also of a training that nobody goes on with"


def test_a_compiler_s_work_is_told_and_slows_nothing_that_is_foretold(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, tmp_path
):
    told = []

    def compile_slowly(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        clock(40.0)
        told.extend(map(str, activity.steps()))
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(programs, "require_compiler", lambda: None)
    monkeypatch.setattr(subprocess, "run", compile_slowly)
    program = programs.Program("gradient", NETWORK, (1, 2, 2), 2, 5, 5, False, "float32")
    with activity.step("epoch", 10) as going:
        programs._make(program, tmp_path / "program.so")
        going.done = 1
        clock(10.0)
        (step,) = activity.steps()
    assert told == ["epoch 1 of 10", f"compiling the gradient of {NETWORK.label}, once on this machine"]
    assert step.left_s == pytest.approx(90.0)


def test_what_only_the_first_takes_is_not_foretold_of_the_others(clock: Callable[[float], None]):
    watched = Watched(Progress("distill", 100, 1000), before=100)
    clock(50.0)  # a compiler, say
    assert watched.left_s(time.monotonic()) is None
    watched.hear(Progress("distill", 101, 1000))
    assert watched.left_s(time.monotonic()) is None, "or it would be foretold to take half a day"
    for done in range(101, 111):
        watched.hear(Progress("distill", done, 1000))
        clock(2.0)
    assert watched.left_s(time.monotonic()) == pytest.approx(890 * 20 / 9)


def test_a_stage_is_as_far_as_its_units_are(clock: Callable[[float], None]):
    def at(*dones: float) -> Workers:
        steps = [(Step("epoch", done, 10),) for done in dones]
        return Workers(tuple(Running(f"expert-{k}", steps=step) for k, step in enumerate(steps)))

    watched = Watched(Progress("experts", 0, 4, workers=at(0.0, 0.0)))
    clock(60.0)
    watched.last = replace(watched.last, workers=at(2.0, 4.0))
    assert watched.done == pytest.approx(0.6) and watched.left_s(time.monotonic()) == pytest.approx(60 * 3.4 / 0.6)
    whole = Running("the set", steps=(Step("epoch", 9.0, 10),), is_unit=False)
    distilling = Watched(Progress("distill", 3, 10, workers=Workers((whole,))))
    assert distilling.done == 3, "a network that judges an iterate is no part of an iteration"


def test_units_side_by_side_tell_their_pace_only_after_a_second_round(clock: Callable[[float], None]):
    """Two trials of a minute and a half each end within seconds: that is no pace of ten a minute."""
    pair = Workers((Running("trial 2"), Running("trial 3")))
    watched = Watched(Progress("search", 0, 8, workers=pair))
    clock(90.0)
    watched.hear(Progress("search", 1, 8, workers=pair))
    clock(6.0)
    watched.hear(Progress("search", 2, 8, workers=pair))
    assert watched.left_s(time.monotonic()) == pytest.approx(6 * 96 / 2)
    clock(54.0)
    watched.hear(Progress("search", 4, 8, workers=pair))
    clock(36.0)
    assert watched.left_s(time.monotonic()) == pytest.approx(4 * 96 / 3), "the first one waited for its experts"


def test_before_the_first_unit_is_over_those_at_work_foretell_the_stage(clock: Callable[[float], None]):
    """Half a minute went by until they began, which says nothing of the others."""
    steps = [(Step("epoch", 2.0, 10, seconds=10.0, left_s=40.0),), (Step("epoch", 4.0, 10, seconds=28.0, left_s=42.0),)]
    at = Workers(tuple(Running(f"expert-{k}", steps=step) for k, step in enumerate(steps)))
    watched = Watched(Progress("experts", 0, 6))
    clock(40.0)
    assert watched.left_s(time.monotonic()) is None
    watched.last = replace(watched.last, workers=at)
    assert watched.left_s(time.monotonic()) == pytest.approx((6 - 0.6) * 60 / 2)
    of_iteration = Workers((Running("the set", steps=steps[0], is_unit=False),))
    assert Watched(Progress("distill", 0, 10, workers=of_iteration)).rate(time.monotonic()) is None


def test_a_trial_that_runs_counts_as_far_as_it_is():
    at = Workers((Running("trial 1", steps=(Step("iteration", 5.0, 10),)),))
    assert Watched(Progress("search", 1, 4, "trial 1 running, best 70.0 %", at)).done == 1.5
    assert Watched(Progress("search", 2, 4, "trial 1 finished at 70.0 %", at, ended="trial 1")).done == 2
    assert Watched(Progress("search", 2, 12, "trial 10 finished at 70.0 %", at, ended="trial 10")).done == 2.5


def settings(*overrides: str) -> Config:
    return loading.load("digits-ipc1", overrides).config


def test_operations_of_a_network_are_those_of_its_products():
    """A linear layer of m inputs and n outputs takes 2 m n for each sample."""
    assert operations(NetworkSettings(name="mlp", width=8, depth=2), (1, 4, 4), 10) == 2 * (16 * 8 + 8 * 8 + 8 * 10)


def test_a_run_s_end_is_foretold_by_the_work_ahead_at_the_pace_behind(root: Path, clock: Callable[[float], None]):
    """Twice the work takes twice as long, on two places half; what is measured of one stage is foretold of the next."""
    asked = commands.context("digits-ipc1", commands.Request((), str(root), "inline"))
    pipeline.run(asked, "data")
    full = pipeline._course(asked, data.identify(asked), pipeline.STAGES)
    assert full.stages == ("data", "experts", "distill", "evaluate", "report"), "nothing there needs scores"
    assert full.ahead("experts") == Ahead(("data",), ("distill", "evaluate", "report"))
    experts = Watched(Progress("experts", 0, asked.config.experts.count))
    watched = {"experts": experts}
    assert full.left_s("experts", watched, 1, time.monotonic()) is None
    clock(60.0)
    experts.hear(Progress("experts", asked.config.experts.count // 2, asked.config.experts.count))
    alone, two = (full.left_s("experts", watched, slots, time.monotonic()) for slots in (1, 2))
    work = full.work
    later = 120.0 * (work["distill"].operations + work["evaluate"].operations) / work["experts"].operations
    assert alone == pytest.approx(60.0 + later)
    of_set = 120.0 * work["distill"].operations / work["experts"].operations
    assert two == pytest.approx(60.0 + 2 * of_set + (later - of_set)), "a set is made by one"
    experts.hear(Progress("experts", asked.config.experts.count, asked.config.experts.count))
    clock(1000.0)  # of a stage that is over no more time is counted
    assert full.left_s("experts", watched, 1, time.monotonic()) == pytest.approx(later / 2)
    longer = Course(full.stages, settings("distill.iterations=900000"), full.facts)
    assert longer.left_s("experts", watched, 1, time.monotonic()) > 10 * alone


def test_a_ceiling_of_one_network_is_foretold_as_one():
    """By its own learning rates and seeds, not by the random control's: a minute was foretold to be six."""
    ceiling = (
        "evaluation.seeds=5",
        "evaluation.controls={lrs: [0.003, 0.01, 0.03, 0.1], tuning_seeds: 1, full: true, full_epochs: 10, "
        "full_lrs: [0.03], full_seeds: 1}",
    )
    facts = DatasetFacts(("a", "b"), (1, 8, 8), Splits(900, 0, 100), (450, 450), "image", {})
    one = Course(("evaluate",), settings(*ceiling), facts).work["evaluate"]
    lrs = settings(ceiling[0], "evaluation.controls={lrs: [0.003, 0.01, 0.03, 0.1], tuning_seeds: 1}")
    without = Course(("evaluate",), lrs, facts).work["evaluate"]
    assert one.units == without.units + 1 == 5 + 8 + 1
    each = operations(lrs.network, (1, 8, 8), 2)
    assert one.operations - without.operations == pytest.approx(each * (3 * 10 * 900 + 100))


def plain(clock: Callable[[float], None]) -> tuple[live.PlainLines, io.StringIO]:
    out = io.StringIO()
    return live.PlainLines(rich.console.Console(file=out, width=500)), out


def test_plain_lines_say_how_far_a_unit_and_the_run_are_and_get_seldomer(clock: Callable[[float], None]):
    lines, out = plain(clock)
    ahead = Ahead(("data",), ("distill", "report"), 1500.0)
    step = Step("epoch", 11.5, 50, 60.0, 240.0)
    workers = Workers((Running("expert-0003", "here", 60.0, (step,)),))
    for _ in range(3600):
        lines(Progress("experts", 3, 10, "expert-0002 done", workers, 600.0, ahead))
        clock(1.0)
    said = out.getvalue().splitlines()
    assert said[0] == "experts 3/10, 10 min left: expert-0002 done; expert-0003: epoch 12 of 50, 4 min left"
    assert said[1] == "run 1/4 stages: experts; then distill, report; about 25 min left"
    assert 2 * 60 <= len(said) <= 2 * 110
    lines(Progress("experts", 10, 10, "expert-0009 done", Workers(), 0.0, ahead))
    assert out.getvalue().splitlines()[-1] == "experts 10/10: expert-0009 done"


def test_starting_ray_is_told_while_it_starts(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heartbeat, "TICK_S", 0.01)
    monkeypatch.setattr(activity, "_SHORT_S", 0.0)
    told: list[Progress] = []
    with beating(Command("run", "x"), LocalLocation(tmp_path / "runs"), InlineRunner(), told.append) as hear:
        hear(Progress("scores", 0, 2))
        with activity.step("starting Ray"):
            wait_for("a word", lambda: told[-1].workers.steps() == "starting Ray")
        assert told[-1].stage == "scores"


def test_who_hears_of_a_long_run_counts_its_work_and_no_thread_that_may_be_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "TICK_S", 0.01)
    counted = []

    class Foretelling:
        def ahead(self, stage: str) -> Ahead:
            return Ahead((), ("distill",))

        def count(self) -> None:
            counted.append(threading.current_thread())

        def left_s(self, *arguments: object) -> float:
            return 90.0

    told: list[Progress] = []
    course = Foretelling()
    about = Command("run", "x"), LocalLocation(tmp_path / "runs"), InlineRunner(), told.append, lambda: course
    with beating(*about) as hear:
        hear(Progress("experts", 0, 2))
        assert str(told[-1].ahead) == "then distill" and counted == [], "a short run is not worth it"
        monkeypatch.setattr(heartbeat, "_LONG_S", 0.0)
        time.sleep(0.1)  # ten ticks
        hear(Progress("experts", 1, 2))
        hear(Progress("experts", 2, 2))
    assert str(told[-1].ahead) == "then distill; about 90 s left"
    assert counted == [threading.main_thread()]
