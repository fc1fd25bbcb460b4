"""The finals of a real search in one process: who is judged again, by which networks, how they go on after a kill."""

import json
from pathlib import Path

import pytest

from padray.search import driver, finals, judgement
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import inline
from tests.search.conftest import Make, Search, work_of
from tests.search.test_trials import loaded


def finals_of(root: Path) -> dict[str, dict]:
    return {path.name[: len("final-0000-0000")]: json.loads(path.read_text()) for path in root.rglob("final-*.json")}


def test_the_defaults_and_the_best_others_are_judged_by_other_networks(finished) -> None:
    search, _, outcome = finished
    made = finals_of(search.root)
    assert sorted(made) == [f"final-{trial:04d}-{k:04d}" for trial in (0, 1, 2) for k in range(3)]
    samples = outcome.choice.samples
    for record in outcome.records:
        own = [made[f"final-{record.number:04d}-{k:04d}"] for k in range(3)]
        assert all(len(one["credits"]) == samples for one in own)
        assert all(one["value"] == pytest.approx(sum(one["credits"]) / samples) for one in own)
        assert {one["value"] for one in own} != set(record.values), "networks that had no part in the search"
        assert {one["set_sha256"] for one in own} == {record.set_sha256}
    assert {one.trial for one in outcome.choice.finalists} == {0, 1, 2}
    assert outcome.best.number == outcome.choice.trial


def test_a_network_of_the_finals_is_judged_as_the_objective_judges(again, finished, monkeypatch) -> None:
    """The same unit of draws gives the same value: finals differ from the objective by their networks alone."""
    work, trial, judging = work_of(again()), finished[2].records[1], judgement.judging_of
    monkeypatch.setattr(finals, "judging_of", lambda *rest: judging(*rest[:3], "objective"))
    make, units = finals.FinalWork(work, {1: trial}).prepare(), finals.units_of(work, [trial, trial])[:3]
    said = finals.read(work.folder(), [make(unit) for unit in units])
    assert tuple(one.value for one in said[1]) == pytest.approx(trial.values)


class Killed(BaseException):
    """What no handler expects."""


def test_killed_in_the_finals_it_goes_on_where_it_was(finished, again, monkeypatch) -> None:
    search, make, done = again(without=("searches",)), inline.make_unit, []

    def dies(work, make_one, unit):
        if unit.stage == "finals":
            if len(done) == 4:
                raise Killed
            done.append(unit.id)
        return make(work, make_one, unit)

    with monkeypatch.context() as patched:
        patched.setattr(inline, "make_unit", dies)
        with pytest.raises(Killed):
            search.tune()
    assert len(finals_of(search.root)) == 4 and not list(search.root.rglob("best.yaml"))
    done.clear()
    monkeypatch.setattr(inline, "make_unit", dies)
    with pytest.raises(Killed):
        search.tune()
    assert len(done) == 4 and len(finals_of(search.root)) == 8, "the first four were there"
    done.clear()
    search.tune()
    assert search.objects() == finished[0].objects()


def test_more_networks_extend_the_finals_and_other_sets_void_them(again, monkeypatch) -> None:
    search, counted, make = again("search.final_seeds=4"), [], inline.make_unit
    monkeypatch.setattr(inline, "make_unit", lambda *rest: counted.append(rest[2].id) or make(*rest))
    _, outcome = search.tune()
    assert [unit for unit in counted if unit.startswith("final-")] == [f"final-{k:04d}-0003" for k in range(3)]
    assert outcome.choice.networks == 4
    work, records = work_of(search), outcome.records
    units = finals.units_of(work, records)
    assert len(finals.present(work.folder(), units, records)) == 12
    other = [TrialRecord(**{**vars(record), "set_sha256": "0" * 64}) for record in records]
    assert finals.present(work.folder(), units, other) == {}, "they judged other sets"


def test_a_set_that_was_removed_is_made_again_for_the_finals(again) -> None:
    search: Search = again("search.final_seeds=4", without=("distilled", "evaluations"))
    _, outcome = search.tune()
    assert outcome.choice.networks == 4 and outcome.tested.set_digest == outcome.best.set_sha256


def test_sets_that_are_equal_are_judged_once() -> None:
    records = [
        TrialRecord(k, {}, "finished", value, (value,), set_sha256=sha)
        for k, (value, sha) in enumerate([(0.5, "a"), (0.9, "b"), (0.9, "b"), (0.8, "a"), (0.7, "c"), (0.6, "d")])
    ]
    config = loaded("search.finalists=2")
    assert [record.number for record in finals.finalists(config, records)] == [0, 1, 4]
    assert finals.units_of(SearchWork("", config, None, None), records[:1]) == []  # type: ignore[arg-type]


def test_the_defaults_stay_the_choice_and_best_yaml_says_so(search: Make, monkeypatch) -> None:
    made = search("search.space={distill.lr_images: {type: choice, choices: [1.0, 1.0e-9]}}", "search.trials=3")
    context, outcome = made.tune("report")
    assert outcome.choice.trial == 0 and outcome.tested.set_digest == outcome.default.set_digest
    file = Path(driver.summary(context, outcome).best.file)
    assert "The defaults stay" in file.read_text().splitlines()[0]
    assert "The defaults stay" in Path(outcome.tested.report).read_text()


def test_defaults_that_diverge_are_no_choice_and_stop_nothing(search: Make) -> None:
    space = "search.space={distill.lr_images: {type: choice, choices: [1.0e+38, 1.0]}}"
    made = search(space, "distill.lr_images=1e38", "search.start=[{distill.lr_images: 1.0}]")
    context, outcome = made.tune("report")
    said = driver.summary(context, outcome)
    assert outcome.records[0].state == "failed" and outcome.best.parameters == {"distill.lr_images": 1.0}
    assert said.default == [] and said.verdict.startswith("The defaults came to no result (")
    assert Path(outcome.tested.report).is_file()
