"""The proof's options on the tiny chain: controls, their labels and their lr, the teacher, and what sets share."""

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from padray import fingerprint
from padray.commandline import commands
from padray.configuration import loading
from padray.errors import InputError
from padray.evaluation import protocol, published
from padray.evaluation.accuracy import Accuracy
from padray.evaluation.protocol import Score
from padray.evaluation.summary import Row
from padray.experts import training
from padray.experts.positions import NOWHERE
from padray.experts.training import Recipe, Samples
from padray.fingerprint import Identity
from padray.networks import factory
from padray.networks.derivatives import REFERENCE
from padray.networks.settings import NetworkSettings
from padray.stages import cells, evaluate, observed, pipeline, stored, sweep
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store import headers, shards
from padray.store.opening import open_location
from tests.conftest import TINY

QUICK = ("evaluation.epochs=2", "evaluation.architectures=[]", "evaluation.controls.lrs=[0.01, 0.1]")


@dataclasses.dataclass
class Chain:
    """The tiny chain up to its set."""

    settings: Path
    root: Path
    found: dict[str, Identity]

    def context(self, *overrides: str) -> Context:
        loaded = loading.load(str(self.settings), (*QUICK, *overrides))
        return Context(loaded.name, loaded.config, open_location(str(self.root)), InlineRunner())

    def rows(self, *overrides: str) -> list[Row]:
        return evaluate.make(self.context(*overrides), self.found["data"], self.found["distill"])

    def events(self) -> list[str]:
        """The units that were made, in any order."""
        lines = [line for path in (self.root / "events").iterdir() for line in path.read_text().splitlines()]
        return [event["unit"] for event in map(json.loads, lines) if event["event"] == "finished"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("evaluate")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    made = Chain(settings, folder / "runs", {})
    made.found = pipeline.run(made.context(), "distill").identities
    return made


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, int], Samples]]:
    """What networks are trained on, by source and seed; nothing is trained."""
    seen: dict[tuple[str, int], Samples] = {}

    def judge(training: Samples, network: Any, recipe: Any, draws: Any, *rest: Any) -> Score:
        source, _, seed = draws.unit.rsplit("-", 2)
        seen[source, int(seed)] = training
        return Score(Accuracy(0.5, 0.5), Accuracy(0.5, 0.5))

    monkeypatch.setattr(cells, "judge", judge)
    yield seen


def test_cells_of_this_run_are_not_told_to_have_been_there_already(chain, trained):
    """The controls' other seeds come once a learning rate is chosen, and the count goes on from where it was."""
    told: list[tuple[int, int, str]] = []
    asked = chain.context("evaluation.epochs=3", "evaluation.seeds=3")
    asked.notify = lambda progress: told.append((progress.done, progress.total, progress.text))
    evaluate.make(asked, chain.found["data"], chain.found["distill"])
    assert not any("already there" in text for _, _, text in told)
    dones, totals = [done for done, _, _ in told], {total for _, total, _ in told}
    assert dones == sorted(dones) and dones[0] == 0 and totals == {dones[-1]}


@pytest.mark.parametrize("low, note", [(0.1, True), (0.9, False)])
def test_a_control_whose_lr_may_lie_beyond_its_grid_is_noted_by_the_networks_that_chose_it(
    chain, monkeypatch, low, note
):
    def judge(training: Samples, network: Any, recipe: Recipe, *rest: Any) -> Score:
        accuracy = 0.9 if recipe.lr == 0.1 else low
        return Score(Accuracy(accuracy, accuracy), Accuracy(accuracy, accuracy))

    monkeypatch.setattr(cells, "judge", judge)
    asked = chain.context("evaluation.epochs=4", f"evaluation.weight_decay={low}")
    rows = evaluate.make(asked, chain.found["data"], chain.found["distill"])
    notes = observed.of_run(asked, chain.found, rows).notes
    assert rows[1].lr == (0.1 if note else 0.01), "at an edge both times"
    assert [one for one in notes if "the control sits" in one] == [
        "the control sits at the largest lr of its grid, 0.1 of 0.01, 0.1 (convnet2w4); widen evaluation.controls.lrs"
    ] * note


ALL = ("random_soft", "hard_labels", "full")


