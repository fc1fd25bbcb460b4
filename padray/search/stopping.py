"""Early stopping: where a trial is judged on its way, and whether it goes on from there.

Optuna's pruners decide, from what is stored alone, so a decision is the same wherever it is taken. By asynchronous
successive halving (ASHA; Li et al. 2020) a trial goes on if it is among the best 1 / reduction of those that were
judged at its rung. One that is not is stopped with all that it has, and taken up again from its checkpoint once
enough worse ones have come. By the median rule a trial ends that is worse than the median of the finished ones there.
"""

from collections.abc import Iterable, Sequence

import optuna
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner

from padray.config import Config
from padray.errors import InputError
from padray.search.sampling import frozen
from padray.search.trials import TrialRecord
from padray.settings.space import SearchSettings


def rungs(config: Config) -> tuple[int, ...]:
    """The iterations after which trials are judged before their end. Raises InputError if they are too few for that."""
    settings, until = config.search, config.distill.iterations
    if settings.stopping == "none":
        return ()
    first = until // settings.reduction**settings.rungs
    if not first:
        raise InputError(
            f"search.rungs={settings.rungs} with search.reduction={settings.reduction} needs at least "
            f"{settings.reduction**settings.rungs} iterations, but distill.iterations is {until}"
        )
    return tuple(first * settings.reduction**k for k in range(settings.rungs))


def next_stop(config: Config, trial: TrialRecord) -> int:
    """The iterations after which a trial is judged next."""
    return min((at for at in rungs(config) if at > trial.iterations), default=config.distill.iterations)


def goes_on(config: Config, trial: TrialRecord, records: Iterable[TrialRecord]) -> bool:
    """Whether a trial goes on after its last rung, beside the trials that there are; the configuration itself does.

    Failed trials do not compete, so that at every rung one goes on that did not fail later.
    """
    settings = config.search
    if settings.stopping == "none" or trial.number == 0 or not trial.rungs:
        return True
    others = [record for record in records if record.number != trial.number and record.state != "failed"]
    pruner = _pruner(config)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for record in others:
        study.add_trial(frozen(record, settings.space, system_attrs=_passed(settings, record, len(record.rungs))))
    running = TrialRecord(trial.number, trial.parameters, "running", rungs=trial.rungs)
    study.add_trial(frozen(running, settings.space, system_attrs=_passed(settings, trial, len(trial.rungs) - 1)))
    return not pruner.prune(study, study.trials[-1])


def resumable(config: Config, records: Sequence[TrialRecord]) -> int | None:
    """The number of the stopped trial to take up again: the best of those furthest on; None if there is none."""
    if config.search.stopping != "asha":
        return None
    best: dict[int, TrialRecord] = {}  # of each rung: if it may not go on, none there may
    for record in records:
        if record.state == "stopped":
            other = best.get(record.iterations)
            if other is None or (record.value or 0.0) > (other.value or 0.0):
                best[record.iterations] = record
    chosen = (best[at].number for at in sorted(best, reverse=True) if goes_on(config, best[at], records))
    return next(chosen, None)


def _pruner(config: Config) -> BasePruner:
    if config.search.stopping == "median":
        return MedianPruner()
    return SuccessiveHalvingPruner(min_resource=rungs(config)[0], reduction_factor=config.search.reduction)


def _passed(settings: SearchSettings, trial: TrialRecord, count: int) -> dict[str, float]:
    """What Optuna's successive halving notes of a trial when it decides: its values at the rungs."""
    if settings.stopping != "asha":
        return {}
    return {f"completed_rung_{place}": rung.value for place, rung in enumerate(trial.rungs[:count])}
