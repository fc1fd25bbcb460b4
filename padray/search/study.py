"""A search from end to end: trials until there are enough, then the best settings beside the defaults, on test."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from padray import fingerprint, loading, pipeline
from padray.config import Config
from padray.errors import DivergedError, InputError
from padray.fingerprint import Identity
from padray.pipeline import Outcome
from padray.report.search import SearchSummary, TrialLine
from padray.search import fit, objective, trials
from padray.search.trials import Parameters, TrialRecord
from padray.stages import data
from padray.stages.base import Context, InlineRunner, Inputs, Progress, Runner
from padray.stages.facts import dataset_facts
from padray.store.artifacts import Folder

BEST = "best.yaml"
SEARCHABLE = ("scores", "schedule", "experts", "distill")
_FIXED = ("distill.ipc", "distill.iterations", "scores.seed", "experts.seed", "distill.seed")


@dataclass(frozen=True)
class SearchWork:
    """Everything that a trial needs besides its parameters. It travels; it holds settings and names."""

    name: str
    config: Config
    inputs: Inputs
    identity: Identity

    def folder(self) -> Folder:
        return Folder(self.inputs.location, self.identity.folder, self.identity.fingerprint)

    def records(self, known: dict[str, TrialRecord] | None = None) -> dict[int, TrialRecord]:
        """The trials that came to an end, by number; see `trials.read` for what is known of them."""
        return trials.read(self.folder(), self.config.search.space, known)

    def begun(self) -> dict[int, Parameters]:
        """The parameters of the trials that were ever begun, by number."""
        return trials.read_begun(self.folder(), self.config.search.space)

    def config_of(self, parameters: Parameters) -> Config:
        """A trial's settings. Raises InputError if its parameters do not fit together."""
        config = loading.with_values(self.config, parameters, "this trial")
        pipeline.check(config)
        return config

    def fitting(self, parameters: Parameters) -> Config:
        """The same, held against the stored dataset too, so that all is known that parameters alone can spoil."""
        config, place = self.config_of(parameters), self.inputs.data
        data.check(dataset_facts(Folder(self.inputs.location, place.folder, place.fingerprint)), config)
        return config

    def context(self, config: Config, runner: Runner) -> Context:
        """A silent context for a trial's chain."""
        return Context(self.name, config, self.inputs.location, runner, stored_data=self.inputs.data)

    def record(self, number: int, parameters: Parameters, prepare: Callable[[Config], None]) -> TrialRecord:
        """Distil with these parameters in this process, judge the set, and store what came of it.

        Failed is what would fail again: parameters that do not fit together, and what diverged.

        Args:
            prepare: sees to the experts of a trial's settings.

        Raises:
            InputError, WorkError: everything else, of which nothing is stored.
        """
        try:
            config = self.fitting(parameters)
        except InputError as error:
            return self.failed(number, parameters, error)
        try:
            prepare(config)
            outcome = pipeline.run(self.context(config, InlineRunner()), "distill")
            record = objective.judge(config, self.inputs, outcome.identities["distill"], number, parameters)
        except DivergedError as error:
            return self.failed(number, parameters, error)
        trials.write(self.folder(), record)
        return record

    def failed(self, number: int, parameters: Parameters, error: InputError | DivergedError) -> TrialRecord:
        """Store and give a failed trial."""
        record = TrialRecord(number, parameters, "failed", reason=str(error))
        trials.write(self.folder(), record)
        return record

    def run_inline(self, context: Context) -> Iterator[TrialRecord]:
        """The missing trials one after the other, by Optuna's ask and tell."""
        folder, settings, seed = self.folder(), self.config.search, self.config.seed_of("search")

        def experts(config: Config) -> None:
            pipeline.run(self.context(config, context.runner), "experts")

        records, begun = self.records(), self.begun()
        for number in trials.missing(records, settings.trials):
            made = trials.study(settings, list(records.values()), seed)
            parameters = begun.get(number) or trials.suggest(made.ask(), settings.space)
            trials.begin(folder, number, parameters)
            records[number] = self.record(number, parameters, experts)
            yield records[number]


@dataclass(frozen=True)
class SearchOutcome:
    """A finished search, and the chains of the best settings and of the defaults."""

    identity: Identity
    records: list[TrialRecord]
    best: TrialRecord
    best_config: Config
    tested: Outcome
    default: Outcome


