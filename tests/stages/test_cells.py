"""What a cell is: which of its failures is a result, and which samples it looks at."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from padray.configuration import loading
from padray.data.datasets import Dataset
from padray.errors import DivergedError, InfrastructureError, InputError
from padray.evaluation import protocol
from padray.evaluation.accuracy import measure
from padray.evaluation.protocol import Cell
from padray.experts.training import Samples
from padray.fingerprint import Identity
from padray.stages import cells, evaluate, pipeline
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.location import LocalLocation
from padray.store.opening import open_location

QUICK = ("evaluation.epochs=2", "evaluation.architectures=[]", "evaluation.controls.lrs=[0.01, 0.1]")
NOTHING_HELD = ("data.validation=0", "distill.validation.seeds=0")
TEACHER = (
    "evaluation.protocol=rded-kd",
    "evaluation.teacher={network: {name: convnet, width: 4, depth: 2}, epochs: 1}",
)
Found = dict[str, Identity]


def context(settings: Path, root: Path, *overrides: str) -> Context:
    loaded = loading.load(str(settings), (*QUICK, *overrides))
    return Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def found(settings: Path, root: Path) -> Found:
    return pipeline.run(context(settings, root), "distill").identities


def stored_cells(root: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(root.glob("evaluations/*/cell-*.json"))]


# -- failures


def test_a_storage_lost_while_a_cell_loads_its_teacher_is_no_result(settings, root, found, monkeypatch):
    read = LocalLocation.get

    def get(self: LocalLocation, key: str, most: int | None = None) -> bytes:
        if "/teacher-" in key and key.endswith(".safetensors"):
            raise InfrastructureError("the storage no longer works")
        return read(self, key, most)

    with monkeypatch.context() as lost:
        lost.setattr(LocalLocation, "get", get)
        with pytest.raises(InfrastructureError, match="the storage no longer works"):
            evaluate.make(context(settings, root, *TEACHER), found["data"], found["distill"])
    assert not stored_cells(root)
    rows = evaluate.make(context(settings, root, *TEACHER), found["data"], found["distill"])
    assert all(row.mean > 0 and not row.diverged for row in rows)


@pytest.mark.parametrize("error", [InfrastructureError, InputError])
def test_what_else_goes_wrong_while_a_network_is_trained_is_not_stored(settings, root, found, monkeypatch, error):
    asked, before = context(settings, root, f"evaluation.momentum=0.{len(error.__name__)}"), stored_cells(root)
    with monkeypatch.context() as lost:
        lost.setattr(cells, "judge", _raises(error("not this time")))
        with pytest.raises(error, match="not this time"):
            evaluate.make(asked, found["data"], found["distill"])
    assert stored_cells(root) == before
    assert evaluate.make(asked, found["data"], found["distill"])[0].diverged == 0


def test_a_cell_whose_training_diverged_says_so(settings, root, found, monkeypatch):
    def judge(training: Samples, network: Any, recipe: Any, draws: Any, *rest: Any) -> Any:
        if recipe.lr == 0.1 or draws.unit.endswith("-1"):
            raise DivergedError("the loss became nan")
        return protocol.judge(training, network, recipe, draws, *rest)

    monkeypatch.setattr(cells, "judge", judge)
    rows = evaluate.make(context(settings, root, "evaluation.momentum=0.6"), found["data"], found["distill"])
    own, control = rows
    assert own.diverged == 1 and own.values[1] == 0.0 and own.others_values == own.values[:1]
    assert own.others_mean == own.values[0] > own.mean > 0
    assert control.lr == 0.01, "0.1 diverged, and that is the worst that a learning rate can do"
    told = {(c["source"], c["seed"], c["lr"]): c["test"] for c in stored_cells(root) if c["diverged"]}
    assert told == {("distilled", 1, own.lr): 0, ("random", 0, 0.1): 0, ("random", 1, 0.01): 0}


def test_a_network_whose_outputs_are_not_finite_has_diverged():
    """The last step may have broken what the last loss still praised: its accuracy would be that of the first class."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    nn.init.constant_(network[1].weight, torch.nan)
    with pytest.raises(DivergedError, match="outputs are not finite"):
        measure(network, Samples(torch.rand(2, 1, 2, 2), torch.tensor([0, 0])))


def test_a_teacher_that_diverged_names_its_setting_and_none_that_was_lost_does(settings, root, found, monkeypatch):
    asked = context(settings, root, *TEACHER, "evaluation.teacher.epochs=2")
    for error, said in ((DivergedError, r"lower evaluation\.teacher\.teacher_lr"), (InfrastructureError, "no memory")):
        with monkeypatch.context() as lost:
            lost.setattr("padray.stages.teacher.train", _raises(error("no memory")))
            with pytest.raises(error, match=said):
                evaluate.make(asked, found["data"], found["distill"])


