"""The Ray runner: what pipeline.py is handed instead of the in-process one."""

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from padray import interruption
from padray.cluster import session
from padray.config import Config
from padray.distill.loop import Metrics
from padray.errors import InputError
from padray.search.study import SearchWork
from padray.stages.base import Context, Distilling, Done, Lost, Searching, Unit, Work
from padray.stages.distill import DistillWork
from padray.store.location import Location


class RayRunner:
    """Units on actors and tasks, distillation on Ray Train. Ray is started, or joined, with the first work."""

    name = "ray"

    def __init__(self, config: Config, location: Location) -> None:
        _check_workers(config)
        self.config, self.location = config, location
        self.startup_s = 0.0
        self.connected = False
        self.guard = threading.Lock()

    def open(self) -> None:
        with self.guard:  # several sets are evaluated from several threads
            if self.connected:
                return
            self.startup_s += session.connect()
            interruption.renew()  # Ray has its own answer to SIGTERM, which keeps nothing
            session.check_room(self.config)
            session.check_storage(self.location)
            self.connected = True

    def map(self, work: Work, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        if not units:
            return iter(())
        self.open()
        from padray.cluster import experts, sweep  # they import Ray, whose environment is settled only now

        run = sweep.run if units[0].stage == "evaluate" else experts.run
        return run(work, units, self.config.cluster, self.config.compute.threads)

    def distill(self, work: Distilling) -> Generator[Metrics, None, None]:
        assert isinstance(work, DistillWork)
        self.open()
        from padray.cluster import trainer

        return trainer.run(work)

    def search(self, work: Searching, context: Context) -> Iterator[Any]:
        assert isinstance(work, SearchWork)
        self.open()
        from padray.cluster import tuning

        return tuning.run(work)


def _check_workers(config: Config) -> None:
    """Refuse more workers than trajectories. Raises InputError."""
    workers, trajectories = config.cluster.most_workers, config.distill.trajectories
    if workers > trajectories:
        raise InputError(
            f"cluster.workers is {workers}, but distill.trajectories is {trajectories}: a worker would have nothing "
            f"to do; lower cluster.workers or raise distill.trajectories"
        )
