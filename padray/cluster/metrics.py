"""What Ray's dashboard, and whoever else reads its Prometheus endpoints, sees of the work.

The driver counts what its workers hand it, so a metric is told once, wherever the work was done. Counters are of this
process; what a run took in all stands in the events table.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cache
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from padray.methods.method import Metrics
from padray.search.trials import TrialRecord
from padray.stages.base import Done, Lost

_TAGS = ("stage", "run")
_SECONDS = [0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0]  # bounds of a unit's time
_KINDS = {
    "padray_units_done": (Counter, "Units that were finished"),
    "padray_units_lost": (Counter, "Units whose worker or node was lost, and that are made again"),
    "padray_bytes_written": (Counter, "Bytes of the finished units' objects"),
    "padray_iterations": (Counter, "Iterations of distillations"),
    "padray_loss": (Gauge, "The matching loss of the last iteration"),
    "padray_validation_accuracy": (Gauge, "The last iterate's, or trial's, accuracy on the validation split, 0 to 1"),
}


@cache  # Ray knows a metric of a process by its name, once
def _metric(name: str) -> Any:
    kind, about = _KINDS[name]
    return kind(name, description=about, tag_keys=_TAGS)


@cache
def _unit_seconds() -> Any:
    return Histogram("padray_unit_seconds", description="Seconds that units took", boundaries=_SECONDS, tag_keys=_TAGS)


def of_units(work: Generator[Done | Lost, None, None], run: str) -> Iterator[Done | Lost]:
    """The same outcomes, counted."""
    with closing(work) as outcomes:
        for outcome in outcomes:
            _count(outcome, run)
            yield outcome


def _count(outcome: Done | Lost, run: str) -> None:
    tags = {"stage": outcome.unit.stage, "run": run}
    if isinstance(outcome, Lost):
        _metric("padray_units_lost").inc(1, tags)
        return
    _metric("padray_units_done").inc(1, tags)
    _unit_seconds().observe(outcome.seconds, tags)
    if outcome.object.size:
        _metric("padray_bytes_written").inc(outcome.object.size, tags)


def of_iterations(distillation: Generator[Metrics, None, None], run: str) -> Generator[Metrics, None, None]:
    """The same metrics, shown; what is not finite is not."""
    tags = {"stage": "distill", "run": run}
    with closing(distillation) as iterations:  # at once where this is interrupted, which keeps a state
        for metrics in iterations:
            _metric("padray_iterations").inc(1, tags)
            for name, key in (("padray_loss", "loss"), ("padray_validation_accuracy", "validation_accuracy")):
                if metrics.get(key) is not None:
                    _metric(name).set(metrics[key], tags)
            yield metrics


def of_trials(search: Generator[TrialRecord, None, None], run: str) -> Iterator[TrialRecord]:
    """A search's records, as they change: trials are counted when they have come to their end."""
    tags = {"stage": "search", "run": run}
    with closing(search) as records:
        for record in records:
            if record.state in ("finished", "failed"):  # one that was stopped may be taken up again
                _metric("padray_units_done").inc(1, tags)
            if record.value is not None:
                _metric("padray_validation_accuracy").set(record.value, tags)
            yield record
