"""Killed with SIGKILL: an actor or a Train worker costs its unit, the driver nothing that was finished."""

import json
import os
import shutil
import signal
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from padray.configuration import loading
from tests.cluster.conftest import command, events, finished_units, objects, ray_processes, wait_for

pytestmark = pytest.mark.ray
LONGER = ("experts.count=6", "experts.epochs=20", "distill.iterations=60", "distill.checkpoint_seconds=0")


@pytest.fixture(scope="module")
def undisturbed(chain, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed") / "runs"
    return root, chain(root, "inline", *LONGER, until="distill")[1]


@pytest.fixture
def losses(monkeypatch) -> list[str]:
    """The units that were lost, as the driver sees it."""
    from padray.cluster.lost import Losses

    lost, add = [], Losses.add

    def noting(self, unit, reason, node=""):
        lost.append(unit)
        add(self, unit, reason, node)

    monkeypatch.setattr(Losses, "add", noting)
    return lost


def kill_when(seen, title: str, newcomer: bool = False) -> tuple[threading.Thread, list[int]]:
    """Kill one process of that title as soon as `seen` says so; the thread, and whom it killed (and who came).

    An actor bears the name of a method, `ray::Worker.make`, for as long as it runs it.
    """
    killed: list[int] = []

    def work():
        before = wait_for("whom to kill", lambda: seen() and ray_processes(title), 120)
        os.kill(before[-1], signal.SIGKILL)
        killed.append(before[-1])
        if newcomer:
            killed.append(wait_for("a newcomer", lambda: sorted(set(ray_processes(title)) - set(before)))[0])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, killed


def test_an_expert_s_actor_killed_costs_its_unit_alone(local_ray, chain, undisturbed, losses, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(undisturbed[0], root, ignore=shutil.ignore_patterns("experts", "distilled", "events"))
    stamps: dict[Path, int] = {}

    def one_is_there():
        stamps.update({path: path.stat().st_mtime_ns for path in root.rglob("expert-*.safetensors")})
        return stamps

    thread, killed = kill_when(one_is_there, "ray::Worker.make")
    context, _ = chain(root, "ray", *LONGER, until="experts")
    thread.join()
    assert len(killed) == 1 and len(losses) == 1, (killed, losses)
    assert "experts" not in context.reused
    units = finished_units(root, "experts")
    assert len(units) == len(set(units)) == 6
    assert [event["unit"] in " ".join(units) for event in events(root, "experts", "lost")] == [True]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert objects(root, "experts") == objects(undisturbed[0], "experts")


def test_a_train_worker_killed_goes_on_from_the_last_checkpoint(local_ray, settings, undisturbed, tmp_path):
    from padray.stages import pipeline
    from tests.cluster.conftest import make_context

    root = tmp_path / "runs"
    shutil.copytree(undisturbed[0], root, ignore=shutil.ignore_patterns("distilled", "events"))
    told = []
    overrides = (*LONGER, "cluster.workers=2", "cluster.cpus_per_worker=0.4")
    context = make_context(settings, root, "ray", overrides)
    context.notify = lambda progress: told.append(progress.done) if progress.stage == "distill" else None

    def far() -> bool:
        return any(int(path.name.split("-")[1]) >= 20 for path in root.rglob("checkpoint-*"))

    thread, killed = kill_when(far, "RayTrainWorker", newcomer=True)
    outcome = pipeline.run(context, "distill")
    thread.join()
    assert len(killed) == 2, "a new group of workers was started"
    again = [later for earlier, later in pairwise(told) if later <= earlier]
    assert len(again) <= 1 and all(later > 20 for later in again), "told again is what came after a checkpoint"
    assert outcome.set_digest == undisturbed[1].set_digest


SPACE = """
distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}
distill.selection.alpha: {type: float, low: 0.0, high: 0.5}
"""


@pytest.mark.chaos
def test_a_buffer_of_metrics_that_is_killed_comes_back_and_the_set_is_the_same(
    local_ray, settings, undisturbed, tmp_path
):
    from padray.stages import pipeline
    from tests.cluster.conftest import make_context

    root, told = tmp_path / "runs", []
    shutil.copytree(undisturbed[0], root, ignore=shutil.ignore_patterns("distilled", "events"))
    context = make_context(settings, root, "ray", LONGER)
    context.notify = lambda progress: told.append(progress.done) if progress.stage == "distill" else None
    thread, killed = kill_when(lambda: len(told) > 5, "ray::MetricsBuffer", newcomer=True)
    outcome = pipeline.run(context, "distill")
    thread.join()
    assert len(killed) == 2, "another buffer came in its place"
    assert outcome.set_digest == undisturbed[1].set_digest


@pytest.mark.chaos  # two minutes
def test_the_driver_killed_three_times_in_a_search_loses_no_trial(local_ray, settings, tmp_path):
    root, space = tmp_path / "runs", tmp_path / "space.yaml"
    space.write_text(SPACE)
    arguments = ["tune", settings, "--space", space, "--storage", root, "--json"]
    for item in ("search.trials=8", "search.epochs=30", "search.concurrency=2", "evaluation.seeds=1"):
        arguments += ["--set", item]

    def trials() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(root.rglob("trial-*.json"))}

    stamps: dict[Path, int] = {}
    for least in (1, 3, 5):
        driver = command(*arguments, environment=local_ray)
        try:
            wait_for("trials", lambda least=least: len(trials()) >= least, 120)
            assert driver.poll() is None, driver.communicate()[1]
        finally:
            driver.kill()
        driver.communicate()
        stamps |= trials()
    begun = parameters(root, "begun")
    assert len(stamps) < 8
    driver = command(*arguments, environment=local_ray)
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    result = json.loads(out)
    assert result["trials"]["finished"] == 8
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    tried = parameters(root, "trial")
    assert sorted(tried) == list(range(8)) and all(len(found) == 1 for found in tried.values())
    assert all(tried[number] == found for number, found in begun.items()), "a lost trial keeps its parameters"
    assert parameters(root, "begun") == tried
    units = finished_units(root, "experts")
    assert len(units) == len(set(units)) <= 3
    best = loading.load(str(next(root.rglob("best.yaml")))).config
    assert not best.search.space
    assert {name: dict(loading.effective(best))[name] for name in result["best"]["settings"]} == result["best"][
        "settings"
    ]


def parameters(root: Path, prefix: str) -> dict[int, list[dict]]:
    """What each trial was given, by number, once for each object that tells it."""
    found: dict[int, list[dict]] = {}
    for path in root.rglob(f"{prefix}-*.json"):
        content = json.loads(path.read_text())
        found.setdefault(content["number"], []).append(content["parameters"])
    return found
