"""Ray Tune with Optuna over padray's trials.

A trial holds next to no CPU and only waits: the experts that it needs are made by one owner outside all trials
(asked for twice, made once), and its distillation runs as a task of its own, or on Ray Train where that has more
than one worker. Tune's folder is scratch; the truth is a JSON per finished trial in padray's storage, from which
the study is rebuilt.
"""

import logging
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.storages.journal import JournalFileBackend, JournalStorage
from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.tune.search.optuna import OptunaSearch

from padray import pipeline
from padray.cluster import gpus, shares
from padray.cluster.lost import LOST, Losses
from padray.cluster.runner import RayRunner
from padray.cluster.session import AWS_SECRETS, beside_driver
from padray.config import Config
from padray.errors import DivergedError, Failure, GpuFullError, InputError, WorkError
from padray.fingerprint import experts_identity
from padray.numerics import within_memory
from padray.search import trials
from padray.search.study import SearchWork
from padray.search.trials import Parameters, TrialRecord
from padray.space import ParameterSpec

ENV_VARS_TO_PROPAGATE -= AWS_SECRETS  # Tune would hand them to its trials, and Ray would write them to its logs
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failed trials are told by padray, without tracebacks
_STUDY = "padray"
_HOLDS = {"cpu": 0.0, "memory": 1.0}  # a waiting trial: one byte, for Tune wants something, and no part of a CPU
_POLL_S = 1.0


@ray.remote(num_cpus=0)
class Owner:
    """Numbers the trials, and makes each missing set of experts once, whoever asks and however often."""

    def __init__(self, work: SearchWork) -> None:
        self.work = work
        records = work.records()
        self.free = trials.missing(records, work.config.search.trials)
        self.begun = {n: given for n, given in work.begun().items() if n in self.free}
        self.numbers: dict[str, int] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()

    def number(self, trial_id: str, parameters: Parameters) -> int:
        """The trial's number: its own if it was given one, that of a lost trial with these parameters, or the next."""
        with self.guard:
            if trial_id not in self.numbers:
                lost = [n for n, given in self.begun.items() if given == parameters and n in self.free]
                chosen = lost[0] if lost else next(n for n in self.free if n not in self.begun)
                self.free.remove(chosen)
                self.numbers[trial_id] = chosen
                trials.begin(self.work.folder(), chosen, parameters)
            return self.numbers[trial_id]

    def experts(self, config: Config) -> Failure | None:
        """See to the experts of these settings; None, or why there are none: a value, so that its type survives Ray."""
        wanted = experts_identity(config, self.work.inputs.data).fingerprint
        with self.guard:
            lock = self.locks.setdefault(wanted, threading.Lock())
        try:
            with lock:
                runner = RayRunner(config, self.work.inputs.location)
                pipeline.run(self.work.context(config, runner), "experts")
        except (InputError, WorkError) as error:
            return error
        return None


def _distil(work: SearchWork, number: int, parameters: Parameters) -> TrialRecord | Failure:
    """A trial's distillation and judgement, in a process of its own; its experts are there already."""
    try:
        if (unusable := gpus.require(work.config.compute.device)) is not None:
            return unusable
        with within_memory(f"trial {number}"):
            return work.record(number, parameters, lambda config: None)
    except (InputError, WorkError) as error:
        return error


class TrialLostError(Exception):
    """A trial lost what it waited for; it is not recorded, and tried again."""


def _trial(parameters: Parameters, work: SearchWork, owner: Any, share: float) -> None:
    """What Tune runs: wait for the experts, then for the distillation; raise what made it fail."""
    try:
        number = ray.get(owner.number.remote(tune.get_context().get_trial_id(), parameters))
        record = _made(work, number, parameters, owner, share)
    except LOST as error:
        raise TrialLostError(str(error)) from None
    if record.value is None:
        raise DivergedError(record.reason)
    tune.report({"value": record.value, "number": number})


def _made(work: SearchWork, number: int, parameters: Parameters, owner: Any, share: float) -> TrialRecord:
    try:
        config = work.fitting(parameters)
    except InputError as error:
        return work.failed(number, parameters, error)
    try:
        if (refused := ray.get(owner.experts.remote(config))) is not None:
            raise refused
        if config.cluster.most_workers > 1:  # this process only waits; the task below finds the set and judges it
            pipeline.run(work.context(config, RayRunner(config, work.inputs.location)), "distill")
    except DivergedError as error:
        return work.failed(number, parameters, error)
    losses = Losses(config.cluster.max_losses)
    taken = share
    while True:
        try:
            made: TrialRecord | Failure = ray.get(_task(config, taken).remote(work, number, parameters))
        except LOST as error:
            losses.add(f"trial {number}", error)
            continue
        if isinstance(made, TrialRecord):
            return made
        if not (isinstance(made, GpuFullError) and shares.is_shared(taken)):
            raise shares.alone(made)
        taken = shares.WHOLE


