"""Ray Tune over padray's trials, which the search's own queue hands out (search/trial_run.py), as in one process.

Tune's trials only wait, in small processes beside the driver. What they wait for is done by one actor there, a thread
for each trial: the experts that it needs (asked for twice, made once), then its distillation, in an actor of its own
wherever there is room, or on Ray Train where that has more than one worker. Tune's folder is scratch; the truth is a
JSON per trial in padray's storage. From that the queue rebuilds Optuna's study whenever it is asked.
"""

import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.tune.search import Searcher

from padray.cluster.lost import LOST, Losses
from padray.cluster.probe import Probe
from padray.cluster.session import AWS_SECRETS, beside_driver, this_node
from padray.cluster.trial import Trials, wait
from padray.cluster.unit_progress import Key, UnitProgress
from padray.cluster.waiting import InThread
from padray.errors import Failure, WorkError
from padray.search.trial_run import Queue, SearchWork
from padray.search.trials import TrialRecord
from padray.stages.limits import Limits
from padray.stages.progress import Running, Workers

ENV_VARS_TO_PROPAGATE -= AWS_SECRETS  # Tune would hand them to its trials, and Ray would write them to its logs
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failed trials are told by padray, without tracebacks
_STOP = "stop"
_POLL_S, _PATIENCE_S = 1.0, 20.0
_LEAST = {"memory": 1.0}  # what a waiting trial takes: one byte, for Tune wants something, and no part of a CPU


@dataclass
class TrialsAtWork:
    """The trials that are being made; asked from any thread, while another one changes it.

    Attributes:
        fingerprint: of the search.
        progress: where trials' actors say how far they are.
        since: when each was handed out.
    """

    fingerprint: str
    progress: UnitProgress
    since: dict[int, float] = field(default_factory=dict)

    def workers(self) -> Workers:
        """Each trial as a unit; how far it is, once its experts are there and it has taken long."""
        now, since = time.monotonic(), dict(self.since)
        long_s = self.progress.reporting.long_s
        steps = self.progress.latest([self._key(number) for number, began in since.items() if now - began > long_s])
        each = [
            Running(f"trial {number}", seconds=now - began, steps=steps.get(self._key(number), ()))
            for number, began in since.items()
        ]
        return Workers(tuple(each))

    def _key(self, number: int) -> Key:
        return self.fingerprint, f"trial {number}"


@dataclass(frozen=True)
class Spread:
    """How a search is spread.

    Attributes:
        probe: by which a trial's actor finds out whether it sees the storage.
        share: of a GPU that a trial's distillation takes.
        concurrency: trials at a time.
        runner_of: makes the runner of what a trial needs.
        at_work: the trials that are being made.
    """

    probe: Probe
    share: float
    concurrency: int
    runner_of: Callable[..., Any]
    at_work: TrialsAtWork


def run(work: SearchWork, spread: Spread, limits: Limits) -> Generator[TrialRecord, None, None]:
    """Make the missing trials on Tune; yield their records as they change. Lost trials are tried again.

    Raises:
        InputError, WorkError: what kept trials from coming to an end, when all others have; of those nothing is stored.
    """
    known: dict[str, TrialRecord] = {}  # asked for once a second, each record is read once
    seen = work.all(known)
    losses = Losses(work.config.cluster.max_losses)
    while Queue(work, limits).upcoming() is not None:
        spread.at_work.since.clear()  # of those that were lost with a run of Tune
        asked = Trials.options(  # type: ignore[attr-defined]
            max_concurrency=spread.concurrency + 2, scheduling_strategy=beside_driver()
        ).remote(work, spread.probe, spread.share, spread.runner_of, spread.at_work.progress.reporting)
        queue = Queue(work, limits)
        with tempfile.TemporaryDirectory(prefix="padray-tune-", ignore_cleanup_errors=True) as scratch:
            tuner = _tuner(_Queued(queue, spread.at_work.since), spread.concurrency, asked, Path(scratch))
            fitting = InThread(partial(_fit, tuner, asked))
            try:
                while True:
                    ended = fitting.wait(_POLL_S)  # asked before reading, so that nothing is missed
                    limits.look()
                    for number, record in work.all(known).items():
                        if seen.get(number) != record:
                            seen[number] = record
                            losses.forgive(f"trial {number}")
                            yield record
                    if ended:
                        break
            except (KeyboardInterrupt, GeneratorExit):
                (Path(scratch) / _STOP).touch()
                fitting.wait(_PATIENCE_S)  # Tune would go on asking Ray while that shuts down, and join it again
                raise
        if (left := Queue(work, limits).upcoming()) is not None:
            _explain(fitting, losses, f"trial {left}")


def _explain(fitting: InThread[Failure | None], losses: Losses, lost: str) -> None:
    """Note a loss, or raise what would only happen again. Raises InputError or WorkError.

    Args:
        fitting: a run of Tune that is over; its error is what broke the run itself.
    """
    kept = "finished trials are kept, the same command goes on"
    if (failure := fitting.value) is not None:
        raise type(failure)(f"{failure}; {kept}")
    error = fitting.error
    if error is not None and not isinstance(error, LOST):
        words = f"{type(error).__name__}: {' '.join(str(error).split())[-400:]}"
        raise WorkError(f"the search stopped ({words}); {kept}")
    losses.add(lost, error or ChildProcessError("its process was lost"))


@dataclass(frozen=True)
class _Stopper(tune.Stopper):
    """Ends a run of Tune once a file is there: a file, because Tune pickles it."""

    file: Path

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.file.exists()


def _tuner(queue: "_Queued", concurrency: int, asked: Any, scratch: Path) -> tune.Tuner:
    """A run of Tune over what a queue hands out."""
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(wait, trials=asked), _beside_driver()),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=-1,  # as many as there are
            max_concurrent_trials=concurrency,
            reuse_actors=True,  # a process waits for one trial after another
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex,
            storage_path=str(scratch),
            verbose=0,
            stop=_Stopper(scratch / _STOP),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


def _fit(tuner: tune.Tuner, asked: Any) -> Failure | None:
    """Carry a run of Tune through; the first thing that kept a trial from coming to its end, as its owner says it."""
    try:
        tuner.fit()  # trials that fail are told by their owner
        failure: Failure | None = ray.get(asked.failure.remote())
        return failure
    finally:
        ray.kill(asked)


def _beside_driver() -> tune.PlacementGroupFactory:
    """A waiting trial's place: with the driver, not on a node that comes and goes."""
    return tune.PlacementGroupFactory([_LEAST], bundle_label_selector=[this_node()])


class _Queued(Searcher):
    """The search's queue as Tune asks for trials: a trial of Tune's is a number."""

    def __init__(self, queue: Queue, since: dict[int, float]) -> None:
        """`since`: where it is noted when a trial was handed out that is not back."""
        super().__init__()
        self.queue, self.since, self.asked = queue, since, 0.0
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if time.monotonic() - self.asked < _POLL_S and self.queue.running:
            return None  # it was asked just now, which is a look into the storage
        if (trial := self.queue.next()) is not None:
            self.numbers[trial_id] = trial.number
            self.since[trial.number] = time.monotonic()
            return {"number": trial.number}
        self.asked = time.monotonic()
        return None if self.queue.running else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.asked = 0.0
        self.since.pop(self.numbers[trial_id], None)
        self.queue.done(self.numbers[trial_id], ended=not error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's own folder is scratch."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to go on from: a run of Tune is never restored."""
