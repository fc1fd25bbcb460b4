"""What an export's own program reaches where its reader runs it: the accuracy that was reported, within its spread."""

import csv
import importlib.util
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

from padray.commandline import commands
from padray.configuration import loading
from padray.data.datasets import Dataset
from padray.data.whitening import to_unit
from padray.evaluation.summary import Row
from padray.exchange.measuring import PICTURES
from padray.exchange.outgoing import Exported
from padray.report import code
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location

DIGITS = """
data: {dataset: digits}
network: {name: convnet, width: 8, depth: 2}
distill: {family: distribution, ipc: 2, iterations: 60, real_batch: 64, validation: {seeds: 0}}
evaluation:
  seeds: 5
  epochs: 61
  augment: color_crop_flip_scale_rotate+cutout_crop
  controls: {lrs: [0.05], tuning_seeds: 1}
"""
WINE = """
data: {dataset: wine}
network: {name: mlp, width: 16, depth: 2}
experts: {augment: none}
distill: {family: distribution, ipc: 3, iterations: 60, augment: none, validation: {seeds: 0}}
evaluation: {seeds: 5, epochs: 40, augment: none, controls: {lrs: [0.05], tuning_seeds: 1}}
"""


class Ran(NamedTuple):
    """A run that came to its end: its storage, its set, its data and what its networks reached."""

    root: Path
    name: str
    dataset: Dataset
    row: Row

    def export(self, layout: str, place: Path, measure: bool = False) -> Exported:
        return commands.export(self.name, layout, str(place), str(self.root), measure)

    def reached(self, program: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Test accuracies of networks that the program trains, in its folder."""
        monkeypatch.chdir(place)
        names: dict[str, Any] = {"__name__": "program"}
        exec(program, names)
        rows = self.dataset.splits["test"]
        real, labels = names["preprocess"](to_unit(self.dataset.images[rows])), self.dataset.labels[rows]
        says = [names["train"](seed)(real).argmax(dim=1) for seed in range(5)]
        return [float((said == labels).double().mean()) for said in says]


def make(folder: Path, text: str) -> Ran:
    (folder / "run.yaml").write_text(text)
    config = loading.load(str(folder / "run.yaml")).config
    context = Context("run", config, open_location(str(folder / "runs")), InlineRunner())
    outcome = pipeline.run(context, "evaluate")
    dataset = stored.load_dataset(context.folder(outcome.identities["data"]))
    row = next(row for row in outcome.rows if row.source == "distilled")
    return Ran(folder / "runs", outcome.identities["distill"].folder, dataset, row)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return make(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return make(tmp_path_factory.mktemp("wine"), WINE)


def agree(ran: Ran, values: list[float]) -> None:
    """As many networks with other draws: the difference of the means within the reported standard deviation."""
    assert abs(statistics.fmean(values) - ran.row.mean) <= max(ran.row.std, 0.01), (values, ran.row)
    assert ran.row.mean > 2 / ran.dataset.classes, "or nothing was to be reached"


@pytest.mark.parametrize("layout", ["pt", "ddranking", "imagefolder", "hf"])
def test_the_program_of_an_export_reaches_what_was_reported(
    digits: Ran, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "hf" and importlib.util.find_spec("datasets") is None:
        pytest.skip("the package datasets is not installed")
    made = digits.export(layout, tmp_path / "out")
    needs = {"pt": "torch", "ddranking": "torch", "imagefolder": "torch torchvision", "hf": "torch datasets pillow"}
    assert made.install == needs[layout] and f"pip install {made.install}" in (tmp_path / "out/README.txt").read_text()
    told = "What that costs in accuracy was not measured; padray export --measure does."
    assert (told in (tmp_path / "out/README.txt").read_text()) == (told in made.lost) == (layout in PICTURES)
    assert "\n\n\n" not in (tmp_path / "out/README.txt").read_text(), "where nothing is lost, no line is left empty"
    program = (tmp_path / "out" / "train.py").read_text()
    assert "padray" not in program, "who has no padray runs it too"
    agree(digits, digits.reached(program, tmp_path / "out", monkeypatch))


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_a_table_goes_out_in_its_own_units_and_trains_as_well(
    wine: Ran, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wine.export(layout, tmp_path / "out")
    agree(wine, wine.reached((tmp_path / "out" / "train.py").read_text(), tmp_path / "out", monkeypatch))


def test_a_person_can_read_the_three_wines(wine: Ran, tmp_path: Path) -> None:
    wine.export("csv", tmp_path / "csv"), wine.export("parquet", tmp_path / "parquet")
    with open(tmp_path / "csv" / "set.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    (path,) = (wine.root / wine.name).glob("set-*.safetensors")
    synthetic = stored.sets.decode(path.read_bytes())
    t = synthetic.preprocessing.values
    raw = synthetic.learned.images.flatten(1) * t["std"] + t["mean"]
    assert [row["label"] for row in rows] == [f"class_{k}" for k in range(3) for _ in range(3)]
    alcohol = torch.tensor([float(row["alcohol"]) for row in rows])
    assert torch.allclose(alcohol, raw[:, 0], atol=1e-5) and 10 < float(alcohol.mean()) < 16, "per cent by volume"
    table = pq.read_table(tmp_path / "parquet" / "set.parquet")
    assert table.column_names == list(rows[0]) and len(table.column_names) == 14
    assert torch.allclose(torch.tensor(table["proline"].to_pylist()), raw[:, 12], rtol=1e-6)


def test_the_report_s_program_is_the_same(digits: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (digits.root / digits.name).glob("set-*.safetensors")
    config, synthetic = loading.load(str(digits.root.parent / "run.yaml")).config, stored.sets.decode(path.read_bytes())
    text = code.training_code(code.safetensors_load(path.name, config, synthetic), config, synthetic)
    agree(digits, digits.reached(text, path.parent, monkeypatch))


def test_what_eight_bits_cost_is_measured_in_pairs_where_it_is_asked_for(digits: Ran, tmp_path: Path) -> None:
    told = digits.export("imagefolder", tmp_path / "out", measure=True).measured
    assert told is not None and told.as_learned == digits.row.values, "the networks of the proof, draw for draw"
    assert told.as_exported != told.as_learned and abs(told.cost_points) < 10
    described = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert described["measured"]["cost_points"] == pytest.approx(told.cost_points)
    assert told.sentence in (tmp_path / "out" / "README.txt").read_text()
