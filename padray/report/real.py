"""What the real samples say of a set: the nearest to each of its samples, the easiest and the hardest of each class.

Legend: N training samples, K classes, Q samples asked about, D values of a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from padray.data.datasets import Dataset
from padray.data.whitening import to_unit
from padray.evaluation.controls import random_samples
from padray.methods.figure_data import Floats
from padray.report import info, nearest
from padray.report.difficulty import Difficulty
from padray.report.nearest import NearestInfo
from padray.synthetic.set import SyntheticSet

_SEED = 0  # of the draw that is the yardstick: the control of the first network
_EXTREMES = 3  # samples of a class at either end
_PIXELS = "as the root mean square over its values between 0 (black) and 1 (white), preprocessing undone"
_SPREADS = "as the root mean square over its values in standard deviations of the training split"


@dataclass(frozen=True)
class Pair:
    """A sample of the set and the real one nearest to it, as they are looked at, with what to say of them."""

    name: str
    own: Floats
    real: Floats
    row: int
    real_class: str
    distance: float


@dataclass(frozen=True)
class Extremes:
    """The easiest and the hardest training samples of a class, as they are looked at, by rising score."""

    name: str
    easiest: Floats
    hardest: Floats
    rows: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class RealPart:
    """What a report tells of real samples.

    Attributes:
        pairs: of each of the first classes its closest pair.
        means, spreads: of tables and series each class's mean and standard deviation over its training samples, in
            the data's own units, (K, F) or (K, C, T).
    """

    nearest: NearestInfo
    pairs: Sequence[Pair]
    extremes: Sequence[Extremes] = ()
    means: Floats | None = None
    spreads: Floats | None = None


def real_part(synthetic: SyntheticSet, dataset: Dataset, difficulty: Difficulty | None, noun: str) -> RealPart:
    """Everything at once; the dataset's samples are read a part at a time."""
    nearest = nearest_info(synthetic, dataset, noun)
    pairs, extremes = _pairs(synthetic, dataset, nearest), _extremes(synthetic, dataset, difficulty)
    return RealPart(nearest, pairs, extremes, *_classes(dataset))


def nearest_info(synthetic: SyntheticSet, dataset: Dataset, noun: str) -> NearestInfo:
    """The nearest training sample of each of the set's, and of as many real ones the nearest other."""
    train, names = dataset.splits["train"], synthetic.facts["class_names"]
    own = synthetic.preprocessing.invert(synthetic.learned.images.float())
    places = nearest.asked_about(synthetic.classes, synthetic.ipc, len(train), own[0].numel())
    scale = _scale(dataset)

    def read(rows: Tensor) -> Tensor:
        return (to_unit(dataset.images[rows]) / scale).flatten(1)

    rows, distances = nearest.nearest((own[places] / scale).flatten(1), train, read)
    drawn = train[random_samples(dataset.labels[train], synthetic.ipc, synthetic.classes, _SEED)][places]
    _, between = nearest.nearest(read(drawn), train, read, drawn)
    of = [str(names[int(place) // synthetic.ipc]) for place in places]
    unit = _PIXELS if dataset.content == "image" else _SPREADS
    kind = "chosen" if synthetic.facts.get("selected") else "distilled"
    return NearestInfo(
        places.numpy(),
        rows.numpy(),
        distances.numpy(),
        between.numpy(),
        f"{kind} {noun}s",
        unit,
        len(own),
        tuple(of),
    )


def _scale(dataset: Dataset) -> Tensor:
    """What values are divided by, (C, 1, 1): of tables and series each one's deviation over the training split."""
    if dataset.content == "image":
        return torch.ones(1, 1, 1)
    deviation = dataset.images[dataset.splits["train"]].double().std(dim=(0, 2, 3), correction=0)
    return deviation.where(deviation > 0, torch.ones(())).float().view(-1, 1, 1)


def _pairs(synthetic: SyntheticSet, dataset: Dataset, nearest: NearestInfo) -> list[Pair]:
    chosen = nearest.closest[: info.MAX_CLASSES]
    own = info.seen(synthetic, synthetic.learned.images[nearest.places[chosen]])
    real = _seen(synthetic, dataset, torch.from_numpy(nearest.rows[chosen]))
    return [
        Pair(
            nearest.names[place],
            one,
            other,
            int(nearest.rows[place]),
            dataset.class_names[int(dataset.labels[nearest.rows[place]])],
            float(nearest.distances[place]),
        )
        for place, one, other in zip(chosen, own, real, strict=True)
    ]


def _seen(synthetic: SyntheticSet, dataset: Dataset, rows: Tensor) -> Floats:
    """Real samples by their rows, as they are looked at."""
    samples = to_unit(dataset.images[rows])
    if dataset.content == "image":
        return info.in_colours(samples.double())
    return info.seen(synthetic, synthetic.preprocessing.apply(samples))


def _extremes(synthetic: SyntheticSet, dataset: Dataset, difficulty: Difficulty | None) -> list[Extremes]:
    """By the method that the schedule uses, mean over its networks; nothing without scores."""
    if difficulty is None or difficulty.scores.method == "random":
        return []
    table, method = difficulty.tables[0], difficulty.scores.method
    known = np.array([split == "train" for split in table["split"]], dtype=bool)
    scores = np.mean([each[method] for each in difficulty.tables], axis=0)[known]
    rows, labels = np.array(table["sample"])[known], np.array(table["label"])[known]
    return [
        _extremes_of(synthetic, dataset, label, rows[labels == label], scores[labels == label])
        for label in range(min(info.MAX_CLASSES, synthetic.classes))
        if (labels == label).any()
    ]


def _extremes_of(synthetic: SyntheticSet, dataset: Dataset, label: int, rows_N: Floats, scores_N: Floats) -> Extremes:
    order = np.argsort(scores_N, kind="stable")
    count = min(_EXTREMES, max(1, len(order) // 2))
    chosen = [*order[:count], *order[len(order) - count :]]
    seen = _seen(synthetic, dataset, torch.from_numpy(rows_N[chosen]))
    places, values = tuple(map(int, rows_N[chosen])), tuple(map(float, scores_N[chosen]))
    return Extremes(dataset.class_names[label], seen[:count], seen[count:], places, values)


def _classes(dataset: Dataset) -> tuple[Floats | None, Floats | None]:
    if dataset.content == "image":
        return None, None
    train = dataset.splits["train"]
    samples, labels = dataset.images[train].double(), dataset.labels[train]
    samples = samples.flatten(1) if dataset.content == "table" else samples[:, :, 0]
    classes = [samples[labels == label] for label in range(dataset.classes)]
    means, spreads = (
        torch.stack(part).numpy() for part in zip(*((c.mean(0), c.std(0, correction=0)) for c in classes), strict=True)
    )
    return means, spreads
