"""Early stopping: Optuna's own decisions from what is stored, what is taken up again, and the same bytes either way."""

import io
import pickle
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest

from padray.commandline.console import Console
from padray.config import Config
from padray.errors import DivergedError, InputError
from padray.search import driver, judgement, stopping, trials
from padray.search.trial_run import Queue, SearchWork
from padray.search.trials import Rung, TrialRecord
from padray.stages import distiller
from padray.stages.limits import Limits
from tests.search.conftest import Make, ended, work_of
from tests.search.test_trials import loaded

ASHA = ("search.stopping=asha", "search.rungs=2", "search.reduction=2")  # of the tiny 12 iterations: 3, 6


def config(*overrides: str) -> Config:
    return loaded("distill.iterations=90", "search.stopping=asha", *overrides)


def trial(number: int, *values: float, state: trials.State = "running", until: int = 90) -> TrialRecord:
    """A trial that was judged at the first rungs of 90 iterations, 3, 10 and 30, with these values."""
    rungs = tuple(Rung(at, value) for at, value in zip((3, 10, 30), values, strict=False))
    done = until if state == "finished" else rungs[-1].iterations
    return TrialRecord(number, {"distill.batch": 3}, state, values[-1], (values[-1],) * 3, "", "", done, rungs)


def test_rungs_are_equal_parts_of_parts() -> None:
    assert stopping.rungs(config()) == (3, 9, 27)
    assert stopping.rungs(config("search.rungs=1", "search.reduction=4")) == (22,)
    assert stopping.rungs(config("search.stopping=none")) == ()
    assert [stopping.next_stop(config(), replace(trial(1, 0.5), iterations=at)) for at in (0, 3, 9, 27)] == [
        3,
        9,
        27,
        90,
    ]
    with pytest.raises(InputError, match=r"at least 27 iterations, but distill\.iterations is 20"):
        stopping.rungs(config("distill.iterations=20"))


def curve(number: int, rung: int) -> float:
    """A value in 0..1 that looks drawn."""
    return (number * 7919 % 31 + rung * (number * 104729 % 5)) / 50


@pytest.mark.parametrize(
    ("overrides", "pruner"),
    [
        ((), optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)),
        (("search.reduction=2",), optuna.pruners.SuccessiveHalvingPruner(min_resource=11, reduction_factor=2)),
        (("search.stopping=median",), optuna.pruners.MedianPruner()),
    ],
)
def test_decisions_are_those_of_optunas_own_study(
    overrides: tuple[str, ...], pruner: optuna.pruners.BasePruner
) -> None:
    settings = config(*overrides)
    places = stopping.rungs(settings)
    own = optuna.create_study(direction="maximize", pruner=pruner)
    records: list[TrialRecord] = []
    for number in range(40):
        asked, record = own.ask(), TrialRecord(number, {"distill.batch": 3}, "running")
        for rung, at in enumerate(places):
            value = curve(number, rung)
            asked.report(value, at)
            record = replace(record, value=value, iterations=at, rungs=(*record.rungs, Rung(at, value)))
            theirs, ours = not asked.should_prune(), stopping.goes_on(settings, record, records)
            if number == 0:
                assert ours, "the configuration itself is never stopped"
                continue
            assert ours == theirs, (number, at)
            if not ours:
                break
        over = len(record.rungs) == len(places) and (number == 0 or ours)
        own.tell(asked, record.value if over else None, None if over else optuna.trial.TrialState.PRUNED)
        records.append(replace(record, state="finished" if over else "stopped"))
    states = [record.state for record in records]
    assert 3 < states.count("finished") < states.count("stopped"), "both happen"


def test_the_configuration_itself_always_goes_on() -> None:
    better = [trial(number, 0.9, state="stopped") for number in range(2, 9)]
    for settings in (config(), config("search.stopping=median")):
        full = [replace(trial(n, 0.9, 0.9, 0.9, state="finished"), rungs=(Rung(3, 0.9),)) for n in range(9, 16)]
        assert [stopping.goes_on(settings, trial(number, 0.1), [*better, *full]) for number in (0, 1)] == [True, False]


def asha(*records: TrialRecord) -> int | None:
    return stopping.resumable(loaded("distill.iterations=90", "search.stopping=asha"), records)


