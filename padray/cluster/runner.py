"""The Ray runner: what pipeline.py is handed instead of the in-process one."""

import os
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from padray.cluster import session, shares
from padray.cluster.probe import probing
from padray.config import Config
from padray.errors import InputError
from padray.machine import activity, interruption
from padray.machine.activity import Step
from padray.methods.method import Metrics
from padray.methods.settings import Contributions
from padray.planning import footprint
from padray.stages.base import Context, Distilling, Done, Lost, Searching, Unit, Work
from padray.stages.cells import EvaluationWork
from padray.stages.distiller import DistillWork
from padray.stages.limits import Limits
from padray.stages.progress import Running, Workers
from padray.store.location import Location

if TYPE_CHECKING:
    from padray.search.trial_run import SearchWork  # which imports Optuna; a run that searches nothing does not

_FEWEST_TRIALS = 2  # at a time, on a cluster that may grow without our knowing


@dataclass(eq=False)
class _Distilling:
    """A set that Train's workers are at, since when, and what worker 0 is at."""

    name: str
    since: float = field(default_factory=time.monotonic)
    steps: tuple[Step, ...] = ()

    def tell(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps

    def running(self) -> Running:
        return Running(self.name, "Ray Train", time.monotonic() - self.since, self.steps, is_unit=False)


class RayRunner:
    """Units on actors and tasks, distillation on Ray Train. Ray is started, or joined, with the first work."""

    name = "ray"

    def __init__(self, config: Config, location: Location, run: str = "") -> None:
        """`run`: what Ray's metrics call the work, e.g. the settings' name."""
        # Known before the dataset where it does not depend on the classes: an error before any training.
        _check_workers(config, config.distill.contributions(config.network, sys.maxsize))
        shares.check(config)
        self.config, self.location, self.run = config, location, run
        self.startup_s = 0.0
        self.connected = False
        self.said: list[str] = []  # and not yet asked for
        self.census: Any = None
        self.guard = threading.Lock()
        self.pools: list[Any] = []  # of actors, at work
        self.distilling: list[_Distilling] = []
        self.searches: list[Any] = []  # whose trials are at work
        self.unit_progress: Any = None  # where workers say how far they are

    def open(self) -> None:
        with self.guard:  # several sets are evaluated from several threads
            if self.connected:
                return
            with activity.step("joining the Ray cluster" if "RAY_ADDRESS" in os.environ else "starting Ray"):
                self.startup_s += session.connect()
            interruption.renew()  # Ray has its own answer to SIGTERM, which keeps nothing
            from padray.cluster import nodes  # this and what follows imports Ray, whose environment is settled only now

            if session.is_driver():
                session.check_room(self.config, nodes.here())
            self._count_gpus()
            self.connected = True

    def _count_gpus(self) -> None:
        from padray.cluster import gpus

        self.census = gpus.Census(session.is_own())
        known, seen = gpus.of_this_node(), torch.cuda.device_count()
        self.said += shares.remarks(self.config, self.census.gpus(), known, seen)

    def remarks(self) -> list[str]:
        said, self.said = self.said, []
        return said

    def workers(self) -> Workers:
        sets = tuple(one.running() for one in list(self.distilling))
        spread = (part.workers() for part in (*self.pools, *self.searches))
        return sum(spread, Workers(sets, driver=activity.steps()))

    def _share(self, config: Config) -> float:
        """What an actor, a Train worker or a trial takes of a GPU."""
        return shares.of_worker(config, self.census.gpus())

    def _share_of_cell(self, work: EvaluationWork) -> float:
        """What a cell takes of one, by its size."""

        def fits() -> float:
            return shares.fitting(footprint.of_cell(work.config, work.inputs), self.census.smallest())

        return shares.of_cell(work.config, self.census.gpus(), fits)

    def map(self, work: Work, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        if not units:
            return iter(())
        self.open()
        return self._map(work, units)

    def _map(self, work: Work, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        from padray.cluster import metrics, pool, unit_progress

        settings, cpus = self.config.cluster, self.config.compute.threads
        share = self._share_of_cell(work) if isinstance(work, EvaluationWork) else self._share(work.config)
        with probing(self.location) as probe:
            self.unit_progress = self.unit_progress or unit_progress.UnitProgress()
            demand = pool.Demand(cpus, share, settings.max_actors, settings.max_losses, probe, self.unit_progress)
            yield from metrics.of_units(pool.run(work, units, demand, self.pools), self.run)

    def distill(self, work: Distilling) -> Generator[Metrics, None, None]:
        assert isinstance(work, DistillWork)
        _check_workers(self.config, work.count)
        self.open()
        return self._distill(work)

    def _distill(self, work: DistillWork) -> Generator[Metrics, None, None]:
        from padray.cluster import metrics, trainer

        at = _Distilling(work.identity.name)
        self.distilling.append(at)
        try:
            with probing(self.location) as probe:
                yield from metrics.of_iterations(trainer.run(work, probe, self._share(work.config), at.tell), self.run)
        finally:
            self.distilling.remove(at)

    def search(self, work: Searching, context: Context) -> Iterator[Any]:
        from padray.search.trial_run import SearchWork

        assert isinstance(work, SearchWork)
        self.open()
        share = self._share(work.config)
        return self._search(work, work.limits(context), share, self._concurrency(work.config, share))

    def _search(self, work: "SearchWork", limits: Limits, share: float, concurrency: int) -> Iterator[Any]:
        from padray.cluster import metrics, tuning, unit_progress

        at_work = tuning.TrialsAtWork(work.identity.fingerprint, unit_progress.UnitProgress())
        self.searches.append(at_work)
        try:
            with probing(self.location) as probe:
                spread = tuning.Spread(probe, share, concurrency, RayRunner, at_work)
                yield from metrics.of_trials(tuning.run(work, spread, limits), self.run)
        finally:
            self.searches.remove(at_work)

    def _concurrency(self, config: Config, share: float) -> int:
        """Trials at a time: as many as the cluster has room for once it has grown, where the settings say nothing."""
        from padray.cluster import nodes

        settings = config.search
        if not isinstance(settings.concurrency, str):
            return settings.concurrency
        cluster = nodes.here()
        workers = config.cluster.workers if isinstance(config.cluster.workers, int) else config.cluster.workers[0]
        each = config.cluster.cpus_per_worker if config.cluster.most_workers > 1 else None
        room = cluster.slots({"CPU": each or config.compute.threads, "GPU": share}) // workers
        chosen = min(settings.trials, max(room, 1 if session.is_own() else _FEWEST_TRIALS))
        of = "the nodes that are up" if cluster.autoscaler is None else "all nodes that may be started"
        self.said.append(f"{chosen} trials at a time: {of} have room for {room}; search.concurrency says otherwise")
        return chosen


def _check_workers(config: Config, contributions: Contributions) -> None:
    """Refuse more workers than contributions to an iteration. Raises InputError."""
    workers = config.cluster.most_workers
    if workers > contributions.count:
        raise InputError(
            f"cluster.workers is {workers}, but {contributions.what} is {contributions.count}: a worker would have "
            f"nothing to do; {contributions.advice}"
        )
