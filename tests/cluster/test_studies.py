"""A study on Ray: the same table as in one process, its experts made once for all cells."""

import pytest

from padray.studies import study as studies
from padray.studies.study import Asked
from tests.cluster.conftest import finished_units, make_context

pytestmark = pytest.mark.ray

STUDY = """
title: How much is matched
source: a paper
distillations: 1
settings: {evaluation.architectures: [], distill.iterations: 4, distill.validation.seeds: 0}
rows: {title: alpha, cases: {"0": {distill.selection.alpha: 0.0}, "0.5": {distill.selection.alpha: 0.5}}}
columns: {title: lr, cases: {low: {distill.lr_images: 1}}}
"""


def test_a_study_on_ray_has_the_table_of_one_process(local_ray, settings, tmp_path):
    path = tmp_path / "study_alpha.yaml"
    path.write_text(f"preset: {settings}\n{STUDY}")
    made = {}
    for runner in ("inline", "ray"):
        asked = Asked(str(path))
        context = make_context(settings, tmp_path / runner, runner, ("cluster.max_actors=1",))
        made[runner] = studies.run(context, asked, studies.prepare(asked))
    assert made["ray"].summary.cells == made["inline"].summary.cells
    assert [cell.n for cell in made["ray"].summary.cells] == [2, 2, 2]
    experts = finished_units(tmp_path / "ray", "experts")
    assert len(experts) == len(set(experts)) == 3
