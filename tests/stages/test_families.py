"""What a family is outside its own folder: settings, a chain, a report, a plan; and a second and a third one."""

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch

from padray.commandline import commands
from padray.configuration import loading
from padray.errors import InputError, Interrupted
from padray.methods import families, steps
from padray.methods.distribution.matching import DistributionMatching
from padray.methods.families import Family
from padray.methods.gradient.matching import GradientMatching
from padray.methods.method import Costs, Iterative, Selective
from padray.methods.settings import Contributions, DistillSettings, ValidationSettings
from padray.methods.state import start
from padray.planning import plan
from padray.planning.wording import page as plan_page
from padray.settings.sections import Positive
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.artifacts import Folder
from padray.store.opening import open_location
from padray.synthetic.set import USUAL_LR, Learned
from padray.synthetic.start import class_labels

DM = """
data: {dataset: digits, limit_per_class: 25}
network: {name: convnet, width: 4, depth: 2}
scores: {networks: 2, network: {name: convnet, width: 4, depth: 2}, epochs: 1, lr: 0.05, batch: 64, augment: crop}
distill:
  family: distribution
  ipc: 2
  iterations: 12
  real_batch: 16
  augment: crop
  checkpoint_seconds: 0
  validation: {every: 5, seeds: 1, epochs: 5}
evaluation: {architectures: [{name: mlp, width: 8}], seeds: 2, epochs: 6, augment: crop,
             controls: {lrs: [0.01, 0.1], tuning_seeds: 1}}
"""

DC = DM.replace("family: distribution", "family: gradient\n  outer_steps: 3\n  inner: {epochs: 2, batch: 8}")


def run(settings: Path, root: Path, *overrides: str, until: str = "report") -> pipeline.Outcome:
    loaded = loading.load(str(settings), overrides)
    return pipeline.run(Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner()), until)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, pipeline.Outcome]:
    folder = tmp_path_factory.mktemp("dm")
    settings = folder / "dm.yaml"
    settings.write_text(DM)
    return settings, folder / "runs", run(settings, folder / "runs")


