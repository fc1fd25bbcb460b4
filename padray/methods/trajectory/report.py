"""What a report shows of trajectory matching: the loss of every tensor, what FIEM leaves out, IADD's weights.

Legend: L parameter tensors, T iterations.
"""

from collections.abc import Sequence

import numpy as np

from padray.methods.figure_data import CountsInfo, Figure, History, RowsInfo, WeightsInfo, column, in_bins
from padray.methods.trajectory.importance import HISTOGRAM_EDGES
from padray.methods.trajectory.selection import cut_index
from padray.methods.trajectory.settings import (
    ImportanceSettings,
    PruningSettings,
    SelectionSettings,
    TrajectorySettings,
)
from padray.networks.flat import Span
from padray.synthetic.set import Learned

_MOST_NAMES = 6
_SHARERS = {"scalar": "parameter", "channel": "output channel", "tensor": "tensor"}
_LAYERS = (
    "From the first layer (top) to the last. Blue: the student ends nearer to the expert than it started; orange: "
    "farther away; grey: the expert did not move. Shown for all tensors, matched or not; the number beside "
    "a name, where there is room for it, is that of its parameters."
)
_SCALE = "squared distance to the expert's end; 1 = no nearer than the start"


def figures(settings: TrajectorySettings, history: History, spans: Sequence[Span]) -> list[Figure]:
    """The loss of every tensor, and IADD's weights where there are any."""
    layers = layers_info(history, spans, settings.selection, settings.pruning)
    shown = [Figure("layers", "Loss per layer", "Loss per tensor over iterations", layers, _LAYERS)]
    weights = weights_info(history, settings.importance)
    if weights is not None:
        shown.append(Figure("weights", "Importance weights", "IADD's weights", weights))
    lengths = lengths_info(history, settings)
    if lengths is not None:
        shown.append(Figure("lengths", "Student's length", "How often students were compared after each step", lengths))
    return shown


def notes(settings: TrajectorySettings, learned: Learned, noun: str) -> list[str]:
    """Whether the student's lr was learned, and what it came to."""
    lr = f"{learned.lr_to_use:.4g}"
    if not settings.lr_student_lr:
        return [f"The student’s learning rate is not learned: it is {lr}."]
    return [
        f"The student’s learning rate is learned with the {noun}s: it started at {settings.student_lr:.4g} and is {lr} "
        f"in the set."
    ]


def lengths_info(history: History, settings: TrajectorySettings) -> CountsInfo | None:
    """After how many steps students were compared (ATT's i*), in all iterations; None where that is fixed."""
    taken = [count for row in history for count in row.get("student_steps") or ()]
    if not settings.adaptive_length or not taken:
        return None
    values = np.arange(1, settings.student_steps + 1)
    counts = np.bincount(np.array(taken, dtype=np.int64), minlength=settings.student_steps + 1)[1:]
    last = 100 * counts[-1] / len(taken)
    caption = (
        f"Each student takes {settings.student_steps} steps and is compared where it is nearest to the expert (L1 over "
        f"all parameters): after {np.median(taken):g} of them in the median, after {np.mean(taken):.1f} on average, "
        f"and in {last:.0f} % of cases after the last. Many at the last step: more steps might come nearer."
    )
    label = "steps after which a student is compared"
    return CountsInfo(values.astype(np.float64), counts.astype(np.float64), label, caption)


def selection_sentence(settings: SelectionSettings, spans: Sequence[Span]) -> str:
    """What FIEM leaves out of the loss, whatever its strategy."""
    share = f"{100 * settings.alpha:.3g} % of the parameters"
    if settings.alpha == 0 or settings.strategy in ("depth", "none"):
        return cut_sentence(spans, cut_index(settings.alpha, spans[-1].stop) if settings.strategy == "depth" else 0)
    return {
        "layer": f"FIEM, PAD’s filter, leaves out the tensors that begin within the first {share}.",
        "deep": f"The last {share}, the deep ones, are left out of the loss.",
        "loss": f"In every iteration the {share} with the smallest errors are left out of the loss.",
    }[settings.strategy]


def pruning_sentence(settings: PruningSettings) -> str:
    """What pruning leaves out of the loss besides, as a sentence to follow another; empty without pruning."""
    out = {
        "magnitude_ratio": f"those whose values in student and expert, smaller over larger, have a ratio below "
        f"{settings.threshold:g}",
        "abs_error_quantile": f"the {100 * settings.threshold:.3g} % with the largest errors",
    }
    return f" Pruning: in every iteration {out[settings.rule]} are left out." if settings.rule in out else ""


def layers_info(
    history: History, spans: Sequence[Span], settings: SelectionSettings, pruning: PruningSettings | None = None
) -> RowsInfo:
    """Relative squared error per tensor over iterations, and what FIEM and pruning leave out of the loss."""
    cut = cut_index(settings.alpha, spans[-1].stop) if settings.strategy == "depth" else 0
    layers_TL = np.array([row["layers"] for row in history], dtype=np.float64)  # 0 where the expert did not move
    values, edges = in_bins(layers_TL, float(history[0]["iteration"]))
    names, sizes = tuple(span.name for span in spans), tuple(span.stop - span.start for span in spans)
    caption = selection_sentence(settings, spans) + (pruning_sentence(pruning) if pruning else "")
    return RowsInfo(values, edges, names, sizes, cut_position(spans, cut), caption, _SCALE)


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
        return f"FIEM, PAD’s filter, leaves none of the {total:,} parameters out of the loss."
    whole = [span.name for span in spans if span.stop <= cut]
    listed = ", ".join(whole) if len(whole) <= _MOST_NAMES else f"{len(whole)} tensors from {whole[0]} to {whole[-1]}"
    parts = [f"{listed} wholly"] if whole else []
    for span in spans:
        if span.start < cut < span.stop:
            share = (cut - span.start) / (span.stop - span.start)
            parts.append(f"{span.name} by its first {100 * share:.1f} %")
    return (
        f"FIEM, PAD’s filter, leaves the first {cut:,} of {total:,} parameters ({100 * cut / total:.1f} %) out of the "
        f"loss: {'; '.join(parts)}."
    )


def weights_info(history: History, settings: ImportanceSettings) -> WeightsInfo | None:
    """The columns of IADD's diagnostics; None where no weights were learned."""
    if not history or history[0].get("weight_median") is None:
        return None
    names = ("weight_min", "weight_median", "weight_max", "weight_effective_fraction")
    low, median, high, effective = (column(history, name) for name in names)
    counts, edges = column(history, "weight_histogram"), np.array(HISTOGRAM_EDGES)
    choices = f"A weight per {_SHARERS[settings.granularity]}, the constraint {settings.constraint}"
    warning = history[-1].get("warning") or ""
    return WeightsInfo(column(history, "iteration"), low, median, high, effective, counts, edges, choices, warning)
