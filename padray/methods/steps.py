"""What the steps of several families have in common: the guard, the mean, the descent of the images.

Sources: FTD (moving average of the images). Ours: contributions that are not finite are left out.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from padray.errors import DivergedError
from padray.methods.method import Contribution
from padray.methods.settings import DistillSettings
from padray.methods.state import State

BARREN = 10  # so many iterations in a row without a finite contribution, and the work ends


def is_finite(contribution: Contribution, without: Sequence[str] = ()) -> bool:
    """Whether all its tensors are finite, but for those that only describe it."""
    return all(bool(torch.isfinite(part).all()) for name, part in contribution.items() if name not in without)


def next_of(state: State, any_finite: bool) -> State:
    """The state one iteration later, before it descends: with the count of iterations that were lost in a row."""
    return replace(state, iteration=state.iteration + 1, barren=0 if any_finite else state.barren + 1)


def check_barren(state: State, what: str, advice: str) -> None:
    """Refuse to go on where nothing has been finite again and again. Raises DivergedError."""
    if state.barren >= BARREN:
        raise DivergedError(
            f"no {what} was finite in {BARREN} iterations in a row, up to iteration {state.iteration - 1}{advice}"
        )


def barren_warning(state: State, what: str, advice: str) -> str | None:
    """What whoever uses the set of this state must know: that the last iterations did nothing."""
    if not state.barren:
        return None
    return f"no {what} was finite in the last {state.barren} iterations, which changed nothing: {advice}"


def mean(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean, summed in the given order, so that its bytes do not depend on who made the parts."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total / len(parts)


def descend_images(settings: DistillSettings, state: State, grad_images: torch.Tensor) -> State:
    """One step of SGD with momentum, v = m v + dL/dx and x = x - lr v, and of the images' moving average (FTD).

    Args:
        grad_images: dL/dx, (M, C, H, W).
    """
    momentum = settings.momentum_images * state.momentum.images + grad_images
    images = state.learned.images - settings.lr_images * momentum
    average = state.average
    if average is not None:
        average = settings.ema_decay * average + (1 - settings.ema_decay) * images
    learned, momenta = replace(state.learned, images=images), replace(state.momentum, images=momentum)
    return replace(state, learned=learned, momentum=momenta, average=average)


def check_finite(state: State, parts: dict[str, torch.Tensor | None]) -> None:
    """Refuse to go on from, or to store, what is not finite. Raises DivergedError.

    Args:
        parts: what descends, each by its own setting.
    """
    for setting, part in parts.items():
        if part is not None and not bool(torch.isfinite(part).all()):
            raise DivergedError(f"iteration {state.iteration - 1} left values that are not finite: lower {setting}")
