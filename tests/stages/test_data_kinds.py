"""The chain on every kind of data: long tails, tables, series, and real image sets where they are at hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from padray.config import ScheduleSettings
from padray.configuration import loading
from padray.errors import InputError
from padray.experts.schedule import rank, samples_of_epoch
from padray.report import code
from padray.report.subject import Subject
from padray.stages import pipeline, report, stored
from padray.stages.base import Context, Progress
from padray.stages.inline import InlineRunner
from padray.stages.pipeline import Outcome
from padray.store.opening import open_location

SHARED = Path(__file__).parents[3] / "shared/data"
SHORT = """
network: {name: convnet, width: 4, depth: 2}
experts: {count: 2, epochs: 2, lr: 0.05, batch: 64, augment: none}
distill:
  ipc: 1
  iterations: 3
  student_steps: 2
  expert_epochs: 1
  trajectories: 1
  batch: 30
  augment: none
  windows: {min_start: 0, start: 1, max_start: 1}
  validation: {every: 3, seeds: 1, epochs: 3}
evaluation: {seeds: 1, epochs: 3, augment: none, controls: {lrs: [0.05], tuning_seeds: 1}}
"""
MLP = "network={name: mlp, width: 8, depth: 1}"
SERIES = "network={name: convnet1d, width: 4, depth: 2}"


@dataclasses.dataclass
class Ran:
    """A chain that ran through, and what it said on the way."""

    context: Context
    outcome: Outcome
    said: list[str]

    @property
    def facts(self) -> dict[str, Any]:
        return self.context.folder(self.outcome.identities["data"]).require().facts

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return {"images": self.learned.images, "labels": self.learned.labels}

    @property
    def learned(self) -> Any:
        folder = self.context.folder(self.outcome.identities["distill"])
        return stored.load_set(folder, self.context.config.distill.iterations).learned


def run(place: Path, *overrides: str, until: str = "evaluate") -> Ran:
    (place / "short.yaml").write_text(SHORT)
    loaded = loading.load(str(place / "short.yaml"), overrides)
    said: list[str] = []

    def notify(progress: Progress) -> None:
        said.append(f"{progress.stage}: {progress.text}")

    context = Context(loaded.name, loaded.config, open_location(str(place / "runs")), InlineRunner(), notify)
    return Ran(context, pipeline.run(context, until), said)


def check(ran: Ran, shape: tuple[int, ...], classes: int) -> None:
    """A set of one sample per class that is finite, beside a control; both judged."""
    learned, rows = ran.learned, ran.outcome.rows
    assert learned.images.shape == (classes, *shape) and bool(learned.images.isfinite().all())
    assert learned.labels.shape == (classes, classes)
    assert {row.source for row in rows} == {"distilled", "random"}
    assert all(0 <= value <= 1 for row in rows for value in row.values)


# -- long tails


def test_a_long_tail_runs_through_and_is_filtered_class_by_class(tmp_path):
    overrides = (
        "data.imbalance=6",
        "data.limit_per_class=60",
        "data.validation=0.1",
        "schedule.initial_ratio=0.5",
        "schedule.addition_end_epoch=1",
        "scores={networks: 1, epochs: 1, batch: 64, augment: none}",
        "scores.network={name: mlp, width: 8}",
    )
    ran = run(tmp_path, *overrides)
    check(ran, (1, 8, 8), 10)
    kept = [int(60 * 6 ** (-c / 9) + 1e-9) for c in range(10)]
    assert ran.facts["train_per_class"] == [count - max(1, count // 10) for count in kept]
    data = stored.load_dataset(ran.context.folder(ran.outcome.identities["data"]))
    labels = data.labels[data.splits["train"]]
    scores = torch.rand(len(labels), generator=torch.Generator().manual_seed(0))
    settings = ScheduleSettings(initial_ratio=0.5, addition_end_epoch=1)
    seen = samples_of_epoch(rank(scores, labels, 10), 0, settings)
    assert labels[seen].bincount().tolist() == [count // 2 for count in ran.facts["train_per_class"]]


def test_a_tail_that_is_too_thin_for_the_set_is_refused_before_any_training(tmp_path):
    with pytest.raises(InputError, match=r"only \d training samples; lower distill\.ipc or data\.imbalance"):
        run(tmp_path, "data.imbalance=50", "data.limit_per_class=50", "distill.ipc=3")
    assert not (tmp_path / "runs/experts").exists()


# -- tables and series


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("wine"), "data.dataset=wine", MLP, until="report")


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    settings = ("data.dataset=waves", "data.limit_per_class=30", "data.preprocessing=zca", SERIES)
    return run(tmp_path_factory.mktemp("waves"), *settings)


def subject(ran: Ran) -> Subject:
    folder = ran.context.folder(ran.outcome.identities["distill"])
    item = stored.set_object(folder.require(), ran.context.config.distill.iterations)
    return report.gather(ran.context, ran.outcome.identities, ran.outcome.rows, item)


def test_tables_and_series_run_through(wine, waves):
    check(wine, (13, 1, 1), 3)
    check(waves, (1, 1, 64), 4)
    assert wine.facts["content"] == "table" and waves.facts["content"] == "series"


def test_the_report_calls_nothing_an_image_that_is_none(wine):
    text = Path(wine.outcome.report.removeprefix("file://")).read_text()
    assert "synthetic samples, an mlp1w8 reaches" in text and "random real samples" in text
    assert "The distilled samples" in text and "1 sample per class" in text
    assert "deviations from each feature’s mean" in text.replace("&#39;", "’")
    assert "synthetic images" not in text and "real images" not in text


@pytest.mark.parametrize("name", ["wine", "waves"])
def test_the_ten_lines_hold_for_them(name, request, monkeypatch):
    ran = request.getfixturevalue(name)
    told = subject(ran)
    load = code.safetensors_load(told.set_key, told.config, told.synthetic)
    text = code.training_code(load, told.config, told.synthetic, told.noun)
    assert "real samples (N, C, H, W), before" in text
    monkeypatch.chdir(ran.context.location.uri.removeprefix("file://"))
    names: dict[str, Any] = {}
    exec(text, names)
    data = stored.load_dataset(ran.context.folder(ran.outcome.identities["data"]))
    rows = data.splits["test"]
    given, (expected, _) = names["preprocess"](data.images[rows]), data.split("test")
    assert torch.allclose(given, expected, atol=1e-5) and names["train"](0)(given).isfinite().all()


def test_their_augmentation_is_refused_before_any_training_with_all_settings_to_change(tmp_path):
    crops = ("distill.augment=crop", "experts.augment=color", "evaluation.augment=flip", "scores.augment=scale")
    with pytest.raises(InputError) as caught:
        run(tmp_path, "data.dataset=wine", MLP, *crops, "schedule.prune_hardest=0.1")
    sentence = str(caught.value)
    assert sentence.startswith("wine holds a table, and augmentation is for images; set ")
    assert all(f"{key.partition('=')[0]}=none" in sentence for key in crops)
    with pytest.raises(InputError, match=r"waves holds series.*; set experts\.augment=none$"):
        run(tmp_path, "data.dataset=waves", SERIES, "experts.augment=crop")
    assert not (tmp_path / "runs/experts").exists()


def test_a_table_ranked_by_a_file_asks_nothing_of_the_scoring_network(tmp_path):
    data = run(tmp_path, "data.dataset=wine", MLP, until="data")
    files = data.facts["splits"]["train"] + data.facts["splits"]["validation"]
    np.save(tmp_path / "easy_to_hard.npy", np.arange(files))
    ranked = ("scores.method=file", f"scores.path={tmp_path / 'easy_to_hard.npy'}", "schedule.prune_hardest=0.1")
    check(run(tmp_path, "data.dataset=wine", MLP, *ranked), (13, 1, 1), 3)


def test_networks_that_cannot_read_them_are_refused_by_their_setting_before_any_training(tmp_path):
    with pytest.raises(InputError, match=r"^network: convnet .*mlp"):
        run(tmp_path, "data.dataset=wine")
    with pytest.raises(InputError, match=r"^network: convnet .*convnet1d"):
        run(tmp_path, "data.dataset=waves")
    scored = ("schedule.prune_hardest=0.1", "scores.augment=none")
    with pytest.raises(InputError, match=r"^scores\.network: convnet .*mlp"):
        run(tmp_path, "data.dataset=wine", MLP, *scored)
    with pytest.raises(InputError, match=r"^evaluation\.architectures: lenet .*mlp"):
        run(tmp_path, "data.dataset=wine", MLP, "evaluation.architectures=[mlp, lenet]")
    with pytest.raises(InputError, match=r"^evaluation\.teacher\.network: convnet .*mlp"):
        run(tmp_path, "data.dataset=wine", MLP, "evaluation.protocol=rded-kd")
    with pytest.raises(InputError, match=r"^wine holds a table, and evaluation\.protocol: idc mixes images; take"):
        run(tmp_path, "data.dataset=wine", MLP, "evaluation.protocol=idc")
    assert not (tmp_path / "runs/experts").exists()


def test_a_table_of_ones_own_runs_through_in_float64_and_is_tested_on_its_validation_file(tmp_path):
    rng, own = np.random.default_rng(0), tmp_path / "own"
    own.mkdir()
    for part, count in (("train", 40), ("validation", 20)):
        labels = ["good", "bad"] * (count // 2)
        columns = {"size": rng.normal(size=count) * 1e4, "always": np.full(count, 7), "label": labels}
        pq.write_table(pa.table(columns), own / f"{part}.parquet")
    ran = run(tmp_path, "data.dataset=own", f"data.path={own}", MLP, "compute.precision=float64")
    check(ran, (2, 1, 1), 2)
    assert ran.facts["read_from"] == {"train": "train.parquet", "test": "validation.parquet"}
    assert any("validation.parquet serves as the test split" in text for text in ran.said)
    assert ran.facts["class_names"] == ["bad", "good"] and ran.learned.images.dtype == torch.float64


# -- real images


@dataclasses.dataclass(frozen=True)
class Real:
    """A set of the collection beside the repository, the settings that make it small, and what comes of it."""

    folder: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...] | int
    train: int
    overrides: tuple[str, ...] = ()


REAL = [
    Real("tiny_imagenet_64_30cls", (3, 64, 64), 30, 10, ("data.limit_per_class=10",)),
    Real("tiny_imagenet_64_30cls", (3, 32, 32), 30, 10, ("data.limit_per_class=10", "data.size=32")),
    Real("pneumonia_mnist", (1, 28, 28), 2, 20, ("data.limit_per_class=20", "distill.ipc=1")),
    Real("covid_cxr_112", (1, 112, 112), 3, 20, ("data.limit_per_class=20",)),
    Real("cifar10_lossless_subset", (3, 32, 32), 10, 20, ("data.limit_per_class=20", "data.preprocessing=normalize")),
]


@pytest.mark.parametrize("real", REAL, ids=lambda real: f"{real.folder}-{real.shape[1]}")
def test_real_sets_run_through(tmp_path, real):
    if not (SHARED / real.folder).is_dir():
        pytest.skip("../shared is absent")
    ran = run(
        tmp_path,
        f"data.dataset={real.folder}",
        f"data.path={SHARED / real.folder}",
        "data.validation=0.1",
        *real.overrides,
    )
    check(ran, real.shape, real.classes)
    assert ran.facts["train_per_class"] == [real.train - max(1, real.train // 10)] * real.classes
    assert ran.facts["content"] == "image" and "nan" not in str(ran.outcome.rows)
    stands_in = [text for text in ran.said if "serves as the test split" in text]
    if real.folder == "pneumonia_mnist":
        assert ran.facts["read_from"] == {"train": "train.parquet", "test": "validation.parquet"}
        assert len(stands_in) == 1 and "validation.parquet" in stands_in[0]
    else:
        assert ran.facts["read_from"]["test"] == "test.parquet" and not stands_in
