"""Stored tensors: what the manifest vouches for, mapped where it is large, stored without a copy."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from padray.store import shelf
from padray.store.artifacts import Folder, LostObjectError, StoredObject
from padray.store.cache import CachedLocation
from padray.store.location import LocalLocation
from padray.store.pieces import whole
from padray.store.tensors import of_tensors, opened

VALUES = torch.arange(5000.0)
PLACE = ("datasets/mine-0123456789ab", "f" * 64)


class Elsewhere:
    """An object storage, as far as reading goes."""

    def __init__(self, root: Path) -> None:
        self.inner, self.uri, self.asked = LocalLocation(root), "s3://bucket/runs", 0

    def get(self, key: str, most: int | None = None) -> bytes:
        self.asked += 1
        return self.inner.get(key, most)


@pytest.fixture
def item(tmp_path, monkeypatch) -> StoredObject:
    monkeypatch.setattr(shelf, "LEAST", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    content = safetensors.torch.save({"values": VALUES}, metadata={"padray": '{"a": 1}'})
    return Folder(LocalLocation(tmp_path / "root"), *PLACE).put("values", "safetensors", content)


def where(tensor: torch.Tensor) -> str:
    """The name of the file that its memory is; empty where it is the process's own."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, _, end = line.split()[0].partition("-")
        if int(begin, 16) <= tensor.data_ptr() < int(end, 16):
            return Path(line.split()[5]).name if line.split()[4] != "0" else ""
    return ""


def check(folder: Folder, item: StoredObject) -> str:
    tensors, facts = opened(folder, item)
    assert torch.equal(tensors["values"], VALUES) and facts == {"a": 1}
    return where(tensors["values"])


def test_in_a_folder_the_object_itself_is_mapped(item, tmp_path, monkeypatch):
    folder = Folder(LocalLocation(tmp_path / "root"), *PLACE)
    assert check(folder, item) == Path(item.key).name and not (tmp_path / "user").exists()
    monkeypatch.setattr(shelf, "LEAST", item.size + 1)
    assert check(folder, item) == ""


def test_of_an_object_storage_the_cache_s_entry_is_mapped(item, tmp_path):
    """That of the storage's own cache, or of the user's."""
    for number, cache in enumerate((tmp_path / "own", tmp_path / "user/padray")):
        inner = Elsewhere(tmp_path / "root")
        location = CachedLocation(inner, cache, 1 << 20) if number == 0 else inner
        names = {check(Folder(location, *PLACE), item) for _ in range(3)}
        assert inner.asked == 1 and len(names) == 1 and (cache / names.pop()).is_file()


def test_without_room_for_a_cache_it_is_read_as_ever(item, tmp_path, monkeypatch):
    assert check(Folder(CachedLocation(Elsewhere(tmp_path / "root"), tmp_path / "own", 5), *PLACE), item) == ""
    (tmp_path / "user").write_bytes(b"in the way")
    assert check(Folder(Elsewhere(tmp_path / "root"), *PLACE), item) == ""
    monkeypatch.setattr(shelf, "cache_of", lambda location: None)
    assert check(Folder(Elsewhere(tmp_path / "root"), *PLACE), item) == ""


def test_damage_is_told_wherever_it_is_and_a_damaged_entry_is_read_again(item, tmp_path):
    place, inner = tmp_path / "root" / item.key, Elsewhere(tmp_path / "root")
    local, away = (Folder(location, *PLACE) for location in (LocalLocation(tmp_path / "root"), inner))
    entry = tmp_path / "user/padray" / check(away, item)
    content = entry.read_bytes()
    entry.write_bytes(content[:-1] + b"x")
    check(away, item)
    assert inner.asked == 2 and entry.read_bytes() == content
    entry.unlink()
    for wrong in (content[:-1] + b"x", content[:-1], b""):
        place.write_bytes(wrong)
        for folder in (local, away):
            with pytest.raises(LostObjectError, match=r"values-.* is damaged"):
                opened(folder, item)
    place.unlink()
    for folder in (local, away):
        with pytest.raises(LostObjectError, match=r"values-.* is gone"):
            opened(folder, item)


def several() -> dict[str, torch.Tensor]:
    return {
        "b": torch.rand(3, 4).T,
        "a": torch.rand(2, 5),
        "lr": torch.tensor(0.1),
        "labels": torch.arange(7),
        "exact": torch.rand(3, dtype=torch.float64),
        "none": torch.zeros(0, 2),
    }


def test_an_object_in_pieces_has_the_bytes_that_the_library_writes():
    said = {"padray": '{"name": "Zoë", "quoted": "\\"", "list": [1]}'}
    tensors = several()
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    assert whole(of_tensors(tensors, said)) == safetensors.torch.save(plain, metadata=said)


def test_an_object_in_pieces_is_stored_as_one_in_bytes_and_copies_no_tensor(tmp_path):
    tensors = several()
    content = of_tensors(tensors, {"padray": "{}"})
    memory = {torch.frombuffer(piece, dtype=torch.uint8).data_ptr() for piece in content[1:] if piece.nbytes}
    assert {tensors[name].data_ptr() for name in ("a", "lr", "labels", "exact")} <= memory
    left, right = (Folder(LocalLocation(tmp_path / name), *PLACE) for name in ("pieces", "bytes"))
    item = left.put("values", "safetensors", content)
    assert item == right.put("values", "safetensors", whole(content))
    assert left.get(item) == right.get(item) == whole(content)
