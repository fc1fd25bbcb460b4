"""What writing a set as pictures costs: the run's own networks, trained on the pictures and on the set, in pairs."""

import statistics
from dataclasses import dataclass, replace

from padray.errors import InputError
from padray.stages import cells, sweep
from padray.stages.base import Inputs
from padray.stages.cells import EvaluationWork
from padray.store.location import Location
from padray.synthetic.set import SyntheticSet

PICTURES = ("imagefolder", "hf")


@dataclass(frozen=True)
class Measured:
    """Test accuracies in [0, 1] of `n` networks, as learned and as exported; in points what the export costs.

    Attributes:
        std_points: the sample standard deviation of the pairs' differences; None of a single pair.
    """

    network: str
    n: int
    as_learned: list[float]
    as_exported: list[float]
    cost_points: float
    std_points: float | None

    @property
    def sentence(self) -> str:
        """What was measured."""
        learned, exported = (100 * statistics.fmean(values) for values in (self.as_learned, self.as_exported))
        spread = "" if self.std_points is None else f" ± {self.std_points:.1f}"
        return (
            f"Measured with {self.n} networks ({self.network}) by the run's protocol: {learned:.1f} % on the set as it "
            f"was learned, {exported:.1f} % on these pictures of 8 bits: a cost of {self.cost_points:.1f}{spread} "
            f"points."
        )


def measure(location: Location, name: str, synthetic: SyntheticSet, layout: str) -> Measured:
    """Train on both.

    Raises:
        InputError: the layout loses nothing, or what the set was made from is gone.
    """
    if layout not in PICTURES:
        raise InputError(f"--measure says what 8 bits cost, and --to {layout} keeps all values; leave it out")
    stored = sweep.find(name.rsplit("/", 1)[-1], (), location)
    work = EvaluationWork(stored.config, Inputs(location, stored.data), stored.distilled, {}, {})
    learned, exported = (cells.judged_as(work, one) for one in (synthetic, as_pictures(synthetic)))
    costs = [100 * (one - other) for one, other in zip(learned, exported, strict=True)]
    spread = statistics.stdev(costs) if len(costs) > 1 else None
    return Measured(stored.config.network.label, len(costs), learned, exported, statistics.fmean(costs), spread)


def as_pictures(synthetic: SyntheticSet) -> SyntheticSet:
    """The set as who reads its pictures has it: preprocessing undone, clamped, 8 bits, and preprocessed again."""
    images = synthetic.learned.images
    pixels = (synthetic.preprocessing.invert(images.float()) * 255).round() / 255
    seen = synthetic.preprocessing.apply(pixels).to(images.dtype)
    return replace(synthetic, learned=replace(synthetic.learned, images=seen))
