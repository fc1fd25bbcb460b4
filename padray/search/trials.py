"""Trials as they lie in storage, one JSON each.

The storage is the truth: whatever else knows of trials is rebuilt from it (sampling.py), so the same command goes on
after any kill. A trial that was lost goes on from what it was given and, where it is judged on the way, from its last
rung.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from padray.store.artifacts import Folder, StoredObject, split_key
from padray.store.records import refusal, take_record

Parameters = dict[str, Any]
State = Literal["running", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class Rung:
    """What a trial's set was worth on validation after so many iterations."""

    iterations: int
    value: float


@dataclass(frozen=True)
class TrialRecord:
    """A trial: one that came to an end, or one that is running, with what is known of it so far.

    Attributes:
        value: the mean of `values`, the validation accuracies of its seeds after `iterations` iterations.
        iterations: those that it was judged after, the last time; 0 for a trial that never was.
        rungs: what it was worth on the way to its end.
        set_sha256: the set that was judged.
        cost: what the second objective says of it, where there is one.
    """

    number: int
    parameters: Parameters
    state: State
    value: float | None = None
    values: tuple[float, ...] = ()
    reason: str = ""
    set_sha256: str = ""
    iterations: int = 0
    rungs: tuple[Rung, ...] = ()
    cost: float | None = None

    def to_json(self) -> bytes:
        content = asdict(self)
        if self.cost is None:  # as before there was one
            del content["cost"]
        return json.dumps(content, sort_keys=True).encode()

    @property
    def ended(self) -> bool:
        """Whether it came to an end; a stopped trial may still be taken up again."""
        return self.state != "running"

    @property
    def rank(self) -> tuple[bool, int, bool]:
        """Of several records of a trial the one with the highest rank counts: the last one that was written."""
        return self.state in ("finished", "failed"), self.iterations, self.ended


@dataclass(frozen=True)
class BegunTrial:
    """What a trial was given."""

    number: int
    parameters: Parameters


Check = Callable[[TrialRecord], object]  # raises ValueError or TypeError if a record is no trial of the search
_DIGITS = 4  # of a trial's number, as its objects are called
_RECORD, _BEGUN = TypeAdapter(TrialRecord), TypeAdapter(BegunTrial)


def read(folder: Folder, check: Check, known: dict[str, TrialRecord] | None = None) -> dict[int, TrialRecord]:
    """All trials of a search by number, those that were begun among them.

    Args:
        check: of each record.
        known: those that were read before, by key. They are not read again, and new ones join them.

    Raises:
        InputError: what is stored cannot be a trial of this search.
    """
    known = {} if known is None else known
    for _ in range(2):  # a record may be replaced after it was listed: then the other one is there
        stems = {key: split_key(key)[0] for key in folder.keys("")}  # one look: a begun trial is never removed
        keys = [key for key, stem in stems.items() if stem.startswith("trial-")]
        _learn(folder, keys, check, known)
        ended = {stems[key][-_DIGITS:] for key in keys if key in known}
        keys += [key for key, stem in stems.items() if stem.startswith("begun-") and stem[-_DIGITS:] not in ended]
        _learn(folder, keys, check, known)
        if all(key in known for key in keys):
            break
    trials: dict[int, TrialRecord] = {}
    for record in (known[key] for key in keys if key in known):
        if record.number not in trials or trials[record.number].rank < record.rank:
            trials[record.number] = record
    return dict(sorted(trials.items()))


def _learn(folder: Folder, keys: Sequence[str], check: Check, known: dict[str, TrialRecord]) -> None:
    """Read those that are not known yet."""
    for key in keys:
        if key not in known and (taken := _take(folder, key)):
            _check(folder, *taken, check)
            known[key] = taken[1]


def _take(folder: Folder, key: str) -> tuple[StoredObject, TrialRecord] | None:
    if split_key(key)[0].startswith("trial-"):
        return take_record(folder, key, _RECORD)
    taken = take_record(folder, key, _BEGUN)
    return (taken[0], TrialRecord(taken[1].number, taken[1].parameters, "running")) if taken else None


def _check(folder: Folder, item: StoredObject, record: TrialRecord, check: Check) -> None:
    """Raises InputError if a record is not what its name says, or no trial of the search."""
    try:
        check(record)
    except (ValueError, TypeError):
        raise refusal(folder, item) from None
    if not item.stem.endswith(f"-{record.number:04d}"):
        raise refusal(folder, item)


def write(folder: Folder, record: TrialRecord) -> StoredObject:
    """Store a trial that was judged or came to an end, in the place of what was known of it before."""
    stem = f"trial-{record.number:04d}"
    item = folder.put(stem, "json", record.to_json())
    for key in folder.keys(f"{stem}"):
        if key != item.key:
            folder.location.delete(key)
    return item


def begin(folder: Folder, number: int, parameters: Parameters) -> None:
    """Note what a trial was given, so that one that is lost is queued again with the same parameters."""
    content = asdict(BegunTrial(number, parameters))
    folder.put(f"begun-{number:04d}", "json", json.dumps(content, sort_keys=True).encode())


def missing(records: dict[int, TrialRecord], trials: int) -> list[int]:
    """The numbers of which no trial came to an end yet."""
    return [number for number in range(trials) if number not in records or not records[number].ended]


def front(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that no other one beats in value without costing more: the cheapest first, the best last."""
    ranked = sorted(
        (record for record in records if record.state == "finished" and record.cost is not None),
        key=lambda record: (record.cost, -(record.value or 0.0), record.number),
    )
    members: list[TrialRecord] = []
    for record in ranked:
        if not members or (record.value or 0.0) > (members[-1].value or 0.0):
            members.append(record)
    return members


def best(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the highest value; of equals, the first. What was stopped early is never the best."""
    finished = [record for record in records if record.state == "finished"]
    return max(finished, key=lambda record: (record.value or 0.0, -record.number), default=None)