def test_every_control_has_its_row_its_own_lr_and_its_recovery(chain):
    asked = [f"evaluation.controls.{name}=true" for name in ALL]
    rows = {row.source: row for row in chain.rows(*asked, "evaluation.controls.full_epochs=3")}
    assert list(rows) == ["distilled", "random", *ALL]
    assert rows["distilled"].lr_chosen_on is None and rows["distilled"].lr not in (0.01, 0.1)
    assert all(rows[name].lr_chosen_on == "validation" and rows[name].lr in (0.01, 0.1) for name in ALL)
    assert all(row.n == 2 and len(row.balanced_values) == 2 for row in rows.values())
    assert rows["hard_labels"].hard_label_recovery == rows["full"].mean - rows["hard_labels"].mean
    folder = chain.root / evaluate.identities(chain.context().config, *_of(chain))["distilled"].folder
    columns = stored.read_table(max(folder.glob("table-*"), key=lambda p: p.stat().st_mtime_ns).read_bytes())
    assert columns["balanced_mean"] == [row.balanced_mean for row in rows.values()]


@pytest.mark.parametrize("content", [b"[]", b"{}", b"nonsense", "another", "words"])
def test_a_cell_that_anybody_may_have_put_there_is_refused_in_a_sentence(chain, trained, tmp_path, content):
    chain = dataclasses.replace(chain, root=shutil.copytree(chain.root, tmp_path / "runs"))
    chain.rows()
    folder = chain.root / evaluate.identities(chain.context().config, *_of(chain))["distilled"].folder
    path = next(folder.glob("cell-*.json"))
    path.with_name("manifest.json").unlink()
    cell = json.loads(path.read_bytes())
    bad = {"another": {**cell, "seed": cell["seed"] + 7}, "words": {**cell, "test": "high"}}
    content = json.dumps(bad[content]).encode() if isinstance(content, str) else content
    path.unlink()
    name = path.name.rsplit("-", 1)[0]
    path.with_name(f"{name}-{hashlib.sha256(content).hexdigest()[:12]}.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}-\w+.json in .* is not what padray writes there: delete it, then"):
        chain.rows()


def test_the_ceiling_may_be_one_network_where_the_full_data_are_dear(chain):
    """So many networks on the full data, and no grid: the table says how many those were."""
    controls = ("full=true", "full_epochs=2", "full_seeds=1", "full_lrs=[0.05]")
    own = (*(f"evaluation.controls.{setting}" for setting in controls), "evaluation.momentum=0.77")
    foreseen = evaluate.foresee(chain.context(*own), *_of(chain), None)
    assert {one.source: one.cells for one in foreseen} == {"distilled": 2, "random": 3, "full": 1}
    before = chain.events()
    rows = {row.source: row for row in chain.rows(*own)}
    made = [unit for unit in (Counter(chain.events()) - Counter(before)).elements() if "full/" in unit]
    assert len(made) == 1 and (rows["full"].n, rows["full"].lr, rows["random"].n) == (1, 0.05, 2)


def _of(chain: Chain) -> tuple[Identity, Identity]:
    return chain.found["data"], chain.found["distill"]


def test_the_experts_label_the_samples_of_the_random_control(chain, trained):
    chain.rows("evaluation.controls.random_soft=true", "evaluation.momentum=0.8")
    context = chain.context()
    folder, config = context.folder(chain.found["experts"]), context.config
    for seed in range(2):
        real, soft = trained["random", seed], trained["random_soft", seed]
        assert torch.equal(real.images, soft.images)
        votes = []
        for item in folder.require().objects[: config.experts.count]:
            network = factory.build(config.network, (1, 8, 8), 10, 0)
            theta = shards.read_row(folder, item, -1)
            torch.nn.utils.vector_to_parameters(theta, network.parameters())
            votes.append(network.eval()(real.images).detach())
        assert torch.allclose(soft.labels, torch.stack(votes).mean(dim=0).softmax(dim=1), atol=1e-6)
        assert bool((soft.labels.argmax(dim=1) != real.labels).any()), "weak experts are wrong, and heard all the same"


def test_hard_labels_are_the_sets_images_with_their_classes(chain, trained):
    chain.rows("evaluation.controls.hard_labels=true", "evaluation.momentum=0.85")
    learned = stored.load_set(chain.context().folder(chain.found["distill"]), 12).learned
    found = trained["hard_labels", 0]
    assert torch.equal(found.images, learned.images) and found.labels.tolist() == list(range(10))
    assert trained["distilled", 0].labels.shape == (10, 10)


def test_the_evaluations_seed_changes_what_the_random_control_draws(chain, trained):
    drawn = []
    for seed in (0, 1):
        chain.rows(f"evaluation.seed={seed}", "evaluation.momentum=0.7")
        drawn.append(trained["random", 0].images.clone())
    assert not torch.equal(*drawn)


