"""What each figure shows, as plain data: these functions decide, `figures.py` only draws.

Legend: K classes, I images per class, M = K*I samples, L parameter tensors, T iterations, B bins of iterations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from padray.evaluation.summary import Row
from padray.methods.figure_data import Floats, History, column
from padray.report import values
from padray.synthetic.set import SyntheticSet

MAX_CLASSES = 20
MAX_IMAGES = 10
SOURCES = {
    "distilled": "distilled set",
    "random": "random real samples",
    "random_soft": "random, labelled by experts",
    "hard_labels": "the set, hard labels",
    "full": "full training split",
}
_SPACES = {
    "zca": "Turned back from ZCA whitening",
    "normalize": "Turned back from per-channel normalisation",
    "none": "Shown in the space in which they were distilled",
}


class ImagesInfo(NamedTuple):
    """Samples of a set to look at, (K', I', H, W, 3) in [0, 1].

    Of tables and series `images` are the numbers that values.py paints, (K', I', C, T) or (K', I', 1, F).
    """

    images: Floats
    names: tuple[str, ...]
    classes: int
    ipc: int
    at_bounds: float
    space: str
    content: str = "image"

    @property
    def caption(self) -> str:
        """How many are shown, and the clip rule."""
        shown, per_class = self.images.shape[:2]
        rows = f"All {shown} classes" if shown == self.classes else f"The first {shown} of {self.classes} classes"
        clipped = f", then clipped to [0, 1]; {100 * self.at_bounds:.1f} % of the values lie at a bound"
        noun, rule = ("image", self.space + clipped) if self.content == "image" else ("sample", self.space)
        each = f"{self.ipc}" if per_class == self.ipc else f"{per_class} of {self.ipc}"
        return f"{rows}, {each} {noun}{'s' * (self.ipc > 1)} each. {rule}."


def images_info(synthetic: SyntheticSet) -> ImagesInfo:
    """One row per class: its first samples, de-whitened and clipped."""
    names, ipc, content = _class_names(synthetic), synthetic.ipc, synthetic.preprocessing.content
    samples = synthetic.learned.images
    by_class = samples.view(len(names), ipc, *samples.shape[1:])[:MAX_CLASSES, :MAX_IMAGES]
    classes, per_class = by_class.shape[:2]
    shown = seen(synthetic, by_class.flatten(0, 1))
    shown = shown.reshape(classes, per_class, *shown.shape[1:])
    at_bounds = float(((shown == 0) | (shown == 1)).mean()) if content == "image" else 0.0
    rule = _SPACES[synthetic.preprocessing.kind] if content == "image" else values.rule(synthetic)
    return ImagesInfo(shown, names[:classes], len(names), ipc, at_bounds, rule, content)


def _class_names(synthetic: SyntheticSet) -> tuple[str, ...]:
    return tuple(map(str, synthetic.facts["class_names"]))


def seen(synthetic: SyntheticSet, samples: Tensor) -> Floats:
    """Samples (M, C, H, W) of the set as one looks at them: (M, H, W, 3) in [0, 1], or what values.py paints."""
    if synthetic.preprocessing.content != "image":
        return values.shown_values(synthetic, samples)
    return in_colours(synthetic.preprocessing.invert(samples.float()).double())


def in_colours(pixels_MCHW: Tensor) -> Floats:
    """Images as (M, H, W, 3) in [0, 1]; those with no colours of their own as their mean in grey."""
    pixels = pixels_MCHW.clamp(0, 1)  # preprocessing without an inverse leaves values as they are
    if pixels.shape[1] != 3:
        pixels = pixels.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    colours: Floats = pixels.permute(0, 2, 3, 1).numpy()
    return colours


class LabelsInfo(NamedTuple):
    """The mean soft label of each of the first classes, (K', K)."""

    probabilities: Floats
    names: tuple[str, ...]
    all_names: tuple[str, ...]

    @property
    def caption(self) -> str:
        """What the numbers are."""
        return (
            f"The soft labels: of each class (a row) the probabilities of all {len(self.all_names)} classes in %, mean "
            f"over its samples."
        )


def labels_info(synthetic: SyntheticSet) -> LabelsInfo | None:
    """What the soft labels say on average; None of hard ones."""
    names, learned = _class_names(synthetic), synthetic.learned
    if not learned.soft:
        return None
    mean = learned.labels.double().softmax(dim=1).view(len(names), synthetic.ipc, -1).mean(dim=1)
    return LabelsInfo(mean[:MAX_CLASSES].numpy(), names[:MAX_CLASSES], names)


class LossInfo(NamedTuple):
    """Loss (T,) with its running median, what validation said where it was asked, and a learned lr (T,) or None.

    Attributes:
        measure: what iterates are judged by: accuracy, or balanced accuracy.
        left_out: what was left out of iterations, and why.
    """

    iterations: Floats
    loss: Floats
    median: Floats
    window: int
    judged_at: Floats
    judged: Floats
    student_lr: Floats | None
    chosen: int
    best: float | None
    skipped: int
    not_finite: int
    diverged: int
    left_out: str
    measure: str

    @property
    def caption(self) -> str:
        """What the lines are, which iterate was taken, and how many iterations left contributions out."""
        taken = f"The last iterate ({self.chosen:,}) is the set: none was judged."
        if self.best is not None:
            said = f"{self.chosen:,}, with {100 * self.best:.1f} % {self.measure}"
            taken = f"The set is the iterate that did best on validation: {said}."
        if self.diverged:
            taken += f" Of the networks that judged iterates, {self.diverged} diverged, which counts as 0 %."
        skipped = f"In {self.skipped:,} of {len(self.iterations):,} iterations" if self.skipped else "In no iteration"
        lost = f"; in {self.not_finite} of these, because it was not finite" if self.not_finite else ""
        return (
            f"Thin: the loss of each iteration; thick: its running median over {self.window}. {taken} {skipped} "
            f"was {self.left_out}{lost}."
        )


def loss_info(history: History, chosen: int, best: float | None, left_out: str, metric: str = "accuracy") -> LossInfo:
    """Loss and accuracy over iterations; `chosen`, `best`: the iterate that became the set and its accuracy."""
    iterations, loss = column(history, "iteration"), column(history, "loss")
    window = _window(len(loss))
    judged = [row for row in history if row.get("validation_accuracy") is not None]
    return LossInfo(
        iterations,
        loss,
        running_median(loss, window),
        window,
        column(judged, "iteration") + 1,  # judged after the iteration's update
        column(judged, "validation_accuracy"),
        column(history, "student_lr") if history[0].get("student_lr") is not None else None,
        chosen,
        best,
        sum(bool(row["skipped"]) for row in history),
        sum(bool(row.get("not_finite")) for row in history),
        sum(row.get("validation_diverged") or 0 for row in history),
        left_out,
        metric.replace("_", " "),
    )


def _window(count: int) -> int:
    """An odd window of about a twentieth of the iterations."""
    return max(1, min(count, max(5, count // 20)) // 2 * 2 - 1)


def running_median(values: Floats, window: int) -> Floats:
    """Median of the `window` (odd) values around each, of those that are there; NaN where none is. Same shape."""
    half = window // 2
    padded = np.pad(values, half, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, window)
    medians, there = np.full(len(values), np.nan), ~np.isnan(around).all(axis=1)
    medians[there] = np.nanmedian(around[there], axis=1)
    return medians


_MEASURES = ("accuracy", "balanced accuracy")


class Point(NamedTuple):
    """One (architecture, source): mean ± std over networks, and each network's accuracy."""

    architecture: str
    source: str
    mean: float
    std: float
    values: tuple[float, ...]


class AccuracyInfo(NamedTuple):
    """Test accuracies in [0, 1], architecture by architecture, and the sources in their fixed order.

    `measure`: which accuracy, the one that decides.
    """

    architectures: tuple[str, ...]
    sources: tuple[str, ...]
    points: tuple[Point, ...]
    measure: str = "accuracy"


def accuracy_info(rows: Sequence[Row]) -> AccuracyInfo:
    """The table's rows as points."""
    balanced = any(row.by_balanced for row in rows)
    points = tuple(Point(r.architecture, r.source, *r.spread(balanced)[:2], tuple(r.values_of(balanced))) for r in rows)
    architectures = tuple(dict.fromkeys(point.architecture for point in points))
    present = {point.source for point in points}
    return AccuracyInfo(architectures, tuple(s for s in SOURCES if s in present), points, _MEASURES[balanced])