def test_what_was_stopped_is_taken_up_when_it_is_among_the_best_third() -> None:
    better, stopped = trial(0, 0.9, 0.9, 0.9, state="finished"), trial(1, 0.6, state="stopped")
    worse = [trial(number, 0.1, state="stopped") for number in range(2, 6)]
    assert asha(better, stopped, *worse[:3]) is None, "one of five goes on"
    assert asha(better, stopped, *worse) == 1, "two of six do"
    assert asha(better, replace(stopped, state="running"), *worse) is None, "it does already"
    further = trial(6, 0.6, 0.2, state="stopped")
    assert (
        asha(
            better,
            stopped,
            *worse,
            further,
            trial(7, 0.5, 0.1),
            trial(8, 0.5, 0.1),
            *[trial(number, 0.5, 0.1, state="stopped") for number in (9, 10, 11)],
        )
        == 6
    ), "the furthest first"


def test_what_failed_later_does_not_keep_the_others_from_an_end() -> None:
    failed = replace(trial(1, 0.9, 0.9), state="failed", value=None, reason="the loss became nan")
    second = trial(2, 0.5, state="stopped")
    assert asha(failed, second, trial(3, 0.4, state="stopped")) == 2
    assert stopping.goes_on(config(), trial(3, 0.6), [failed, second])


def test_by_the_median_nothing_is_taken_up() -> None:
    records = [trial(number, number / 10, state="stopped") for number in range(8)]
    assert asha(*records) == 7
    assert stopping.resumable(config("search.stopping=median"), records) is None


def test_what_was_stopped_is_never_the_best() -> None:
    stopped, full = trial(1, 0.9, state="stopped"), trial(0, 0.2, 0.3, 0.4, state="finished")
    assert trials.best([stopped, full]) == full and trials.best([stopped]) is None


# -- with real sets


@pytest.mark.parametrize("killed", [None, 2, 5])
def test_a_trial_carried_on_by_others_has_the_bytes_of_one_that_was_never_judged(
    search: Make, tmp_path, monkeypatch, killed
) -> None:
    begun = TrialRecord(1, {"distill.lr_images": 2.5, "distill.importance.enabled": False}, "running")
    straight = work_of(search(root=tmp_path / "straight")).advance(begun, lambda config: None)
    work, keep = work_of(search(*ASHA, root=tmp_path / "stopped")), distiller.Distiller._keep

    def dies(made: distiller.Distiller, state, metrics) -> None:
        keep(made, state, metrics)
        if state.iteration == killed:
            monkeypatch.setattr(distiller.Distiller, "_keep", keep)
            raise Killed

    monkeypatch.setattr(distiller.Distiller, "_keep", dies)
    made = begun
    for at in (3, 6, 12):
        other: SearchWork = pickle.loads(pickle.dumps(work))  # another worker
        try:
            made = other.advance(made, lambda config: None)
        except Killed:
            made = other.advance(made, lambda config: None)
        assert made.iterations == at
    assert made.state == straight.state == "finished" and len(made.rungs) == 2
    assert replace(made, rungs=()) == straight and len({rung.value for rung in made.rungs} | {made.value}) > 1


class Killed(BaseException):
    """What no handler expects."""


