"""Trials as they lie in storage, one JSON each, and the Optuna study that is rebuilt from them.

The storage is the truth: a study is only ever made from finished trials, so the same command goes on after any
kill. A trial that was lost is not there and is simply asked for again.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from padray.draws import seed_for
from padray.errors import InputError
from padray.space import ParameterSpec, SearchSettings
from padray.store.artifacts import Folder, StoredObject
from padray.store.records import refusal, take_record

optuna.logging.set_verbosity(optuna.logging.WARNING)
STUDY_URL = "PADRAY_STUDY_URL"
Parameters = dict[str, Any]


@dataclass(frozen=True)
class TrialRecord:
    """A trial that came to an end. `values` are the validation accuracies of its seeds, `value` their mean."""

    number: int
    parameters: Parameters
    state: Literal["finished", "failed"]
    value: float | None = None
    values: tuple[float, ...] = ()
    reason: str = ""
    set_sha256: str = ""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()


@dataclass(frozen=True)
class BegunTrial:
    """What a trial was given."""

    number: int
    parameters: Parameters


_RECORD, _BEGUN = TypeAdapter(TrialRecord), TypeAdapter(BegunTrial)


def read(
    folder: Folder, space: dict[str, ParameterSpec], known: dict[str, TrialRecord] | None = None
) -> dict[int, TrialRecord]:
    """The trials of a search by number. Raises InputError if what is stored cannot be a trial of this space.

    Args:
        known: those that were read before, by key. They are not read again, and new ones join them.
    """
    known, keys = {} if known is None else known, folder.keys("trial-")
    for key in keys:
        if key not in known and (taken := take_record(folder, key, _RECORD)):
            _check(folder, *taken, space)
            known[key] = taken[1]
    found = [known[key] for key in keys if key in known]
    return {record.number: record for record in sorted(found, key=lambda record: record.number)}


def _check(folder: Folder, item: StoredObject, record: TrialRecord, space: dict[str, ParameterSpec]) -> None:
    """Raises InputError if a record is not what its name says, or its parameters lie outside the space."""
    try:
        frozen(record, space)
    except (ValueError, TypeError):
        raise refusal(folder, item) from None
    if record.parameters.keys() - space.keys() or not item.stem.endswith(f"-{record.number:04d}"):
        raise refusal(folder, item)


def write(folder: Folder, record: TrialRecord) -> StoredObject:
    """Store a trial that came to an end."""
    return folder.put(f"trial-{record.number:04d}", "json", record.to_json())


def begin(folder: Folder, number: int, parameters: Parameters) -> None:
    """Note what a trial was given, so that one that is lost is queued again with the same parameters."""
    content = asdict(BegunTrial(number, parameters))
    folder.put(f"begun-{number:04d}", "json", json.dumps(content, sort_keys=True).encode())


def read_begun(folder: Folder, space: dict[str, ParameterSpec]) -> dict[int, Parameters]:
    """The parameters of all trials that were ever begun, by number. Raises InputError as `read` does."""
    found = {}
    for key in folder.keys("begun-"):
        if taken := take_record(folder, key, _BEGUN):
            item, begun = taken
            _check(folder, item, TrialRecord(begun.number, begun.parameters, "failed"), space)
            found[begun.number] = begun.parameters
    return found


def missing(records: dict[int, TrialRecord], trials: int) -> list[int]:
    """The numbers that are still to be tried."""
    return [number for number in range(trials) if number not in records]


def distribution(spec: ParameterSpec) -> BaseDistribution:
    """Optuna's distribution of a parameter."""
    if spec.type == "choice":
        return CategoricalDistribution(list(spec.choices or ()))
    low, high = spec.low or 0.0, spec.high or 0.0
    if spec.type == "int":
        return IntDistribution(int(low), int(high), log=spec.log)
    return FloatDistribution(low, high, log=spec.log)


def frozen(record: TrialRecord, space: dict[str, ParameterSpec]) -> FrozenTrial:
    """A stored trial as Optuna knows it."""
    names = [name for name in space if name in record.parameters]
    return create_trial(
        state=TrialState.COMPLETE if record.state == "finished" else TrialState.FAIL,
        params={name: record.parameters[name] for name in names},
        distributions={name: distribution(space[name]) for name in names},
        value=record.value if record.state == "finished" else None,
    )


def sampler(settings: SearchSettings, seed: int, so_far: int) -> optuna.samplers.TPESampler:
    """The sampler after `so_far` trials; a fixed seed would repeat its suggestions after every restart.

    It takes running trials for bad ones (constant liar), so that several at a time are not all alike.
    """
    chosen = seed_for(seed, "search", "sampler", so_far) % 2**32
    return optuna.samplers.TPESampler(n_startup_trials=settings.startup_trials, seed=chosen, constant_liar=True)


def study(settings: SearchSettings, records: Sequence[TrialRecord], seed: int) -> optuna.Study:
    """The study of these trials, in memory."""
    made = optuna.create_study(direction="maximize", sampler=sampler(settings, seed, len(records)))
    for record in sorted(records, key=lambda record: record.number):
        made.add_trial(frozen(record, settings.space))
    return made


def publish(settings: SearchSettings, records: Sequence[TrialRecord], name: str) -> None:
    """Show the study to other tools (optuna-dashboard) in the database at PADRAY_STUDY_URL, if that is set.

    The URL may hold a password, so it is no setting: settings are stored. Raises InputError if it cannot be used.
    """
    url = os.environ.get(STUDY_URL)
    if not url:
        return
    try:
        storage = optuna.storages.RDBStorage(url)
        with contextlib.suppress(KeyError):  # the trials in padray's storage are the truth; this is a copy
            optuna.delete_study(study_name=name, storage=storage)
        shown = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        shown.add_trials([frozen(record, settings.space) for record in records])
    except (ImportError, ValueError, SQLAlchemyError) as error:
        kind = type(error).__name__
        raise InputError(
            f"{STUDY_URL} cannot be used ({kind}): give a database URL such as sqlite:///study.db"
        ) from None


def suggest(trial: optuna.Trial, space: dict[str, ParameterSpec]) -> Parameters:
    """Ask for every parameter in the order of the space; conditional ones only where they apply."""
    chosen: Parameters = {}
    for name, spec in space.items():
        if not spec.applies(chosen):
            continue
        if spec.type == "choice":
            chosen[name] = trial.suggest_categorical(name, list(spec.choices or ()))
        elif spec.type == "int":
            chosen[name] = trial.suggest_int(name, int(spec.low or 0), int(spec.high or 0), log=spec.log)
        else:
            chosen[name] = trial.suggest_float(name, spec.low or 0.0, spec.high or 0.0, log=spec.log)
    return chosen


def best(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the highest value; of equals, the first."""
    finished = [record for record in records if record.value is not None]
    return max(finished, key=lambda record: (record.value, -record.number), default=None)


def importances(settings: SearchSettings, records: Sequence[TrialRecord], seed: int) -> dict[str, float]:
    """How much each parameter matters for the value (Optuna's fANOVA); empty below 3 trials."""
    finished = [record for record in records if record.state == "finished"]
    if len(finished) < 3 or len({record.value for record in finished}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed_for(seed, "search", "importance") % 2**32)
    return optuna.importance.get_param_importances(study(settings, finished, seed), evaluator=evaluator)