def _raises(error: Exception) -> Any:
    def call(*arguments: Any) -> Any:
        raise error

    return call


# -- what a cell looks at


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples were made ready for networks, each time that some were."""
    calls, preprocessed = list[int](), Dataset._preprocessed

    def spy(self: Dataset, rows: torch.Tensor, *rest: Any) -> Any:
        calls.append(len(rows))
        return preprocessed(self, rows, *rest)

    monkeypatch.setattr(Dataset, "_preprocessed", spy)
    return calls


@pytest.mark.parametrize("source", ["distilled", "random", "hard_labels", "full"])
def test_a_cell_holds_only_the_samples_that_it_needs(settings, root, found, seen, source):
    config = context(settings, root).config
    places = {source: Identity("evaluation", f"{source}-alone", "0" * 64)}
    cell = Cell(source, config.network, 0, None if source == "distilled" else 0.1)
    inputs = cells.Inputs(open_location(str(root)), found["data"])
    asked = {"it": cell, "another": replace(cell, seed=1)}
    make = cells.EvaluationWork(config, inputs, found["distill"], places, asked).prepare()
    stored = make(cells.Unit("evaluate", "it", "0" * 64))
    said = json.loads((root / stored.key).read_bytes())
    assert (said["validation"] is None) == (said["validation_balanced"] is None) == (source == "distilled")
    sizes = {name: len(rows) for name, rows in inputs.dataset().splits.items()}
    own = {"random": [10], "full": [sizes["train"]]}.get(source, [])
    held = [] if source == "distilled" else [sizes["validation"]]
    assert sorted(seen) == sorted([*own, *held, sizes["test"]]) and len(set(sizes.values())) == 3
    seen.clear()
    make(cells.Unit("evaluate", "another", "0" * 64))
    assert not {sizes["test"], sizes["validation"]} & set(seen), "what judges is made ready once"


def test_without_a_validation_split_a_fixed_tenth_of_the_training_samples_chooses(settings, tmp_path, seen):
    asked = context(settings, tmp_path, *NOTHING_HELD, "distill.iterations=1", "distill.init=noise")
    identities = pipeline.run(asked, "distill").identities
    seen.clear()
    rows = evaluate.make(asked, identities["data"], identities["distill"])
    assert {row.source: row.lr_chosen_on for row in rows} == {"distilled": None, "random": "train"}
    dataset = cells.Inputs(asked.location, identities["data"]).dataset()
    share = sum(count // 10 for count in dataset.per_class("train").tolist())
    assert set(seen) == {share, len(dataset.splits["test"]), 10} and 10 < share <= len(dataset.splits["train"]) / 10


# -- how often the driver reads cells


class Counting(LocalLocation):
    """A folder that notes which cells are read."""

    reads: list[str]

    def get(self, key: str, most: int | None = None) -> bytes:
        if "/cell-" in key:
            self.reads.append(key)
        return super().get(key, most)


def counted(settings: Path, root: Path, found: Found, *overrides: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, and the cells that were read for them."""
    asked = context(settings, root, "evaluation.momentum=0.3", *overrides)
    asked.location = location = Counting(root)
    location.reads = []
    return evaluate.make(asked, found["data"], found["distill"]), location.reads


def test_a_cell_is_not_read_by_whoever_has_just_made_it_nor_where_the_manifest_tells_it(settings, root, found, seen):
    rows, reads = counted(settings, root, found)
    assert not reads
    seen.clear()
    again, reads = counted(settings, root, found)
    assert again == rows and not reads and not seen, "no sample either, where nothing is to be made"
    more, reads = counted(settings, root, found, "evaluation.seeds=3")
    assert [row.values[:2] for row in more] == [row.values for row in rows] and not reads


def test_a_manifest_that_does_not_tell_its_cells_has_each_read_once(settings, root, found):
    """As an older padray wrote it, or somebody who changed it."""
    rows, _ = counted(settings, root, found)
    for path in root.glob("evaluations/*/manifest.json"):
        manifest = json.loads(path.read_bytes())
        for item in manifest["objects"]:
            item["extra"] = {"cell": {"test": "high"}} if "seed0" in item["key"] else {}
        path.write_text(json.dumps(manifest))
    again, reads = counted(settings, root, found)
    assert again == rows and len(reads) == len(set(reads)) > 0