def test_another_metric_makes_no_cell_again_and_chooses_by_itself(chain, monkeypatch):
    def judge(training: Samples, network: Any, recipe: Any, *rest: Any) -> Score:
        return Score({0.01: Accuracy(0.9, 0.3)}.get(recipe.lr, Accuracy(0.8, 0.6)), Accuracy(0.5, 0.4))

    monkeypatch.setattr(cells, "judge", judge)
    base = ("evaluation.momentum=0.6", "evaluation.controls.tuning_seeds=2")
    plain = chain.rows(*base)
    before = len(chain.events())
    balanced = chain.rows(*base, "evaluation.metric=balanced_accuracy")
    assert len(chain.events()) == before
    assert (plain[1].lr, balanced[1].lr) == (0.01, 0.1)
    assert (plain[1].metric, balanced[1].metric) == ("accuracy", "balanced_accuracy")


# -- protocols


@pytest.mark.parametrize("name", ["dc300", "dsa1000", "idc", "deepcore"])
def test_any_set_is_evaluated_by_any_protocol_and_its_rows_say_by_which(chain, trained, monkeypatch, name):
    """Only how networks are trained changes: the set, its learned lr and labels stay."""
    recipes: dict[str, Recipe] = {}
    judge = cells.judge

    def noted(training: Samples, network: Any, recipe: Recipe, draws: Any, *rest: Any) -> Score:
        recipes[draws.unit.split("-")[0]] = replace(recipe, execution=REFERENCE, keeper=NOWHERE)
        return judge(training, network, recipe, draws, *rest)

    monkeypatch.setattr(cells, "judge", noted)
    own = (f"evaluation.protocol={name}", "evaluation.epochs=null", "evaluation.augment=null")
    rows = chain.rows(*own, "evaluation.batch=7", "evaluation.controls.full=true")
    row = published.PROTOCOLS[name]
    learned = stored.load_set(chain.context().folder(chain.found["distill"]), 12).learned
    assert recipes["distilled"] == protocol.recipe_for(replace(row, batch=7), row.epochs, float(learned.lr))
    assert replace(recipes["random"], lr=0.0) == replace(recipes["distilled"], lr=0.0)
    assert recipes["full"].epochs == 100 and recipes["full"].decay == row.decay
    assert {one.protocol for one in rows} == {f"{name} (batch 7)"}
    assert torch.equal(trained["distilled", 0].labels, learned.labels.softmax(dim=1))


