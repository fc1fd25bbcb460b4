"""What a run says of itself, read from what its stages left in storage."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from padray.data.datasets import held_count
from padray.evaluation.ceiling import ceiling_of
from padray.evaluation.controls import CHOOSING
from padray.evaluation.summary import Row
from padray.fingerprint import Identity
from padray.report import remarks
from padray.report.remarks import Observed
from padray.stages import evaluate, stored
from padray.stages.base import Context
from padray.stages.facts import DatasetFacts, dataset_facts
from padray.store.artifacts import Manifest
from padray.store.shards import read_header

_KEY = "observed"  # of a report's manifest
_OBSERVED = TypeAdapter(Observed)


def as_facts(observed: Observed) -> dict[str, Any]:
    """As a report's manifest holds it, so that nobody reads experts and history again to say it."""
    return {_KEY: asdict(observed)}


def of_report(manifest: Manifest) -> Observed | None:
    """What a report's manifest says; None if it does not, as older ones."""
    try:
        return _OBSERVED.validate_python(manifest.facts[_KEY])
    except (KeyError, ValidationError):
        return None


def of_run(context: Context, identities: Mapping[str, Identity], rows: Sequence[Row]) -> Observed:
    """What is to be known of the stages that are there; `rows` are empty before the evaluation."""
    config, facts = context.config, dataset_facts(context.folder(identities["data"]))
    experts = expert_accuracies(context, identities.get("experts"))
    ceiling = ceiling_of(rows, config.network.label, experts)
    said = [_of_data(facts, context), remarks.experts_span(experts, facts.splits.validation)]
    if "distill" in identities:
        iterations = config.distill.iterations
        history = stored.load_history(context.folder(identities["distill"]), iterations)
        said.append(remarks.still_improving(history, iterations, facts.splits.validation))
    said.append(remarks.few_validation(facts.splits.validation, config.data.validation))
    if rows:
        tries = evaluate.tries(context, identities["data"], identities["distill"])
        held = facts.splits.validation or held_count(facts.splits.train, CHOOSING)
        said += [
            remarks.control_at_edge(rows, config.evaluation.controls, tries, held),
            remarks.no_ceiling(ceiling, config.evaluation),
        ]
    return Observed(ceiling, tuple(sentence for sentence in said if sentence))


def expert_accuracies(context: Context, experts: Identity | None) -> tuple[float, ...]:
    """The last validation accuracy of every expert that was used, from the headers of their shards."""
    if experts is None:
        return ()
    folder = context.folder(experts)
    items = folder.require().objects[: context.config.experts.count]
    last = [read_header(folder, item)["facts"].get("validation_accuracy", []) for item in items]
    return tuple(accuracies[-1] for accuracies in last if accuracies)


def _of_data(facts: DatasetFacts, context: Context) -> str | None:
    noun = "image" if facts.content == "image" else "sample"
    splits = facts.splits
    return remarks.part_of_training(splits.train, splits.validation, facts.available, context.config, noun)
