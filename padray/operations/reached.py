"""What artefacts reached and took, for whoever lists them: read from manifests and the events table alone."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from padray.evaluation.settings import EvaluationSettings
from padray.evaluation.summary import CellResult, best_lr, row
from padray.fingerprint import Identity, set_fingerprint, set_iterations
from padray.networks.settings import NetworkSettings
from padray.store.artifacts import Manifest
from padray.store.location import Location
from padray.store.records import read_events


@dataclass(frozen=True)
class Accuracy:
    """Test accuracies of `networks` networks, in [0, 1], by `metric`: their mean and sample standard deviation."""

    mean: float
    std: float
    networks: int
    metric: str


@dataclass(frozen=True)
class Reached:
    """What is said of an artefact before its settings.

    Attributes:
        accuracy: of the set that it is, or of what it evaluates, on the network that the set was made with.
        ipc: samples per class of that; None of what has all of them.
        seconds: that making its units took, whoever made them; None where the events table does not say.
    """

    accuracy: Accuracy | None = None
    ipc: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class _Event:
    """What is read of an event."""

    event: str
    fingerprint: str = ""
    seconds: float = 0.0


_EVENT, _CELL = TypeAdapter(_Event), TypeAdapter(CellResult)


def seconds_of(location: Location) -> dict[str, float]:
    """Seconds of finished units, by their artefact's fingerprint. Raises InputError for what padray did not write."""
    seconds: dict[str, float] = {}
    for event in read_events(location, _EVENT):
        if event.event == "finished" and math.isfinite(event.seconds):
            seconds[event.fingerprint] = seconds.get(event.fingerprint, 0.0) + event.seconds
    return seconds


def reached(manifests: Sequence[Manifest], seconds: Mapping[str, float]) -> list[Reached]:
    """What each of these artefacts reached; a set's accuracy is that of its evaluation, if there is one among them.

    Args:
        seconds: what units took, by fingerprint.
    """
    by_set: dict[str, Accuracy] = {}
    for manifest in manifests:
        judged, accuracy = str(manifest.inputs.get("set", "")), _accuracy(manifest)
        if judged and accuracy and (judged not in by_set or by_set[judged].networks < accuracy.networks):
            by_set[judged] = accuracy
    return [
        Reached(_accuracy(each) or _of_set(each, by_set), _ipc(each), seconds.get(each.fingerprint))
        for each in manifests
    ]


def _of_set(manifest: Manifest, by_set: Mapping[str, Accuracy]) -> Accuracy | None:
    """Of the furthest set of a distillation that was evaluated."""
    if manifest.stage != "distill":
        return None
    place = Identity("distill", "", manifest.fingerprint)
    iterations = sorted(filter(None, (set_iterations(item.stem) for item in manifest.objects)), reverse=True)
    return next((by_set[name] for each in iterations if (name := set_fingerprint(place, each)) in by_set), None)


def _accuracy(manifest: Manifest) -> Accuracy | None:
    """What an evaluation says of the network that the set was made with, in the line that the run's table has of it."""
    cells = _cells(manifest)
    with suppress(ValidationError):
        own = NetworkSettings.model_validate(manifest.settings.get("network")).label
        settings = EvaluationSettings.model_validate_json(json.dumps(manifest.settings.get("evaluation")))
        counted = _counted([cell for cell in cells if cell.architecture == own], settings)
        if counted:
            line = row(own, counted[0].source, counted, settings.metric)
            return Accuracy(*line.spread(line.by_balanced), line.metric)
    return None


def _counted(cells: Sequence[CellResult], settings: EvaluationSettings) -> Sequence[CellResult]:
    """Those that tell the accuracy; where an lr was chosen, the networks of that one, as many as were asked for."""
    if not cells or cells[0].lr_chosen_on is None:
        return cells
    source, controls = cells[0].source, settings.controls
    tries = [cell for cell in cells if cell.seed < controls.tuning_on(source) and cell.lr in controls.lrs_on(source)]
    best = best_lr(tries, settings.metric) if tries else None
    return [cell for cell in cells if cell.lr == best and cell.seed < settings.seeds_on(source)]


def _cells(manifest: Manifest) -> list[CellResult]:
    """The cells of an evaluation, as far as they can be read; none of anything else."""
    cells = []
    for item in manifest.objects if manifest.stage == "evaluation" else ():
        with suppress(ValidationError):
            cells.append(_CELL.validate_python(item.extra.get("cell")))
    return cells


def _ipc(manifest: Manifest) -> int | None:
    distill = manifest.settings.get("distill")
    ipc = distill.get("ipc") if isinstance(distill, dict) else None
    of_all = any(cell.source == "full" for cell in _cells(manifest))
    made_of_a_set = manifest.stage in ("distill", "evaluation", "report", "search") and not of_all
    return ipc if made_of_a_set and isinstance(ipc, int) and not isinstance(ipc, bool) else None
