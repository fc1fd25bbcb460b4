"""What a search decided, and why, in words: the defaults, unless something is better beyond noise.

Accuracies and differences are those on the validation split; accuracies are in [0, 1], differences in points.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gain:
    """How many points better than the defaults: the difference, its standard error, its 95 % interval.

    The interval holds for all finalists together, and for other networks and other samples alike.
    """

    points: float
    error: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """`95 % interval −0.4 to +6.6`."""
        return f"95 % interval {signed(self.low)} to {signed(self.high)}"


@dataclass(frozen=True)
class Finalist:
    """A trial that was judged again; `gain` is None for the defaults, and where they did not finish."""

    trial: int
    mean: float
    std: float
    gain: Gain | None


@dataclass(frozen=True)
class Choice:
    """What a search chose.

    Attributes:
        trial: the chosen one; 0 are the defaults.
        finalists: the defaults first, where they finished, then the others, the best first. Empty where there was
            nothing to compare.
        networks: that judged each finalist again.
        samples: of the validation split.
        split_error: the standard error of an accuracy on so many samples, in points, at the mean of all trials.
        spread: the standard deviation of the trials' values, in points; None of fewer than two.
        default_reason: why the defaults did not finish; empty where they did.
        cost: what no finalist has more of than the defaults; empty where accuracy is all that counts.
    """

    trial: int
    finalists: tuple[Finalist, ...]
    networks: int
    samples: int
    split_error: float
    spread: float | None
    default_reason: str = ""
    cost: str = ""

    @property
    def best(self) -> Finalist | None:
        """The best of the finalists that are not the defaults."""
        return next((one for one in self.finalists if one.trial), None)

    @property
    def too_small(self) -> bool:
        """Whether the split cannot tell trials apart: an accuracy's standard error is larger than their spread."""
        return self.spread is not None and self.split_error > self.spread


def signed(points: float) -> str:
    """`+3.1`, `−0.4`."""
    return f"{points:+.1f}".replace("-", "−")


def sentence(choice: Choice) -> str:
    """What was chosen, and how sure that is."""
    best = choice.best
    if choice.default_reason:
        return f"The defaults came to no result ({choice.default_reason}); trial {choice.trial} is the best that did."
    if best is None or best.gain is None:
        return f"The defaults stay: no other trial came to its end with another set{_at(choice)}."
    gain, judged = best.gain, f"{choice.networks} networks each, {choice.samples:,} validation samples"
    if choice.trial:
        return (
            f"Trial {best.trial} is {gain.points:.1f} ± {gain.error:.1f} points better than the defaults on validation"
            f"{_at(choice)} ({gain.interval}; {judged})."
        )
    if gain.high < 0:
        return (
            f"The defaults stay: the best other trial, {best.trial}, is {-gain.points:.1f} ± {gain.error:.1f} points "
            f"worse on validation ({gain.interval}; {judged})."
        )
    return (
        f"The defaults stay: no difference that {choice.networks} networks and {choice.samples:,} validation samples "
        f"show; the best other trial, {best.trial}, is at {signed(gain.points)} ± {gain.error:.1f} points "
        f"({gain.interval})."
    )


def _at(choice: Choice) -> str:
    return f", at no more {choice.cost}" if choice.cost else ""


def warnings(choice: Choice) -> list[str]:
    """What keeps the choice from meaning much."""
    if not choice.too_small:
        return []
    return [
        f"the validation split is too small to choose by: on its {choice.samples:,} samples an accuracy has a standard "
        f"error of {choice.split_error:.1f} points, and the trials' values spread by no more than {choice.spread:.1f} "
        f"(standard deviation); raise data.validation or data.limit_per_class"
    ]