def tune(context: Context, until: str = "report") -> SearchOutcome:
    """Search, write best.yaml, then run the chain for the best settings and for the defaults.

    Raises:
        InputError: no space, a space that names unknown settings, or no validation split.
        DivergedError: not one trial finished.
    """
    config = context.config
    check(config)
    began = time.monotonic()
    found = data.make(context)
    identity = fingerprint.search_identity(config, found)
    context.forget(identity)
    context = replace(context, fresh=False)  # --fresh forgets the trials; what they made is shared, and stays
    work = SearchWork(context.name, config, Inputs(context.location, found), identity)
    before = len(work.records())
    _search(context, work)
    records = list(work.records().values())[: config.search.trials]
    best = trials.best(records)
    if best is None:
        raise DivergedError(f"none of {len(records)} trials finished; the first says: {records[0].reason}")
    best_config = work.config_of(best.parameters)
    _commit(context, work, records, best, best_config)
    context.finished(identity, began, reused=before >= config.search.trials)
    default = pipeline.run(replace(context, name=f"{context.name} (defaults)", artifacts={}), "evaluate")
    told = _told(config, identity, records, default) if until == "report" else None
    tested = pipeline.run(replace(context, config=best_config), until, told)
    return SearchOutcome(identity, records, best, best_config, tested, default)


def _told(config: Config, identity: Identity, records: list[TrialRecord], default: Outcome) -> SearchSummary:
    """The search as the report tells it; shares are rounded, for they come from a forest of floats."""
    best = trials.best(records)
    assert best is not None, "tune stops where no trial finished"
    lines = tuple(TrialLine(r.number, r.parameters, r.state, r.value, r.values, r.reason) for r in records)
    shares = trials.importances(config.search, records, config.seed_of("search"))
    rounded = {name: round(float(share), 4) for name, share in shares.items()}
    return SearchSummary(identity, default.identities["distill"], config, lines, best.number, rounded, default.rows)


def check(config: Config) -> None:
    """Refuse what cannot be searched. Raises InputError."""
    if not config.search.space:
        raise InputError("there is nothing to search: give --space search_spaces/pad_filters.yaml, or set search.space")
    if not config.data.validation:
        raise InputError("a search needs a validation split to judge by, but data.validation is 0; set it to 0.1, say")
    known = {key for key, _ in loading.effective(config)}
    for name in config.search.space:
        if name not in known:
            raise InputError(f"search.space: {name} is not a setting{loading.nearest(name, sorted(known))}")
        if name.split(".")[0] not in SEARCHABLE or name in _FIXED:
            raise InputError(
                f"search.space: {name} cannot be searched, or trials would not be judged alike; the settings of "
                f"{', '.join(SEARCHABLE)} can, but for sizes, lengths and seeds ({', '.join(_FIXED)})"
            )
    fit.check(config)


def _search(context: Context, work: SearchWork) -> None:
    """Make the missing trials, telling how the best one stands."""
    records = work.records()
    total = work.config.search.trials
    done = total - len(trials.missing(records, total))
    context.notify(Progress("search", done, total))
    name = work.identity.folder
    trials.publish(work.config.search, list(records.values()), name)  # also: a bad address is told before any work
    made = context.runner.search(work, context)
    context.pass_on()
    for record in made:
        records[record.number] = record
        trials.publish(work.config.search, list(records.values()), name)
        done += 1
        best = trials.best(list(records.values()))
        told = f"trial {record.number} {record.state}" + (f" at {100 * record.value:.1f} %" if record.value else "")
        shown = f", best {100 * (best.value or 0):.1f} % on validation (trial {best.number})" if best else ""
        context.notify(Progress("search", done, total, told + shown))


def _commit(
    context: Context, work: SearchWork, records: list[TrialRecord], best: TrialRecord, best_config: Config
) -> None:
    identity, inputs = work.identity, {"data": work.inputs.data.fingerprint}
    folder = context.folder(identity)
    text = f"# The best of {len(records)} trials: {100 * (best.value or 0):.2f} % on the validation split.\n"
    content = (text + loading.as_yaml(best_config.model_copy(update={"search": type(best_config.search)()}))).encode()
    numbers = {record.number for record in records}
    objects = [item for item in folder.loose("trial-") if int(item.stem[-4:]) in numbers]
    objects.append(folder.put("best", "yaml", content))
    facts = {"best": best.number, "value": best.value, **counts(records)}
    folder.commit(context.manifest(identity, objects, inputs=inputs, facts=facts))
    context.location.put(f"{identity.folder}/{BEST}", content)  # a name to use as CONFIG


def counts(records: list[TrialRecord]) -> dict[str, int]:
    """How many trials came to which end."""
    states = [record.state for record in records]
    return {"finished": states.count("finished"), "failed": states.count("failed")}


def summary(context: Context, outcome: SearchOutcome) -> dict[str, Any]:
    """What `--json` prints of a search, beside the chain of its best settings."""
    return {
        **pipeline.summary(context, outcome.tested),
        "best": {"settings": outcome.best.parameters, "validation": outcome.best.value, "trial": outcome.best.number},
        "trials": {**counts(outcome.records), "reasons": [r.reason for r in outcome.records if r.reason]},
        "default": outcome.default.rows,
    }  # fmt: skip
