"""What each figure shows, as plain data: these functions decide, `figures.py` only draws.

Legend: K classes, I images per class, M = K*I samples, L parameter tensors, T iterations, B bins of iterations.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from padray.config import ImportanceSettings, PruningSettings, SelectionSettings
from padray.distill.synthetic import SyntheticSet
from padray.evaluation.table import Row
from padray.matching.importance import HISTOGRAM_EDGES
from padray.matching.selection import cut_index
from padray.networks.flat import Span
from padray.report import values

Floats = NDArray[np.float64]
History = Sequence[dict[str, Any]]

MAX_CLASSES = 20
MAX_IMAGES = 10
MAX_BINS = 200
_MOST_NAMES = 6
SOURCES = {
    "distilled": "distilled set", "random": "random real samples", "random_soft": "random, labelled by experts",
    "hard_labels": "the set, hard labels", "full": "full training split",
}  # fmt: skip
_SPACES = {
    "zca": "Turned back from ZCA whitening",
    "normalize": "Turned back from per-channel normalisation",
    "none": "Shown in the space in which they were distilled",
}


class ImagesInfo(NamedTuple):
    """Distilled images to look at, (K', I', H, W, 3) in [0, 1], and each class's mean soft label (K', K) or None.

    Of tables and series `images` are the numbers that values.py paints, (K', I', C, T) or (K', I', 1, F).
    """

    images: Floats
    labels: Floats | None
    names: tuple[str, ...]
    all_names: tuple[str, ...]
    ipc: int
    at_bounds: float
    space: str
    content: str = "image"

    @property
    def caption(self) -> str:
        """How many are shown, and the clip rule."""
        shown, per_class = self.images.shape[:2]
        rows = f"All {len(self.all_names)} classes" if shown == len(self.all_names) else (
            f"The first {shown} of {len(self.all_names)} classes"
        )  # fmt: skip
        clipped = f", then clipped to [0, 1]; {100 * self.at_bounds:.1f} % of the values lie at a bound"
        noun, rule = ("image", self.space + clipped) if self.content == "image" else ("sample", self.space)
        labels = "" if self.labels is None else f" Soft labels: the probabilities of all {len(self.all_names)} classes."
        return f"{rows}, {per_class} of {self.ipc} {noun}{'s' * (self.ipc > 1)} each. {rule}.{labels}"


def images_info(synthetic: SyntheticSet) -> ImagesInfo:
    """One row per class: its first images, de-whitened and clipped, and what its soft labels say on average."""
    names, ipc, learned = tuple(map(str, synthetic.facts["class_names"])), synthetic.ipc, synthetic.learned
    classes, content = min(len(names), MAX_CLASSES), synthetic.preprocessing.content
    labels = None
    if learned.soft:
        mean = learned.labels.double().softmax(dim=1).view(len(names), ipc, -1).mean(dim=1)
        labels = mean[:classes].numpy()
    if content != "image":
        found, rule = values.shown_values(synthetic)
        shown = found.reshape(len(names), ipc, *found.shape[1:])[:classes, :MAX_IMAGES]
        return ImagesInfo(shown, labels, names[:classes], names, ipc, 0.0, rule, content)
    shown, at_bounds = _pixels(synthetic, classes)
    return ImagesInfo(shown, labels, names[:classes], names, ipc, at_bounds, _SPACES[synthetic.preprocessing.kind])


def _pixels(synthetic: SyntheticSet, classes: int) -> tuple[Floats, float]:
    """The first images of the first classes (K', I', H, W, 3), and the share of their values that lie at a bound."""
    learned, shape = synthetic.learned, tuple(synthetic.learned.images.shape[1:])
    names, ipc = synthetic.facts["class_names"], synthetic.ipc
    images = learned.images.view(len(names), ipc, *shape)[:classes, :MAX_IMAGES]
    pixels = synthetic.preprocessing.invert(images.reshape(-1, *shape).float()).double()
    pixels = pixels.clamp(0, 1)  # preprocessing without an inverse leaves values as they are
    at_bounds = float(((pixels == 0) | (pixels == 1)).double().mean())
    if shape[0] != 3:  # no colours of their own: their mean in grey
        pixels = pixels.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return pixels.permute(0, 2, 3, 1).reshape(classes, -1, *shape[1:], 3).numpy(), at_bounds


class LossInfo(NamedTuple):
    """Matching loss (T,) with its running median, what validation said where it was asked, and the student's lr (T,).

    `measure` is what iterates are judged by: accuracy, or balanced accuracy.
    """

    iterations: Floats
    loss: Floats
    median: Floats
    window: int
    judged_at: Floats
    judged: Floats
    student_lr: Floats
    chosen: int
    best: float | None
    skipped: int
    not_finite: int
    diverged: int
    max_loss: float
    measure: str

    @property
    def caption(self) -> str:
        """What the lines are, which iterate was taken, and how many iterations left trajectories out."""
        taken = f"The last iterate ({self.chosen}) is the set: none was judged."
        if self.best is not None:
            said = f"{self.chosen}, with {100 * self.best:.1f} % {self.measure}"
            taken = f"The set is the iterate that did best on validation: {said}."
        if self.diverged:
            taken += f" Of the networks that judged iterates, {self.diverged} diverged, which counts as 0 %."
        skipped = f"In {self.skipped} of {len(self.iterations)} iterations" if self.skipped else "In no iteration"
        lost = f"; in {self.not_finite} of these, because it was not finite" if self.not_finite else ""
        return (
            f"Thin: the loss of each iteration; thick: its running median over {self.window}. {taken} {skipped} "
            f"was a trajectory left out because its loss was above distill.max_loss ({self.max_loss:g}){lost}."
        )


def loss_info(history: History, chosen: int, best: float | None, max_loss: float, metric: str = "accuracy") -> LossInfo:
    """Loss and accuracy over iterations; `chosen`, `best`: the iterate that became the set and its accuracy."""
    iterations, loss = _column(history, "iteration"), _column(history, "loss")
    window = _window(len(loss))
    judged = [row for row in history if row.get("validation_accuracy") is not None]
    return LossInfo(
        iterations, loss, running_median(loss, window), window,
        _column(judged, "iteration") + 1,  # judged after the iteration's update
        _column(judged, "validation_accuracy"), _column(history, "student_lr"), chosen, best,
        sum(bool(row["skipped"]) for row in history), sum(bool(row.get("not_finite")) for row in history),
        sum(row.get("validation_diverged") or 0 for row in history), max_loss, metric.replace("_", " "),
    )  # fmt: skip


def _column(history: History, name: str) -> Floats:
    """What the iterations say, NaN where one has nothing to say."""
    return np.array([row[name] for row in history], dtype=np.float64)


def _window(count: int) -> int:
    """An odd window of about a twentieth of the iterations."""
    return max(1, min(count, max(5, count // 20)) // 2 * 2 - 1)


def running_median(values: Floats, window: int) -> Floats:
    """Median of the `window` (odd) values around each, of those that are there; NaN where none is. Same shape."""
    half = window // 2
    padded = np.pad(values, half, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, window)
    found, there = np.full(len(values), np.nan), ~np.isnan(around).all(axis=1)
    found[there] = np.nanmedian(around[there], axis=1)
    return found


def selection_sentence(settings: SelectionSettings, spans: Sequence[Span]) -> str:
    """What FIEM leaves out of the loss, whatever its strategy."""
    share = f"{100 * settings.ratio:.3g} % of the parameters"
    if settings.ratio == 0 or settings.strategy in ("depth", "none"):
        return cut_sentence(spans, cut_index(settings.ratio, spans[-1].stop) if settings.strategy == "depth" else 0)
    return {
        "layer": f"FIEM leaves out the tensors that begin within the first {share}.",
        "deep": f"The last {share}, the deep ones, are left out of the loss.",
        "loss": f"In every iteration the {share} with the smallest errors are left out of the loss.",
    }[settings.strategy]


def pruning_sentence(settings: PruningSettings) -> str:
    """What pruning leaves out of the loss besides, as a sentence to follow another; empty without pruning."""
    out = {
        "ratio": f"those whose values in student and expert, smaller over larger, have a ratio below "
        f"{settings.threshold:g}",
        "abs_error_quantile": f"the {100 * settings.threshold:.3g} % with the largest errors",
    }
    return f" Pruning: in every iteration {out[settings.rule]} are left out." if settings.rule in out else ""


class LayersInfo(NamedTuple):
    """Relative squared error per tensor and bin of iterations (L, B), NaN where no expert moved; and FIEM's cut.

    `cut` is a position on the axis of the rows, on which row l covers [l, l + 1]; None where nothing is left out.
    """

    values: Floats
    edges: Floats
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    cut: float | None
    caption: str


def layers_info(
    history: History, spans: Sequence[Span], settings: SelectionSettings, pruning: PruningSettings | None = None
) -> LayersInfo:
    """Loss per tensor over iterations, and what FIEM and pruning leave out of it."""
    cut = cut_index(settings.ratio, spans[-1].stop) if settings.strategy == "depth" else 0
    layers = np.array([row["layers"] for row in history], dtype=np.float64)  # (T, L)
    bins = min(MAX_BINS, len(layers))
    edges = np.linspace(0, len(layers), bins + 1).astype(int)
    values = np.stack([_mean_moved(layers[a:b]) for a, b in itertools.pairwise(edges)], axis=1)
    first = float(history[0]["iteration"])
    names, sizes = tuple(span.name for span in spans), tuple(span.stop - span.start for span in spans)
    caption = selection_sentence(settings, spans) + (pruning_sentence(pruning) if pruning else "")
    return LayersInfo(values, edges + first, names, sizes, cut_position(spans, cut), caption)


def _mean_moved(layers_TL: Floats) -> Floats:
    """The mean over the iterations in which the expert moved, (L,): those recorded as 0 or NaN say nothing."""
    moved = (layers_TL > 0).sum(axis=0)
    return np.where(moved > 0, np.nansum(layers_TL, axis=0) / np.maximum(moved, 1), np.nan)


def cut_position(spans: Sequence[Span], cut: int) -> float | None:
    """The cut on the axis of the rows: whole rows above it, and its share of the tensor that it lies in."""
    if cut <= 0:
        return None
    position = sum(1.0 for span in spans if span.stop <= cut)
    inside = next((span for span in spans if span.start < cut < span.stop), None)
    return position + ((cut - inside.start) / (inside.stop - inside.start) if inside else 0.0)


def cut_sentence(spans: Sequence[Span], cut: int) -> str:
    """Which tensors FIEM leaves out of the loss, wholly and partly."""
    total = spans[-1].stop
    if cut <= 0:
        return f"FIEM leaves none of the {total:,} parameters out of the loss (distill.selection.ratio is 0)."
    whole = [span.name for span in spans if span.stop <= cut]
    listed = ", ".join(whole) if len(whole) <= _MOST_NAMES else f"{len(whole)} tensors from {whole[0]} to {whole[-1]}"
    parts = [f"{listed} wholly"] if whole else []
    for span in spans:
        if span.start < cut < span.stop:
            share = (cut - span.start) / (span.stop - span.start)
            parts.append(f"{span.name} by its first {100 * share:.1f} %")
    return (
        f"FIEM leaves the first {cut:,} of {total:,} parameters ({100 * cut / total:.1f} %) out of the loss: "
        f"{'; '.join(parts)}."
    )


class Point(NamedTuple):
    """One (architecture, source): mean ± std over networks, and each network's accuracy."""

    architecture: str
    source: str
    mean: float
    std: float
    values: tuple[float, ...]


