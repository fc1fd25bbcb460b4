"""What a plan knows of a dataset before it is stored is what the stored dataset then holds."""

import os
from pathlib import Path

import pytest
from PIL import Image

from padray.config import DataSettings
from padray.data import datasets, sources
from padray.errors import InputError
from padray.planning.outline import PUBLISHED, digest_of, know
from tests.planning.conftest import line_of, plan

REAL = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def images(root: Path, modes: dict[str, str]) -> None:
    """Two classes; each split's images in these modes, in the order of their names."""
    for split, text in modes.items():
        for label in ("cat", "dog"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for place, mode in enumerate(text):
                Image.new("L" if mode == "g" else "RGB", (8, 6), place).save(folder / f"{place}.png")


def check(settings: DataSettings) -> None:
    found, real = know(settings, None), datasets.make(settings, sources.read(settings))
    assert found.shape == real.shape and found.class_names == real.class_names and found.content == real.content
    assert list(found.train_per_class) == real.per_class("train").tolist()
    assert (found.validation, found.test) == (len(real.splits["validation"]), len(real.splits["test"]))


@pytest.mark.parametrize(
    "settings",
    [
        DataSettings(),
        DataSettings(dataset="wine", preprocessing="normalize"),
        DataSettings(dataset="waves"),
        DataSettings(limit_per_class=9, validation=0.25),
        DataSettings(imbalance=20.0),
        DataSettings(validation=0.0),
    ],
    ids=str,
)
def test_built_in_datasets_are_known(settings):
    check(settings)


@pytest.mark.parametrize(
    "modes", [{"train": "ggg", "test": "g"}, {"train": "ggc", "test": "g"}, {"train": "ggg", "test": "gc"}]
)
def test_one_colour_image_makes_all_of_them_colour(tmp_path, modes):
    images(tmp_path, modes)
    check(DataSettings(dataset="pets", path=str(tmp_path)))
    check(DataSettings(dataset="pets", path=str(tmp_path), size=4, validation=0.0))


def test_what_is_published_adds_up():
    counts = {name: (sum(train), test) for name, (_, train, test) in PUBLISHED.items()}
    assert counts == {
        "cifar10": (50_000, 10_000),
        "cifar100": (50_000, 10_000),
        "mnist": (60_000, 10_000),
        "fashionmnist": (60_000, 10_000),
        "svhn": (73_257, 26_032),
        "tiny": (100_000, 10_000),
    }


@pytest.mark.skipif(not REAL.is_dir(), reason="CIFAR-10's files are not here")
def test_cifar10_s_files_hold_what_is_published():
    files = know(DataSettings(dataset="cifar10", path=str(REAL), limit_per_class=700), None)
    published = know(DataSettings(dataset="cifar10", limit_per_class=700), None)
    assert (files.shape, files.train_per_class, files.test) == (
        published.shape,
        published.train_per_class,
        published.test,
    )
    assert files.validation == published.validation == 700


@pytest.mark.parametrize(
    ("preset", "parameters", "kept"),
    [("pad-cifar10-ipc1", 320_010, 101), ("mtt-cifar100-ipc1", 504_420, 51), ("datm-tiny-ipc1", 857_160, 101)],
)
def test_a_paper_s_preset_is_planned_without_its_files(tmp_path, preset, parameters, kept):
    told = plan(preset, tmp_path / "none")
    experts = line_of(told, "experts")
    assert experts["bytes"] == experts["units"] * kept * parameters * 4
    assert any("as it was published" in note for note in told["notes"])
    assert told["total"]["memory"] + told["total"]["memory_shared"] > 1e9, "the samples alone take half of that"


def test_a_path_that_does_not_hold_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        digest_of(DataSettings(dataset="cifar10", path=os.fspath(tmp_path / "none")))
