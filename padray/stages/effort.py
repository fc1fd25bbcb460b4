"""What a set takes whatever the machine: forward passes of a sample through its network, by stage.

Derivatives count as networks/settings.py says. Every network counts alike, the scoring networks' as the set's own,
so numbers of different networks must not be compared. Legend: E epochs, K classes.
"""

from dataclasses import dataclass
from functools import lru_cache

from padray.config import Config
from padray.experts.schedule import counts_of_epochs
from padray.machine.numerics import decide
from padray.methods.families import method_of
from padray.methods.method import Costs, Sizes
from padray.methods.settings import DistillSettings
from padray.networks import peak
from padray.networks.settings import GRADIENT_PASSES
from padray.stages.deciding import graph_bytes, numerics_of
from padray.stages.facts import DatasetFacts


@dataclass(frozen=True)
class Effort:
    """Forward passes of a sample; what several sets share counts whole in each.

    Attributes:
        scores: of the scoring networks' training.
        experts: of theirs; twice where each step is GSAM's.
        distillation: of all iterations and what comes before them; not of judging iterates.
    """

    scores: float
    experts: float
    distillation: float

    @property
    def total(self) -> float:
        return self.scores + self.experts + self.distillation


def effort_of(config: Config, facts: DatasetFacts) -> Effort:
    """What the set of these settings takes, on a dataset of these sizes."""
    return Effort(_scores(config, facts), _experts(config, facts), _distillation(config, facts))


def _scores(config: Config, facts: DatasetFacts) -> float:
    settings = config.scores
    if not config.needs_scores or settings.method == "file":
        return 0.0
    return float(GRADIENT_PASSES * settings.networks * settings.epochs * facts.splits.train)


def _experts(config: Config, facts: DatasetFacts) -> float:
    settings = config.experts
    if not config.distill.needs_experts:
        return 0.0
    counts_EK = counts_of_epochs(facts.train_per_class, settings.epochs, config.schedule)
    seen = int(counts_EK.sum()) if config.scores_experts else settings.epochs * facts.splits.train
    return float(GRADIENT_PASSES * (2 if settings.rho else 1) * settings.count * seen)


def _distillation(config: Config, facts: DatasetFacts) -> float:
    costs = costs_of(config, facts)
    return costs.looks + costs.passes


def costs_of(config: Config, facts: DatasetFacts) -> Costs:
    """What the family says of the distillation of these settings, on a dataset of these sizes."""
    flat = peak.shaped(config.network, facts.shape, facts.classes, decide(config.compute).dtype)
    splits, experts = facts.splits, config.experts.count
    sizes = Sizes(flat, config.network.norm, facts.shape, facts.classes, splits.train, experts, _memory(config, facts))
    return _costs(config.distill, sizes)


def _memory(config: Config, facts: DatasetFacts) -> float:
    """Bytes that a student and its way back may take; 0 where no graphs are kept for it."""
    if not config.compute.memory_budget:
        return 0.0
    return graph_bytes(config, numerics_of(config, facts.shape, facts.classes))


@lru_cache(maxsize=64)
def _costs(settings: DistillSettings, sizes: Sizes) -> Costs:
    return method_of(settings).costs(settings, sizes)
