"""A search in one process: what it leaves, how it goes on after a kill, and what it never looks at."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from padray import fingerprint
from padray.configuration import loading
from padray.data.datasets import Dataset
from padray.data.sources import source_digest
from padray.errors import DivergedError, InfrastructureError, InputError
from padray.search import decision, driver, judgement, sampling, trials
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import stored
from padray.store.artifacts import Folder
from tests.search.conftest import Make, ended, work_of

# -- what it leaves


def test_it_ends_with_the_best_set_its_report_and_the_defaults_beside_it(finished) -> None:
    _, context, outcome = finished
    assert [record.number for record in outcome.records] == [0, 1, 2]
    assert all(len(record.values) == 3 for record in outcome.records)
    assert outcome.best == outcome.records[outcome.choice.trial]
    assert len({record.value for record in outcome.records}) > 1  # or the tests below would prove little
    assert outcome.tested.set_digest == outcome.best.set_sha256
    assert outcome.default.set_digest == outcome.records[0].set_sha256
    assert outcome.tested.report is not None and outcome.default.report is None
    for stage in ("distill", "evaluation"):
        folder = context.folder(outcome.tested.identities["distill"])
        assert Path(context.artifacts["distill"]).name == Path(folder.path).name, (
            f"{stage} of the best, not the defaults"
        )


def test_every_trial_has_curves_for_tensorboard(finished) -> None:
    root = finished[0].root
    shown = {path.name for path in (root / "tensorboard").iterdir()}
    assert shown == {path.name for path in (root / "distilled").iterdir()} and len(shown) >= 3


def test_the_best_settings_are_a_config_of_the_same_meaning(finished, tmp_path: Path) -> None:
    search, _, outcome = finished
    best = loading.load(str(next(search.root.rglob("best.yaml"))), (f"storage.root={tmp_path}",)).config
    chain = fingerprint.chain(best, source_digest(best.data))
    assert chain == {stage: outcome.tested.identities[stage] for stage in chain}
    assert not best.search.space, "it makes the set and searches no more"
    manifest = search.folder(outcome).require()
    listed = search.folder(outcome).get(manifest.object("best"))
    assert listed == next(search.root.rglob("best.yaml")).read_bytes()
    assert manifest.facts == {
        "best": outcome.best.number,
        "value": outcome.best.value,
        "finished": 3,
        "stopped": 0,
        "failed": 0,
        "iterations": 36,
        "judges": 9,
        "finals": 9,
    }


def test_the_chosen_trial_is_what_is_proven_beside_the_defaults(again, monkeypatch, run) -> None:
    choose = decision.choose
    monkeypatch.setattr(decision, "choose", lambda *rest: replace(choose(*rest), trial=2))
    search = again()
    _, outcome = search.tune("report")
    assert outcome.tested.set_digest == outcome.records[2].set_sha256 != outcome.default.set_digest
    said = run("tune", search.settings, "--storage", search.root, "--runner", "inline", "--json").json
    assert said["best"]["trial"] == 2 and said["set"]["sha256"] == outcome.records[2].set_sha256
    assert (
        loading.load(said["best"]["file"]).config.distill.lr_images
        == outcome.records[2].parameters["distill.lr_images"]
    )


def test_the_report_tells_the_search(finished) -> None:
    _, _, outcome = finished
    html = Path(outcome.tested.report).read_text()
    assert "What the search was worth" in html and "chosen from 3 trials" in html
    report = json.loads((Path(outcome.tested.report).parent / "manifest.json").read_text())
    assert {"trials"} < {Path(item["key"]).name.rsplit("-", 1)[0] for item in report["objects"]}
    assert report["inputs"]["search"] == outcome.identity.fingerprint
    assert outcome.default.identities["distill"].fingerprint in report["inputs"].values()  # once, where they stay


def test_a_report_means_its_search_too(again, monkeypatch) -> None:
    search = again()
    reports = {path.name for path in (search.root / "reports").iterdir()}
    search.tune("report")
    assert {path.name for path in (search.root / "reports").iterdir()} == reports
    monkeypatch.setattr(sampling, "importances", lambda *_: {"distill.lr_images": 1.0})
    search.tune("report")
    assert len(list((search.root / "reports").iterdir())) == len(reports) + 1


def test_tune_json_holds_the_best_and_the_counts(again, run, finished) -> None:
    search, outcome = again(), finished[2]
    said = run("tune", search.settings, "--storage", search.root, "--runner", "inline", "--json").json
    assert said["config"] == "tiny" and set(said["seconds"]) >= {"search", "distill", "evaluation", "report"}
    assert set(said["reused"]) >= {"data", "search", "experts", "distill", "evaluation", "report"}
    assert all(uri.startswith(str(search.root)) for uri in said["artifacts"].values())
    assert said["best"].keys() >= {"settings", "validation"} and 0 < said["best"]["validation"] < 1
    assert said["trials"].items() >= {"finished": 3, "failed": 0}.items()
    assert [row["source"] for row in said["evaluation"]] == ["distilled", "random"] * 2
    assert said["evaluation"][0]["architecture"] == "convnet2w4" and said["evaluation"][0].keys() >= {
        "mean",
        "std",
        "n",
    }
    assert said["evaluation"] == [asdict(row) for row in outcome.tested.rows]
    assert said["default"] == [asdict(row) for row in outcome.default.rows]
    assert said["set"]["sha256"] == outcome.best.set_sha256 and said["best"]["trial"] == outcome.choice.trial
    assert said["verdict"].startswith("The defaults stay") and len(said["choice"]["finalists"]) == 3


# -- going on


class Killed(BaseException):
    """What no handler expects."""


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_and_continued_it_equals_the_undisturbed_one(finished, again, monkeypatch, number, when) -> None:
    search = again(without=("searches", "distilled", "evaluations", "reports"))
    advance, settle = SearchWork.advance, SearchWork.settle

    def dies_before(work: SearchWork, trial: TrialRecord, *rest: Any) -> TrialRecord:
        if trial.number == number and when == "before":
            raise Killed
        return advance(work, trial, *rest)

    def dies_after(work: SearchWork, trial: TrialRecord, *rest: Any) -> TrialRecord:
        made = settle(work, trial, *rest)
        if trial.number == number:
            raise Killed
        return made

    with monkeypatch.context() as patched:
        patched.setattr(SearchWork, "advance", dies_before)
        patched.setattr(SearchWork, "settle", dies_after)
        with pytest.raises(Killed):
            search.tune()
    assert len(work_of(search).records()) == number + (when == "after")
    search.tune()
    undisturbed = finished[0].objects()
    assert search.objects() == {key: value for key, value in undisturbed.items() if not key.startswith("reports/")}


def test_a_lost_trial_keeps_its_parameters(finished, again) -> None:
    search = again(without=("searches",))
    work, given = work_of(search), {"distill.lr_images": 1.25, "distill.importance.enabled": False}
    trials.write(work.folder(), finished[2].records[0])
    trials.begin(work.folder(), 1, given)
    made = ended(work.run_inline(search.context()))
    assert [record.number for record in made] == [1, 2] and made[0].parameters == given
    assert made[1].parameters != given


def test_a_trial_is_read_once_however_often_the_search_is_asked(finished, monkeypatch) -> None:
    work, take, taken = work_of(finished[0]), Folder.take, []
    monkeypatch.setattr(Folder, "take", lambda self, key, most=None: taken.append(key) or take(self, key, most))
    known: dict[str, TrialRecord] = {}
    for _ in range(3):
        assert list(work.records(known).values()) == finished[2].records
    assert len(taken) == 3


def test_more_trials_extend_the_same_folder(finished, again) -> None:
    _, outcome = again("search.trials=4").tune()
    assert outcome.identity == finished[2].identity and len(outcome.records) == 4
    assert outcome.records[:3] == finished[2].records


def test_the_same_search_again_reuses_all(finished, again) -> None:
    search = again()
    context, outcome = search.tune("report")
    assert outcome.records == finished[2].records and "search" in context.reused
    assert search.objects() == finished[0].objects()


# -- failures


def failing(numbers: set[int], monkeypatch: pytest.MonkeyPatch, kind: type[Exception] = DivergedError) -> None:
    judge = judgement.judge

    def fails(config: Any, inputs: Any, distilled: Any, trial: TrialRecord, until: int) -> Any:
        if trial.number in numbers:
            raise kind(f"trial {trial.number} had no luck")
        return judge(config, inputs, distilled, trial, until)

    monkeypatch.setattr(judgement, "judge", fails)


def test_failed_trials_are_counted_with_their_reason_and_never_best(finished, again, monkeypatch) -> None:
    best = finished[2].best.number
    failing({best}, monkeypatch)
    search = again(without=("searches",))
    context, outcome = search.tune("report")
    assert outcome.best.number != best and outcome.best.state == "finished"
    assert outcome.records[best].reason == f"trial {best} had no luck" and outcome.records[best].value is None
    assert asdict(driver.summary(context, outcome).trials) == {
        "finished": 2,
        "stopped": 0,
        "failed": 1,
        "missing": 0,
        "limit": "",
        "iterations": 24,
        "judges": 6,
        "reasons": [f"trial {best} had no luck"],
    }
    html = Path(outcome.tested.report).read_text()
    assert f"Trial {best} failed: trial {best} had no luck." in html and "that takes 3 finished trials" in html


@pytest.mark.parametrize("kind", [InfrastructureError, InputError])
def test_what_machines_and_storage_do_is_no_result_and_the_same_command_tries_again(
    finished, again, monkeypatch, kind
) -> None:
    search = again(without=("searches",))
    with monkeypatch.context() as patched:
        failing({1}, patched, kind)
        with pytest.raises(kind, match="trial 1 had no luck"):
            search.tune()
    assert set(work_of(search).records()) == {0}, "nothing was written of it"
    _, outcome = search.tune()
    assert outcome.records == finished[2].records


def test_parameters_that_do_not_fit_together_are_a_failed_trial(search: Make) -> None:
    work = work_of(search("search.space={distill.windows.max_start: {type: int, low: 50, high: 100}}"))
    begun = TrialRecord(0, {"distill.windows.max_start": 100}, "running")
    made = work.settle(work.advance(begun, lambda config: None))
    assert made.state == "failed" and "experts.epochs" in made.reason
    assert work.records() == {0: made}


def test_without_a_finished_trial_it_says_why(again, monkeypatch) -> None:
    failing({0, 1, 2}, monkeypatch)
    with pytest.raises(DivergedError, match="none of 3 trials finished; the first says: trial 0 had no luck"):
        again(without=("searches",)).tune()


# -- what is refused


@pytest.fixture
def refused(search: Make) -> Iterator[Callable[..., str]]:
    def tune(*overrides: str) -> str:
        made = search(*overrides)
        with pytest.raises(InputError) as caught:
            made.tune()
        assert not made.root.exists(), "nothing was begun"
        return str(caught.value)

    yield tune


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("distill.lr_image", "distill.lr_image is not a setting; did you mean distill.lr_images?"),
        ("evaluation.epochs", "evaluation.epochs cannot be searched"),
        ("search.epochs", "search.epochs cannot be searched"),
        ("data.validation", "data.validation cannot be searched"),
        ("distill.iterations", "distill.iterations cannot be searched"),
        ("distill.seed", "distill.seed cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_refused(refused: Callable[..., str], name: str, said: str) -> None:
    assert said in refused(f"search.space={{{name}: {{type: int, low: 1, high: 9}}}}")


def test_it_needs_a_space_and_a_validation_split(refused: Callable[..., str]) -> None:
    assert "there is nothing to search: give --space" in refused("search.space={}")
    assert "a search needs a validation split" in refused("data.validation=0.0", "distill.validation.seeds=0")


# -- what it never looks at


def permuted(name: str) -> Callable[..., Dataset]:
    """Loads a dataset whose labels of one split are each other's."""
    load = stored.load_dataset

    def loaded(*arguments: Any) -> Dataset:
        found = load(*arguments)
        labels, rows = found.labels.clone(), found.splits[name]
        labels[rows] = (labels[rows] + 1) % found.classes
        return replace(found, labels=labels)

    return loaded


def test_a_search_never_reads_the_test_split(finished, again, monkeypatch) -> None:
    search = again(without=("searches", "distilled"))
    monkeypatch.setattr(stored, "load_dataset", permuted("test"))
    work = work_of(search)
    assert ended(work.run_inline(search.context())) == finished[2].records


def test_the_objective_is_the_validation_split(finished, monkeypatch) -> None:
    search, _, outcome = finished
    work, best = work_of(search), outcome.best
    identity = outcome.tested.identities["distill"]
    begun, until = TrialRecord(best.number, best.parameters, "running"), work.config.distill.iterations
    assert judgement.judge(outcome.best_config, work.inputs, identity, begun, until) == best
    monkeypatch.setattr(stored, "load_dataset", permuted("validation"))
    assert judgement.judge(outcome.best_config, work.inputs, identity, begun, until) != best
