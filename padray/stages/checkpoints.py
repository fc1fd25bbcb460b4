"""Checkpoints of a distillation and the history that leads to them.

A history part is stored before the checkpoint that names it, so whoever finds a checkpoint finds its history.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from padray.distill import state as states
from padray.distill.loop import Metrics
from padray.distill.state import State
from padray.errors import InputError
from padray.numerics import Numerics
from padray.stages import stored
from padray.store.artifacts import Folder, StoredObject, split_key
from padray.store.location import MissingError

_KEEP = 2  # the newest may be the one that is torn


@dataclass(frozen=True)
class Checkpoint:
    """A state to go on from, its facts, its own object, and the history parts up to it."""

    state: State
    facts: dict[str, Any]
    item: StoredObject
    parts: tuple[StoredObject, ...]


def newest(folder: Folder, until: int) -> Checkpoint | None:
    """The valid checkpoint with the most iterations, at most `until`; None if there is none.

    A checkpoint whose history is not all there is none to go on from.
    """
    for item in reversed(folder.loose("checkpoint-")):
        if _iterations(item.stem) > until:
            continue
        try:
            state, facts = states.decode(folder.get(item))
        except MissingError:  # another command has gone further and dropped it
            continue
        if facts["fingerprint"] != folder.fingerprint:
            raise InputError(f"{item.key} belongs to another distillation; move that folder away")
        parts = tuple(StoredObject(**part) for part in facts["history"])
        if all(folder.location.size(part.key) == part.size for part in parts):
            return Checkpoint(state, facts, item, parts)
    return None


def _iterations(name: str) -> int:
    return int(name.rsplit("-", 1)[1])


def is_passed(item: StoredObject, until: int) -> bool:
    """Whether an object is a checkpoint at or below `until`, which a newer one replaces."""
    return item.stem.startswith("checkpoint-") and _iterations(item.stem) <= until


def prune(folder: Folder, until: int, keep: int = _KEEP) -> None:
    """Delete the checkpoints up to `until`, but the `keep` newest ones and those that the manifest lists.

    Later ones belong to a longer run of the same distillation, which may want to go on from them.
    """
    manifest = folder.manifest()
    listed = {item.key for item in manifest.objects} if manifest else set()
    earlier = [key for key in folder.keys("checkpoint-") if _iterations(split_key(key)[0]) <= until]
    for key in earlier[: max(0, len(earlier) - keep)]:
        if key not in listed:
            folder.location.delete(key)


class Trail:
    """What a distillation leaves while it runs."""

    def __init__(self, folder: Folder, numerics: Numerics, parts: Sequence[StoredObject]) -> None:
        self.folder, self.numerics, self.parts = folder, numerics, list(parts)
        self.metrics: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Note an iteration; it is stored with the next checkpoint."""
        self.metrics.append(metrics)

    def save(self, state: State) -> None:
        """Store the history since the last checkpoint, then the state."""
        if self.metrics:
            first, last = self.metrics[0]["iteration"], self.metrics[-1]["iteration"]
            keys = sorted({key for metrics in self.metrics for key in metrics})
            columns = {key: [metrics.get(key) for metrics in self.metrics] for key in keys}
            stem = f"history-{first:06d}-{last:06d}"
            self.parts.append(self.folder.put(stem, "parquet", stored.encode_table(columns)))
            self.metrics = []
        facts = {
            "fingerprint": self.folder.fingerprint, "numerics": self.numerics.record(),
            "history": [asdict(part) for part in self.parts],
        }  # fmt: skip
        self.folder.put(f"checkpoint-{state.iteration:06d}", "safetensors", states.encode(state, facts))
        prune(self.folder, state.iteration)
