"""What carries a search's trials, in one actor beside the driver: Tune's trials only ask it for their results."""

import threading
from collections.abc import Callable
from dataclasses import replace

import ray

from padray.cluster import shares
from padray.cluster.lost import LOST, Losses
from padray.cluster.pool import place
from padray.cluster.probe import Probe
from padray.cluster.unit_progress import Reporting, reporting_of
from padray.config import Config
from padray.errors import DivergedError, Failure, GpuFullError, InputError, WorkError
from padray.fingerprint import distill_inputs
from padray.machine.numerics import within_memory
from padray.search.trial_run import SearchWork, failed
from padray.search.trials import TrialRecord
from padray.stages import pipeline
from padray.stages.base import Runner
from padray.store.location import Location

RunnerOf = Callable[[Config, Location, str], Runner]


class Owner:
    """Makes each missing set of experts once, whoever needs it, has trials distilled, and stores what became of them.

    Attributes:
        failed: what kept a trial from coming to an end, if anything did: a value, so that its type survives Ray.
    """

    def __init__(self, work: SearchWork, probe: Probe, share: float, runner_of: RunnerOf, reporting: Reporting) -> None:
        """Nothing is made yet.

        Args:
            runner_of: makes the runner of a trial's experts, and of its set where that has several workers.
            reporting: where trials say how far they are.
        """
        self.work, self.probe, self.share = work, probe, share
        self.runner_of, self.reporting = runner_of, reporting
        self.known: dict[str, TrialRecord] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()
        self.losses = Losses(work.config.cluster.max_losses)
        self.failed: Failure | None = None

    def carry(self, number: int) -> str:
        """Carry a trial to its end; what kept it from that, or nothing. Called from a thread for each trial."""
        try:
            self._carry(self._trial(number))
        except (InputError, WorkError) as error:  # nothing is stored
            self.failed = self.failed or error
            return str(error)
        return ""

    def _trial(self, number: int) -> TrialRecord:
        """The trial as it is stored, running."""
        with self.guard:
            return replace(self.work.all(self.known)[number], state="running")

    def _settle(self, trial: TrialRecord) -> TrialRecord:
        with self.guard:
            self.losses.forgive(f"trial {trial.number}")
            return self.work.settle(trial, self.known)

    def _carry(self, trial: TrialRecord) -> None:
        try:
            config = self.work.fitting(trial.parameters)
        except InputError as error:
            self._settle(failed(trial, error))
            return
        try:
            self._experts(config)
            self._distilled(config, trial)
        except DivergedError as error:
            self._settle(failed(trial, error))

    def _experts(self, config: Config) -> None:
        wanted = distill_inputs(config, self.work.inputs.data).needed
        with self.guard:
            lock = self.locks.setdefault(wanted, threading.Lock())
        with lock:
            pipeline.run(self.work.context(config, self._runner(config)), "experts")

    def _runner(self, config: Config) -> Runner:
        return self.runner_of(config, self.work.inputs.location, self.work.name)

    def _distilled(self, config: Config, trial: TrialRecord) -> None:
        """Carry a trial to its end in actors; where a shared GPU was full, on a whole one."""
        share = self.share
        while not trial.ended:
            if config.cluster.most_workers > 1:  # the actor finds the set there, and judges it
                part = self.work.reaching(trial)
                pipeline.run(self.work.context(part, self._runner(part)), "distill")
            outcome = self._attempt(config, share, trial)
            if outcome is None:
                trial = self._trial(trial.number)  # as far as it was stored
            elif isinstance(outcome, TrialRecord):
                trial = outcome
            elif isinstance(outcome, GpuFullError) and shares.is_shared(share):
                share = shares.WHOLE
            else:
                raise shares.alone(outcome)

    def _attempt(self, config: Config, share: float, trial: TrialRecord) -> TrialRecord | Failure | None:
        """What one actor makes of a trial, stored; None if it was lost. Raises InfrastructureError if too many were."""
        worker = TrialWorker.options(num_cpus=config.compute.threads, num_gpus=share).remote(  # type: ignore[attr-defined]
            self.work, self.probe, self.reporting
        )
        node = ""
        try:
            placed = ray.get(worker.ready.remote())
            if not isinstance(placed, str):
                return placed  # type: ignore[no-any-return]
            node = placed
            while not trial.ended:
                advanced: TrialRecord | Failure = ray.get(worker.advance.remote(trial))
                if not isinstance(advanced, TrialRecord):
                    return advanced
                trial = self._settle(advanced)
                if config.cluster.most_workers > 1:
                    break  # its place is needed for Train
            return trial
        except LOST as error:
            with self.guard:
                self.losses.add(f"trial {trial.number}", error, node)
            return None
        finally:
            ray.kill(worker)


@ray.remote(max_restarts=0)
class TrialWorker:
    """Makes one trial's set and judges it; its experts are there already."""

    def __init__(self, work: SearchWork, probe: Probe, reporting: Reporting) -> None:
        self.work, self.probe, self.reporting = work, probe, reporting

    def ready(self) -> str | Failure:
        return place(self.work.config.compute.device, self.probe)

    def advance(self, trial: TrialRecord) -> TrialRecord | Failure:
        name = f"trial {trial.number}"
        try:
            with reporting_of(self.reporting, (self.work.identity.fingerprint, name)), within_memory(name):
                return self.work.advance(trial, lambda config: None)
        except (InputError, WorkError) as error:
            return error
