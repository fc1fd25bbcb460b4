"""The chain: data -> scores -> experts -> distil -> evaluate -> report. Each stage makes only what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from padray.config import Config
from padray.errors import InputError
from padray.evaluation.summary import Row
from padray.fingerprint import Identity, distill_inputs
from padray.report.remarks import Observed
from padray.report.search import SearchSummary
from padray.stages import data, distill, evaluate, experts, keeplist, observed, report, scores, stored
from padray.stages.base import Context
from padray.stages.facts import dataset_facts
from padray.stages.outlook import Course
from padray.stages.summaries import RunResult, SetDigest
from padray.store.location import check_writable

STAGES = ("data", "scores", "experts", "distill", "evaluate", "report")


@dataclass
class Outcome:
    """What a chain has made so far."""

    identities: dict[str, Identity]
    rows: list[Row]
    set_digest: str | None = None
    set_bytes: int | None = None
    report: str | None = None
    observed: Observed | None = None  # with the report; `summary` asks for it otherwise


def run(context: Context, until: str = "report", search: SearchSummary | None = None) -> Outcome:
    """Run the chain up to and including the stage `until`: of those before `distill`, what the family needs.

    Args:
        search: how the settings were found, for the report to tell.

    Raises:
        InputError: settings, files or storage cannot be used; nothing was begun.
        WorkError: a unit failed; what was finished before it is kept.
    """
    check(context.config)
    check_writable(context.location)
    wanted = STAGES[: STAGES.index(until) + 1]
    identities = {"data": data.make(context)}
    outcome = Outcome(identities, [])
    context.course = _course(context, identities["data"], wanted)
    if "scores" in wanted and (context.config.needs_scores or until == "scores"):
        identities["scores"] = scores.make(context, identities["data"])
    if "experts" in wanted and (keep := keeplist.make(context, identities["data"])) is not None:
        identities["keep"] = keep
    if "experts" in wanted and context.config.distill.needs_experts:
        read = identities["data"], identities.get("scores"), identities.get("keep")
        identities["experts"] = experts.make(context, *read)
    if "distill" in wanted:
        identities["distill"] = distill.make(context, distill_inputs(context.config, identities["data"]))
        _describe_set(context, outcome)
    if "evaluate" in wanted:
        outcome.rows = evaluate.make(context, identities["data"], identities["distill"])
    if "report" in wanted:
        outcome.report, outcome.observed = report.make(context, identities, outcome.rows, search)
    return outcome


def _course(context: Context, stored_data: Identity, wanted: Sequence[str]) -> Course:
    """The stages that this chain has."""
    config = context.config
    left_out = {
        "scores": not (config.needs_scores or wanted[-1] == "scores"),
        "experts": not config.distill.needs_experts,
    }
    stages = tuple(stage for stage in wanted if not left_out.get(stage))
    return Course(stages, config, dataset_facts(context.folder(stored_data)))


def check(config: Config) -> None:
    """What only shows when settings are put together. Raises InputError."""
    if not config.data.validation and config.distill.validation.seeds:
        raise InputError(
            "distill.validation needs a validation split, but data.validation is 0; "
            "set distill.validation.seeds=0 or data.validation=0.1"
        )

    if config.evaluation.controls.random_soft and not config.distill.needs_experts:
        raise InputError(
            f"evaluation.controls.random_soft asks experts, and distill.family: {config.distill.family} trains none; "
            f"set evaluation.controls.random_soft=false"
        )


def check_networks(context: Context, stored_data: Identity) -> None:
    """Refuse networks that cannot work on these images before any is trained. Raises InputError."""
    data.check_networks(dataset_facts(context.folder(stored_data)), context.config)


def _describe_set(context: Context, outcome: Outcome) -> None:
    folder = context.folder(outcome.identities["distill"])
    iterations = context.config.distill.iterations
    outcome.set_digest = stored.set_object(folder.require(), iterations).sha256
    outcome.set_bytes = stored.load_set(folder, iterations).size_bytes


def summary(context: Context, outcome: Outcome) -> RunResult:
    """A chain's end."""
    digest = SetDigest(outcome.set_digest, outcome.set_bytes)
    said = outcome.observed or observed.of_run(context, outcome.identities, outcome.rows)
    return RunResult(
        config=context.name,
        artifacts=context.artifacts,
        seconds=context.seconds,
        reused=context.reused,
        set=digest,
        evaluation=outcome.rows,
        report=outcome.report,
        ceiling=said.ceiling,
        notes=said.notes,
    )
