"""Keep-lists: what a share by score leaves, what files list, and what is refused."""

import io
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from padray.config import ScheduleSettings
from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.experts.external_ranking import scores_of
from padray.experts.keeping import described, kept_samples, listed_samples

TRAIN, VALIDATION = [0, 2, 3, 5, 6, 7], [1, 4]
LABELS = [0, 1, 1, 0, 0, 1, 0, 1, 0, 1]  # of 8 training files and 2 test files
ALL = torch.ones(6, dtype=torch.bool)


def dataset() -> Dataset:
    splits = {"train": torch.tensor(TRAIN), "validation": torch.tensor(VALIDATION), "test": torch.tensor([8, 9])}
    return Dataset.of(torch.zeros(10, 1, 2, 2), torch.tensor(LABELS), ("a", "b"), splits, Preprocessing("none", {}))


def npy(values: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(values))
    return stream.getvalue()


def parquet(**columns: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def blip_drop(scores: Sequence[float], labels: Sequence[int], ratio: float, drop: str) -> set[int]:
    """What BLiP's rule keeps: of each class sorted by score, without the first share of the end that is dropped."""
    kept: set[int] = set()
    for label in set(labels):
        ids = [i for i, one in enumerate(labels) if one == label]
        ids.sort(key=lambda i: scores[i], reverse=drop == "large")
        kept |= set(ids[int(ratio * len(ids)) :])
    return kept


@pytest.mark.parametrize("drop, setting", [("large", "prune_hardest"), ("small", "prune_easiest")])
@pytest.mark.parametrize("ratio", [0.05, 0.1, 0.25, 0.5])
def test_a_score_file_of_blip_drops_what_its_own_rule_drops(drop, setting, ratio):
    draw = np.random.default_rng(3)
    labels = [int(one) for one in draw.integers(0, 3, 200)]
    scores = [float(one) for one in draw.normal(size=200)]
    everything = torch.arange(200)
    whole = Dataset.of(
        torch.zeros(200, 1, 2, 2),
        torch.tensor(labels),
        ("a", "b", "c"),
        {"train": everything, "validation": everything[:0], "test": everything[:0]},
        Preprocessing("none", {}),
    )
    read = scores_of(json.dumps(scores).encode(), "LossConverge.json", whole)
    kept = kept_samples(read, torch.ones(200, dtype=torch.bool), whole.labels, ScheduleSettings(**{setting: ratio}))
    assert set(kept.nonzero().flatten().tolist()) == blip_drop(scores, labels, ratio, drop)


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[1, 2", b'["a"]', b"[[1, 2], [3, 4]]", b"[]", b"[1.0, NaN, 1, 1, 1, 1, 1, 1]", b"[1, 2, 3]", b"\xff"],
)
def test_a_json_that_is_no_list_of_scores_is_refused_in_a_sentence(content):
    with pytest.raises(InputError, match=r"^scores\.json ") as caught:
        scores_of(content, "scores.json", dataset())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, name",
    [
        (npy([0, 2, 7, 4, 6]), "ids.npy"),
        (b"[7, 6, 4, 2, 0]", "ids.json"),
        (parquet(sample=[0, 2, 4, 6, 7]), "ids.parquet"),
        (parquet(sample=list(range(8)), kept=[True, False, True, False, True, False, True, True]), "ids.parquet"),
    ],
)
def test_every_kind_of_file_lists_the_same_and_says_nothing_of_validation(content, name):
    assert listed_samples(content, name, dataset()).tolist() == [True, True, False, False, True, True]


@pytest.mark.parametrize(
    "content, name, what",
    [
        (npy([0.5]), "ids.npy", "one list of integers"),
        (npy([[0, 2], [3, 5]]), "ids.npy", "one list of integers"),
        (b"[0, 2, 9]", "ids.json", "lists sample 9"),
        (b"[0, 2, 2]", "ids.json", "lists sample 2 more than once"),
        (b"[0, 1, 6]", "ids.json", "keeps no training sample of class 'b'"),
        (b"nothing", "ids.json", "not a file of sample ids"),
        (b"PAR1", "ids.parquet", "not a file of sample ids"),
        (parquet(id=[1]), "ids.parquet", "needs one column sample"),
        (parquet(sample=["0"]), "ids.parquet", "sample must be integers"),
        (parquet(sample=[0], kept=[1]), "ids.parquet", "booleans"),
        (npy(list(range(11))), "ids.npy", "more than the dataset has"),
    ],
)
def test_files_that_list_no_training_samples_are_refused_in_a_sentence(content, name, what):
    with pytest.raises(InputError, match=what) as caught:
        listed_samples(content, name, dataset())
    assert "\n" not in str(caught.value)


def test_a_share_is_of_what_the_file_lists():
    labels = torch.zeros(6, dtype=torch.int64)
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    listed = torch.tensor([True, True, True, True, False, False])
    kept = kept_samples(scores, listed, labels, ScheduleSettings(prune_hardest=0.5))
    assert kept.tolist() == [False, False, True, True, False, False]
    assert kept_samples(None, listed, labels, ScheduleSettings()).tolist() == listed.tolist()


def test_ties_stay_in_the_samples_order_and_no_class_is_left_empty():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    kept = kept_samples(torch.zeros(6), ALL, labels, ScheduleSettings(prune_hardest=0.5, prune_easiest=0.49))
    assert kept.tolist() == [False, True, False, False, True, False]


def test_a_keep_list_says_in_words_what_it_leaves_out():
    both = ScheduleSettings(prune_hardest=0.2, prune_easiest=0.05, keep_list="x.json")
    assert described(both, "el2n") == (
        "those that a file lists, the hardest 20 % and the easiest 5 % of each class by el2n left out"
    )
    assert "by a ranking from a file" in described(ScheduleSettings(prune_hardest=0.2), "file")
