"""The Ray runner: what pipeline.py is handed instead of the in-process one."""

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch

from padray import interruption
from padray.cluster import session, shares
from padray.config import Config
from padray.distill.loop import Metrics
from padray.errors import InputError
from padray.planning import footprint
from padray.search.study import SearchWork
from padray.stages.base import Context, Distilling, Done, Lost, Searching, Unit, Work
from padray.stages.cells import EvaluationWork
from padray.stages.distill import DistillWork
from padray.store.location import Location


class RayRunner:
    """Units on actors and tasks, distillation on Ray Train. Ray is started, or joined, with the first work."""

    name = "ray"

    def __init__(self, config: Config, location: Location) -> None:
        _check_workers(config)
        shares.check(config)
        self.config, self.location = config, location
        self.startup_s = 0.0
        self.connected = False
        self.said: list[str] = []  # and not yet asked for
        self.census: Any = None
        self.guard = threading.Lock()

    def open(self) -> None:
        with self.guard:  # several sets are evaluated from several threads
            if self.connected:
                return
            self.startup_s += session.connect()
            interruption.renew()  # Ray has its own answer to SIGTERM, which keeps nothing
            if session.is_own():
                session.check_room(self.config)
            session.check_storage(self.location)
            self._count_gpus()
            self.connected = True

    def _count_gpus(self) -> None:
        from padray.cluster import gpus  # this and what follows imports Ray, whose environment is settled only now

        self.census = gpus.Census(session.is_own())
        told, seen = gpus.of_this_node(), torch.cuda.device_count()
        self.said += shares.remarks(self.config, self.census.gpus(), told, seen)

    def remarks(self) -> list[str]:
        said, self.said = self.said, []
        return said

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
        from padray.cluster import experts, sweep

        settings, cpus = self.config.cluster, self.config.compute.threads
        share = self._share_of_cell(work) if isinstance(work, EvaluationWork) else self._share(work.config)
        if units[0].stage == "evaluate" and not share:
            return sweep.run(work, units, settings, cpus)
        return experts.run(work, units, settings, cpus, share)

    def distill(self, work: Distilling) -> Generator[Metrics, None, None]:
        assert isinstance(work, DistillWork)
        self.open()
        from padray.cluster import trainer

        return trainer.run(work, self._share(work.config))

    def search(self, work: Searching, context: Context) -> Iterator[Any]:
        assert isinstance(work, SearchWork)
        self.open()
        from padray.cluster import tuning

        return tuning.run(work, self._share(work.config))


def _check_workers(config: Config) -> None:
    """Refuse more workers than trajectories. Raises InputError."""
    workers, trajectories = config.cluster.most_workers, config.distill.trajectories
    if workers > trajectories:
        raise InputError(
            f"cluster.workers is {workers}, but distill.trajectories is {trajectories}: a worker would have nothing "
            f"to do; lower cluster.workers or raise distill.trajectories"
        )
