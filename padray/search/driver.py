"""A search from end to end: trials until there are enough, then the best settings beside the defaults, on test."""

import hashlib
import time
from dataclasses import dataclass, replace

from padray import fingerprint
from padray.config import Config
from padray.configuration import loading
from padray.errors import DivergedError, InputError
from padray.fingerprint import Identity
from padray.report import choice as words
from padray.report.choice import Choice
from padray.report.front import Front
from padray.report.front import sentence as in_words
from padray.report.search import SearchSummary, TrialLine
from padray.search import decision, finals, fit, fronts, sampling, stopping, trials, view
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import data, pipeline
from padray.stages.base import Context, Inputs, Progress
from padray.stages.facts import dataset_facts
from padray.stages.limits import Limits
from padray.stages.pipeline import Outcome
from padray.stages.summaries import BestTrial, SearchResult, TrialCounts
from padray.store.artifacts import StoredObject

BEST = "best.yaml"
SEARCHABLE = ("scores", "schedule", "experts", "distill")
_SIZE = "distill.ipc"  # of the set: searched only where what it costs counts too
_FIXED = (_SIZE, "distill.iterations", "scores.seed", "experts.seed", "distill.seed")


@dataclass(frozen=True)
class SearchOutcome:
    """A finished search, and the chains of the chosen settings (`best`) and of the defaults, if those work at all."""

    identity: Identity
    records: list[TrialRecord]
    choice: Choice
    best: TrialRecord
    best_config: Config
    tested: Outcome
    default: Outcome | None
    front: Front | None = None


def tune(context: Context, until: str = "report") -> SearchOutcome:
    """Search, judge the best trials again, write best.yaml, then run the chain for those settings and the defaults.

    Raises:
        InputError: no space, a space that names unknown settings, or no validation split.
        DivergedError: not one trial finished.
    """
    config = context.config
    check(config)
    began = time.monotonic()
    dataset = data.make(context)
    identity = fingerprint.search_identity(config, dataset)
    context.forget(identity)
    context.limits = context.limits or Limits(config.search.hours)  # the caller's too: the summary says what is over
    context = replace(context, fresh=False)  # --fresh forgets the trials; what they made is shared, and stays
    work = SearchWork(context.name, config, Inputs(context.location, dataset), identity)
    before = work.records()
    _search(context, work)
    records = [record for number, record in work.records().items() if number < config.search.trials]
    if trials.best(records) is None:
        raise DivergedError(f"none of {len(records)} trials finished; the first says: {records[0].reason}")
    judged, objects = finals.make(context, work, records)
    samples = dataset_facts(context.folder(dataset)).splits.validation
    choice = decision.choose(config, records, judged, samples)
    best = next(record for record in records if record.number == choice.trial)
    best_config = work.config_of(best.parameters)
    front, files = fronts.make(work, records)
    _commit(context, work, records, Chosen(choice, best, best_config, [*objects, *files]))
    context.finished(identity, began, reused=len(before) >= config.search.trials)
    default = None
    if not choice.default_reason:
        default = pipeline.run(replace(context, name=f"{context.name} (defaults)", artifacts={}), "evaluate")
    summarised = _for_report(config, identity, records, (choice, front), default) if until == "report" else None
    tested = pipeline.run(replace(context, config=best_config), until, summarised)
    return SearchOutcome(identity, records, choice, best, best_config, tested, default, front)


def _for_report(
    config: Config,
    identity: Identity,
    records: list[TrialRecord],
    decided: tuple[Choice, Front | None],
    default: Outcome | None,
) -> SearchSummary:
    """The search as the report tells it; shares are rounded, for they come from a forest of floats."""
    lines = tuple(
        TrialLine(r.number, r.parameters, r.state, r.value, r.values, r.reason, r.iterations)
        for r in records
        if r.state != "running"
    )
    shares = sampling.importances(config.search, records, config.seed_of("search"))
    rounded = {name: round(float(share), 4) for name, share in shares.items()}
    default_set, rows = (default.identities["distill"], default.rows) if default else (None, [])
    return SearchSummary(identity, default_set, config, lines, decided[0], rounded, rows, decided[1])


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
        if name == _SIZE and config.search.cost:
            continue
        if name.split(".")[0] not in SEARCHABLE or name in _FIXED:
            more = "; search.objectives=[accuracy, bytes] weighs accuracy against size" if name == _SIZE else ""
            raise InputError(
                f"search.space: {name} cannot be searched, or trials would not be judged alike; the settings of "
                f"{', '.join(SEARCHABLE)} can, but for sizes, lengths and seeds ({', '.join(_FIXED)}){more}"
            )
    stopping.rungs(config)
    fit.check(config)


