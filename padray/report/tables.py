"""What each figure shows as a table, which lies beside its picture as CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padray.methods.figure_data import CountsInfo, Floats, RowsInfo, WeightsInfo
from padray.report.difficulty import AgreementInfo, ScheduleInfo
from padray.report.front import Front
from padray.report.info import AccuracyInfo, ImagesInfo, LabelsInfo, LossInfo
from padray.report.nearest import NearestInfo
from padray.report.profiles import ProfilesInfo
from padray.report.search import HistoryInfo, ImportanceInfo
from padray.report.strip import StripInfo

Column = Sequence[Any] | NDArray[Any]
Columns = Mapping[str, Column]
_MOST_VALUES = 400_000  # of samples in one file


def as_csv(info: object) -> bytes:
    """A figure's table, a column per quantity, a line per thing that is drawn."""
    columns = _TABLES[type(info)](info)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in line] for line in zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Numbers as few digits as tell them apart in a picture; nothing for what is not there."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def _accuracy(info: AccuracyInfo) -> Columns:
    lines = [(p, seed, value) for p in info.points for seed, value in enumerate(p.values)]
    return {
        "network": [p.architecture for p, _, _ in lines],
        "trained_on": [p.source for p, _, _ in lines],
        "seed": [seed for _, seed, _ in lines],
        info.measure.replace(" ", "_"): [value for _, _, value in lines],
        "mean": [p.mean for p, _, _ in lines],
        "std": [p.std for p, _, _ in lines],
    }


def _samples(info: ImagesInfo) -> Columns:
    """A line per sample, with its values as they are shown."""
    rows, columns = info.images.shape[:2]
    values = _values(info.images, info.content)
    columns = max(1, min(columns, _MOST_VALUES // (rows * values.shape[2])))
    places = [(k, i) for k in range(rows) for i in range(columns)]
    return {
        "class": [info.names[k] for k, _ in places],
        "sample": [i for _, i in places],
        **{f"value_{place}": [values[k, i, place] for k, i in places] for place in range(values.shape[2])},
    }


def _values(samples: Floats, content: str) -> NDArray[Any]:
    """Samples (R, C, …) as numbers (R, C, D): of images 0 to 255, row by row, once where all colours are equal."""
    if content != "image":
        return samples.reshape(*samples.shape[:2], -1)
    grey = bool((samples == samples[..., :1]).all())
    levels = np.rint(255 * (samples[..., :1] if grey else samples)).astype(np.uint8)
    return levels.reshape(*samples.shape[:2], -1)


def _strip(info: StripInfo) -> Columns:
    rows, moments = info.images.shape[:2]
    values = _values(info.images, info.content)
    places = [(k, t) for k in range(rows) for t in range(moments)]
    return {
        "class": [info.names[k] for k, _ in places],
        "iteration": [info.iterations[t] for _, t in places],
        **{f"value_{place}": [values[k, t, place] for k, t in places] for place in range(values.shape[2])},
    }


def _labels(info: LabelsInfo) -> Columns:
    shares: dict[str, Column] = {
        f"probability of {name}": info.probabilities[:, place] for place, name in enumerate(info.all_names)
    }
    return {"class of the sample": info.names, **shares}


def _nearest(info: NearestInfo) -> Columns:
    return {
        "class": info.names,
        "sample": info.places,
        "nearest_real_sample": info.rows,
        "distance": info.distances,
        "distance_of_a_random_real_sample_to_another": info.yardstick,
    }


def _loss(info: LossInfo) -> Columns:
    judged = dict(zip(info.judged_at - 1, info.judged, strict=True))  # told of the iteration that led to it
    columns: dict[str, Column] = {
        "iteration": info.iterations.astype(int),
        "loss": info.loss,
        "running_median": info.median,
        "validation": [judged.get(iteration) for iteration in info.iterations],
    }
    return columns if info.student_lr is None else {**columns, "student_lr": info.student_lr}


def _rows(info: RowsInfo) -> Columns:
    bins: dict[str, Column] = {
        f"from_iteration_{int(edge)}": info.values[:, place] for place, edge in enumerate(info.edges[:-1])
    }
    return {"name": info.names, **bins}


def _weights(info: WeightsInfo) -> Columns:
    own: dict[str, Column] = {
        "minimum": info.low,
        "median": info.median,
        "maximum": info.high,
        "effective_share": info.effective,
    }
    return {"iteration": info.iterations.astype(int), **own}


def _trials(info: HistoryInfo) -> Columns:
    finished = zip(info.numbers, info.values, info.spreads, strict=True)
    lines: list[tuple[Any, ...]] = [(number, "finished", value, spread) for number, value, spread in finished]
    lines += [(number, "stopped", value, None) for number, value in info.stopped]
    lines += [(number, "failed", None, None) for number in info.failed]
    names = ("trial", "state", "validation_accuracy", "std")
    return dict(zip(names, zip(*sorted(lines), strict=True), strict=True))


def _front(front: Front) -> Columns:
    return {
        "trial": [point.trial for point in front.points],
        "validation_accuracy": [point.value for point in front.points],
        front.objective: [point.cost for point in front.points],
        "on_front": [point.on_front for point in front.points],
    }


_TABLES: dict[type, Callable[[Any], Columns]] = {
    Front: _front,
    AccuracyInfo: _accuracy,
    ImagesInfo: _samples,
    LabelsInfo: _labels,
    StripInfo: _strip,
    NearestInfo: _nearest,
    LossInfo: _loss,
    RowsInfo: _rows,
    WeightsInfo: _weights,
    CountsInfo: lambda info: {info.label: info.values, "how_often": info.counts},
    HistoryInfo: _trials,
    ImportanceInfo: lambda info: {"setting": info.names, "share": info.shares},
    ScheduleInfo: lambda info: {"epoch": range(len(info.counts)), "training_samples": info.counts},
    AgreementInfo: lambda info: {
        "method": info.methods,
        **{name: info.correlations[:, place] for place, name in enumerate(info.methods)},
        **({} if info.agreement is None else {"agreement_with_failing": info.agreement}),
    },
    ProfilesInfo: lambda info: info.columns(),
}
