"""Rankings from files: every layout says the same, and what does not rank the training samples is refused."""

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.experts.external_ranking import scores_of
from padray.experts.schedule import rank

TRAIN, VALIDATION = [0, 2, 3, 5, 6, 7], [1, 4]
LABELS = [0, 1, 1, 0, 0, 1, 0, 1, 0, 1]  # of 8 training files and 2 test files
EASY_TO_HARD = [[3, 0, 4, 6], [7, 1, 5, 2]]  # class by class


def dataset() -> Dataset:
    splits = {"train": torch.tensor(TRAIN), "validation": torch.tensor(VALIDATION), "test": torch.tensor([8, 9])}
    return Dataset.of(torch.zeros(10, 1, 2, 2), torch.tensor(LABELS), ("a", "b"), splits, Preprocessing("none", {}))


def npy(values: object, dtype: object = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(values, dtype=dtype))
    return stream.getvalue()


def parquet(**columns: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def easy_to_hard(content: bytes, name: str) -> list[list[int]]:
    """The training samples' ids, class by class."""
    data = dataset()
    scores_N = scores_of(content, name, data)
    rows = data.splits["train"]
    return [rows[places].tolist() for places in rank(scores_N, data.labels[rows], 2)]


PLACES = {sample: place for row in EASY_TO_HARD for place, sample in enumerate(row)}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (npy([float(PLACES[sample]) for sample in range(8)]), "scores.npy"),
        (npy([PLACES[sample] / 8 - 1 for sample in range(8)], np.float32), "scores.npy"),
        (npy(EASY_TO_HARD), "order.npy"),
        (npy(EASY_TO_HARD, np.uint16), "order.npy"),
        (npy([7, 3, 1, 0, 5, 4, 6, 2]), "flat.npy"),
        (parquet(sample=list(PLACES), score=[float(p) for p in PLACES.values()]), "scores.parquet"),
        (parquet(sample=TRAIN, score=[PLACES[sample] for sample in TRAIN]), "without-validation.parquet"),
    ],
    ids=["scores", "float32", "classes", "uint16", "flat", "parquet", "without-validation"],
)
def test_every_layout_gives_the_same_order_within_each_class(content, name):
    assert easy_to_hard(content, name) == [[3, 0, 6], [7, 5, 2]]


def test_scores_of_a_table_keep_their_values():
    content = parquet(sample=list(range(8)), score=[0.5 * k for k in range(8)])
    assert scores_of(content, "r.parquet", dataset()).tolist() == [0.5 * k for k in TRAIN]


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def doubled() -> bytes:
    stream = io.BytesIO()
    columns = [pa.array(TRAIN)] * 2 + [pa.array([0.0] * 6)]
    pq.write_table(pa.Table.from_arrays(columns, names=["sample", "sample", "score"]), stream)
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, np.zeros(8))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (lambda: npy([0.0] * 7), "r.npy", "shape (7,), but the dataset has 8 training files"),
        (lambda: npy([[0.0] * 4] * 2), "r.npy", "shape (2, 4)"),
        (lambda: npy([0.0] * 7 + [np.nan]), "r.npy", "not finite, of sample 7"),
        (lambda: npy([0, 2, 3, 5, 6]), "r.npy", "ranks 5 of 6 training samples; sample 7 has no score"),
        (lambda: npy([0, 2, 3, 5, 6, 7, 8]), "r.npy", "lists sample 8, but the dataset's training files are 0..7"),
        (lambda: npy([0, 2, 3, 5, 6, -1]), "r.npy", "lists sample -1"),
        (lambda: npy([0, 2, 3, 5, 6, 7, 7]), "r.npy", "sample 7 more than once"),
        (lambda: npy([[3, 0], [7, 5], [2, 6]]), "r.npy", "shape (3, 2)"),
        (lambda: npy(EASY_TO_HARD[::-1]), "r.npy", "row 0 lists sample 7, which is of class 1"),
        (lambda: npy(3), "r.npy", "shape ()"),
        (lambda: npy(["a"]), "r.npy", "floats (scores) or of integers"),
        (pickled, "r.npy", "not a .npy file of numbers"),
        (zipped, "r.npy", "not a .npy file of numbers"),
        (lambda: b"PK\x03\x04" + bytes(60), "r.npy", "not a .npy file of numbers"),
        (lambda: npy([0]).replace(b"(1,), }", b"((((((("), "r.npy", "not a .npy file of numbers"),
        (lambda: npy([0]).replace(b"(1,), }" + b" " * 13, b"(" + b"9" * 15 + b",), }"), "r.npy", "not a .npy file of"),
        (lambda: b"", "r.npy", "not a .npy file"),
        (lambda: b"PAR1", "r.parquet", "not a Parquet file"),
        (lambda: parquet(sample=TRAIN), "r.parquet", "no column 'score'"),
        (doubled, "r.parquet", "two columns 'sample'"),
        (lambda: parquet(sample=[0] * 9, score=[0.0] * 9), "r.parquet", "has 9 rows, but the dataset has 8"),
        (lambda: parquet(sample=TRAIN, score=list("abcdef")), "r.parquet", "score a number"),
        (lambda: parquet(sample=[0.0] * 6, score=[0.0] * 6), "r.parquet", "sample is an integer"),
        (lambda: parquet(sample=TRAIN, score=[None, *[0.0] * 5]), "r.parquet", "without a finite score"),
        (lambda: parquet(sample=[None, *TRAIN[1:]], score=[0.0] * 6), "r.parquet", "without a sample"),
        (lambda: parquet(sample=TRAIN[1:], score=[0.0] * 5), "r.parquet", "ranks 5 of 6"),
    ],
)
def test_what_does_not_rank_the_training_samples_is_refused_in_a_sentence(
    make: Callable[[], bytes], name: str, said: str
):
    with pytest.raises(InputError) as caught:
        scores_of(make(), name, dataset())
    assert said in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)
