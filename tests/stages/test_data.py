"""Stage `data`: what does not fit is refused before anything is stored, and forgets nothing."""

from pathlib import Path

import pytest

from padray.configuration import loading
from padray.data import datasets
from padray.errors import InfrastructureError, InputError
from padray.machine import memory
from padray.stages import data
from padray.stages.base import Context
from padray.stages.facts import DatasetFacts, Splits
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location


def context(settings: Path, root: Path, *overrides: str, fresh: bool = False) -> Context:
    loaded = loading.load(str(settings), overrides)
    return Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner(), fresh=fresh)


@pytest.mark.parametrize("override", ["distill.ipc=100000", "data.preprocessing=zca"])
def test_what_does_not_fit_the_data_is_refused_before_they_are_stored(tiny, tmp_path, monkeypatch, override):
    if "zca" in override:
        monkeypatch.setattr(memory, "free_memory", lambda: 100_000)  # the samples fit, whitening does not
    said = r"only \d+ training samples|samples of 64 numbers needs"
    with pytest.raises((InputError, InfrastructureError), match=said):
        data.make(context(tiny, tmp_path / "runs", override))
    assert not (tmp_path / "runs").exists()


def test_a_fresh_start_that_is_refused_forgets_nothing(tiny, tmp_path):
    data.make(context(tiny, tmp_path / "runs"))
    before = sorted((tmp_path / "runs").rglob("*"))
    with pytest.raises(InputError, match=r"distill\.ipc is 100000"):
        data.make(context(tiny, tmp_path / "runs", "distill.ipc=100000", fresh=True))
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_memory_that_runs_out_is_no_fault_of_the_input(tiny, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(datasets, "make", full)
    with pytest.raises(InfrastructureError, match=r"the dataset digits does not fit into memory: lower data\.size"):
        data.make(context(tiny, tmp_path / "runs"))


def test_what_trains_no_experts_is_not_asked_how_it_would_augment_them():
    table = DatasetFacts(("a", "b"), (4, 1, 1), Splits(40, 4, 10), (20, 20), "table")
    plain = ("network=mlp", "distill.augment=none", "evaluation.augment=none")
    data.check(table, loading.load("dm-digits-ipc1", plain).config)
    with pytest.raises(InputError, match=r"set experts\.augment=none$"):
        data.check(table, loading.load("digits-ipc1", (*plain, "experts.augment=crop")).config)
