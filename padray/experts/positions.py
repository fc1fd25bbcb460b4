"""Where a training stands between two batches, so that it can be left and gone on with: the same bytes come out.

The draws of an epoch begin with it, so a position is the epoch, the batch, the generator's state, the network and the
optimiser's velocities. Who keeps positions, and where, trainings do not know.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from padray.experts.optimisers import SGD

Tensors = Mapping[str, torch.Tensor]
_NETWORK, _VELOCITY, _DRAW = "network.", "velocity.", "draw"


@dataclass(frozen=True)
class Position:
    """Before batch `batch` of epoch `epoch` of a training, both counted from 0.

    Attributes:
        training: the unit that the training draws for.
        tensors: the network's, the velocities by the parameters' places, and the state of the epoch's generator.
    """

    training: str
    epoch: int
    batch: int
    tensors: dict[str, torch.Tensor]


class Keeper(Protocol):
    """Keeps positions of a unit's trainings now and then, and knows the last one that was kept."""

    def left(self) -> Position | None:
        """Where it was left; None where it is to begin. The same as long as the unit is made."""

    def is_due(self) -> bool:
        """Asked before every batch: whether to keep a position now."""

    def keep(self, position: Position) -> None:
        """Keep it in the place of earlier ones."""

    def remember(self, epochs: Callable[[], Tensors]) -> Tensors:
        """Have what is known of the epochs before kept with every position; what was known where it was left."""


class _Nowhere:
    """Keeps nothing: for what is soon over, and for what is kept otherwise."""

    def left(self) -> None:
        return None

    def is_due(self) -> bool:
        return False

    def keep(self, position: Position) -> None:
        pass

    def remember(self, epochs: Callable[[], Tensors]) -> Tensors:
        return {}


NOWHERE: Keeper = _Nowhere()


@dataclass(frozen=True)
class Trained:
    """What of a training changes with every batch."""

    network: nn.Module
    optimiser: SGD
    draw: torch.Generator

    def position(self, training: str, epoch: int, batch: int) -> Position:
        """Where it stands, copied."""
        known = self.optimiser.velocities
        tensors = {f"{_NETWORK}{name}": value for name, value in self.network.state_dict().items()}
        for place, parameter in enumerate(self.optimiser.parameters):
            if parameter in known:
                tensors[f"{_VELOCITY}{place}"] = known[parameter]
        copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        return Position(training, epoch, batch, {**copies, _DRAW: self.draw.get_state()})

    def go_to(self, position: Position) -> None:
        """Be as it was there. Raises ValueError for a position of another training."""
        parameters, tensors = self.optimiser.parameters, position.tensors
        state = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}
        velocities = {name: value for name, value in tensors.items() if name.startswith(_VELOCITY)}
        try:
            self.network.load_state_dict(state)
            for name, value in velocities.items():
                parameter = parameters[int(name.removeprefix(_VELOCITY))]
                if value.shape != parameter.shape:
                    raise ValueError(name)
                self.optimiser.velocities[parameter] = value.to(parameter)
            self.draw.set_state(tensors[_DRAW])
        except (RuntimeError, LookupError, TypeError) as error:
            raise ValueError(str(error)) from None
