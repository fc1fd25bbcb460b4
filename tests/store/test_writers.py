"""Several commands on one storage root at once: nothing is mixed, nothing is lost, nobody falls over.

The tests with a `Beside` put one command right into the gap of another, where a race would have to hit it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from padray.errors import InputError, WorkError
from padray.operations import upkeep
from padray.store.artifacts import Folder, LostObjectError, Manifest
from padray.store.location import LocalLocation
from padray.store.opening import open_location
from padray.store.roots import read_manifests
from tests.cluster.conftest import command
from tests.roots import chain, different, inspect, stored, units

LONGER, MORE = "distill.iterations=20", "experts.count=5"


@pytest.fixture(scope="module")
def alone(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, bytes]]:
    """What a run that has its root for itself leaves."""
    made: dict[tuple[str, ...], dict[str, bytes]] = {}

    def run(*overrides: str) -> dict[str, bytes]:
        if overrides not in made:
            root = str(tmp_path_factory.mktemp("alone") / "runs")
            chain(settings, root, *overrides)
            made[overrides] = stored(root)
        return made[overrides]

    return run


class Beside(LocalLocation):
    """A folder in which something else happens once, just before (or after) an object of that name is put or read."""

    def __init__(self, root: str, happen: Callable[[], object], before: str = "", after: str = "", read: str = ""):
        super().__init__(root)
        self.happen, self.moments, self.happened = happen, {"before": before, "after": after, "read": read}, 0

    def _at(self, moment: str, key: str) -> None:
        if self.moments[moment] and self.moments[moment] in key and not self.happened:
            self.happened += 1
            self.happen()

    def put(self, key: str, content: bytes) -> None:
        self._at("before", key)
        super().put(key, content)
        self._at("after", key)

    def get(self, key: str, most: int | None = None) -> bytes:
        self._at("read", key)
        return super().get(key, most)

    def get_range(self, key: str, offset: int, length: int) -> bytearray:
        self._at("read", key)
        return super().get_range(key, offset, length)


def listed(root: str, room: str) -> list[list[str]]:
    """The names that the manifests of a room list."""
    found = [(path, made) for path, made in read_manifests(open_location(root)) if path.startswith(room)]
    return [[item.stem for item in made.objects] for _, made in found if isinstance(made, Manifest)]


# -- two processes


@pytest.mark.chaos  # ten seconds each, and more where others work
@pytest.mark.parametrize(
    "others", [(), ("distill.lr_images=2", MORE), (LONGER, "evaluation.seeds=3")], ids=["same", "other", "longer"]
)
def test_two_commands_at_once_leave_what_each_leaves_alone(new_root, settings, alone, others):
    root, given = new_root(), [item for override in others for item in ("--set", override)]
    arguments = ("evaluate", settings, "--storage", root, "--runner", "inline")
    runs = [command(*arguments, environment=dict(os.environ)) for arguments in (arguments, (*arguments, *given))]
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    found, first, second = stored(root), alone(), alone(*others)
    assert units_of(found) == units_of(first) | units_of(second)
    assert inspect(root) == {}
    made = units(root)
    chain(settings, root)
    chain(settings, root, *others)
    assert units(root) == made and units_of(stored(root)) == units_of(found), "both find everything there"


def units_of(found: dict[str, bytes]) -> dict[str, bytes]:
    """All but manifests, which tell whose settings came last, and checkpoints, which a longer run drops."""
    return {key: found[key] for key in found if not key.endswith("manifest.json") and "/checkpoint-" not in key}


# -- one command in the gap of another


def test_a_run_with_more_experts_beside_one_with_fewer_keeps_them_listed(settings, alone, tmp_path):
    root = str(tmp_path / "runs")
    beside = Beside(root, lambda: chain(settings, root, MORE, until="experts"), after="expert-0002-")
    chain(settings, beside)
    assert beside.happened == 1
    assert listed(root, "experts/") == [[f"expert-{k:04d}" for k in range(5)]]
    assert {key: content for key, content in units_of(stored(root)).items() if key in alone()} == units_of(alone())
    assert chain(settings, root, MORE, until="experts").reused == ["data", "scores", "experts"]
    assert inspect(root) == {}


def test_a_run_with_more_networks_beside_one_with_fewer_keeps_them_listed(settings, tmp_path):
    root = str(tmp_path / "runs")
    beside = Beside(root, lambda: chain(settings, root, "scores.networks=3", until="scores"), after="network-0001-")
    chain(settings, beside, until="scores")
    assert beside.happened == 1 and listed(root, "scores/") == [[f"network-{k:04d}" for k in range(3)]]


@pytest.mark.parametrize("moment", [{"before": "set-000012-"}, {"after": "set-000012-"}], ids=["before", "after"])
def test_a_longer_distillation_that_overtakes_a_shorter_one_leaves_both_sets(settings, alone, tmp_path, moment):
    """The longer run goes on from the shorter one's checkpoint and drops it before the shorter one has listed it."""
    root = str(tmp_path / "runs")
    beside = Beside(root, lambda: chain(settings, root, LONGER, until="distill"), **moment)
    chain(settings, beside)
    assert beside.happened == 1
    (names,) = listed(root, "distilled/")
    assert {"set-000012", "set-000020", "checkpoint-000020"} <= set(names)
    found = units_of(stored(root))
    assert {key: found[key] for key in units_of(alone())} == units_of(alone())
    chain(settings, root, LONGER)
    assert units_of(stored(root)) == units_of(alone()) | units_of(alone(LONGER)) and inspect(root) == {}


