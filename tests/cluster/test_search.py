"""A search on two CPUs: nothing that waits holds a slot, experts are made once, failed trials are counted."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from padray.configuration import loading
from padray.errors import DivergedError
from padray.search import driver, finals, sampling
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import data
from padray.stages.base import Context, Inputs, Unit
from padray.store.artifacts import Folder
from tests.cluster.conftest import finished_units, make_context
from tests.scan import files_with
from tests.search.conftest import settings_text

FINALS = ("search.finalists=1", "search.final_seeds=3")
FEW = (
    "search.trials=6",
    "search.epochs=10",
    "search.concurrency=2",
    "evaluation.seeds=1",
    "distill.iterations=14",
    *FINALS,
)
SPACE = """
search:
  space:
    schedule.initial_ratio: {type: choice, choices: [0.5, 1.0]}
    distill.windows.max_start: {type: choice, choices: [3, 4, 40]}
    distill.lr_images: {type: choice, choices: [1.0, 2.0, 1.0e+38]}
    distill.selection.alpha: {type: float, low: 0.0, high: 0.5}
"""


@pytest.fixture(scope="module")
def space(settings, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(settings.read_text() + SPACE)
    return path


def prepared(space: Path, root: Path, runner: str, *overrides: str) -> tuple[Context, SearchWork]:
    """A search up to where its trials begin."""
    from padray import fingerprint

    context = make_context(space, root, runner, (*FEW, *overrides))
    found = data.make(context)
    identity = fingerprint.search_identity(context.config, found)
    return context, SearchWork(context.name, context.config, Inputs(context.location, found), identity)


def ended(records: Iterator[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.ended]


def stored(folder: Folder) -> dict[str, bytes]:
    return {item.key: folder.get(item) for item in folder.loose("trial-")}


def of_class(name: str) -> int:
    """How many actors of a class this Ray has had."""
    from ray.util.state import list_actors

    return sum(actor.class_name.rpartition(".")[2] == name for actor in list_actors(limit=1000, timeout=30))


@pytest.mark.ray
def test_two_waiting_trials_on_two_cpus_share_experts_and_survive_failures(local_ray, space, tmp_path, monkeypatch):
    import ray

    secret, root = secrets.token_hex(16), tmp_path / "runs"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    start = "search.start=[{distill.lr_images: 2.0}]"
    context, work = prepared(space, root, "ray", "search.seed=4", start)  # draws each kind of trial at least once
    waited = of_class("ImplicitFunc")
    records = ended(context.runner.search(work, context))
    assert sorted(record.number for record in records) == list(range(6))
    assert driver.counts(records) == {"finished": 3, "stopped": 0, "failed": 3}
    first, second = (record.parameters for record in sorted(records, key=lambda record: record.number)[:2])
    assert first == {"distill.windows.max_start": 4, "distill.lr_images": 1.0, "distill.selection.alpha": 0.25}
    assert second == {"distill.lr_images": 2.0}, "the configuration itself, then what the search starts from"
    _, alone = prepared(space, tmp_path / "alone", "inline", "search.seed=4", start)
    drawn = {r.number: r.parameters for r in records}
    assert all(sampling.parameters_of(alone.config, n, records[:n]) == drawn[n] for n in range(6)), "as in one process"
    reasons = " ".join(record.reason for record in records)
    assert "distill.windows.max_start=40" in reasons and "lower distill.lr_images" in reasons, reasons
    shown = [{"schedule.initial_ratio": 0.75, "distill.windows.max_start": 4} | r.parameters for r in records]
    ratios = {values["schedule.initial_ratio"] for values in shown if values["distill.windows.max_start"] < 40}
    assert ratios == {0.5, 0.75, 1.0}
    units = finished_units(root, "experts")
    assert len(units) == len(set(units)) == 3 * len(ratios), "each set of experts was made once"
    assert list(context.runner.search(work, context)) == [], "there is nothing left to do"
    assert of_class("ImplicitFunc") - waited == 2, "a process waits for one trial after another"
    judged, objects = finals.make(context, work, sorted(records, key=lambda record: record.number))
    here = finals.FinalWork(work, {record.number: record for record in records}).prepare()
    again = [here(Unit("finals", item.stem, "")) for item in objects]
    assert [len(side) for side in judged.values()] == [3, 3], "the defaults and the best of the others"
    assert [item.key for item in again] == [item.key for item in objects], "on actors as in one process"
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    assert files_with("PL_DISABLE_FORK", session), "the scan sees what Tune gives its trials"
    assert files_with(secret, session) == files_with(secret, root) == []


@pytest.mark.ray
def test_trials_at_work_are_told_with_how_far_they_are(local_ray, space, tmp_path, monkeypatch):
    from padray.cluster import unit_progress

    quick = unit_progress.UnitProgress(unit_progress.Reporting("trials", long_s=0.1, every_s=0.1))
    monkeypatch.setattr(unit_progress, "UnitProgress", lambda: quick)
    context, work = prepared(space, tmp_path, "ray", "search.trials=1", "distill.iterations=100")
    told, records = set[str](), []
    thread = threading.Thread(target=lambda: records.extend(ended(context.runner.search(work, context))), daemon=True)
    thread.start()
    while thread.is_alive():
        told |= {f"{each.unit}: {each.steps[0].what}" for each in context.runner.workers().running if each.steps}
        time.sleep(0.05)
    assert "trial 0: iteration" in told and [record.state for record in records] == ["finished"]
    assert context.runner.workers().running == ()


@pytest.mark.chaos
def test_on_ray_trials_are_stopped_resumed_by_other_workers_and_equal_the_straight_ones(local_ray, tmp_path):
    from tests.cluster.conftest import ray_processes
    from tests.cluster.test_kills import kill_when

    def judged() -> bool:
        return bool(list(root.rglob("trial-*")) and ray_processes("ray::TrialWorker"))

    root, path = tmp_path / "runs", tmp_path / "tiny.yaml"
    path.write_text(settings_text())  # trials that differ in what they are worth
    few = ("search.trials=4", "search.epochs=60", "distill.iterations=12")
    asha = ("search.stopping=asha", "search.rungs=2", "search.reduction=2")  # of 12 iterations: 3, 6
    context, work = prepared(path, root, "ray", *few, *asha)
    thread, killed = kill_when(judged, "ray::TrialWorker")
    told = list(context.runner.search(work, context))
    thread.join()
    made = work.records()
    assert killed and sorted(made) == list(range(4)) and made[0].state == "finished"
    assert {record.state for record in made.values()} == {"stopped", "finished"}, made
    assert {record.number for record in told if not record.ended} == set(range(4)), "what runs is told too"
    _, alone = prepared(path, tmp_path / "alone", "inline", *few)
    for record in made.values():
        if record.state == "finished":
            begun = TrialRecord(record.number, record.parameters, "running")
            assert alone.advance(begun, lambda config: None) == replace(record, rungs=())
    assert list(context.runner.search(work, context)) == [], "there is nothing left to do"


@pytest.mark.chaos  # most of a minute
def test_trials_with_several_train_workers_distil_on_ray_train(local_ray, space, tmp_path):
    only = ("search.trials=1", "search.concurrency=1", "search.seed=3")
    found = {}
    for runner, workers in (("ray", 2), ("inline", 1)):
        root = tmp_path / runner
        context, work = prepared(space, root, runner, *only, f"cluster.workers={workers}")
        found[runner] = [record.to_json() for record in ended(context.runner.search(work, context))]
    assert b'"finished"' in found["ray"][0], found
    assert found["ray"] == found["inline"]


def test_an_interrupted_search_equals_an_undisturbed_one(space, tmp_path):
    context, work = prepared(space, tmp_path / "straight", "inline")
    list(context.runner.search(work, context))
    context, again = prepared(space, tmp_path / "stopped", "inline")
    for record in context.runner.search(again, context):
        if record.ended and record.number in (1, 2):
            break
    for record in context.runner.search(again, context):
        if record.ended and record.number == 3:  # as if it had been lost in the middle: begun, but not finished
            next(path for path in (tmp_path / "stopped").rglob("trial-0003-*")).unlink()
            break
    list(context.runner.search(again, context))
    assert stored(again.folder()) == stored(work.folder())
    assert again.all() == work.all()


def test_a_failed_search_says_why(space, tmp_path):
    context = make_context(space, tmp_path / "runs", "inline", (*FEW, "search.trials=2", "experts.lr=1e30"))
    with pytest.raises(DivergedError, match=r"none of 2 trials finished; the first says: .*"):
        driver.tune(context)


def test_the_best_settings_are_a_config(space, tmp_path):
    root = tmp_path / "runs"  # the same on Ray: test_kills.py
    context = make_context(space, root, "inline", (*FEW, "search.trials=3", "search.seed=3"))
    outcome = driver.tune(context, until="distill")
    best = next(path for path in root.rglob("best.yaml"))
    config = loading.load(str(best)).config
    assert not config.search.space
    assert work_settings(config) == work_settings(outcome.best_config)
    for name, value in outcome.best.parameters.items():
        assert dict(loading.effective(config))[name] == value
    manifest = json.loads((best.parent / "manifest.json").read_text())
    assert manifest["facts"]["finished"] + manifest["facts"]["failed"] == 3


def work_settings(config) -> dict:
    return config.model_dump(exclude={"search", "storage"})
