"""Coresets as a chain: which samples, the same bytes after a kill, a report, a plan, a keep-list for others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from padray.commandline import commands
from padray.configuration import loading
from padray.errors import DivergedError
from padray.methods.coreset.choosing import CoresetSelection
from padray.planning import plan
from padray.stages import facts, pipeline, stored
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location

CORESET = """
data: {dataset: digits, limit_per_class: 25, validation: 0.2}
network: {name: convnet, width: 4, depth: 2}
distill:
  family: coreset
  method: glister
  ipc: 3
  scoring: {network: {name: convnet, width: 4, depth: 2}, epochs: 2, batch: 64, lr: 0.02}
evaluation: {architectures: [{name: mlp, width: 8}], seeds: 2, epochs: 6, augment: crop,
             controls: {lrs: [0.01, 0.1], tuning_seeds: 1}}
"""


def context(settings: Path, root: Path, *overrides: str) -> Context:
    loaded = loading.load(str(settings), overrides)
    return Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, Context, pipeline.Outcome]:
    folder = tmp_path_factory.mktemp("coreset")
    settings = folder / "coreset.yaml"
    settings.write_text(CORESET)
    own = context(settings, folder / "runs")
    return settings, folder / "runs", own, pipeline.run(own)


def selected(own: Context, outcome: pipeline.Outcome) -> dict[str, list]:
    folder = own.folder(outcome.identities["distill"])
    return stored.read_table(folder.get(folder.require().object("selected")))


def test_the_set_is_real_samples_which_are_named_by_their_ids(finished):
    _, _, own, outcome = finished
    made = stored.load_set(own.folder(outcome.identities["distill"]), 1)
    dataset = stored.load_dataset(own.folder(outcome.identities["data"]))
    ids = torch.tensor(made.facts["selected"])
    assert torch.equal(made.learned.images, dataset.samples(ids)[0])
    assert torch.equal(made.learned.labels, dataset.labels[ids]) and len(set(ids.tolist())) == 30
    assert set(ids.tolist()) <= set(dataset.splits["train"].tolist()), "none of the validation samples"
    assert selected(own, outcome) == {"sample": ids.tolist(), "label": dataset.labels[ids].tolist()}
    assert {row.source for row in outcome.rows} == {"distilled", "random"}


def test_weights_are_told_where_a_method_has_some(finished):
    settings, root, _, _ = finished
    own = context(settings, root, "distill.method=craig")
    columns = selected(own, pipeline.run(own, "distill"))
    assert len(columns["weight"]) == 30 and sum(columns["weight"]) == 200


def test_its_report_names_the_samples_and_speaks_of_nothing_distilled(finished):
    page = Path(finished[3].report.removeprefix("file://")).read_text()
    ids = selected(finished[2], finished[3])["sample"]
    assert ", ".join(map(str, ids)) in page and "30 chosen real images" in page and "The chosen real images" in page
    assert "by Glister: their gradients lower the loss of the class’s validation samples" in page
    assert "convnet2w4, trained on the same samples for 2 epochs" in page
    for word in ("synthetic image", "iterations", "The distilled images", "last iterate"):
        assert word not in page.split("Settings")[0], word


@pytest.mark.parametrize("method", ["glister", "forgetting", "k_center"])
def test_a_class_is_made_once_and_a_kill_changes_no_byte(finished, tmp_path, monkeypatch, method):
    settings, root, _, _ = finished
    whole = pipeline.run(context(settings, root, f"distill.method={method}"), "distill")
    make, classes = CoresetSelection.make, []

    def struck(self, number):
        classes.append(number)
        if len(classes) == 5:
            raise KeyboardInterrupt
        return make(self, number)

    monkeypatch.setattr(CoresetSelection, "make", struck)
    asked = (f"distill.method={method}",)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(context(settings, tmp_path, *asked), "distill")
    again = pipeline.run(context(settings, tmp_path, *asked), "distill")
    assert classes == [0, 1, 2, 3, 4, *range(4, 10)] and again.set_digest == whole.set_digest


def test_a_coreset_is_a_keep_list_for_another_run(finished):
    settings, root, own, outcome = finished
    place = outcome.identities["distill"].folder
    (path,) = (root / place).glob("selected-*.parquet")
    other = context(settings, root, "distill.method=random", "distill.ipc=2", f"schedule.keep_list={path}")
    ids = selected(other, pipeline.run(other, "distill"))["sample"]
    assert set(ids) < set(selected(own, outcome)["sample"]) and len(ids) == 20


def test_an_export_says_which_samples(finished, tmp_path):
    _, root, own, outcome = finished
    name = outcome.identities["distill"].folder.split("/")[1]
    commands.export(name, "pt", str(tmp_path / "pt"), str(root))
    content = json.loads((tmp_path / "pt" / "metadata.json").read_text())
    assert content["selected"] == selected(own, outcome)["sample"]


def test_a_plan_counts_the_training_of_what_looks(finished, tmp_path):
    settings = finished[0]

    def line(*overrides: str, calibrated: bool = False):
        asked = plan.Asked(calibrated=calibrated)
        lines = plan.plan(context(settings, tmp_path, *overrides), asked).stages
        return next(one for one in lines if one.stage == "distill")

    once, twice, never = line(), line("distill.scoring.epochs=4"), line("distill.method=random")
    assert (once.samples_trained, twice.samples_trained, never.samples_trained) == (400, 800, 0)
    assert line("distill.method=craig").memory > once.memory > never.memory
    assert line("distill.method=gradmatch", calibrated=True).seconds > 0


def test_scoring_that_diverges_names_its_setting(finished, tmp_path):
    with pytest.raises(DivergedError, match=r"lower distill\.scoring\.lr"):
        pipeline.run(context(finished[0], tmp_path, "distill.scoring.lr=1e30"), "distill")


@pytest.mark.parametrize("selected", ["abc", [1.5] * 30, [-1] * 30, [1, 2], None])
def test_a_set_that_lies_about_its_samples_is_refused_in_a_sentence(finished, selected):
    _, _, own, outcome = finished
    made = stored.load_set(own.folder(outcome.identities["distill"]), 1)
    with pytest.raises(ValueError, match="selected"):
        facts.check_set(replace(made, facts={**made.facts, "selected": selected}))
