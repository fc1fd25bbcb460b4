"""The evaluation sweep on CPUs: (set x network x seed) cells as tasks, each able to run anywhere, partial results kept.

On GPUs cells are made by actors (experts.py): a task's process lives on, with the device that it first had and with
what it left in that device's memory.
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from padray.cluster.lost import LOST, Losses, Refused, attempt, finish
from padray.config import ClusterSettings
from padray.stages.base import Done, Lost, Make, Unit, Work

_prepared: dict[str, Make] = {}  # per worker process: tasks of one sweep share the dataset that is loaded


def _prepare(sweep: str, work: Work) -> Make:
    if sweep not in _prepared:
        _prepared.clear()
        _prepared[sweep] = work.prepare()
    return _prepared[sweep]


@ray.remote(max_retries=0)
def _cell(sweep: str, work: Work, unit: Unit) -> Done | Refused:
    return attempt(work, lambda: _prepare(sweep, work), unit)


def run(work: Work, units: Sequence[Unit], settings: ClusterSettings, cpus: int) -> Iterator[Done | Lost]:
    """Make all cells as tasks; yield them as they finish. A cell whose worker or node is lost is queued again.

    Raises:
        InputError, WorkError: a cell failed by itself (raised after all others are made), or too many were lost.
    """
    refused, losses = list[Refused](), Losses(settings.max_losses)
    name, shared = uuid.uuid4().hex, ray.put(work)
    task = _cell.options(num_cpus=cpus, scheduling_strategy="SPREAD")
    running: dict[Any, Unit] = {task.remote(name, shared, unit): unit for unit in units}
    try:
        while running:
            (reference,), _ = ray.wait(list(running), num_returns=1)
            unit = running.pop(reference)
            try:
                result = ray.get(reference)
            except LOST as error:
                losses.add(unit.id, error)
                running[task.remote(name, shared, unit)] = unit
                yield Lost(unit, type(error).__name__)
                continue
            if isinstance(result, Refused):
                refused.append(result)
            else:
                yield result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
    finish(refused)