def test_a_family_without_experts_trains_none_and_its_set_has_hard_labels_and_no_lr(finished):
    _, root, outcome = finished
    assert set(outcome.identities) == {"data", "distill"} and not (root / "experts").exists()
    folder = Context("", loading.load(str(finished[0])).config, open_location(str(root)), InlineRunner()).folder(
        outcome.identities["distill"]
    )
    made = stored.load_set(folder, 12)
    assert made.learned.lr is None and made.learned.labels.tolist() == [k // 2 for k in range(20)]
    assert made.facts["settings"]["family"] == "distribution" and "experts" not in made.facts
    assert {row.lr for row in outcome.rows if row.source == "distilled"} == {USUAL_LR}


def test_its_report_shows_its_classes_and_speaks_of_no_experts(finished):
    page = Path(finished[2].report.removeprefix("file://")).read_text()
    assert "Loss per class" in page and "Every iteration draws a fresh network" in page
    assert "the protocol’s 0.01 is taken" in page and "\nLR = 0.01\n" in page
    for word in ("Loss per layer", "trajectories", "student", "experts it was matched with"):
        assert word not in page.split("Settings")[0], word


def test_a_set_without_an_lr_takes_the_protocols(finished, tmp_path):
    settings, root, _ = finished
    shutil.copytree(root, tmp_path / "runs")
    rows = run(settings, tmp_path / "runs", "evaluation.protocol=deepcore", until="evaluate").rows
    assert {row.lr for row in rows if row.source == "distilled"} == {0.1}
    rows = run(settings, tmp_path / "runs", "evaluation.protocol=deepcore", "evaluation.lr=0.02", until="evaluate").rows
    assert {row.lr for row in rows if row.source == "distilled"} == {0.02}


def test_a_set_s_lr_is_chosen_as_its_controls_is_where_asked_for(finished, tmp_path):
    settings, root, outcome = finished
    again = Path(shutil.copytree(root, tmp_path / "runs"))
    asked = "evaluation.lr=chosen"
    chosen = run(settings, again, asked, until="evaluate")
    assert {row.source: row.lr_chosen_on for row in chosen.rows} == {"distilled": "validation", "random": "validation"}
    cells = [json.loads(path.read_text()) for path in again.glob("evaluations/distilled-*/cell-mlp2w8-*-lr*.json")]
    tried = {cell["lr"]: cell["validation"] for cell in cells if cell["seed"] == 0}
    assert set(tried) == {0.01, 0.1} and len(cells) == 3
    (row,) = [row for row in chosen.rows if row.source == "distilled" and row.architecture == "mlp2w8"]
    assert row.lr == max(tried, key=lambda lr: tried[lr])
    plain = [row for row in outcome.rows if row.source == "random"]
    assert [row for row in chosen.rows if row.source == "random"] == plain, "its controls are those of before"
    assert chosen.set_digest == outcome.set_digest


def test_an_interrupted_distillation_goes_on_to_the_same_bytes(finished, tmp_path, monkeypatch):
    settings, _, outcome = finished
    step, calls = DistributionMatching.step, iter(range(1, 100))

    def struck(*arguments):
        if next(calls) == 8:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(DistributionMatching, "step", struck)
        run(settings, tmp_path, until="distill")
    assert run(settings, tmp_path, until="distill").set_digest == outcome.set_digest


def test_a_fixed_share_left_out_by_score_makes_another_set_from_the_same_scores(finished, tmp_path):
    settings, root, outcome = finished
    shutil.copytree(root / "datasets", tmp_path / "datasets")
    hard, easy = (
        run(settings, tmp_path, f"schedule.prune_{side}=0.4", until="distill") for side in ("hardest", "easiest")
    )
    assert hard.identities["scores"] == easy.identities["scores"]
    assert len({hard.set_digest, easy.set_digest, outcome.set_digest}) == 3
    location = open_location(str(tmp_path))
    images = [
        stored.load_set(Folder(location, place.folder, place.fingerprint), 12).learned.images
        for place in (hard.identities["distill"], easy.identities["distill"])
    ]
    assert not torch.equal(*images), "they saw other samples"
    inputs = json.loads((tmp_path / hard.identities["distill"].folder / "manifest.json").read_text())["inputs"]
    assert inputs["scores"] == hard.identities["scores"].fingerprint and inputs["scoring_networks"] == 2


def test_a_plan_asks_how_long_its_iterations_take(finished, tmp_path):
    context = Context("dm", loading.load(str(finished[0])).config, open_location(str(tmp_path)), InlineRunner())
    shown = plan_page(plan.plan(context, plan.Asked()))
    seconds = {row[0]: row[5] for row in shown.rows}
    assert seconds["distill"] == "?" and seconds["data"] == ""


def test_what_needs_experts_is_refused_where_there_are_none(finished, tmp_path):
    with pytest.raises(InputError, match=r"random_soft asks experts, and distill\.family: distribution trains none"):
        run(finished[0], tmp_path, "evaluation.controls.random_soft=true")


def test_an_lr_for_the_set_s_networks_takes_the_place_of_the_usual_one(finished, tmp_path):
    settings, root, outcome = finished
    again = shutil.copytree(root, tmp_path / "runs")
    rows = run(settings, Path(again), "evaluation.lr=0.1", until="evaluate").rows
    own = [row for row in rows if row.source == "distilled"]
    assert {row.lr for row in own} == {0.1} and own != [r for r in outcome.rows if r.source == "distilled"]


def test_a_set_without_an_lr_is_exported_with_the_usual_one_and_says_so(finished, tmp_path):
    _, root, outcome = finished
    name = outcome.identities["distill"].folder.split("/")[1]
    commands.export(name, "pt", str(tmp_path / "pt"), str(root))
    assert float(torch.load(tmp_path / "pt" / "lr_best.pt", weights_only=True)) == pytest.approx(USUAL_LR)
    commands.export(name, "hf", str(tmp_path / "hf"), str(root))
    assert "0.01, as is usual, for none was learned" in (tmp_path / "hf" / "README.md").read_text()


# -- gradient matching


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, pipeline.Outcome]:
    folder = tmp_path_factory.mktemp("dc")
    settings = folder / "dc.yaml"
    settings.write_text(DC)
    return settings, folder / "runs", run(settings, folder / "runs")


