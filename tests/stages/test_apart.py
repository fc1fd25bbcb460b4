"""What is large is stored once, beside its dataset, and lies once in a machine's memory; results are the same."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors
import torch
from safetensors.torch import load_file

from padray.commandline import commands
from padray.commandline.console import Console
from padray.data import whitening
from padray.errors import InputError
from padray.exchange.sets import ImportOptions
from padray.exchange.targets import LAYOUTS
from padray.operations import upkeep, usage
from padray.report import code, page, rendering
from padray.stages import pipeline, report, stored
from padray.stages.base import Context
from padray.stages.pipeline import Outcome
from padray.store import shelf
from padray.store.location import LocalLocation
from tests.exchange.conftest import peer_set
from tests.roots import different, inspect
from tests.roots import stored as everything

ZCA = ("data.preprocessing=zca", "evaluation.seeds=1", "evaluation.architectures=[]")


class Made(NamedTuple):
    root: Path
    context: Context
    outcome: Outcome

    def object(self, pattern: str) -> Path:
        (path,) = self.root.glob(f"*/*/{pattern}")
        return path

    @property
    def set_name(self) -> str:
        return self.outcome.identities["distill"].folder

    def load(self) -> Any:
        return stored.load_set(self.context.folder(self.outcome.identities["distill"]), 12)


def make(settings: Path, root: Path, *overrides: str, until: str = "report") -> Made:
    context = commands.context(str(settings), commands.Request((*ZCA, *overrides), str(root), "inline"))
    return Made(root, context, pipeline.run(context, until))


@pytest.fixture(scope="module")
def plain(settings, tmp_path_factory) -> Made:
    """As small datasets are kept: whitening inside the dataset's object and the set's, nothing shared."""
    return make(settings, tmp_path_factory.mktemp("plain") / "runs", until="distill")


@pytest.fixture(scope="module")
def large() -> Iterator[None]:
    """Digits taken for large: as CIFAR-10 is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whitening, "LARGE", 1)
        patch.setattr(shelf, "LEAST", 1)
        yield


@pytest.fixture(scope="module")
def made(settings, tmp_path_factory, plain, large) -> Made:
    return make(settings, tmp_path_factory.mktemp("apart") / "runs")


@pytest.fixture
def copy(made, settings, tmp_path) -> Made:
    """One that may be broken."""
    shutil.copytree(made.root, tmp_path / "runs")
    return make(settings, tmp_path / "runs")


def holders(root: Path) -> list[str]:
    """The files that hold a preprocessing's tensors."""
    found = []
    for path in root.rglob("*.safetensors"):
        with safetensors.safe_open(path, "pt") as file:
            if any(name.startswith("preprocessing.") for name in file.keys()):  # noqa: SIM118
                found.append(path.name.split("-")[0])
    return sorted(found)


def test_the_matrices_are_kept_once_and_the_set_is_the_same(made, plain, users_cache):
    assert holders(made.root) == ["preprocessing"] and holders(plain.root) == ["dataset", "set"]
    ours, theirs = (load_file(one.object("set-*")) for one in (made, plain))
    assert ours.keys() == {"images", "labels", "lr"} and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert made.outcome.set_bytes == plain.outcome.set_bytes and made.outcome.set_digest != plain.outcome.set_digest
    assert made.object("set-*").stat().st_size < plain.object("set-*").stat().st_size - 2 * 4 * 64**2
    shared = [path for path in users_cache.iterdir() if len(path.name) == 64]
    assert len(shared) >= 3, "the three splits, which all stages mapped"


def test_the_same_command_elsewhere_and_without_a_cache_gives_the_same_bytes(made, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in the way"))
    (tmp_path / "in the way").write_bytes(b"")
    again = make(settings, tmp_path / "runs")
    assert different(everything(str(made.root)), everything(str(again.root))) == []


def test_a_dataset_with_its_matrices_in_it_leads_to_the_same_set(made, plain, settings, tmp_path):
    """It was stored before they were objects of their own, and is not stored again."""
    shutil.copytree(plain.root / "datasets", tmp_path / "runs/datasets")
    old = make(settings, tmp_path / "runs")
    assert holders(old.root) == ["dataset"] and old.outcome.set_digest == made.outcome.set_digest
    assert "data" in old.context.reused and "data" not in made.context.reused
    assert torch.equal(old.load().preprocessing.values["unwhiten"], made.load().preprocessing.values["unwhiten"])


def test_a_set_with_its_matrices_in_it_needs_no_dataset(plain, tmp_path):
    root = shutil.copytree(plain.root, tmp_path / "runs")
    shutil.rmtree(root / "datasets")
    context = dataclasses.replace(plain.context, location=LocalLocation(root))
    folder = context.folder(plain.outcome.identities["distill"])
    assert stored.load_set(folder, 12).preprocessing.values["unwhiten"].shape == (64, 64)


# -- what goes out


def exported(one: Made, layout: str, place: Path) -> dict[str, bytes]:
    commands.export(one.set_name, layout, str(place), str(one.root))
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("csv", "parquet")])
def test_what_is_exported_stands_alone(made, plain, layout, tmp_path):
    """The same files as of a set that holds its matrices itself, which only its own digest tells apart."""
    ours, theirs = (exported(one, layout, tmp_path / name) for name, one in (("ours", made), ("theirs", plain)))
    described = [json.loads(files.pop("metadata.json")) for files in (ours, theirs)]
    assert ours == theirs and described[0].pop("set_sha256") != described[1].pop("set_sha256")
    assert described[0] == described[1]


