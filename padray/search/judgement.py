"""What a search maximises: validation accuracy of fresh networks trained on the set that a trial distilled."""

from dataclasses import replace
from statistics import fmean

from padray.config import Config
from padray.data.datasets import Dataset
from padray.evaluation.protocol import ValidationSpec, validation_accuracies
from padray.experts.training import Draws, samples_of
from padray.fingerprint import Identity
from padray.machine.numerics import decide
from padray.networks.derivatives import execution_of
from padray.search.trials import Rung, TrialRecord
from padray.stages import stored
from padray.stages.base import Inputs
from padray.stages.effort import effort_of
from padray.stages.facts import dataset_facts
from padray.store.artifacts import Folder
from padray.synthetic.set import Learned, SyntheticSet


def judge(config: Config, inputs: Inputs, distilled: Identity, trial: TrialRecord, until: int) -> TrialRecord:
    """The trial once its set of `distill.iterations` iterations is judged; the same networks judge every trial.

    A network that diverges is a judgement too; the trial's `reason` says so.

    Args:
        config: the trial's settings, as far as it has got.
        until: the iterations after which a trial is finished.
    """
    folder = Folder(inputs.location, distilled.folder, distilled.fingerprint)
    iterations = config.distill.iterations
    synthetic = stored.load_set(folder, iterations)
    learned, dataset = synthetic.learned, inputs.dataset()
    judging = judging_of(config, dataset, learned, "objective")
    accuracies = validation_accuracies(learned, config.network, dataset, judging)
    values = tuple(accuracy or 0.0 for accuracy in accuracies)  # no set is worse than one on which networks diverge
    lost = accuracies.count(None)
    reason = f"{lost} of {len(values)} networks diverged on its set, which counts as 0 %" if lost else ""
    sha256 = stored.set_object(folder.require(), iterations).sha256
    value, over = fmean(values), iterations >= until
    rungs = trial.rungs if over else (*trial.rungs, Rung(iterations, value))
    return replace(
        trial,
        state="finished" if over else "running",
        value=value,
        values=values,
        reason=reason,
        set_sha256=sha256,
        iterations=iterations,
        rungs=rungs,
        cost=_cost(config, synthetic, inputs),
    )


def _cost(config: Config, synthetic: SyntheticSet, inputs: Inputs) -> float | None:
    """What the second objective says of a set: the same on every machine, so that a trial means the same anywhere."""
    kind = config.search.cost
    if kind is None:
        return None
    if kind == "bytes":
        return float(synthetic.size_bytes)
    facts = dataset_facts(Folder(inputs.location, inputs.data.folder, inputs.data.fingerprint))
    return effort_of(config, facts).total


def judging_of(config: Config, dataset: Dataset, learned: Learned, unit: str) -> ValidationSpec:
    """How sets are judged on validation, where this one lies.

    Args:
        unit: of the draws; those of another one are other networks.
    """
    return ValidationSpec(
        samples_of(dataset, "validation", learned.images.device, learned.images.dtype),
        config.evaluation,
        config.search.epochs or config.evaluation.judging.epochs,
        config.search.seeds,
        Draws(config.seed_of("search"), "search", unit),
        execution_of(decide(config.compute), bf16=False),
    )
