"""One folder for several datasets: a study over all of them takes one `data.path`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padray.config import DataSettings
from padray.data import sources
from padray.errors import InputError


def _fill(folder: Path, grey: int) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            Image.fromarray(np.full((6, 6), grey, dtype=np.uint8)).save(folder / split / name / "0.png")


def _settings(dataset: str, path: Path) -> DataSettings:
    return DataSettings(dataset=dataset, path=str(path), validation=0.0)


def _brightest(settings: DataSettings) -> int:
    return int(sources.read(settings).train.images.max())


def test_each_dataset_is_found_under_its_name_as_if_it_were_named_itself(tmp_path):
    _fill(tmp_path / "dim", 10)
    _fill(tmp_path / "bright", 200)
    for name, grey in (("dim", 10), ("bright", 200)):
        inside, direct = _settings(name, tmp_path), _settings(name, tmp_path / name)
        assert _brightest(inside) == grey
        assert sources.source_digest(inside) == sources.source_digest(direct), "where it lies means nothing"


def test_a_dataset_comes_before_a_folder_of_its_name_inside(tmp_path):
    _fill(tmp_path, 10)
    _fill(tmp_path / "pets", 200)
    assert _brightest(_settings("pets", tmp_path)) == 10


def test_a_folder_of_other_datasets_is_refused(tmp_path):
    _fill(tmp_path / "dim", 10)
    with pytest.raises(InputError, match="holds no dataset"):
        sources.read(_settings("bright", tmp_path))