def _search(context: Context, work: SearchWork) -> None:
    """Make the missing trials, telling how the best one stands."""
    records, settings = work.all(), work.config.search
    total, shown = settings.trials, view.View(settings, work.identity.folder)
    context.notify(Progress("search", _done(records, total), total))
    shown.show(records.values())  # also: a bad address is told before any work
    changed = context.runner.search(work, context)
    context.pass_on()
    for record in changed:
        records[record.number] = record
        shown.show(records.values())
        ended = f"trial {record.number}" if record.ended else ""
        context.notify(Progress("search", _done(records, total), total, _outcome_of(record, records), ended=ended))
    shown.show(records.values(), over=True)
    if (done := _done(records, total)) < total:
        text = f"{work.limits(context).over()} after {done} of {total} trials; the same command goes on"
        context.notify(Progress("search", done, done, text))  # the stage is over, and its last line is shown


def _done(records: dict[int, TrialRecord], total: int) -> int:
    return total - len(trials.missing(records, total))


def _outcome_of(record: TrialRecord, records: dict[int, TrialRecord]) -> str:
    """What became of a trial, and how the best one stands."""
    best = trials.best(list(records.values()))
    sentence = f"trial {record.number} {record.state}" + (f" at {100 * record.value:.1f} %" if record.value else "")
    sentence += f" after {record.iterations} iterations" if record.rungs and record.state != "finished" else ""
    return sentence + (f", best {100 * (best.value or 0):.1f} % on validation (trial {best.number})" if best else "")


@dataclass(frozen=True)
class Chosen:
    """What a search ends with: the choice, its trial and settings, and the objects that the choice rests on."""

    choice: Choice
    trial: TrialRecord
    config: Config
    objects: list[StoredObject]


def _commit(context: Context, work: SearchWork, records: list[TrialRecord], chosen: Chosen) -> None:
    identity, inputs = work.identity, {"data": work.inputs.data.fingerprint}
    folder = context.folder(identity)
    verdict = " ".join(words.sentence(chosen.choice).split())
    text = f"# Chosen from {len(records)} trials by `padray tune`. {verdict}\n"
    config = chosen.config.model_copy(update={"search": type(chosen.config.search)()})
    content = (text + loading.as_yaml(config)).encode()
    written = {hashlib.sha256(record.to_json()).hexdigest() for record in records}
    objects = [item for item in folder.loose("trial-") if item.sha256 in written]
    objects += [*chosen.objects, folder.put("best", "yaml", content)]
    facts = {"best": chosen.trial.number, "value": chosen.trial.value}
    judged = sum(item.stem.startswith(finals.PREFIX) for item in chosen.objects)
    facts |= {**counts(records), **cost(work.config, records), "finals": judged}
    folder.commit(context.manifest(identity, objects, inputs=inputs, facts=facts))
    context.location.put(f"{identity.folder}/{BEST}", content)  # a name to use as CONFIG


def counts(records: list[TrialRecord]) -> dict[str, int]:
    """How many trials came to which end."""
    states = [record.state for record in records]
    return {state: states.count(state) for state in ("finished", "stopped", "failed")}


def cost(config: Config, records: list[TrialRecord]) -> dict[str, int]:
    """What trials took up to where they were judged last: iterations, and networks that judged them."""
    judged = sum(len(record.rungs) + (record.state == "finished") for record in records)
    return {"iterations": sum(record.iterations for record in records), "judges": judged * config.search.seeds}


def summary(context: Context, outcome: SearchOutcome) -> SearchResult:
    """A search's end, beside that of the chain of its best settings."""
    records, best = outcome.records, outcome.best
    trials_made = TrialCounts(
        **counts(records),
        **cost(context.config, records),
        missing=(missing := context.config.search.trials - len(records)),
        limit=context.limits.over() if missing and context.limits else "",
        reasons=[record.reason for record in records if record.reason],
    )
    return SearchResult(
        **vars(pipeline.summary(context, outcome.tested)),
        best=BestTrial(best.parameters, best.value, best.number, f"{context.folder(outcome.identity).uri}/{BEST}"),
        verdict=" ".join([words.sentence(outcome.choice), *([in_words(outcome.front)] if outcome.front else [])]),
        front=outcome.front,
        warnings=words.warnings(outcome.choice),
        choice=outcome.choice,
        trials=trials_made,
        default=outcome.default.rows if outcome.default else [],
    )
