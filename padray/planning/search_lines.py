"""The lines that a search adds to its chain: its trials, the experts that they ask for, and the proof of the best."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from padray import fingerprint
from padray.config import Config
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.planning import costs
from padray.planning.chain import Chain
from padray.planning.lines import Evidence, Line, Part, Task
from padray.search import decision, driver, finals, sampling, stopping, trials
from padray.search.trial_run import SearchWork
from padray.settings.space import ParameterSpec
from padray.stages import evaluate
from padray.stages.base import Inputs

_MOST_COMBINATIONS = 2000  # of searched settings that are worth walking through
_OF_EXPERTS = ("scores", "schedule", "experts")  # the sections that decide which experts a trial has


@dataclass(frozen=True)
class _Search:
    """A search and its trials so far."""

    chain: Chain
    work: SearchWork
    records: dict[int, trials.TrialRecord]

    @property
    def missing(self) -> int:
        return len(trials.missing(self.records, self.chain.config.search.trials))

    def configs(self, chosen: Iterable[dict[str, Any]]) -> Iterator[Config]:
        """The settings of trials; those that do not fit together are trials that fail at once."""
        for parameters in chosen:
            try:
                yield self.work.config_of(parameters)
            except InputError:
                continue


def lines(chain: Chain, own: list[Line]) -> tuple[list[Line], list[Line]]:
    """The lines of the chain, which are those of the search's defaults, and what comes to them.

    Where trial 0 is yet to make the set of the defaults, that set is among the trials' and no longer the chain's.

    Args:
        own: the lines of the chain without a search.

    Raises:
        InputError: the space cannot be searched.
    """
    driver.check(chain.config)
    place = fingerprint.search_identity(chain.config, chain.data)
    work = SearchWork(chain.context.name, chain.config, Inputs(chain.context.location, chain.data), place)
    search = _Search(chain, work, work.records())
    if _makes_defaults(search):
        own = [line for line in own if line.stage != "distill"]
    return own, _added(search)


def _makes_defaults(search: _Search) -> bool:
    """Whether trial 0 has not ended and will distil the set of the configuration itself."""
    chain = search.chain
    first = next(search.configs(sampling.starts(chain.config)[:1]), None)
    if 0 in search.records or first is None:
        return False
    return Chain(replace(chain.context, config=first), chain.known, chain.data).distilled == chain.distilled


def _added(search: _Search) -> list[Line]:
    chain = search.chain
    shared = []
    if any(one.needs_scores for one in search.configs(_possible(chain.config.search.space) or [{}])):
        shared.append(_shared(search, _scores_of, costs.scores))
    if chain.config.distill.needs_experts and chain.config.experts.imported is None:
        shared.append(_shared(search, _experts_of, costs.experts))
    return [line for line in shared if line.units] + [_trials(search), _finals(search), *_best(search)]


def _scores_of(config: Config, data: Identity) -> Identity | None:
    return fingerprint.scores_identity(config, data) if config.needs_scores else None


def _experts_of(config: Config, data: Identity) -> Identity | None:
    return fingerprint.experts_identity(config, data) if config.distill.needs_experts else None


def _possible(space: dict[str, ParameterSpec]) -> list[dict[str, Any]] | None:
    """All that can be chosen of the settings that decide the experts; None where that is without end."""
    axes: list[Sequence[Any]] = []
    names = [name for name in space if name.split(".")[0] in _OF_EXPERTS]
    for name in names:
        spec = space[name]
        if spec.type == "choice":
            axes.append(list(spec.choices or ()))
        elif spec.type == "int":
            axes.append(range(int(spec.low or 0), int(spec.high or 0) + 1, int(spec.step or 1)))
        elif spec.low == spec.high:
            axes.append([spec.low])
        elif spec.step is not None and spec.low is not None and spec.high is not None:
            low, step = spec.low, spec.step
            axes.append([low + step * k for k in range(round((spec.high - low) / step) + 1)])
        else:
            return None
    if any(len(axis) > _MOST_COMBINATIONS for axis in axes):
        return None
    combinations = list(itertools.islice(itertools.product(*axes), _MOST_COMBINATIONS + 1))
    if len(combinations) > _MOST_COMBINATIONS:
        return None
    return [dict(zip(names, chosen, strict=True)) for chosen in combinations]


def _shared(
    search: _Search,
    identity_of: Callable[[Config, Identity], Identity | None],
    line_of: Callable[[Chain, Identity], Line],
) -> Line:
    """The units of a stage that the trials ask for beyond those of the defaults: each fingerprint once, at most."""
    chain = search.chain
    own = identity_of(chain.config, chain.data)
    begun = {
        place
        for config in search.configs(record.parameters for record in search.records.values())
        if (place := identity_of(config, chain.data)) is not None
    } - {own}
    possible = _possible(chain.config.search.space)
    more = search.missing
    if possible is not None:
        every = {identity_of(config, chain.data) for config in search.configs(possible)} - {own, None}
        more = min(more, len(every - begun))
    like = line_of(chain, own or next(iter(begun), chain.scores))
    there = sum(line_of(chain, place).there for place in begun)
    units = (len(begun) + more) * like.units
    return replace(
        like,
        what=f"{like.what}, of the trials",
        units=units,
        there=there,
        left=units - there,
        at_most=more > 0,
    )


def _trials(search: _Search) -> Line:
    """One unit is a trial: a set, and the networks that judge it. Its settings are counted as the defaults."""
    chain, settings = search.chain, search.chain.config.search
    like, count = costs.distillation(chain), chain.set_samples
    epochs = settings.epochs or chain.config.evaluation.judging.epochs
    judges = settings.seeds * (1 + len(stopping.rungs(chain.config)))
    judged = (
        Part(Task("judged", chain.config.network, count), judges * epochs * count),
        Part(Task("look", chain.config.network), judges * chain.known.validation),
    )
    return replace(
        like,
        stage="search",
        what="trial: a set, judged on validation",
        units=settings.trials,
        there=settings.trials - search.missing,
        left=search.missing,
        parts=(*like.parts, *judged),
        at_most=bool(search.missing) and (settings.stopping != "none" or settings.hours is not None),
    )


def _finals(search: _Search) -> Line:
    """One unit is a network that judges a finalist again; none while nothing else than the defaults finished."""
    chain, settings, records = search.chain, search.chain.config.search, list(search.records.values())
    asked = finals.finalists(chain.config, records)
    units = finals.units_of(search.work, asked)
    there = 0 if search.missing else len(finals.present(search.work.folder(), units, asked))
    most = min(settings.finalists + 1, settings.trials)
    count = (most * settings.final_seeds if most > 1 else 0) if search.missing else len(units)
    samples, epochs = chain.set_samples, settings.epochs or chain.config.evaluation.judging.epochs
    parts = (
        Part(Task("judged", chain.config.network, samples), epochs * samples),
        Part(Task("look", chain.config.network), chain.known.validation),
    )
    own = Evidence(frozenset({search.work.identity.fingerprint}), finals.PREFIX)
    return Line(
        "finals",
        "network that judges a finalist",
        count,
        there,
        count - there,
        parts,
        unit_bytes=2 * chain.known.validation + 150,
        evidence=own,
        at_most=bool(search.missing),
    )


def _chosen(search: _Search) -> trials.TrialRecord | None:
    """The trial that the search ends with, where that is known."""
    records = list(search.records.values())
    if search.missing or trials.best(records) is None:
        return None
    asked, folder = finals.finalists(search.chain.config, records), search.work.folder()
    units = finals.units_of(search.work, asked)
    there = finals.present(folder, units, asked)
    if len(there) < len(units):
        return None
    judged = finals.read(folder, there.values())
    choice = decision.choose(search.chain.config, records, judged, search.chain.known.validation)
    return search.records[choice.trial]


def note(chain: Chain) -> str:
    """How many sets of experts the trials can ask for, the configuration's own among them."""
    trials, possible = chain.config.search.trials, _possible(chain.config.search.space)
    if possible is None:
        return (
            f"the space draws settings of the experts from ranges without a step: each of {trials} trials may need "
            f"experts of its own; choices or a step let trials share them"
        )
    work = SearchWork(chain.context.name, chain.config, Inputs(chain.context.location, chain.data), chain.data)
    search = _Search(chain, work, {})
    sets = {_experts_of(config, chain.data) for config in (chain.config, *search.configs(possible))}
    return f"the space can ask for {len(sets)} set{'s' * (len(sets) > 1)} of experts, which {trials} trials share"


def _best(search: _Search) -> list[Line]:
    """The cells of the chosen trial's set: exact once all is judged; the controls are the defaults'."""
    chain, best = search.chain, _chosen(search)
    if best is None:
        own = evaluate.foresee(chain.context, chain.data, chain.distilled, chain.experts)
        own = [replace(one, there=0) for one in own if one.source in ("distilled", "hard_labels")]
        return [replace(line, what=f"{line.what}, of the best trial", at_most=True) for line in costs.cells(chain, own)]
    config = search.work.config_of(best.parameters)
    other = Chain(replace(chain.context, config=config), chain.known, chain.data)
    if other.distilled == chain.distilled:
        return []
    sources = evaluate.identities(config, chain.data, other.distilled, other.experts)
    shared = evaluate.identities(chain.config, chain.data, chain.distilled, chain.experts).values()
    foreseen = evaluate.foresee(other.context, other.data, other.distilled, other.experts)
    own = [one for one in foreseen if sources[one.source] not in shared]
    return [replace(line, what=f"{line.what}, of the best trial") for line in costs.cells(other, own)]
