"""Datasets, scores, experts and sets as they lie in storage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import safetensors
import safetensors.torch
import torch

from padray.config import ScoreSettings
from padray.data.datasets import Dataset, from_objects, meta, to_objects
from padray.errors import InputError
from padray.fingerprint import Identity, set_name
from padray.machine import activity
from padray.machine.files import shown
from padray.stages import facts
from padray.store.artifacts import Folder, Manifest, StoredObject
from padray.store.location import Location
from padray.store.shelf import Shelf, cache_of
from padray.store.tensors import Opened, opened
from padray.synthetic import set as sets
from padray.synthetic.set import SyntheticSet

_MOST_VALUES = 1 << 26  # of a table: the scores of millions of samples by all methods
_NOT_OURS = (safetensors.SafetensorError, LookupError, ValueError, TypeError, AttributeError)


def encode_dataset(dataset: Dataset) -> dict[str, bytes]:
    """The stored dataset's objects by their names: its tensors, and its facts in the header of `dataset`."""
    header = {"padray": json.dumps(meta(dataset), sort_keys=True)}
    return {
        stem: safetensors.torch.save(tensors, metadata=header if stem == "dataset" else {"padray": "{}"})
        for stem, tensors in to_objects(dataset).items()
    }


@activity.step("loading the dataset")
def load_dataset(folder: Folder) -> Dataset:
    """The dataset of a finished folder, checked by its digests. Raises InputError if it is none.

    What is large is read, and checked, when it is first asked for.
    """
    manifest = folder.require()

    def read(stem: str) -> Opened:
        try:
            return opened(folder, manifest.object(stem))
        except _NOT_OURS as error:
            raise _no_dataset(folder, error) from None

    def apart(stem: str) -> Mapping[str, torch.Tensor]:
        tensors = read(stem).tensors
        try:
            facts.check_part(stem, tensors, dataset)
        except ValueError as error:
            raise _no_dataset(folder, error) from None
        return tensors

    whole, cache = read("dataset"), cache_of(folder.location)
    shelf = Shelf(cache.entries if cache else None, [item.sha256 for item in manifest.objects])
    try:
        dataset = from_objects(whole.tensors, whole.facts, apart, shelf)
        facts.check_dataset(dataset)
        if "images" in whole.tensors:
            facts.check_part("images", whole.tensors, dataset)
    except _NOT_OURS as error:
        raise _no_dataset(folder, error) from None
    facts.compare(folder, dataset)
    return dataset


def _no_dataset(folder: Folder, error: Exception) -> InputError:
    return InputError(f"{folder.path} holds no dataset that padray wrote ({_why(error)})")


def _why(error: Exception) -> str:
    """What a reader says of bytes that it cannot read, on one line and not endless."""
    return shown(str(error))


def columns_of(kind: type, lines: Sequence[object]) -> dict[str, list[Any]]:
    """Dataclasses of one kind as a table's columns."""
    return {field.name: [getattr(line, field.name) for line in lines] for field in fields(kind)}


def encode_table(columns: Mapping[str, Any]) -> bytes:
    """Columns as Parquet bytes."""
    import pyarrow as pa  # here and below: it takes its time, and who reads no table does without it
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def read_table(content: bytes) -> dict[str, list[Any]]:
    """Columns from Parquet bytes. Raises InputError if they are none, or promise more values than anybody stores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

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


def scores_of_rows(folder: Folder, settings: ScoreSettings, rows_N: torch.Tensor) -> torch.Tensor:
    """The scores of these samples (N,), by their ids. Raises InputError if one has none."""
    samples, scores = load_scores(folder, settings)
    by_sample = dict(zip(samples.tolist(), scores.tolist(), strict=True))
    if not by_sample.keys() >= set(rows_N.tolist()):
        raise InputError(f"{folder.path} does not score all samples of its dataset; remove it to have it made again")
    return torch.tensor([by_sample[row] for row in rows_N.tolist()], dtype=torch.float64)


def score_tables(folder: Folder, settings: ScoreSettings) -> list[dict[str, list[Any]]]:
    """The tables of the scoring networks that the settings ask for, or the one of a ranking from a file."""
    manifest, networks = folder.require(), [f"network-{k:04d}" for k in range(settings.networks)]
    stems = ["ranking"] if settings.method == "file" else networks
    return [read_table(folder.get(manifest.object(stem))) for stem in stems]


def load_set(folder: Folder, iterations: int) -> SyntheticSet:
    """The set that a distillation had after `iterations` iterations; a large preprocessing is read when needed.

    Raises InputError if its object is none.
    """
    item = set_object(folder.require(), iterations)
    try:
        synthetic = sets.decode(folder.get(item), lambda about, digest: _preprocessing(folder.location, about, digest))
        facts.check_set(synthetic)
    except InputError as error:
        raise InputError(f"{item.key}: {error}") from None
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{item.key} is no distilled set that padray wrote ({_why(error)})") from None
    return synthetic


def _preprocessing(location: Location, about: Mapping[str, Any], digest: str) -> Mapping[str, torch.Tensor]:
    """A set's preprocessing, from its dataset. Raises InputError if that is gone or has another one."""
    place = _dataset_of(about)
    folder = Folder(location, place.folder, place.fingerprint)
    if folder.manifest() is None:
        raise InputError(
            f"the preprocessing of this set lies with its dataset, and {folder.path} is not in {location.uri}: "
            f"`padray data` with the set's settings makes it again"
        )
    dataset = load_dataset(folder)
    if dataset.preprocessing.digest != digest or list(dataset.shape) != list(about["shape"]):
        raise InputError(
            f"the preprocessing in {folder.path} in {location.uri} is not the one that this set was made with "
            f"({shown(digest[:12])}…): put back the dataset that it was made from"
        )
    return dataset.preprocessing.values


def fitted_object(manifest: Manifest) -> StoredObject:
    """Where a dataset's preprocessing lies: an object of its own, where that is large and was stored so."""
    own = [item for item in manifest.objects if item.stem == "preprocessing"]
    return own[0] if own else manifest.object("dataset")


def _dataset_of(about: Mapping[str, Any]) -> Identity:
    """The dataset that a set's header names. Raises InputError if it does not."""
    name, digest = about.get("dataset"), about.get("dataset_fingerprint")
    if not isinstance(name, str) or not isinstance(digest, str):
        raise InputError("this set does not say which dataset it was made from")
    return Identity("data", name, digest)


def set_object(manifest: Manifest, iterations: int) -> StoredObject:
    """Where that set lies."""
    return manifest.object(set_name(iterations))


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
