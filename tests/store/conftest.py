"""A storage root and an artefact's folder in it."""

from pathlib import Path

import pytest

from padray.store.artifacts import Folder
from padray.store.location import LocalLocation


@pytest.fixture
def location(tmp_path: Path) -> LocalLocation:
    return LocalLocation(tmp_path / "root")


@pytest.fixture
def folder(location: LocalLocation) -> Folder:
    return Folder(location, f"experts/digits-{'f' * 12}", "f" * 64)
