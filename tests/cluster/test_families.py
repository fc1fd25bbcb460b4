"""Families without experts, and students of adaptive length, on Ray: the bytes of one process with any workers."""

import os
import shutil
import signal
import threading

import pytest

from padray.errors import InputError
from padray.stages import pipeline
from padray.stages.stored import load_history
from tests.cluster.conftest import make_context, ray_processes, wait_for
from tests.conftest import TINY
from tests.stages.test_coreset import CORESET
from tests.stages.test_families import DC, DM

pytestmark = pytest.mark.ray
MORE = pytest.mark.chaos  # as long again, each


@pytest.fixture(scope="module", params=[pytest.param(DM, marks=MORE, id="dm"), pytest.param(DC, id="dc")])
def family(request, tmp_path_factory):
    """Settings, a root with the stored data, and the digest of the set that one process makes."""
    folder = tmp_path_factory.mktemp("family")
    settings = folder / "family.yaml"
    settings.write_text(request.param)
    context = make_context(settings, folder / "runs", "inline", ())
    return settings, folder / "runs", pipeline.run(context, "distill").set_digest


@pytest.mark.parametrize("workers", [pytest.param("1", marks=MORE), "2", pytest.param("4", marks=MORE)])
def test_contributions_of_classes_are_shared_by_workers_and_give_the_same_set(local_ray, family, tmp_path, workers):
    settings, root, digest = family
    shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("distilled"))
    context = make_context(
        settings, tmp_path / "runs", "ray", (f"cluster.workers={workers}", "cluster.cpus_per_worker=0.25")
    )
    assert pipeline.run(context, "distill").set_digest == digest


def test_a_batch_norm_has_one_contribution_of_dm_and_so_work_for_one_worker(tmp_path):
    settings = tmp_path / "dm.yaml"
    settings.write_text(DM)
    overrides = ("network={name: convnet, width: 4, depth: 2, norm: batch}", "cluster.workers=2")
    with pytest.raises(InputError, match=r"cluster\.workers is 2, but the number of passes over all classes.* is 1:"):
        make_context(settings, tmp_path / "runs", "ray", overrides)


ATT = (
    "distill.student_length=nearest",
    "distill.student_lr=0.5",
    "distill.max_loss=1e9",
    "distill.ema_decay=0.9",
    "distill.trajectories=4",
    "experts.count=2",
)


@pytest.fixture(scope="module")
def att(tmp_path_factory):
    """The same of the tiny chain with students of adaptive length."""
    folder = tmp_path_factory.mktemp("att")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    context = make_context(settings, folder / "runs", "inline", ATT)
    outcome = pipeline.run(context, "distill")
    history = load_history(context.folder(outcome.identities["distill"]), 12)
    steps = {count for row in history for count in row["student_steps"]}
    assert len(steps) > 1 and max(steps) <= 3, "students of several lengths"
    return settings, folder / "runs", outcome.set_digest


@MORE
@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_students_of_adaptive_length_are_shared_by_workers_too(local_ray, att, tmp_path, workers):
    settings, root, digest = att
    shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("distilled"))
    own = (*ATT, f"cluster.workers={workers}", "cluster.cpus_per_worker=0.25")
    assert pipeline.run(make_context(settings, tmp_path / "runs", "ray", own), "distill").set_digest == digest


# -- a family whose set comes from units


@pytest.fixture(scope="module")
def coreset(tmp_path_factory):
    """The same for a coreset whose units look at a network that each worker trains for itself."""
    folder = tmp_path_factory.mktemp("coreset")
    settings = folder / "coreset.yaml"
    settings.write_text(CORESET)
    context = make_context(settings, folder / "runs", "inline", ())
    return settings, folder / "runs", pipeline.run(context, "distill").set_digest


@pytest.mark.parametrize("workers", [pytest.param("1", marks=MORE), "2"])
def test_classes_are_spread_over_actors_and_give_the_same_set(local_ray, coreset, tmp_path, workers):
    settings, root, digest = coreset
    shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("distilled"))
    context = make_context(settings, tmp_path / "runs", "ray", (f"cluster.max_actors={workers}",))
    assert pipeline.run(context, "distill").set_digest == digest


@MORE
def test_an_actor_that_is_killed_changes_no_byte(local_ray, coreset, tmp_path):
    settings, root, digest = coreset
    shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("distilled", "events"))
    whole = {path.name for path in root.glob("distilled/*/unit-*.safetensors")}
    before, killed = set(ray_processes("ray::Worker")), []

    def kill():
        killed.append(wait_for("an actor", lambda: sorted(set(ray_processes("ray::Worker")) - before), 120)[0])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    context = make_context(settings, tmp_path / "runs", "ray", ("cluster.max_actors=1",))
    assert pipeline.run(context, "distill").set_digest == digest
    thread.join()
    assert len(killed) == 1 and {p.name for p in (tmp_path / "runs").glob("distilled/*/unit-*.safetensors")} == whole
