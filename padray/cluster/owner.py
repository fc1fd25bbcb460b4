"""What carries a search's trials, in one actor beside the driver: Tune's trials only ask it for their results."""

import threading

import ray

from padray import pipeline
from padray.cluster import shares
from padray.cluster.lost import LOST, Losses
from padray.cluster.pool import place
from padray.cluster.probe import Probe
from padray.cluster.runner import RayRunner
from padray.config import Config
from padray.errors import DivergedError, Failure, GpuFullError, InputError, WorkError
from padray.fingerprint import experts_identity
from padray.numerics import within_memory
from padray.search import trials
from padray.search.study import SearchWork
from padray.search.trials import Parameters, TrialRecord


class Owner:
    """Numbers the trials, makes each missing set of experts once, whoever needs it, and has trials distilled.

    Attributes:
        failed: what kept a trial from coming to an end, if anything did: a value, so that its type survives Ray.
    """

    def __init__(self, work: SearchWork, probe: Probe, share: float) -> None:
        self.work, self.probe, self.share = work, probe, share
        records = work.records()
        self.free = trials.missing(records, work.config.search.trials)
        self.begun = {n: given for n, given in work.begun().items() if n in self.free}
        self.numbers: dict[str, int] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()
        self.losses = Losses(work.config.cluster.max_losses)
        self.failed: Failure | None = None

    def value(self, trial_id: str, parameters: Parameters) -> tuple[float | None, int, str]:
        """A trial's value, number and reason of failure. Called from a thread for each trial."""
        number = self._number(trial_id, parameters)
        try:
            record = self._record(number, parameters)
        except (InputError, WorkError) as error:  # nothing is stored
            self.failed = self.failed or error
            return None, number, str(error)
        return record.value, number, record.reason

    def _number(self, trial_id: str, parameters: Parameters) -> int:
        """The trial's number: its own if it was given one, that of a lost trial with these parameters, or the next."""
        with self.guard:
            if trial_id not in self.numbers:
                lost = [n for n, given in self.begun.items() if given == parameters and n in self.free]
                chosen = lost[0] if lost else next(n for n in self.free if n not in self.begun)
                self.free.remove(chosen)
                self.numbers[trial_id] = chosen
                trials.begin(self.work.folder(), chosen, parameters)
            return self.numbers[trial_id]

    def _record(self, number: int, parameters: Parameters) -> TrialRecord:
        """The trial's record, stored."""
        try:
            config = self.work.fitting(parameters)
        except InputError as error:
            return self.work.failed(number, parameters, error)
        try:
            self._experts(config)
            if config.cluster.most_workers > 1:  # the actor below finds the set there, and judges it
                pipeline.run(self.work.context(config, self._runner(config)), "distill")
        except DivergedError as error:
            return self.work.failed(number, parameters, error)
        return self._distilled(config, number, parameters)

    def _experts(self, config: Config) -> None:
        wanted = experts_identity(config, self.work.inputs.data).fingerprint
        with self.guard:
            lock = self.locks.setdefault(wanted, threading.Lock())
        with lock:
            pipeline.run(self.work.context(config, self._runner(config)), "experts")

    def _runner(self, config: Config) -> RayRunner:
        return RayRunner(config, self.work.inputs.location, self.work.name)

    def _distilled(self, config: Config, number: int, parameters: Parameters) -> TrialRecord:
        """Distil and judge in an actor, again where that was lost; where a shared GPU was full, on a whole one."""
        share = self.share
        while True:
            made = self._attempt(config, share, number, parameters)
            if isinstance(made, TrialRecord):
                with self.guard:
                    self.losses.forgive(f"trial {number}")
                return made
            if made is None:
                continue
            if not (isinstance(made, GpuFullError) and shares.is_shared(share)):
                raise shares.alone(made)
            share = shares.WHOLE

    def _attempt(
        self, config: Config, share: float, number: int, parameters: Parameters
    ) -> TrialRecord | Failure | None:
        """One actor's result; None if it was lost. Raises InfrastructureError if too many were."""
        worker = TrialWorker.options(num_cpus=config.compute.threads, num_gpus=share).remote(  # type: ignore[attr-defined]
            self.work, self.probe
        )
        node = ""
        try:
            placed = ray.get(worker.ready.remote())
            if not isinstance(placed, str):
                return placed  # type: ignore[no-any-return]
            node = placed
            made: TrialRecord | Failure = ray.get(worker.distill.remote(number, parameters))
            return made
        except LOST as error:
            with self.guard:
                self.losses.add(f"trial {number}", error, node)
            return None
        finally:
            ray.kill(worker)


@ray.remote(max_restarts=0)
class TrialWorker:
    """Makes one trial's set and judges it; its experts are there already."""

    def __init__(self, work: SearchWork, probe: Probe) -> None:
        self.work, self.probe = work, probe

    def ready(self) -> str | Failure:
        return place(self.work.config.compute.device, self.probe)

    def distill(self, number: int, parameters: Parameters) -> TrialRecord | Failure:
        try:
            with within_memory(f"trial {number}"):
                return self.work.record(number, parameters, lambda config: None)
        except (InputError, WorkError) as error:
            return error