def test_gradient_matching_is_distilled_judged_and_reported(matched):
    _, root, outcome = matched
    assert set(outcome.identities) == {"data", "distill"} and not (root / "experts").exists()
    page = Path(outcome.report.removeprefix("file://")).read_text()
    assert "Loss per class" in page and "each network serves 3 iterations in a row" in page
    assert "Between two of them it is trained for 2 epochs on the synthetic set" in page
    assert {row.lr for row in outcome.rows if row.source == "distilled"} == {USUAL_LR}


@pytest.mark.parametrize("call", [7, 8, 9, 10])
def test_gradient_matching_goes_on_within_a_network_and_between_two_to_the_same_bytes(
    matched, tmp_path, monkeypatch, call
):
    settings, root, outcome = matched
    shutil.copytree(root / "datasets", tmp_path / "datasets")
    step, calls = GradientMatching.step, iter(range(1, 100))

    def struck(*arguments):
        if next(calls) == call:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(GradientMatching, "step", struck)
        run(settings, tmp_path, until="distill")
    assert run(settings, tmp_path, until="distill").set_digest == outcome.set_digest


def test_more_iterations_go_on_from_fewer_to_the_bytes_of_all_at_once(matched, tmp_path):
    settings, root, outcome = matched
    shutil.copytree(root / "datasets", tmp_path / "datasets")
    run(settings, tmp_path, "distill.iterations=8", until="distill")
    assert run(settings, tmp_path, until="distill").set_digest == outcome.set_digest


def test_a_plan_of_gradient_matching_measures_the_training_between_its_steps(matched, tmp_path):
    def seconds(epochs: int) -> tuple[float, list[str]]:
        overrides = (f"distill.inner.epochs={epochs}", "distill.validation.seeds=0")
        context = Context(
            "dc", loading.load(str(matched[0]), overrides).config, open_location(str(tmp_path)), InlineRunner()
        )
        planned = plan.plan(context, plan.Asked(calibrated=True))
        (line,) = [line for line in planned.stages if line.stage == "distill"]
        return line.seconds, planned.notes

    few, many = seconds(2), seconds(2000)
    assert many[0] > 20 * few[0]
    assert not any("calculated from 2" in note for note in few[1])
    assert any("2000 epochs of training between two iterations are calculated from 2" in note for note in many[1])


# -- a family of ten lines


class ToySettings(DistillSettings):
    """The mean of each class, approached in steps."""

    family: Literal["toy"]
    pull: Positive = 0.5

    def contributions(self, network, classes):
        return Contributions(classes, "the number of classes")


class Toy(Iterative[ToySettings]):
    contribution = "mean"

    def start(self):
        labels = class_labels(self.materials.classes, self.settings.ipc)
        return start(Learned(torch.zeros(len(labels), *self.materials.shape, dtype=self.materials.dtype), labels))

    def contribute(self, state, number, snapshots):
        mean = self.materials.images[self.materials.labels == number].mean(dim=0)
        own = state.learned.images[number * self.settings.ipc : (number + 1) * self.settings.ipc]
        return {"loss": ((own - mean) ** 2).sum(), "grad_images": self.settings.pull * (own - mean)}

    def step(self, state, contributions):
        moved = steps.descend_images(self.settings, state, torch.cat([one["grad_images"] for one in contributions]))
        loss = float(sum(one["loss"] for one in contributions))
        told = {"iteration": state.iteration, "loss": loss, "skipped": 0, "not_finite": 0}
        return steps.next_of(moved, True), told

    @classmethod
    def notes(cls, settings, learned, noun):
        return [f"The {noun}s are the means of their classes, pulled by {settings.pull:g}."]

    @classmethod
    def costs(cls, settings, sizes):
        return Costs(looks=0, passes=0, steps=0, peak=lambda: 10**9, own_numbers=0, contribution_numbers=1)