# -- twice over, as FTD's and ATT's scripts judge an average


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The tiny chain whose images are averaged."""
    folder = tmp_path_factory.mktemp("averaged")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY.replace("  augment: crop_flip\n", "  augment: crop_flip\n  ema_decay: 0.9\n"))
    made = Chain(settings, folder / "runs", {})
    made.found = pipeline.run(made.context(), "distill").identities
    return made


TWICE = "evaluation.double_training=true"


def test_an_average_is_judged_on_fresh_networks_unless_it_is_asked_for_twice_over(averaged, trained):
    """Its set holds what the average was taken of, and no network sees that unasked."""
    learned = stored.load_set(averaged.context().folder(averaged.found["distill"]), 12).learned
    rows = averaged.rows()
    assert torch.equal(trained["distilled", 0].images, learned.images)
    assert learned.raw_images.shape == learned.images.shape and not torch.equal(learned.raw_images, learned.images)
    assert {row.protocol for row in rows} == {"tm1001 (epochs 2, augment crop)"}


def test_twice_over_the_same_network_goes_on_from_the_images_before_averaging(averaged, monkeypatch):
    trainings = []

    def note(model: Any, samples: Samples, recipe: Recipe, draws: Any) -> Iterator[float]:
        trainings.append((id(model), samples.images, recipe.epochs, draws.unit))
        yield from training.train(model, samples, recipe, draws)

    once = averaged.rows("evaluation.seeds=1")
    monkeypatch.setattr(protocol, "train", note)
    twice = averaged.rows("evaluation.seeds=1", TWICE)
    learned = stored.load_set(averaged.context().folder(averaged.found["distill"]), 12).learned
    (first, before, epochs, unit), (second, after, again, other) = trainings
    assert first == second and (epochs, again) == (2, 2) and unit != other, "other draws"
    assert torch.equal(before, learned.raw_images) and torch.equal(after, learned.images)
    assert twice[0].values != once[0].values and twice[1] == once[1], "its control stays, and is not made again"
    assert twice[0].protocol == "tm1001 (epochs 2, augment crop), twice over"
    cells_made = [json.loads(path.read_text()) for path in averaged.root.glob("evaluations/distilled-*/cell-*")]
    assert [cell["test"] for cell in cells_made if cell["epochs"] == 4] == twice[0].values


def test_twice_over_is_refused_where_nothing_is_averaged(chain):
    with pytest.raises(InputError, match="double_training is of images before and after averaging, and"):
        chain.context(TWICE)
    with pytest.raises(InputError, match="double_training needs another protocol than rded-kd"):
        chain.context(TWICE, "evaluation.protocol=rded-kd")


def test_a_set_that_has_no_images_from_before_averaging_says_so(averaged, monkeypatch):
    load = stored.load_set

    def older(*arguments: Any) -> Any:
        made = load(*arguments)
        return replace(made, learned=replace(made.learned, raw_images=None))

    monkeypatch.setattr(stored, "load_set", older)
    with pytest.raises(InputError, match="has no images from before averaging, as"):
        averaged.rows(TWICE, "evaluation.seed=3")


# -- the teacher

TEACHER = (
    "evaluation.protocol=rded-kd",
    "evaluation.epochs=5",
    "evaluation.batch=8",
    "evaluation.teacher={network: {name: convnet, width: 4, depth: 2, norm: batch}, epochs: 8, teacher_lr: 0.1, "
    "teacher_batch: 32, lr: 0.05}",
)


def teacher_file(chain: Chain) -> Path:
    (path,) = (chain.root / "evaluations").glob("teacher-*/teacher-*.safetensors")
    return path


def test_one_teacher_serves_all_cells_and_all_sets(chain):
    rows = chain.rows(*TEACHER)
    assert [row.source for row in rows] == ["distilled", "random"]
    assert all(row.lr == 0.05 and row.lr_chosen_on is None and row.n == 2 for row in rows)
    path = teacher_file(chain)
    stamp = path.stat().st_mtime_ns
    more = chain.rows(*TEACHER, "evaluation.seeds=3", "evaluation.teacher.temperature=4")
    assert teacher_file(chain) == path and path.stat().st_mtime_ns == stamp
    assert chain.events().count("teacher") == 1
    assert more[0].values[:2] != rows[0].values, "the temperature changes the students"


def test_the_teacher_says_how_good_it_is(chain):
    chain.rows(*TEACHER)
    content = teacher_file(chain).read_bytes()
    network = factory.build(NetworkSettings(name="convnet", width=4, depth=2, norm="batch"), (1, 8, 8), 10, 7)
    network.load_state_dict(safetensors.torch.load(content))
    context = chain.context()
    images, labels = stored.load_dataset(context.folder(chain.found["data"])).split("test")
    right = float((network.eval()(images).argmax(dim=1) == labels).double().mean())
    facts = headers.metadata_of(content)
    assert facts["test"]["plain"] == pytest.approx(right) and right > 0.2 and facts["epochs"] == 8


def test_what_students_learn_by_is_no_part_of_the_teacher(chain):
    data = chain.found["data"]

    def place(*overrides: str) -> str:
        return fingerprint.teacher_identity(chain.context(*TEACHER, *overrides).config, data).fingerprint

    for same in ("teacher.temperature=4", "teacher.mix=mixup", "teacher.lr=0.2", "batch=3", "epochs=9", "seeds=7"):
        assert place(f"evaluation.{same}") == place()
    for other in ("teacher.epochs=4", "teacher.teacher_lr=1", "teacher.teacher_batch=9", "augment=flip", "seed=1"):
        assert place(f"evaluation.{other}") != place()


def test_a_teacher_that_cannot_see_these_images_is_refused_before_any_work(chain):
    context = chain.context(*TEACHER, "evaluation.teacher.network={name: lenet, norm: batch}")
    with pytest.raises(Exception, match="lenet has no norm"):
        pipeline.check_networks(context, chain.found["data"])


def test_how_iterates_are_judged_does_not_depend_on_the_teacher(chain):
    def place(*overrides: str) -> str:
        config = chain.context(*overrides).config
        return fingerprint.distill_inputs(config, chain.found["data"]).identity(config).fingerprint

    assert place(*TEACHER[:1], TEACHER[3]) == place()
    assert place("evaluation.metric=balanced_accuracy") != place()


# -- stored sets


def test_a_stored_set_finds_its_experts_itself(chain):
    request = commands.Request((*QUICK, "evaluation.controls={random_soft: true, hard_labels: true, lrs: [0.1]}"))
    found = sweep.find(chain.found["distill"].fingerprint[:16], request.overrides, open_location(str(chain.root)))
    tables = sweep.run([found], open_location(str(chain.root)), InlineRunner(), lambda progress: None)
    (rows,) = tables.values()
    assert [row.source for row in rows] == ["distilled", "random", "random_soft", "hard_labels"]
    places = evaluate.identities(found.config, *_of(chain), chain.found["experts"])
    assert places == evaluate.identities(found.config, *_of(chain)), "and they are those that the settings lead to"
