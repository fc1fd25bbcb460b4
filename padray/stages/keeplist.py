"""The keep-list as an artefact: every training sample with its score and whether it is kept, made in one go.

Its one object, `kept`, has the columns sample, label, score (null where nothing ranked the samples) and kept. The bytes
may be named by another run, as `schedule.keep_list` or, with its scores, as `scores.path`.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, TypeAdapter, ValidationError

from padray import fingerprint
from padray.config import Config
from padray.data.datasets import Dataset
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.machine.files import read_regular, shown
from padray.stages import scores, stored
from padray.stages.base import Context, Progress
from padray.store.artifacts import MANIFEST, Folder

OBJECT = "kept"
_Count = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True)
class KeepFacts:
    """What a keep-list's manifest says of it: how many are kept, of how many, of each class, and which."""

    kept: _Count
    of: _Count
    kept_per_class: Annotated[tuple[_Count, ...], Field(min_length=1)]
    which: str


_FACTS = TypeAdapter(KeepFacts)


def facts_of(folder: Folder) -> KeepFacts:
    """What the manifest of a finished keep-list says. Raises LostObjectError if it lies."""
    try:
        return _FACTS.validate_python(folder.require().facts)
    except ValidationError:
        raise folder.lost(f"{folder.path}/{MANIFEST}", "is wrong (facts)") from None


def make(context: Context, data: Identity) -> Identity | None:
    """Make the keep-list of the settings if it is not there, and the scores that it needs; None where all are kept.

    Raises:
        InputError: its file cannot be used, or does not leave `distill.ipc` samples of each class.
    """
    identity = fingerprint.keep_identity(context.config, data)
    if identity is None:
        return None
    began = time.monotonic()
    reused = context.whole(identity, OBJECT) is not None
    if not reused:
        _write(context, data, identity)
    _check_ipc(context, identity)
    context.finished(identity, began, reused)
    return identity


def _write(context: Context, data: Identity, identity: Identity) -> None:
    from padray.experts import keeping  # it brings PyArrow

    config, folder = context.config, context.folder(identity)
    context.notify(Progress("keep", 0, 1, "keep-list"))
    dataset = stored.load_dataset(context.folder(data))
    rows, inputs = dataset.splits["train"], {"data": data.fingerprint}
    labels_N, scores_N = dataset.labels[rows], None
    if config.schedule.prunes:
        ranked = scores.make(context, data)
        inputs["scores"] = ranked.fingerprint
        scores_N = stored.scores_of_rows(context.folder(ranked), config.scores, rows)
    listed_N = torch.ones(len(rows), dtype=torch.bool)
    if config.schedule.keep_list is not None:
        listed_N = keeping.listed_samples(_content(config), shown(Path(config.schedule.keep_list).name), dataset)
    kept_N = keeping.kept_samples(scores_N, listed_N, labels_N, config.schedule)
    columns = {
        "sample": rows.tolist(),
        "label": labels_N.tolist(),
        "score": [None] * len(rows) if scores_N is None else scores_N.tolist(),
        "kept": kept_N.tolist(),
    }
    item = folder.put(OBJECT, "parquet", stored.encode_table(columns))
    facts = KeepFacts(
        int(kept_N.sum()),
        len(rows),
        tuple(torch.bincount(labels_N[kept_N], minlength=dataset.classes).tolist()),
        keeping.described(config.schedule, config.scores.method),
    )
    plain = _FACTS.dump_python(facts, mode="json")
    folder.commit(context.manifest(identity, [item], inputs=inputs, facts=plain))
    context.notify(Progress("keep", 1, 1, f"{facts.kept:,} of {facts.of:,} samples"))


def count(config: Config) -> int:
    """How many samples the file of `schedule.keep_list` lists. Raises InputError if it cannot be read."""
    from padray.experts import keeping

    name = shown(Path(config.schedule.keep_list or "").name)
    return len(keeping.listed_ids(_content(config), name))


def _content(config: Config) -> bytes:
    """The bytes of `schedule.keep_list`. Raises InputError if they are not those that the digest was taken of."""
    from padray.experts.external_ranking import MOST_BYTES

    schedule = config.schedule
    content = read_regular(schedule.keep_list or "", "the keep-list of schedule.keep_list", MOST_BYTES)
    if hashlib.sha256(content).hexdigest() != schedule.keep_digest:
        where = shown(schedule.keep_list or "")
        raise InputError(f"schedule.keep_list: {where} has changed since its digest was taken; run the command again")
    return content


def _check_ipc(context: Context, identity: Identity) -> None:
    """Refuse more samples per class than the keep-list leaves of a class. Raises InputError."""
    left = facts_of(context.folder(identity)).kept_per_class
    if context.config.distill.ipc > min(left):
        raise InputError(
            f"distill.ipc is {context.config.distill.ipc}, but schedule keeps only {min(left)} samples of class "
            f"{left.index(min(left))}; lower distill.ipc, or leave less out"
        )


def rows_of(folder: Folder, dataset: Dataset) -> torch.Tensor:
    """The kept training samples as rising rows of the training split, from a finished keep-list.

    Raises:
        InputError: it is not there, or is not one of this dataset.
    """
    table = stored.read_table(folder.get(folder.require().object(OBJECT)))
    kept = table.get("kept", [])
    fits = table.get("sample") == dataset.splits["train"].tolist() and len(kept) == len(table["sample"])
    if not fits or not all(isinstance(one, bool) for one in kept):
        raise InputError(f"{folder.path} is not the keep-list of its dataset; remove it, and the same command makes it")
    return torch.tensor(kept, dtype=torch.bool).nonzero().flatten()
