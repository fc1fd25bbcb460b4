"""Families without experts on Ray: any number of workers, the same bytes as in one process."""

import shutil

import pytest

from padray.errors import InputError
from padray.stages import pipeline
from tests.cluster.conftest import make_context
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
