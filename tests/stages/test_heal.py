"""What is removed, beside a run or after it: no manifest vouches for it, and the same command makes it again."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from padray.errors import InfrastructureError
from padray.operations import upkeep
from padray.store.artifacts import LostObjectError
from padray.store.location import LocalLocation
from padray.store.roots import all_manifests, folders
from tests.roots import chain, different, inspect, stored, units


@pytest.fixture(scope="module")
def made(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a whole chain. Tests take a copy."""
    root = tmp_path_factory.mktemp("heal") / "runs"
    chain(settings, str(root))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


class During(LocalLocation):
    """A folder in which something happens once, just before or after an object of that name is put."""

    def __init__(self, root: Path, happen: Callable[[LocalLocation], object], before: str = "\0", after: str = "\0"):
        super().__init__(root)
        self.happen, self.before, self.after, self.happened = happen, before, after, False

    def _at(self, moment: str, key: str) -> None:
        if moment in key and not self.happened:
            self.happened = True
            self.happen(LocalLocation(self.root))

    def put(self, key: str, content: bytes) -> None:
        self._at(self.before, key)
        super().put(key, content)
        self._at(self.after, key)


def kept(root: Path) -> dict[str, bytes]:
    """Everything in a root; in what order manifests list it tells how it came there, and is no difference."""
    found = stored(str(root))
    for key in found:
        if key.endswith("/manifest.json"):
            manifest = json.loads(found[key])
            manifest["objects"].sort(key=lambda item: item["key"])
            found[key] = json.dumps(manifest).encode()
    return found


def nothing_but_the_truth(root: Path) -> bool:
    """Whether every manifest lists only what is there."""
    location = LocalLocation(root)
    return all(location.size(item.key) == item.size for _, made in all_manifests(location) for item in made.objects)


# -- beside a run


@pytest.mark.parametrize(
    "room, after, until",
    [
        ("scores", "network-0000-", "scores"),
        ("experts", "expert-0001-", "experts"),
        ("distilled", "set-000012-", "distill"),
        ("evaluations", "cell-mlp2w8-seed1-", "evaluate"),
    ],
)
def test_what_is_removed_while_it_is_made_is_noticed_and_the_same_command_makes_it(
    settings, made, tmp_path, room, after, until
):
    root = tmp_path / "runs"

    def all_of_it(location: LocalLocation) -> None:
        for path in folders(location):
            if path.startswith(f"{room}/"):
                upkeep.remove(location, path, force=True)

    with pytest.raises(InfrastructureError, match=r"was removed while it was made; the same command makes it again"):
        chain(settings, During(root, all_of_it, after=after), until=until)
    assert nothing_but_the_truth(root)
    chain(settings, str(root))
    assert different(kept(root), kept(made)) == [] and inspect(str(root)) == {}


@pytest.mark.parametrize("room", ["experts", "distilled"])
def test_what_is_removed_in_the_last_moment_is_made_by_the_next_command(settings, made, tmp_path, room):
    """Between the look at the objects and the manifest, which then lists what is gone."""
    root = tmp_path / "runs"

    def objects_of_it(location: LocalLocation) -> None:
        for key in location.keys(room):
            location.delete(key)

    during = During(root, objects_of_it, before="manifest.json")
    during.before = next(key for key in stored(str(made)) if key.startswith(f"{room}/") and key.endswith("t.json"))
    with pytest.raises(LostObjectError, match=rf"{room}/.* is gone: type `padray verify {room}/.* --repair --storage "):
        chain(settings, during)
    assert not nothing_but_the_truth(root)
    chain(settings, str(root))
    assert different(kept(root), kept(made)) == [] and inspect(str(root)) == {}


# -- after it


@pytest.mark.parametrize(
    "pattern, again",
    [
        ("dataset-*", set()),
        ("network-0001-*", {"network-0001"}),
        ("expert-0001-*", {"expert-0001"}),
        ("history-000000-*", {"set-000012"}),
        ("set-000012-*", {"set-000012"}),
        ("cell-mlp2w8-seed1-*", {"distilled/cell-mlp2w8-seed1"}),
        ("table-*", set()),
        ("checkpoint-*", set()),
    ],
)
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_an_object_that_is_lost_is_made_again_by_the_same_command_and_nothing_else_is(
    settings, made, root, pattern, again, damage
):
    path = next(iter(sorted(root.glob(f"*/*/{pattern}"))))
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-1])
    before = Counter(units(str(root)))
    chain(settings, str(root))
    assert {unit.split("/", 1)[1] for unit in Counter(units(str(root))) - before} == again
    lost = {path.relative_to(root).as_posix()} if pattern == "checkpoint-*" else set()
    assert set(different(kept(root), kept(made))) <= lost


def test_rm_and_the_same_command_leave_what_was_there(settings, made, root):
    for room in ("evaluations/distilled", "distilled", "experts", "scores", "datasets"):
        upkeep.remove(LocalLocation(root), room, force=True)
    chain(settings, str(root))
    assert different(kept(root), kept(made)) == []


def test_what_is_damaged_unseen_is_told_where_it_is_used_with_what_to_type(settings, made, root):
    path = next(iter(root.glob("datasets/*/dataset-*")))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(LostObjectError) as caught:
        chain(settings, str(root), "experts.count=4", until="experts")
    folder = path.parent.relative_to(root).as_posix()
    assert f"is damaged: type `padray verify {folder} --repair --storage {root}`" in str(caught.value)
    upkeep.repair(upkeep.verify(LocalLocation(root), folder, None, lambda progress: None))
    chain(settings, str(root))
    assert different(kept(root), kept(made)) == []
