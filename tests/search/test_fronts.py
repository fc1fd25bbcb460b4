"""Searches with two objectives: what is on the Pareto front, what is chosen from it, and where its settings are."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from padray.configuration import loading
from padray.errors import InputError
from padray.report import front as words
from padray.report.front import Front, FrontMember, Point
from padray.search import driver, finals, judgement, sampling, trials
from padray.search.trials import TrialRecord
from padray.stages.effort import effort_of
from padray.stages.facts import dataset_facts
from tests.search.conftest import Make, work_of
from tests.search.test_trials import SPACE, loaded

NAN = float("nan")
SIZES = (
    "search.objectives=[accuracy, bytes]",
    "search.space={distill.ipc: {type: choice, choices: [1, 2]}, distill.lr_images: {type: float, low: 0.3, high: 3}}",
    "search.start=[{distill.ipc: 2}]",
    "search.trials=3",
)


def trial(number: int, value: float, cost: float) -> TrialRecord:
    return TrialRecord(number, {"distill.batch": 3}, "finished", value, (value,) * 3, "", str(number), 12, (), cost)


def test_the_front_is_what_no_trial_beats_in_both() -> None:
    draw = random.Random(0)

    def beats(one: TrialRecord, other: TrialRecord) -> bool:
        no_worse = one.value >= other.value and one.cost <= other.cost
        return no_worse and (one.value, one.cost) != (other.value, other.cost)

    for _ in range(50):
        records = [trial(k, draw.randrange(6) / 10, float(draw.randrange(6))) for k in range(12)]
        front = trials.front([*records, replace(records[0], number=99, state="failed")])
        expected = {(r.value, r.cost) for r in records if not any(beats(other, r) for other in records)}
        assert {(r.value, r.cost) for r in front} == expected and len(front) == len(expected)
        assert [r.cost for r in front] == sorted(r.cost for r in front)


def test_no_finalist_costs_more_than_the_defaults() -> None:
    records = [trial(0, 0.5, 10.0), trial(1, 0.9, 11.0), trial(2, 0.6, 10.0), trial(3, 0.4, 1.0)]
    asked = finals.finalists(loaded("search.finalists=3"), records)
    assert [record.number for record in asked] == [0, 2, 3]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("search.objectives=[bytes]",), "objectives is [accuracy], [accuracy, bytes] or [accuracy, effort]"),
        (("search.objectives=[accuracy, accuracy]",), "objectives is [accuracy], [accuracy, bytes]"),
        (("search.objectives=[accuracy, bytes, effort]",), "objectives is [accuracy], [accuracy, bytes]"),
        (("search.objectives=[accuracy, bytes]", "search.stopping=asha"), "stopping=asha compares accuracies alone"),
    ],
)
def test_objectives_that_are_none_are_refused(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as caught:
        loading.load("digits-ipc1", overrides)
    assert said in str(caught.value)


def test_a_search_for_small_sets_leaves_its_front_and_prefers_nothing_dearer(search: Make, run) -> None:
    made = search(*SIZES)
    context, outcome = made.tune("report")
    sizes = [record.cost for record in outcome.records]
    assert [record.parameters["distill.ipc"] for record in outcome.records][:2] == [1, 2]
    assert sizes[1] > 1.5 * sizes[0] > 0 and outcome.default is not None
    assert outcome.default.set_bytes == outcome.records[0].cost, "the set's own bytes"
    assert all(one.trial in (0, 2) for one in outcome.choice.finalists), "the second costs more than the defaults"
    front = outcome.front
    assert front is not None and [one.trial for one in front.members] == [
        record.number for record in trials.front(outcome.records)
    ]
    for member in front.members:
        config = loading.load(member.file).config
        assert all(dict(loading.effective(config))[key] == value for key, value in member.settings.items())
        assert not config.search.space
    html = Path(outcome.tested.report).read_text()
    assert "What accuracy costs" in html and "Pareto front of accuracy and bytes" in html
    line = [word for one in SIZES for word in ("--set", one)]
    said = run("tune", made.settings, "--storage", made.root, "--runner", "inline", "--json", *line).json
    assert [one["trial"] for one in said["front"]["members"]] == [one.trial for one in front.members]
    assert said["verdict"] == driver.summary(context, outcome).verdict
    assert "Pareto front of accuracy and bytes" in said["verdict"] and "search" in said["reused"]


def test_effort_is_what_a_set_takes_to_make_wherever_it_is_made(again, finished) -> None:
    search, default = again(), finished[2].default
    work = work_of(search)
    config = loading.with_values(work.config, {"search.objectives": ["accuracy", "effort"]}, "here")
    place, begun = default.identities["distill"], TrialRecord(0, {}, "running")
    judged = judgement.judge(config, work.inputs, place, begun, config.distill.iterations)
    facts = dataset_facts(search.context().folder(work.inputs.data))
    assert judged.cost == effort_of(config, facts).total > 1e4
    with_one = judgement.judge(work.config, work.inputs, place, begun, config.distill.iterations)
    assert with_one.cost is None and b"cost" not in with_one.to_json() and b"cost" in judged.to_json()


def test_the_sampler_learns_from_both_objectives_and_repeats_itself() -> None:
    only = {"distill.batch": SPACE["distill.batch"]}
    config = loaded("search.objectives=[accuracy, bytes]", "search.startup_trials=2", space=only)
    records = [
        TrialRecord(k, {"distill.batch": 2 + k % 5}, "finished", k / 20, (k / 20,), cost=float(100 - k % 7))
        for k in range(12)
    ]
    running = TrialRecord(12, {"distill.batch": 3}, "running")
    one, other = (sampling.parameters_of(config, 13, [*records, running]) for _ in range(2))
    assert one == other and one.keys() == {"distill.batch"}
    both = sampling.study(config.search, records, 0)
    assert [way.name for way in both.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert {t.number for t in both.best_trials} == {r.number for r in trials.front(records)}
    assert set(sampling.importances(config.search, records, 0)) == {"distill.batch"}
    for wrong, said in (
        (replace(records[0], cost=None), "not what this search"),
        (replace(records[1], cost=NAN), "NaN"),
    ):
        with pytest.raises(ValueError, match=said):
            sampling.check(wrong, config.search)


def front_of(*members: tuple[int, float, float], default: tuple[float, float], on_front: bool) -> Front:
    points = tuple(Point(number, value, cost, True) for number, value, cost in members)
    own = Point(0, *default, on_front)
    files = tuple(FrontMember(number, value, cost, {}, "file") for number, value, cost in members)
    return Front("bytes", files, own, points if on_front else (*points, own))


def test_a_front_is_told_with_its_ends_and_the_place_of_the_defaults() -> None:
    ends = ((3, 0.612, 2560.0), (5, 0.8, 5000.0), (2, 0.93, 25600.0))
    assert words.sentence(front_of(*ends, default=(0.7, 6000.0), on_front=False)) == (
        "Pareto front of accuracy and bytes: 3 of 4 finished trials, from 61.2 % at 2,560 bytes (trial 3) to 93.0 % at "
        "25,600 bytes (trial 2); the defaults, 70.0 % at 6,000 bytes, are not: trial 5 has 80.0 % at 5,000 bytes."
    )
    assert words.sentence(front_of((0, 0.7, 6000.0), default=(0.7, 6000.0), on_front=True)).endswith(
        "1 of 1 finished trials, 70.0 % at 6,000 bytes (trial 0); the defaults, 70.0 % at 6,000 bytes, are on it."
    )
