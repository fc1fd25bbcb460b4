"""What other tools see of a search, in a database of theirs: while it runs, after kills, and made again."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from padray.errors import InputError
from padray.search import driver, view
from padray.search.trials import Rung, TrialRecord
from tests.search.conftest import Make
from tests.search.test_stopping import ASHA
from tests.search.test_trials import settings

LOOK = """
import json, sys, optuna
from optuna.storages import JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
name, url = sys.argv[1:]
storage = JournalStorage(JournalFileBackend(url)) if url.endswith(".log") else get_storage(url)
study = optuna.load_study(study_name=name, storage=storage)
print(json.dumps([[t.user_attrs["trial"], t.state.name, t.intermediate_values, t.params] for t in study.trials]))
"""


def look(name: str, url: str) -> list[list[Any]]:
    """What another process finds there."""
    found = subprocess.run([sys.executable, "-c", LOOK, name, url], capture_output=True, text=True, check=True)
    return json.loads(found.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("place", ["sqlite:///{}/study.db", pytest.param("{}/study.log", marks=pytest.mark.chaos)])
def test_another_process_sees_the_search_while_it_runs(search: Make, tmp_path: Path, monkeypatch, place: str) -> None:
    url = place.format(tmp_path)
    monkeypatch.setenv(view.STUDY_URL, url)
    context, seen = search(*ASHA, "search.trials=3", "evaluation.seeds=1").context(), []

    def notify(progress: Any) -> None:
        if progress.stage == "search" and "running" in progress.text and len(seen) < 3:
            name = next((tmp_path / "runs" / "searches").iterdir()).name
            seen.append(look(f"searches/{name}", url))

    context.notify = notify
    outcome = driver.tune(context, "evaluate")
    assert [[(number, state, list(rungs)) for number, state, rungs, _ in trials] for trials in seen] == [
        [(0, "RUNNING", [])],
        [(0, "RUNNING", ["3"])],
        [(0, "RUNNING", ["3", "6"])],
    ]
    states = {"finished": "COMPLETE", "stopped": "PRUNED"}
    assert look(outcome.identity.folder, url) == [
        [r.number, states[r.state], {str(rung.iterations): rung.value for rung in r.rungs}, r.parameters]
        for r in outcome.records
    ]
    monkeypatch.setenv(view.STUDY_URL, other := url.replace("study.", "other."))
    driver.tune(search(*ASHA, "search.trials=3", "evaluation.seeds=1").context(), "evaluate")
    assert look(outcome.identity.folder, other) == look(outcome.identity.folder, url), "made again from the records"


class Shown:
    """A search's trials and what is shown of them."""

    def __init__(self, url: str, stopping: str = "asha") -> None:
        self.url, self.settings = url, settings(stopping=stopping)

    def show(self, *records: TrialRecord, over: bool = False) -> list[optuna.trial.FrozenTrial]:
        view.View(self.settings, "searches/x").show(records, over)
        return self.study().trials

    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="searches/x", storage=self.url)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch) -> Shown:
    monkeypatch.setenv(view.STUDY_URL, f"sqlite:///{tmp_path}/study.db")
    return Shown(f"sqlite:///{tmp_path}/study.db")


BEGUN = TrialRecord(3, {"distill.batch": 4, "distill.lr_images": 1.5}, "running")
RUNG = replace(BEGUN, value=0.5, iterations=10, rungs=(Rung(10, 0.5),))
STOPPED = replace(RUNG, state="stopped")
FINISHED = replace(RUNG, state="finished", value=0.75, iterations=90)
FAILED = TrialRecord(4, {"distill.batch": 2}, "failed", reason="the loss became nan")


def test_one_study_goes_on_with_the_search(shown: Shown) -> None:
    shown.show()
    shown.study().set_user_attr("kept", "by whoever looks at it")
    for record, state in ((BEGUN, "RUNNING"), (RUNG, "RUNNING"), (STOPPED, "RUNNING"), (FINISHED, "COMPLETE")):
        trials = shown.show(record, FAILED)
        assert [(t.user_attrs["trial"], t.state.name) for t in trials] == [(3, state), (4, "FAIL")], "one may come back"
    assert shown.study().user_attrs == {"kept": "by whoever looks at it"}, "the study is not made anew"
    assert trials[0].value == 0.75 and trials[0].intermediate_values == {10: 0.5}
    assert trials[1].user_attrs["reason"] == FAILED.reason


def test_what_is_stopped_ends_with_the_search_or_by_the_median_at_once(shown: Shown, tmp_path) -> None:
    assert shown.show(STOPPED)[0].state == TrialState.RUNNING
    ended = shown.show(STOPPED, over=True)[0]
    assert ended.state == TrialState.PRUNED and ended.value == 0.5
    assert shown.show(FINISHED)[0].state == TrialState.COMPLETE, "taken up after all: made again from the records"
    shown.settings = settings(stopping="median")
    other = replace(STOPPED, number=5)
    assert [trial.state.name for trial in shown.show(FINISHED, other)] == ["COMPLETE", "PRUNED"]


def test_what_is_not_of_this_search_is_made_again(shown: Shown) -> None:
    shown.show(FINISHED)
    shown.study().enqueue_trial({"distill.batch": 3})
    assert [trial.user_attrs.get("trial") for trial in shown.show(FINISHED, FAILED)] == [3, 4]


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/none/study.db"])
def test_a_database_that_cannot_be_used_is_told_without_its_address(search, monkeypatch, url):
    monkeypatch.setenv(view.STUDY_URL, url)
    with pytest.raises(InputError, match="cannot be used") as caught:
        search().tune()
    assert url not in str(caught.value)
