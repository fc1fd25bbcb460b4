"""The keep-list: the training samples that all that is made consists of, as a pure function of scores.

FIEX's fixed part, score files of BLiP and BiLP, random dropping and coresets are all one: of each class some samples
stay, and the start of a set, real batches, experts and random controls know no others. A file lists them, or shares of
each class are left out by score, or both: then the shares are of what the file lists.

| file | content | kept |
|---|---|---|
| `.npy`, `.json` | integers: the ids of samples | these |
| Parquet | a column `sample`, ids | these; where there is a column `kept` of booleans, the rows in which it is true |

Ids are those of a ranking (external_ranking.py). A stored keep-list, and a coreset's `selected`, are such files.
Legend: N training samples, K classes.
"""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from padray.data.datasets import Dataset
from padray.errors import InputError
from padray.experts.external_ranking import by_id
from padray.experts.schedule import rank, unpruned_range
from padray.experts.settings import ScheduleSettings


def kept_samples(
    scores_N: torch.Tensor | None, listed_N: torch.Tensor, labels_N: torch.Tensor, settings: ScheduleSettings
) -> torch.Tensor:
    """Which of the training samples are kept, (N,) booleans.

    Args:
        scores_N: higher is harder; None where no share is left out.
        listed_N: those that a file lists; all without one.
    """
    if scores_N is None:
        return listed_N
    kept_N = torch.zeros_like(listed_N)
    for ids in rank(scores_N, labels_N, int(labels_N.max()) + 1):
        own = ids[listed_N[ids]]
        if len(own):
            start, stop = unpruned_range(len(own), settings)
            kept_N[own[start:stop]] = True
    return kept_N


def listed_samples(content: bytes, name: str, dataset: Dataset) -> torch.Tensor:
    """Which training samples a file lists, (N,) booleans in the order of the split; other files' are ignored.

    Args:
        name: what the file is called; its ending says how it is read, and errors name it.

    Raises:
        InputError: the bytes cannot be read, list what is no training file, or leave a class without a sample.
    """
    ids = listed_ids(content, name)
    if len(ids) > len(dataset.labels):
        raise InputError(f"{name} lists {len(ids):,} samples, which is more than the dataset has")
    listed_n = np.isfinite(by_id(ids, np.zeros(len(ids)), name, dataset))
    listed_N = torch.from_numpy(listed_n[dataset.splits["train"].numpy()])
    labels_N = dataset.labels[dataset.splits["train"]]
    left_K = torch.bincount(labels_N[listed_N], minlength=dataset.classes)
    if int(left_K.min()) < 1:
        raise InputError(f"{name} keeps no training sample of class {dataset.class_names[int(left_K.argmin())]!r}")
    return listed_N


def listed_ids(content: bytes, name: str) -> np.ndarray:
    """The ids that a file lists, of whatever samples they are. Raises InputError if it cannot be read."""
    try:
        if name.endswith(".parquet"):
            return _from_parquet(content, name)
        ids = np.asarray(
            json.loads(content)
            if name.endswith(".json")
            else np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        )
    except InputError:
        raise
    except Exception:  # whatever a damaged file makes its reader raise
        raise InputError(f"{name} is not a file of sample ids that can be read") from None
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(f"{name} must hold one list of integers, the ids of the samples that are kept")
    return ids


def _from_parquet(content: bytes, name: str) -> np.ndarray:
    file = pq.ParquetFile(pa.BufferReader(content))
    columns = file.schema_arrow.names
    if columns.count("sample") != 1 or columns.count("kept") > 1:
        raise InputError(f"{name} needs one column sample, of ids, and may have one column kept, of booleans")
    table = file.read(columns=[one for one in ("sample", "kept") if one in columns])
    kinds_fit = pa.types.is_integer(table["sample"].type) and not table["sample"].null_count
    if not kinds_fit or ("kept" in columns and not pa.types.is_boolean(table["kept"].type)):
        raise InputError(f"{name}: sample must be integers, and kept, where it is there, booleans")
    ids: np.ndarray = table["sample"].to_numpy()
    return ids[np.array(table["kept"].to_pylist(), dtype=bool)] if "kept" in columns else ids


def described(settings: ScheduleSettings, method: str) -> str:
    """What a keep-list leaves out, in words; `method`: what ranked the samples."""
    named = {"hardest": settings.prune_hardest, "easiest": settings.prune_easiest}
    by = "a ranking from a file" if method == "file" else method
    shares = [f"the {end} {100 * share:g} %" for end, share in named.items() if share]
    left_out = f"{' and '.join(shares)} of each class by {by} left out" if shares else ""
    return ", ".join(filter(None, ("those that a file lists" if settings.keep_list else "", left_out)))
