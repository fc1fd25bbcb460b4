"""Materials for methods that no storage is needed for, and a matching of trajectories on them."""

from dataclasses import dataclass, field

import torch

from padray.config import NetworkSettings
from padray.experts.positions import NOWHERE, Keeper
from padray.experts.training import Samples
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks.derivatives import REFERENCE, Execution
from padray.networks.flat import FlatNetwork


@dataclass
class Given:
    """See `Materials` in padray/methods/method.py."""

    network: NetworkSettings
    shape: tuple[int, int, int]
    classes: int
    seed: int = 0
    dtype: torch.dtype = torch.float64
    execution: Execution = REFERENCE
    keeper: Keeper = NOWHERE
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    images: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    labels: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    rows: torch.Tensor | None = None

    held: Samples = field(default_factory=lambda: Samples(torch.zeros(0), torch.zeros(0, dtype=torch.int64)))

    @property
    def kept(self) -> torch.Tensor:
        return torch.arange(len(self.labels)) if self.rows is None else self.rows


def trajectory(settings: TrajectorySettings, given: Given, network: FlatNetwork) -> TrajectoryMatching:
    """A matching whose student is this network."""
    made = TrajectoryMatching(settings, given)
    made.network = network
    return made