def _task(config: Config, share: float) -> Any:
    """The task of a trial's distillation; one on a GPU ends its process, which would keep that GPU's memory."""
    options: dict[str, Any] = {
        "num_cpus": config.compute.threads, "num_gpus": share, "max_retries": 0, "max_calls": 1 if share else 0,
        "scheduling_strategy": "DEFAULT",  # not the trial's own placement group, which has no room
    }  # fmt: skip
    return ray.remote(**options)(_distil)


def run(work: SearchWork, share: float = 0.0) -> Iterator[TrialRecord]:
    """Make the missing trials on Tune; yield their records as they are stored. Lost trials are tried again.

    Args:
        share: of a GPU that a trial's distillation takes.

    Raises:
        InputError, WorkError: what kept trials from coming to an end, when all others have; of those nothing is stored.
    """
    known: dict[str, TrialRecord] = {}  # asked for once a second, each trial is read once
    seen = set(work.records(known))
    losses = Losses(work.config.cluster.max_losses)
    while trials.missing(work.records(known), work.config.search.trials):
        outcome: list[Exception] = []
        thread = threading.Thread(target=_fit, args=(work, share, outcome), daemon=True)
        thread.start()
        while True:
            thread.join(_POLL_S)
            over = not thread.is_alive()  # asked before reading, so that nothing is missed
            for number, record in work.records(known).items():
                if number not in seen:
                    seen.add(number)
                    yield record
            if over:
                break
        left = trials.missing(work.records(known), work.config.search.trials)
        if left:
            _explain(outcome, losses, f"trial {left[0]}")


def _explain(outcome: list[Exception], losses: Losses, lost: str) -> None:
    """Note a loss, or raise what would only happen again. Raises InputError or WorkError."""
    causes = [getattr(error, "cause", None) or error for error in outcome]
    causes = [error for error in causes if not isinstance(error, DivergedError)]  # those are recorded
    for error in causes:
        if isinstance(error, InputError | WorkError):
            raise type(error)(f"{error}; finished trials are kept, the same command goes on")
        if not isinstance(error, (*LOST, TrialLostError)):
            words = f"{type(error).__name__}: {' '.join(str(error).split())[-400:]}"
            raise WorkError(f"the search stopped ({words}); finished trials are kept, the same command goes on")
    losses.add(lost, causes[0] if causes else TrialLostError("no reason was given"))


def _fit(work: SearchWork, share: float, outcome: list[Exception]) -> None:
    """One run of Tune over the trials that are missing; what went wrong is left in `outcome`."""
    settings, before = work.config.search, work.records()
    owner = Owner.options(  # type: ignore[attr-defined]
        max_concurrency=4 * settings.concurrency + 2, scheduling_strategy=beside_driver()
    ).remote(work)
    try:
        with tempfile.TemporaryDirectory(prefix="padray-tune-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(_trial, work=work, owner=owner, share=share), _HOLDS),
                tune_config=tune.TuneConfig(
                    search_alg=_search(work, before, Path(scratch)),
                    num_samples=len(trials.missing(before, settings.trials)),
                    max_concurrent_trials=settings.concurrency,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=uuid.uuid4().hex,
                    storage_path=scratch,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            )
            outcome.extend(tuner.fit().errors)
    except Exception as error:
        outcome.append(error)
    finally:
        ray.kill(owner)


@dataclass(frozen=True)
class _Space:
    """Optuna's define-by-run space; an object, because Tune pickles its searcher."""

    space: dict[str, ParameterSpec]

    def __call__(self, trial: optuna.Trial) -> None:
        trials.suggest(trial, self.space)


def _search(work: SearchWork, before: dict[int, TrialRecord], scratch: Path) -> OptunaSearch:
    """Optuna, knowing what is finished; trials that were lost come first, with what they were given."""
    settings, seed = work.config.search, work.config.seed_of("search")
    storage = JournalStorage(JournalFileBackend(str(scratch / "journal.log")))
    sampler = trials.sampler(settings, seed, len(before))
    made = optuna.create_study(storage=storage, study_name=_STUDY, direction="maximize", sampler=sampler)
    for record in before.values():
        made.add_trial(trials.frozen(record, settings.space))
    lost = [given for number, given in sorted(work.begun().items()) if number not in before]

    return OptunaSearch(
        space=_Space(settings.space), metric="value", mode="max", points_to_evaluate=lost or None, sampler=sampler,
        storage=storage, study_name=_STUDY,
    )  # fmt: skip