def test_a_set_that_is_removed_before_it_is_listed_is_told(settings, tmp_path):
    root = str(tmp_path / "runs")

    def remove() -> None:
        for path in Path(root).glob("distilled/*/*"):
            path.unlink()

    with pytest.raises(WorkError, match=r"distilled/.* was removed while it was made; the same command makes it again"):
        chain(settings, Beside(root, remove, after="set-000012-"), until="distill")
    chain(settings, root, until="distill")


def test_a_run_with_more_seeds_beside_one_with_fewer_keeps_its_cells_listed(settings, tmp_path):
    root, more = str(tmp_path / "runs"), "evaluation.seeds=3"
    chain(settings, root, until="distill")
    beside = Beside(root, lambda: chain(settings, root, more), after="cell-mlp2w8-seed1-")
    chain(settings, beside)
    assert beside.happened == 1
    assert [names.count("cell-mlp2w8-seed2") for names in listed(root, "evaluations/")] == [1, 0]
    assert set(inspect(root).values()) <= {"orphan"}, "the other one's table"
    assert "evaluation" in chain(settings, root, more).reused


def test_an_object_that_goes_while_it_is_looked_for_is_put_again_and_in_a_listing_it_is_not_there(tmp_path):
    """As a checkpoint does that another run of the same distillation drops."""
    root = str(tmp_path)

    def remove() -> None:
        for path in Path(root).glob("a/b/x-*"):
            path.unlink()

    folder = Folder(Beside(root, remove, read="a/b/x-"), "a/b", "f" * 64)
    item = Folder(LocalLocation(root), "a/b", "f" * 64).put("x", "bin", b"content")
    assert folder.put("x", "bin", b"content") == item and LocalLocation(root).get(item.key) == b"content"
    kept = Folder(LocalLocation(root), "a/b", "f" * 64).put("y", "bin", b"other")
    assert Folder(Beside(root, remove, read="a/b/x-"), "a/b", "f" * 64).loose() == [kept]


def test_a_manifest_that_goes_while_it_is_looked_for_is_not_there(tmp_path):
    folder = Folder(LocalLocation(tmp_path), "a/b", "f" * 64)
    folder.commit(Manifest("f" * 64, "data", {}, {}, {}, ()))
    assert Folder(Beside(str(tmp_path), folder.delete, read="manifest.json"), "a/b", "f" * 64).manifest() is None


@pytest.mark.parametrize("room", ["datasets", "experts"])
def test_what_another_command_starts_anew_is_missed_in_one_sentence(settings, alone, tmp_path, room):
    """`--fresh` beside a reader: the reader ends, or goes on with the same bytes."""
    root = str(tmp_path / "runs")
    chain(settings, root, until="experts")

    def forget() -> None:
        for path in Path(root).glob(f"{room}/*/*"):
            path.unlink()

    told = r"is not finished; run the stage that makes it first|expert-\S+ is gone: type `padray verify experts/"
    with pytest.raises((InputError, LostObjectError), match=told):
        chain(
            settings, Beside(root, forget, before="checkpoint-000004-" if room == "experts" else "expert-0003-"), MORE
        )
    chain(settings, root)
    assert {key: content for key, content in units_of(stored(root)).items() if key in alone()} == units_of(alone())


def test_a_repair_at_every_moment_of_a_run_costs_nothing(settings, alone, tmp_path):
    root = str(tmp_path / "runs")

    class Repaired(LocalLocation):
        def put(self, key: str, content: bytes) -> None:
            super().put(key, content)
            if upkeep.folders(self):
                upkeep.repair(upkeep.verify(self, None, None, lambda progress: None))

    chain(settings, Repaired(root))
    assert different(stored(root), alone()) == []
