"""Datasets, scores, experts and sets as they lie in storage."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.torch
import torch

from padray.config import ScoreSettings
from padray.data.datasets import Dataset, from_tensors, meta, to_tensors
from padray.distill import synthetic
from padray.distill.synthetic import SyntheticSet
from padray.errors import InputError
from padray.files import shown
from padray.stages import facts
from padray.store.artifacts import Folder, Manifest, StoredObject
from padray.store.headers import metadata_of

_MOST_VALUES = 1 << 26  # of a table: the scores of millions of samples by all methods


def encode_dataset(dataset: Dataset) -> bytes:
    """The stored dataset's bytes: its tensors, and its facts in the header."""
    metadata = {"padray": json.dumps(meta(dataset), sort_keys=True)}
    return safetensors.torch.save({k: v.contiguous() for k, v in to_tensors(dataset).items()}, metadata=metadata)


def load_dataset(folder: Folder) -> Dataset:
    """The dataset of a finished folder, checked by its digest. Raises InputError if it is none."""
    content = folder.get(folder.require().object("dataset"))
    try:
        dataset = from_tensors(safetensors.torch.load(content), metadata_of(content))
        facts.check_dataset(dataset)
    except (safetensors.SafetensorError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{folder.path} holds no dataset that padray wrote ({_why(error)})") from None
    facts.compare(folder, dataset)
    return dataset


def _why(error: Exception) -> str:
    """What a reader says of bytes that it cannot read, on one line and not endless."""
    return shown(str(error))


def encode_table(columns: dict[str, Any]) -> bytes:
    """Columns as Parquet bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def read_table(content: bytes) -> dict[str, list[Any]]:
    """Columns from Parquet bytes. Raises InputError if they are none, or promise more values than anybody stores."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if sum(group.column(place).num_values for group in groups for place in range(group.num_columns)) > _MOST_VALUES:
            raise InputError(f"these bytes are not a table that padray wrote: it has more than {_MOST_VALUES:,} values")
        columns: dict[str, list[Any]] = file.read().to_pydict()
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        raise InputError("these bytes are not a table that padray wrote") from None
    return columns


def load_scores(folder: Folder, settings: ScoreSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """The training split's sample ids (N,) and their scores by the method, averaged over the networks (N,)."""
    tables = score_tables(folder, settings)
    train = [row for row, split in enumerate(tables[0]["split"]) if split == "train"]
    scores = torch.tensor([table[settings.method] for table in tables], dtype=torch.float64)
    return torch.tensor(tables[0]["sample"])[train], scores.mean(dim=0)[train]


def score_tables(folder: Folder, settings: ScoreSettings) -> list[dict[str, list[Any]]]:
    """The tables of the scoring networks that the settings ask for, or the one of a ranking from a file."""
    manifest, networks = folder.require(), [f"network-{k:04d}" for k in range(settings.networks)]
    stems = ["ranking"] if settings.method == "file" else networks
    return [read_table(folder.get(manifest.object(stem))) for stem in stems]


def load_set(folder: Folder, iterations: int) -> SyntheticSet:
    """The set that a distillation had after `iterations` iterations. Raises InputError if its object is none."""
    item = set_object(folder.require(), iterations)
    try:
        made = synthetic.decode(folder.get(item))
        facts.check_set(made)
    except InputError as error:
        raise InputError(f"{item.key}: {error}") from None
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{item.key} is no distilled set that padray wrote ({_why(error)})") from None
    return made


def set_object(manifest: Manifest, iterations: int) -> StoredObject:
    """Where that set lies."""
    return manifest.object(f"set-{iterations:06d}")


def load_history(folder: Folder, iterations: int) -> list[dict[str, Any]]:
    """The metrics of all iterations below `iterations`, in their order; where parts overlap, each one once."""
    rows: dict[int, dict[str, Any]] = {}
    for item in folder.require().objects:
        if item.stem.startswith("history-"):
            columns = read_table(folder.get(item))
            if not all(isinstance(number, int) for number in columns.get("iteration", [None])):
                raise InputError(f"{item.key} is no history that padray wrote")
            for values in zip(*columns.values(), strict=True):
                entry = dict(zip(columns, values, strict=True))
                rows[entry["iteration"]] = entry
    return [rows[i] for i in sorted(rows) if i < iterations]
