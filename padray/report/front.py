"""The Pareto front of a search with two objectives, as plain data and sentences: what accuracy costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Cost = Literal["bytes", "effort"]
UNITS: dict[Cost, str] = {"bytes": "bytes", "effort": "forward passes"}
_LARGE = {10**12: "trillion", 10**9: "billion", 10**6: "million"}


@dataclass(frozen=True)
class Point:
    """What a trial reaches on validation, in [0, 1], and what it costs; `on_front`: nothing beats it in both."""

    trial: int
    value: float
    cost: float
    on_front: bool


@dataclass(frozen=True)
class FrontMember:
    """A trial on the front: its settings, and the file that holds them."""

    trial: int
    value: float
    cost: float
    settings: dict[str, Any]
    file: str


@dataclass(frozen=True)
class Front:
    """The front, the cheapest first.

    Attributes:
        objective: what is minimised beside the accuracy.
        default: the defaults, if they finished.
        points: all finished trials.
    """

    objective: Cost
    members: tuple[FrontMember, ...]
    default: Point | None
    points: tuple[Point, ...]

    @property
    def unit(self) -> str:
        return UNITS[self.objective]


def short(cost: float, _: object = None) -> str:
    """`2,560`, `367,490`, `12.5 million`: whole as far as it is read at a glance. The second argument is an axis's."""
    size = next((size for size in _LARGE if cost >= 10 * size), None)
    return f"{cost / size:,.4g} {_LARGE[size]}" if size else f"{cost:,.0f}"


def amount(cost: float, objective: Cost) -> str:
    """`2,560 bytes`, `12.5 million forward passes`."""
    return f"{short(cost)} {UNITS[objective]}"


def reached(value: float, cost: float, objective: Cost) -> str:
    """`84.1 % at 2,560 bytes`."""
    return f"{100 * value:.1f} % at {amount(cost, objective)}"


def sentence(front: Front) -> str:
    """What the front spans, and where the defaults lie. The values are those of the search's own networks."""
    total, members = len(front.points), front.members
    ends = [f"{reached(one.value, one.cost, front.objective)} (trial {one.trial})" for one in (members[0], members[-1])]
    spans = f"from {ends[0]} to {ends[1]}" if len(members) > 1 else ends[0]
    text = f"Pareto front of accuracy and {front.objective}: {len(members)} of {total} finished trials, {spans}"
    return f"{text}; {_of_defaults(front)}."


def _of_defaults(front: Front) -> str:
    default = front.default
    if default is None:
        return "the defaults came to no result"
    own = f"the defaults, {reached(default.value, default.cost, front.objective)},"
    if default.on_front:
        return f"{own} are on it"
    better = _beaten_by(front.members, default)
    return f"{own} are not: trial {better.trial} has {reached(better.value, better.cost, front.objective)}"


def _beaten_by(members: Sequence[FrontMember], point: Point) -> FrontMember:
    """The member that costs no more than a point that is not on the front, and is the best of those."""
    return max((one for one in members if one.cost <= point.cost), key=lambda one: one.value)
