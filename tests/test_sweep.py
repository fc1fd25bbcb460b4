"""Several sets at once: nothing that they share is made twice, and what one lacks does not cost the others."""

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from padray.config import Config
from padray.configuration import loading
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.stages import evaluate, pipeline, sweep
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.stages.sweep import StoredSet
from padray.store.location import Location
from padray.store.opening import open_location
from tests.conftest import TINY

QUICK = (
    "evaluation.epochs=1",
    "evaluation.architectures=[]",
    "distill.validation.seeds=0",
    "distill.iterations=1",
    "distill.init=real",
    "evaluation.controls.full=true",
    "evaluation.controls.full_epochs=1",
)


class Threads(InlineRunner):
    """As a cluster does it: a runner that several threads ask at once."""

    name = "threads"


def ignore(progress: Any) -> None:
    pass


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[StoredSet], Location]:
    """Three sets that share their controls, and one of another size that shares the full data."""
    folder = tmp_path_factory.mktemp("sweep")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    location, found = open_location(str(folder / "runs")), []
    for override in ("distill.seed=0", "distill.seed=1", "distill.seed=2", "distill.ipc=2"):
        loaded = loading.load(str(settings), (*QUICK, override))
        made = pipeline.run(Context("tiny", loaded.config, location, InlineRunner()), "distill").identities
        found.append(StoredSet(override, loaded.config, made["data"], made["distill"]))
    return found, location


def finished(location: Location) -> Counter[tuple[str, str]]:
    """How often each cell was made."""
    found: Counter[tuple[str, str]] = Counter()
    for key in location.keys("events"):
        for event in map(json.loads, location.get(key).splitlines()):
            if (event["event"], event["stage"]) == ("finished", "evaluate"):
                found[event["fingerprint"], event["unit"]] += 1
    return found


def test_sets_evaluated_together_make_what_they_share_once(sets):
    stored, location = sets
    tables = sweep.run(stored, location, Threads(), ignore)
    made = finished(location)
    assert set(made.values()) == {1}
    units = Counter(unit.split("/")[0] for _, unit in made)
    assert units["distilled"] == 4 * 2 and units["full"] == 2 + 1, "two lrs with one seed each, and the other seed"
    assert units["random"] == 2 * (2 + 1), "one control a size"
    assert list(tables) == [one.label for one in stored]
    alone = sweep.run(stored, location, InlineRunner(), ignore)
    assert alone == tables and finished(location) == made, "everything is found again"


def test_a_set_that_cannot_be_evaluated_does_not_cost_the_others(sets):
    stored, location = sets
    lost = replace(stored[1], label="lost", distilled=Identity("distill", "nowhere", "0" * 64))
    for runner in (InlineRunner(), Threads()):
        with pytest.raises(sweep.SomeFailed, match=r"1 of 3 sets could not be evaluated.*the first, lost: ") as failed:
            sweep.run([stored[0], lost, stored[2]], location, runner, ignore)
        assert list(failed.value.tables) == [stored[0].label, stored[2].label]
        assert all(rows[0].source == "distilled" for rows in failed.value.tables.values())
        assert list(failed.value.reasons) == ["lost"] and "not finished" in failed.value.reasons["lost"]


def test_where_none_can_be_evaluated_the_reason_is_told_as_it_is(sets):
    stored, location = sets
    lost = replace(stored[0], distilled=Identity("distill", "nowhere", "0" * 64))
    with pytest.raises(InputError, match="not finished"):
        sweep.run([lost, replace(lost, label="lost too")], location, Threads(), ignore)


def test_only_so_many_sets_are_at_work_at_a_time(sets, monkeypatch):
    stored, location = sets
    guard, now, most = threading.Lock(), 0, 0

    def make(*_: Any) -> list[Any]:
        nonlocal now, most
        with guard:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with guard:
            now -= 1
        return []

    monkeypatch.setattr(evaluate, "make_controls", lambda *_: None)
    monkeypatch.setattr(evaluate, "make", make)
    many = [replace(stored[0], label=str(k)) for k in range(30)]
    assert list(sweep.run(many, location, Threads(), ignore)) == [str(k) for k in range(30)]
    assert 1 < most <= sweep.MOST_THREADS


def test_an_interrupt_begins_no_more_sets(sets, monkeypatch):
    stored, location = sets
    begun: list[str] = []

    def make(context: Context, *_: Any) -> list[Any]:
        begun.append(context.name)
        if context.name == "0":
            raise KeyboardInterrupt
        time.sleep(0.05)
        return []

    monkeypatch.setattr(evaluate, "make_controls", lambda *_: None)
    monkeypatch.setattr(evaluate, "make", make)
    many = [replace(stored[0], label=str(k)) for k in range(60)]
    with pytest.raises(KeyboardInterrupt):
        sweep.run(many, location, Threads(), ignore)
    assert len(begun) < 30


def test_a_set_is_not_evaluated_with_the_cluster_that_made_it(sets, monkeypatch):
    stored, location = sets
    folder, manifest = sweep.named(stored[0].distilled.fingerprint, location)
    spread = {**manifest.settings["cluster"], "workers": 2, "gpus_per_cell": 0.25}
    elsewhere = replace(manifest, settings={**manifest.settings, "cluster": spread})
    monkeypatch.setattr(sweep, "named", lambda *_: (folder, elsewhere))
    assert sweep.find("it", (), location).config.cluster == Config().cluster
    assert sweep.find("it", ("cluster.gpus_per_cell=0.5",), location).config.cluster.gpus_per_cell == 0.5