def test_what_is_imported_refers_to_its_dataset_too(copy, settings, tmp_path):
    request = commands.Request(ZCA, str(copy.root), "inline")
    told = commands.import_artifact(
        str(peer_set(tmp_path / "peer")), "pt", str(settings), ImportOptions(), request, Console(as_json=True)
    )
    (path,) = Path(told.artifact).glob("set-*.safetensors")
    assert load_file(path).keys() == {"images", "labels", "lr"}
    name = told.use.split()[-1]
    taken = commands.export(name, "pt", str(tmp_path / "out"), str(copy.root))
    assert "preprocessing.pt" in taken.files
    again = commands.Request((), str(copy.root), "inline")
    assert commands.evaluate([name], again, Console(as_json=True)).evaluation[0].n == 1


def test_the_report_s_lines_read_both_files(made, monkeypatch):
    identities = made.outcome.identities
    item = stored.set_object(made.context.folder(identities["distill"]).require(), 12)
    told = report.gather(made.context, identities, made.outcome.rows, item)
    assert told.fitted_key == made.object("preprocessing-*").relative_to(made.root).as_posix()
    load = code.safetensors_load(told.set_key, told.config, told.synthetic, told.fitted_key)
    text = code.training_code(load, told.config, told.synthetic)
    html = page.render(told, rendering.pictures(told))
    assert "The preprocessing lies with the dataset" in html and told.fitted_key in html
    monkeypatch.chdir(made.root)
    names: dict[str, Any] = {}
    exec(text, names)
    data = stored.load_dataset(made.context.folder(identities["data"]))
    real = whitening.to_unit(data.images[data.splits["test"]])
    assert torch.allclose(names["preprocess"](real), data.split("test")[0], atol=1e-5)


# -- when the dataset is not what it was


def refusals(one: Made, place: Path) -> list[str]:
    """What is said where the images are to be looked at; a set's learned values need no more than its own file."""
    assert one.load().learned.images.shape == (10, 1, 8, 8)
    said = []
    for look in (
        lambda: rendering.pictures(report.gather(one.context, one.outcome.identities, one.outcome.rows, one_set(one))),
        lambda: exported(one, "imagefolder", place),
        lambda: exported(one, "pt", place),
    ):
        with pytest.raises(InputError) as caught:
            look()
        said.append(str(caught.value))
        assert not place.exists()
    return said


def one_set(one: Made) -> Any:
    return stored.set_object(one.context.folder(one.outcome.identities["distill"]).require(), 12)


def test_a_dataset_that_is_gone_is_told_in_a_sentence(copy, tmp_path, run):
    shutil.rmtree(copy.root / "datasets")
    with pytest.raises(
        InputError, match=r"preprocessing of this set lies with its dataset, and datasets/.* is not in .*: `padray"
    ):
        _ = copy.load().preprocessing.values["mean"]
    said = run("export", copy.set_name, tmp_path / "out", "--to", "pt", "--storage", copy.root)
    assert said.code == 2 and said.err.count("\n") == 1 and copy.outcome.identities["data"].folder in said.err


def test_another_whitening_in_its_place_is_told(copy, tmp_path):
    """As one is that another machine has fitted."""
    place = copy.context.folder(copy.outcome.identities["data"])
    manifest, data = place.require(), stored.load_dataset(place)
    values = {name: value * 1.001 for name, value in data.preprocessing.values.items()}
    other = dataclasses.replace(
        data, preprocessing=dataclasses.replace(data.preprocessing, values=values, known_digest=None)
    )
    objects = [place.put(stem, "safetensors", part) for stem, part in stored.encode_dataset(other).items()]
    place.commit(dataclasses.replace(manifest, objects=tuple(objects)))
    assert all("is not the one that this set was made with" in said for said in refusals(copy, tmp_path / "out"))


@pytest.mark.parametrize("facts", [{"dataset": 7}, {"dataset_fingerprint": None}, {"dataset": "../../x"}])
def test_facts_that_name_no_dataset_are_told(copy, facts):
    folder = copy.context.folder(copy.outcome.identities["distill"])
    with pytest.raises(InputError) as caught:
        stored._preprocessing(folder.location, {**copy.load().facts, **facts}, "0" * 64)
    assert "\n" not in str(caught.value)


# -- upkeep


@pytest.mark.parametrize("stem", ["preprocessing", "images", "dataset"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-1] + b"~"), Path.unlink])
def test_a_lost_part_of_a_dataset_is_found_and_made_again(copy, settings, stem, damage):
    before = everything(str(copy.root))
    damage(next(copy.root.glob(f"datasets/*/{stem}-*")))
    (found,) = inspect(str(copy.root)).values()
    assert found in ("damaged", "missing")
    inspect(str(copy.root), repair=True)
    make(settings, copy.root)
    assert different(before, everything(str(copy.root))) == [] and inspect(str(copy.root)) == {}


def test_a_dataset_is_not_removed_from_under_its_sets(copy):
    location = LocalLocation(copy.root)
    for room in ("evaluations", "experts", "scores", "reports"):
        shutil.rmtree(copy.root / room, ignore_errors=True)
    with pytest.raises(InputError, match=r"^1 artefacts were made from datasets/.*: distilled/"):
        upkeep.remove(location, "datasets/", force=False)
    told = usage.usage(location)
    (data,) = [line for line in told.artifacts if line.stage == "data"]
    size = sum(path.stat().st_size for path in copy.root.glob("datasets/*/*"))
    assert data.objects == 4 and data.bytes == size
    assert upkeep.remove(location, "datasets/", force=True).bytes == size