class AccuracyInfo(NamedTuple):
    """Test accuracies in [0, 1], architecture by architecture, and the sources in their fixed order."""

    architectures: tuple[str, ...]
    sources: tuple[str, ...]
    points: tuple[Point, ...]


def accuracy_info(rows: Sequence[Row]) -> AccuracyInfo:
    """The table's rows as points."""
    points = tuple(Point(r["architecture"], r["source"], r["mean"], r["std"], tuple(r["values"])) for r in rows)
    architectures = tuple(dict.fromkeys(point.architecture for point in points))
    present = {point.source for point in points}
    return AccuracyInfo(architectures, tuple(s for s in SOURCES if s in present), points)


class WeightsInfo(NamedTuple):
    """IADD's weights over iterations, each (T,), their counts (T, B) between log10 `edges` (B+1,), and a warning."""

    iterations: Floats
    low: Floats
    median: Floats
    high: Floats
    effective: Floats
    counts: Floats
    edges: Floats
    choices: str
    warning: str

    @property
    def caption(self) -> str:
        """What the weights did, whose choices made them so, and whether they have collapsed."""
        told = f" {self.warning}." if self.warning else ""
        return (
            f"The share of parameters that carries the loss ends at {100 * self.effective[-1]:.1f} %.{told} "
            f"{self.choices} and their learning rate are ours, since the paper leaves them open. Right: the share of "
            f"weights in each bin of log10 |w|."
        )


def weights_info(history: History, settings: ImportanceSettings) -> WeightsInfo | None:
    """The columns of IADD's diagnostics; None where no weights were learned."""
    if not history or history[0].get("weight_median") is None:
        return None
    names = ("weight_min", "weight_median", "weight_max", "weight_effective_fraction")
    low, median, high, effective = (_column(history, name) for name in names)
    counts, edges = _column(history, "weight_histogram"), np.array(HISTOGRAM_EDGES)
    choices = f"A weight per {_SHARERS[settings.granularity]}, the constraint {settings.constraint}"
    warning = history[-1].get("warning") or ""
    return WeightsInfo(_column(history, "iteration"), low, median, high, effective, counts, edges, choices, warning)


_SHARERS = {"scalar": "parameter", "channel": "output channel", "tensor": "tensor"}
