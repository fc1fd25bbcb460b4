"""Trials as Optuna knows them: the study that is rebuilt from records, what it suggests next, and what mattered.

A study is only ever made from what is stored, in memory and for one question, so that the same records give the same
answer in one process, on a cluster and after any kill.
"""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from padray.config import Config
from padray.configuration import loading
from padray.draws import seed_for
from padray.search.trials import Parameters, State, TrialRecord
from padray.settings.space import ParameterSpec, SearchSettings

optuna.logging.set_verbosity(optuna.logging.WARNING)
STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "stopped": TrialState.PRUNED,
    "finished": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
}
_GIVEN = "given"  # the names that an enqueued trial searches: all others stay as configured


def distribution(spec: ParameterSpec) -> BaseDistribution:
    """Optuna's distribution of a parameter."""
    if spec.type == "choice":
        return CategoricalDistribution(list(spec.choices or ()))
    low, high = spec.low or 0.0, spec.high or 0.0
    if spec.type == "int":
        return IntDistribution(int(low), int(high), log=spec.log, step=int(spec.step or 1))
    return FloatDistribution(low, high, log=spec.log, step=spec.step)


def frozen(record: TrialRecord, space: dict[str, ParameterSpec], **attributes: Any) -> FrozenTrial:
    """A record as Optuna knows it. Raises ValueError or TypeError if it is no trial of this space."""
    names = [name for name in space if name in record.parameters]
    return create_trial(
        state=STATES[record.state],
        params={name: record.parameters[name] for name in names},
        distributions={name: distribution(space[name]) for name in names},
        values=values_of(record),
        intermediate_values={rung.iterations: rung.value for rung in record.rungs},
        **attributes,
    )


def values_of(record: TrialRecord) -> list[float] | None:
    """What the objectives say of a trial that came to an end with something."""
    if record.value is None or record.state not in ("finished", "stopped"):
        return None
    return [record.value] if record.cost is None else [record.value, record.cost]


def directions(settings: SearchSettings) -> list[StudyDirection]:
    """Which way each objective goes."""
    return [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: len(settings.objectives)]


def check(record: TrialRecord, settings: SearchSettings) -> None:
    """Raises ValueError or TypeError if a record is no trial of this search."""
    space = settings.space
    frozen(record, space)
    if not math.isfinite(record.cost or 0.0) or (record.value is not None and bool(record.cost) != bool(settings.cost)):
        raise ValueError(f"not what this search minimises: {record}")
    if record.parameters.keys() - space.keys() or (record.state == "stopped" and not record.rungs):
        raise ValueError(f"no trial of this space: {record}")


def sampler(settings: SearchSettings, seed: int, so_far: int) -> optuna.samplers.TPESampler:
    """The sampler after `so_far` trials; a fixed seed would repeat its suggestions after every restart.

    It takes running trials for bad ones (constant liar), so that several at a time are not all alike.
    """
    chosen = seed_for(seed, "search", "sampler", so_far) % 2**32
    return optuna.samplers.TPESampler(n_startup_trials=settings.startup_trials, seed=chosen, constant_liar=True)


def study(settings: SearchSettings, records: Sequence[TrialRecord], seed: int) -> optuna.Study:
    """The study of these trials, in memory."""
    chosen = sampler(settings, seed, len(records))
    optuna_study = optuna.create_study(directions=directions(settings), sampler=chosen)
    for record in sorted(records, key=lambda record: record.number):
        optuna_study.add_trial(frozen(record, settings.space))
    return optuna_study


def starts(config: Config) -> list[Parameters]:
    """What the first trials try: the configuration itself, as far as it lies in the space, then `search.start`."""
    known, space = dict(loading.effective(config)), config.search.space
    own = {name: known[name] for name, spec in space.items() if name in known and spec.holds(known[name])}
    starting: list[Parameters] = []
    for given in (own, *config.search.start):
        chosen: Parameters = {}
        for name, spec in space.items():
            if name in given and spec.applies(chosen):
                chosen[name] = float(given[name]) if spec.type == "float" else given[name]
        if chosen not in starting:
            starting.append(chosen)
    return starting


def parameters_of(config: Config, number: int, records: Sequence[TrialRecord]) -> Parameters:
    """What trial `number` tries, where `records` are all those before it."""
    return ask(study(config.search, records, config.seed_of("search")), config, number)


def ask(asked: optuna.Study, config: Config, number: int) -> Parameters:
    """What trial `number` tries, by a study of those before it."""
    first = starts(config)
    if number < len(first):
        asked.enqueue_trial(first[number], user_attrs={_GIVEN: list(first[number])})
    return suggest(asked.ask(), config.search.space)


def suggest(trial: optuna.Trial, space: dict[str, ParameterSpec]) -> Parameters:
    """Ask for every parameter in the order of the space; conditional ones only where they apply."""
    chosen: Parameters = {}
    given = trial.user_attrs.get(_GIVEN)
    for name, spec in space.items():
        if not spec.applies(chosen) or (given is not None and name not in given):
            continue
        low, high = spec.low or 0.0, spec.high or 0.0
        if spec.type == "choice":
            chosen[name] = trial.suggest_categorical(name, list(spec.choices or ()))
        elif spec.type == "int":
            chosen[name] = trial.suggest_int(name, int(low), int(high), log=spec.log, step=int(spec.step or 1))
        else:
            chosen[name] = trial.suggest_float(name, low, high, log=spec.log, step=spec.step)
    return chosen


def importances(settings: SearchSettings, records: Sequence[TrialRecord], seed: int) -> dict[str, float]:
    """How much each parameter matters for the value (Optuna's fANOVA); empty below 3 trials.

    Trials that left a parameter as configured, outside the space, say nothing of it, and are not asked.
    """
    always = {name for name, spec in settings.space.items() if not spec.when}
    finished = [record for record in records if record.state == "finished" and always <= record.parameters.keys()]
    if len(finished) < 3 or len({record.value for record in finished}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed_for(seed, "search", "importance") % 2**32)
    asked = study(settings, finished, seed)
    return optuna.importance.get_param_importances(asked, evaluator=evaluator, target=lambda trial: trial.values[0])
