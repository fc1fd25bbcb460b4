"""A plan as `--json` prints it; `wording.py` says it in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from padray.planning.lines import PlannedLine


@dataclass(frozen=True)
class DataSummary:
    """The dataset that a plan is made for, and how it is known; `shape`: C, H, W."""

    known_from: str
    shape: Sequence[int]
    classes: int
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Total:
    """The sums over what is to do. Hours are known once each part is, but for the dataset's."""

    units: int
    to_do: int
    at_most: bool
    hours: float | None
    bytes: int
    memory: int
    memory_shared: int
    price_per_hour: float | None
    money: float | None


@dataclass(frozen=True)
class StageHours:
    """A stage's wall hours."""

    stage: str
    hours: float


@dataclass(frozen=True)
class NodeLine:
    """A type of node, and the wall hours and the money on at most so many of them; None where they are unknown."""

    node: str
    workers: int
    spot: bool
    hours_to_loss: float | None
    speed: float
    hours: float | None
    money: float | None
    stages: list[StageHours]


@dataclass(frozen=True)
class SimulatedLine(NodeLine):
    """One whose hours are known; `efficiency`: the share of the paid time in which units that were kept were made."""

    node_hours: float
    efficiency: float
    limit: str
    nodes_lost: int
    units_lost: int


@dataclass(frozen=True)
class ClusterPlan:
    """The same work on nodes of each type; `unfit`: the types that cannot run this, and why."""

    nodes: int
    as_of: str
    source: str
    currency: str
    priced: bool
    types: Sequence[NodeLine]
    unfit: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """What a run would take; `device`: what was measured on, where something was."""

    config: str
    storage: str
    data: DataSummary
    device: str | None
    stages: list[PlannedLine]
    total: Total
    cluster: ClusterPlan | None
    notes: list[str]