def test_a_family_of_its_own_is_one_module_and_one_entry(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "toy", Family(ToySettings, lambda: Toy))
    toy = tmp_path / "toy.yaml"
    toy.write_text(
        DM.replace("family: distribution", "family: toy")
        .replace("  real_batch: 16\n", "")
        .replace("iterations: 12", "iterations: 30\n  lr_images: 0.5\n  momentum_images: 0")
        .replace("every: 5, seeds: 1, epochs: 5", "seeds: 0")
    )
    outcome = run(toy, tmp_path / "runs")
    config = loading.load(str(toy)).config
    context = Context("toy", config, open_location(str(tmp_path / "runs")), InlineRunner())
    made = stored.load_set(context.folder(outcome.identities["distill"]), 30)
    dataset = stored.load_dataset(context.folder(outcome.identities["data"]))
    images, labels = dataset.split("train", torch.float32, torch.device("cpu"))
    means = torch.stack([images[labels == label].mean(dim=0) for label in range(10)])
    assert torch.allclose(made.learned.images[::2], means, atol=1e-2), "it is distilled, judged, evaluated"
    assert ("distill.pull", 0.5) in loading.effective(config), "it has its own settings"
    page = Path(outcome.report.removeprefix("file://")).read_text()
    assert "The images are the means of their classes, pulled by 0.5." in page and "distill.<wbr>pull" in page
    fresh = Context("toy", config, open_location(str(tmp_path / "elsewhere")), InlineRunner())
    lines = plan.plan(fresh, plan.Asked()).stages
    (line,) = [line for line in lines if line.stage == "distill"]
    assert line.memory > 10**9 and not any(line.stage == "experts" for line in lines)
    with pytest.raises(InputError, match="pulls is not a setting; did you mean pull"):
        loading.load(str(toy), ("distill.pulls=1",))
    with pytest.raises(InputError, match="family must be one of trajectory, distribution, gradient, coreset, toy"):
        loading.load(str(toy), ("distill.family=toys",))


# -- a family that makes its set from units


class FirstSettings(DistillSettings):
    """The first samples of each class."""

    family: Literal["first"]
    iterations: Literal[1] = 1
    validation: ValidationSettings = ValidationSettings(seeds=0)

    @property
    def from_units(self):
        return True

    def contributions(self, network, classes):
        return Contributions(classes, "the number of classes")


class First(Selective[FirstSettings]):
    def make(self, number):
        images = self.materials.images[self.materials.labels == number]
        return {"images": images[: self.settings.ipc]}

    def assemble(self, units):
        labels = class_labels(self.materials.classes, self.settings.ipc)
        return Learned(torch.cat([unit["images"] for unit in units]), labels)

    @classmethod
    def costs(cls, settings, sizes):
        return Costs(looks=0, passes=0, steps=0, peak=lambda: 0, own_numbers=0, contribution_numbers=1)


def test_a_family_may_make_its_set_from_units_that_are_kept_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "first", Family(FirstSettings, lambda: First))
    first = tmp_path / "first.yaml"
    lines = ("  iterations: 12\n", "  real_batch: 16\n", "  validation: {every: 5, seeds: 1, epochs: 5}\n")
    text = DM.replace("family: distribution", "family: first")
    for line in lines:
        text = text.replace(line, "")
    first.write_text(text)
    make, made_now = First.make, []

    def sometimes(self, number):
        made_now.append(number)
        if len(made_now) == 4:
            raise KeyboardInterrupt
        return make(self, number)

    monkeypatch.setattr(First, "make", sometimes)
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path / "runs", until="distill")
    outcome = run(first, tmp_path / "runs")
    assert made_now == [0, 1, 2, 3, *range(3, 10)], "what was finished is not made again"
    config = loading.load(str(first)).config
    context = Context("first", config, open_location(str(tmp_path / "runs")), InlineRunner())
    dataset = stored.load_dataset(context.folder(outcome.identities["data"]))
    images, labels = dataset.split("train", torch.float32, torch.device("cpu"))
    expected = torch.cat([images[labels == label][:2] for label in range(10)])
    assert torch.equal(stored.load_set(context.folder(outcome.identities["distill"]), 1).learned.images, expected)
    page = Path(outcome.report.removeprefix("file://")).read_text()
    assert "Loss and accuracy over iterations" not in page and "The distilled images" in page
    again = Context("first", config, open_location(str(tmp_path / "runs")), InlineRunner())
    pipeline.run(again)
    assert set(again.reused) >= {"distill", "evaluation", "report"}
    calibrated = Context("first", config, open_location(str(tmp_path / "elsewhere")), InlineRunner())
    (line,) = [one for one in plan.plan(calibrated, plan.Asked(calibrated=True)).stages if one.stage == "distill"]
    assert line.seconds > 0