def judged_by(number_of: Callable[[TrialRecord, int], float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are worth what this says of a trial and its iterations; a negative value is a trial that diverges."""
    judge = judgement.judge

    def judged(config, inputs, distilled, trial: TrialRecord, until: int) -> TrialRecord:
        made, value = judge(config, inputs, distilled, trial, until), number_of(trial, config.distill.iterations)
        if value < 0:
            raise DivergedError("no luck")
        rungs = (*trial.rungs, *[replace(rung, value=value) for rung in made.rungs[len(trial.rungs) :]])
        return replace(made, value=value, values=(value,) * 3, rungs=rungs)

    monkeypatch.setattr(judgement, "judge", judged)


def test_a_search_stops_takes_up_and_ends_with_a_full_trial(search: Make, monkeypatch) -> None:
    worth = {0: 0.1, 1: 0.5, 2: 0.4, 3: 0.2, 4: 0.15, 5: 0.12}
    judged_by(lambda trial, at: worth[trial.number] + (0.3 if trial.number == 2 and at > 3 else 0), monkeypatch)
    made = search(*ASHA, "search.trials=6", "evaluation.seeds=1")
    told: list[tuple[int, str, int]] = []
    work = work_of(made)
    for record in work.run_inline(made.context()):
        told.append((record.number, record.state, record.iterations))
    assert told[:4] == [(0, "running", 0), (0, "running", 3), (0, "running", 6), (0, "finished", 12)]
    assert [(state, at) for number, state, at in told if number == 2] == [
        ("running", 0),
        ("stopped", 3),
        ("running", 3),
        ("running", 6),
        ("finished", 12),
    ], "it waited for enough worse ones"
    _, outcome = made.tune()
    assert {r.number: r.state for r in outcome.records} == {
        0: "finished",
        1: "finished",
        2: "finished",
        3: "stopped",
        4: "stopped",
        5: "stopped",
    }
    best = trials.best(outcome.records)
    assert best is not None and best.number == 2 and best.value == 0.7
    facts = made.folder(outcome).require().facts
    assert facts["iterations"] == 3 * 12 + 6 + 2 * 3 and facts["judges"] == 3 * (3 * 3 + 2 + 2 * 1)
    assert Queue(work, Limits()).upcoming() is None and ended(work.run_inline(made.context())) == []


def test_where_the_first_ones_diverge_late_the_next_best_is_finished(search: Make, monkeypatch) -> None:
    judged_by(lambda trial, at: -1.0 if trial.number < 2 and at > 6 else 0.5 - trial.number / 10, monkeypatch)
    _, outcome = search(*ASHA, "search.trials=4", "evaluation.seeds=1").tune()
    assert [record.state for record in outcome.records][:3] == ["failed", "failed", "finished"]
    assert outcome.best.number == 2


@pytest.mark.chaos
def test_killed_at_any_rung_the_same_search_goes_on(search: Make, tmp_path, monkeypatch) -> None:
    only = (*ASHA, "search.trials=4")
    straight = work_of(search(*only, root=tmp_path / "straight"))
    list(straight.run_inline(search(*only, root=tmp_path / "straight").context()))
    made = search(*only, root=tmp_path / "killed")
    work, runs = work_of(made), 0
    while (run := work.run_inline(made.context())) and next(run, None) is not None:
        next(run)  # its first judgement is stored; then it is killed
        run.close()
        runs += 1
    assert runs > 4 and work.all() == straight.all() and len(work.all()) == 4
    assert {record.state for record in work.all().values()} == {"finished", "stopped"}


def test_after_its_hours_a_search_begins_nothing_new_and_says_so(search: Make, monkeypatch) -> None:
    few = ("search.trials=4", "evaluation.seeds=1")
    made, told = search("search.hours=1.0e-9", *few), []
    context = made.context()
    context.notify = lambda progress: told.append(progress) if progress.stage == "search" else None
    outcome = driver.tune(context, "evaluate")
    assert [record.number for record in outcome.records] == [0], "without the configuration itself there is no result"
    assert (told[-1].done, told[-1].total) == (1, 1)
    assert told[-1].text.startswith("1e-09 hours are over after 1 of 4 trials; the same command goes on")
    printed = Console(False)
    printed.out.file = io.StringIO()
    printed.result(driver.summary(context, outcome))
    said = " ".join(printed.out.file.getvalue().split())
    assert "1 trials finished, 0 failed, 3 not begun: 1e-09 hours are over (the same command goes on)" in said
    work = work_of(made)
    trials.begin(work.folder(), 1, {"distill.importance.enabled": False, "distill.lr_images": 1.5})
    assert [record.number for record in ended(work.run_inline(context))] == [1], "what was begun comes to its end"
    _, again = search(*few).tune()
    assert again.identity == outcome.identity and len(again.records) == 4


def test_after_its_hours_a_search_without_a_result_still_ends_one(search: Make, monkeypatch) -> None:
    judged_by(lambda trial, at: -1.0 if trial.number == 0 else 0.5 - trial.number / 10, monkeypatch)
    made = search(*ASHA, "search.trials=3", "evaluation.seeds=1")
    work, queue = work_of(made), None
    for number in (1, 2):
        trials.begin(work.folder(), number, {"distill.importance.enabled": False, "distill.lr_images": 1.5 + number})
        stopped = replace(work.advance(work.all()[number], lambda config: None), state="stopped")
        trials.write(work.folder(), stopped)
    queue = Queue(work, Limits(hours=-1))
    assert queue.upcoming() == 1, "the best of what was stopped"
    trials.write(work.folder(), replace(stopped, state="finished"))
    assert Queue(work, Limits(hours=-1)).upcoming() is None
