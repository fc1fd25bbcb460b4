"""What a search may choose a setting from, as a family says it of its own settings (`DistillSettings.searched`)."""

from typing import NamedTuple

WIDE, NARROW = 10.0, 4.0  # how far a range goes to either side, as a factor


class Between(NamedTuple):
    """A number of a range, drawn evenly, or evenly by its logarithm."""

    low: float
    high: float
    log: bool = False


class Among(NamedTuple):
    """One of a few whole numbers."""

    choices: tuple[int, ...]


Range = Between | Among


def around(value: float, factor: float) -> Between | None:
    """A logarithmic range around a learning rate, to three digits; nothing around 0, which keeps something as it is."""
    return Between(float(f"{value / factor:.3g}"), float(f"{value * factor:.3g}"), log=True) if value else None
