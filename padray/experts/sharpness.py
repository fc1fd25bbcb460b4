"""GSAM, a descent that prefers flat regions, for trajectories that a student can follow (FTD, DATM, PAD).

From the parameters theta with gradient g, one goes up to theta + e, takes the gradient g' there, and descends from
theta along d:

    n = || g ||,             e = rho / n * g                   (SAM)
    n = || |theta| * g ||,   e = rho / n * theta^2 * g         (adaptive, ASAM: steps are relative to the parameters)
    v = g - <g, g'> / ||g'||^2 * g',   d = g' - alpha * v      (v: what g has that g' has not)

All norms are over all parameters together. rho is constant, since the learning rate is; alpha 0 gives (A)SAM.
Source: FTD section 3.2, after GSAM (Zhuang et al. 2022) and ASAM (Kwon et al. 2021). Axes: P parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12  # keeps a vanishing gradient from becoming 0 / 0


@dataclass(frozen=True)
class Sharpness:
    """How far up one goes (`rho`), how much of the old gradient is undone (`alpha`), and relative to what."""

    rho: float
    alpha: float
    adaptive: bool


def ascent(theta_P: Tensor, gradient_P: Tensor, settings: Sharpness) -> Tensor:
    """e (P,): the way up from `theta_P`, where the loss has `gradient_P`."""
    sizes_P = theta_P.abs() if settings.adaptive else torch.ones_like(theta_P)
    length: Tensor = (sizes_P * gradient_P).norm()
    return sizes_P.square() * gradient_P * (settings.rho / (length + _TINY))


def direction(
    theta_P: Tensor, gradient_P: Tensor, gradient_at: Callable[[Tensor], Tensor], settings: Sharpness
) -> Tensor:
    """d (P,): what to descend along instead of the gradient.

    Args:
        theta_P: the parameters.
        gradient_P: the gradient of the loss there.
        gradient_at: parameters (P,) -> the gradient (P,) there, on the same batch and the same augmented images.
    """
    above_gradient_P = gradient_at(theta_P + ascent(theta_P, gradient_P, settings))
    length, above_length = gradient_P.norm(), above_gradient_P.norm()
    cosine = gradient_P @ above_gradient_P / (length * above_length + _TINY)
    across_P = gradient_P - above_gradient_P * (cosine * length / (above_length + _TINY))
    turned_P: Tensor = above_gradient_P - settings.alpha * across_P
    return turned_P
