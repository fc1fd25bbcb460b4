"""A ranking from elsewhere: how hard each training sample is, from the bytes of a `.npy`, JSON or Parquet file.

A sample's id is its place in the stored dataset: the training files in their order, from 0, after
`data.limit_per_class` and `data.imbalance`. A file ranks all of them; those in the validation split are ignored.

| file | content | meaning |
|---|---|---|
| `.npy`, floats (n,) | scores in the order of the ids | higher is harder |
| `.npy`, integers (n,) | ids from easy to hard | the place is the score |
| `.npy`, integers (K, n / K) | row k: the ids of class k from easy to hard (the layout that PAD published) | the same |
| JSON, a list of n numbers | scores in the order of the ids (BLiP's and BiLP's files) | higher is harder |
| Parquet | columns `sample` (ids) and `score`; validation samples may be left out | higher is harder |

BLiP's `large` drops the highest scores, here `schedule.prune_hardest`; its `small` is `prune_easiest`.
Legend: N training samples, n training files, K classes.
"""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from padray.data.datasets import Dataset
from padray.errors import InputError
from padray.machine.files import shown

MOST_BYTES = 2**30  # of a file; ImageNet's 1.3 million scores take ten million


def scores_of(content: bytes, name: str, dataset: Dataset) -> torch.Tensor:
    """The scores of the training split in its order (N,) float64.

    Args:
        name: what the file is called; its ending says how it is read, and errors name it.

    Raises:
        InputError: the bytes cannot be read, or do not rank this dataset's training samples.
    """
    read = {"parquet": _from_parquet, "json": _from_json}.get(name.rpartition(".")[2], _from_npy)
    scores_n = read(content, name, dataset)
    found_N = scores_n[dataset.splits["train"].numpy()]
    missing = np.isnan(found_N)
    if missing.any():
        sample = int(dataset.splits["train"][int(np.flatnonzero(missing)[0])])
        raise InputError(
            f"{name} ranks {len(found_N) - int(missing.sum())} of {len(found_N)} training samples; "
            f"sample {sample} has no score"
        )
    return torch.from_numpy(found_N)


def _files(dataset: Dataset) -> int:
    return len(dataset.splits["train"]) + len(dataset.splits["validation"])


def _from_npy(content: bytes, name: str, dataset: Dataset) -> np.ndarray:
    """Scores by id (n,), NaN where there is none."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception:  # whatever a damaged file makes the reader raise
        raise InputError(f"{name} is not a .npy file of numbers; write it with numpy.save") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} must hold one array of floats (scores) or of integers (sample ids from easy to hard)")
    if array.dtype.kind == "f":
        return _check_scores(array, name, dataset)
    return _from_order(array, name, dataset)


def _from_json(content: bytes, name: str, dataset: Dataset) -> np.ndarray:
    """Scores by id (n,)."""
    try:
        scores = np.asarray(json.loads(content))
    except Exception:  # whatever a damaged file makes the reader raise
        scores = np.zeros(0)
    if scores.ndim != 1 or not len(scores) or scores.dtype.kind not in "fiu":
        raise InputError(f"{name} is not a JSON list of numbers, one score for each training file")
    return _check_scores(scores, name, dataset)


def _check_scores(scores_n: np.ndarray, name: str, dataset: Dataset) -> np.ndarray:
    if scores_n.shape != (_files(dataset),):
        raise InputError(
            f"{name} holds scores of shape {scores_n.shape}, but the dataset has {_files(dataset)} training files "
            f"(after data.limit_per_class and data.imbalance); scores are one float for each of them"
        )
    scores: np.ndarray = scores_n.astype(np.float64)
    if not np.isfinite(scores).all():
        raise InputError(f"{name} has a score that is not finite, of sample {int(np.argmin(np.isfinite(scores)))}")
    return scores


def _from_order(order: np.ndarray, name: str, dataset: Dataset) -> np.ndarray:
    """The places of ids in their row, or in the whole file, as scores by id."""
    if order.ndim not in (1, 2) or (order.ndim == 2 and len(order) != dataset.classes):
        raise InputError(
            f"{name} holds sample ids of shape {order.shape}; right are (samples,), or ({dataset.classes}, samples of "
            f"a class) with a row for each class"
        )
    places = np.broadcast_to(np.arange(order.shape[-1], dtype=np.float64), order.shape)
    ranks = by_id(order.ravel(), places.ravel(), name, dataset)
    if order.ndim == 2:
        classes = dataset.labels.numpy()[order]
        wrong = np.argwhere(classes != np.arange(dataset.classes)[:, None])
        if len(wrong):
            row, column = wrong[0]
            raise InputError(
                f"{name}: row {row} lists sample {order[row, column]}, which is of class {classes[row, column]}; "
                f"row k holds the samples of class k"
            )
    return ranks


def _from_parquet(content: bytes, name: str, dataset: Dataset) -> np.ndarray:
    """Scores by id (n,), NaN where there is none."""
    try:
        parquet = pq.ParquetFile(pa.BufferReader(content))
        columns, rows = parquet.schema_arrow.names, parquet.metadata.num_rows
        _check_columns(columns, rows, name, dataset)
        table = parquet.read(columns=["sample", "score"])
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise InputError(f"{name} is not a Parquet file that can be read") from None
    sample, score = table["sample"], table["score"]
    is_number = pa.types.is_integer(score.type) or pa.types.is_floating(score.type)
    if not pa.types.is_integer(sample.type) or not is_number:
        kinds = shown(f"{sample.type} and {score.type}")
        raise InputError(f"{name} has columns of {kinds}; sample is an integer, score a number")
    scores = score.to_numpy().astype(np.float64)
    if sample.null_count or not np.isfinite(scores).all():
        raise InputError(f"{name} has a row without a sample or without a finite score")
    return by_id(sample.to_numpy(), scores, name, dataset)


def _check_columns(columns: list[str], rows: int, name: str, dataset: Dataset) -> None:
    """Refuse other columns, and more rows than there are samples, before any is read. Raises InputError."""
    for column in ("sample", "score"):
        if columns.count(column) != 1:
            many = "no column" if column not in columns else "two columns"
            raise InputError(f"{name} has {many} {column!r}; a ranking has the columns sample and score")
    if rows > _files(dataset):
        raise InputError(
            f"{name} has {rows:,} rows, but the dataset has {_files(dataset)} training files (after "
            f"data.limit_per_class and data.imbalance); a ranking has one row for each"
        )


def by_id(ids: np.ndarray, scores: np.ndarray, name: str, dataset: Dataset) -> np.ndarray:
    """Scores by id (n,), NaN where there is none. Raises InputError for unknown ids and for ids listed twice."""
    known = _files(dataset)
    unknown = (ids < 0) | (ids >= known)
    if unknown.any():
        raise InputError(
            f"{name} lists sample {ids[unknown][0]}, but the dataset's training files are 0..{known - 1} "
            f"(after data.limit_per_class and data.imbalance)"
        )
    twice = np.bincount(ids.astype(np.int64), minlength=known) > 1
    if twice.any():
        raise InputError(f"{name} lists sample {int(np.argmax(twice))} more than once")
    ordered = np.full(known, np.nan)
    ordered[ids] = scores
    return ordered
