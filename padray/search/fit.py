"""Whether the values of a space are settings: found out before a trial is begun, and not by as many failed ones."""

from collections.abc import Iterator

import optuna

from padray.config import Config
from padray.configuration import loading
from padray.configuration.loading import UnfitError
from padray.errors import InputError
from padray.search import sampling
from padray.search.trials import Parameters
from padray.settings.space import ParameterSpec, Value
from padray.stages import pipeline

MOST_TRIED = 200  # combinations, until one fits: where fewer than one in so many do, nothing is found


def check(config: Config) -> None:
    """Refuse a space with a value that its setting never takes, and one of which no combination fits together.

    Raises:
        InputError: names the setting, and why the value, or the first combination, does not fit.
    """
    for name, spec in config.search.space.items():
        for value in _ends(spec):
            try:
                loading.with_values(config, {name: value}, "search.space")
            except UnfitError as error:
                if f"{error.key}.".startswith(f"{name}."):  # others are about what does not fit to other settings
                    raise
    first = ""
    for chosen in _drawn(config):
        try:
            return pipeline.check(loading.with_values(config, chosen, ", ".join(f"{k}={v}" for k, v in chosen.items())))
        except InputError as error:
            first = first or str(error)
    raise InputError(f"search.space: none of {MOST_TRIED} combinations of its values fits; the first, {first}")


def _ends(spec: ParameterSpec) -> list[Value]:
    """Each choice, or both ends of a range."""
    if spec.type == "choice":
        return list(spec.choices or ())
    ends = [spec.low or 0.0, spec.high or 0.0]
    return [int(end) for end in ends] if spec.type == "int" else list(ends)


def _drawn(config: Config) -> Iterator[Parameters]:
    """Combinations as a search would draw them."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(MOST_TRIED):
        yield sampling.suggest(study.ask(), config.search.space)
