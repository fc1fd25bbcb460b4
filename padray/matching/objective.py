"""The matching loss of one trajectory and its derivatives at the student's end.

L = sum m (w r)^2 / sum m d^2 with r = theta_N - target, d = theta_0 - target, mask m (FIEM) and weights w (IADD;
the denominator is not weighted). Sources: MTT Eq. 2, PAD Eq. 4, IADD Eq. 6. Legend: P parameters, L tensors.
"""

from dataclasses import dataclass

import torch

from padray.errors import WorkError
from padray.networks.flat import Span


@dataclass(frozen=True)
class Match:
    """Loss (), dL/dtheta_N (P,), dL/dw (P,) if there are weights, and each tensor's unmasked relative error (L,)."""

    loss: torch.Tensor
    end: torch.Tensor
    weights: torch.Tensor | None
    layers: torch.Tensor


@dataclass(frozen=True)
class Metric:
    """How distances are measured: the mask (P,), the weights (P,) or None, and the tensors' spans."""

    mask: torch.Tensor
    weights: torch.Tensor | None
    spans: tuple[Span, ...]


def match(end_P: torch.Tensor, start_P: torch.Tensor, target_P: torch.Tensor, metric: Metric) -> Match:
    """Compare where the student arrived with where the expert did.

    Raises:
        WorkError: the expert did not move between the two snapshots where it is compared.
    """
    residual, moved = end_P - target_P, start_P - target_P
    denominator = (moved[metric.mask] ** 2).sum()
    if not denominator > 0:
        raise WorkError("an expert did not move between the matched epochs: raise experts.lr or distill.expert_epochs")
    masked = residual * metric.mask
    weighted = masked if metric.weights is None else masked * metric.weights
    loss = (weighted**2).sum() / denominator
    weights = None if metric.weights is None else 2 * metric.weights * masked**2 / denominator
    end = 2 * (weighted if metric.weights is None else weighted * metric.weights) / denominator
    return Match(loss, end, weights, _by_layer(residual, moved, metric.spans))


def _by_layer(residual_P: torch.Tensor, moved_P: torch.Tensor, spans: tuple[Span, ...]) -> torch.Tensor:
    """Each tensor's squared distance relative to the expert's own; 0 where the expert did not move."""
    found = []
    for span in spans:
        moved = (moved_P[span.start : span.stop] ** 2).sum()
        error = (residual_P[span.start : span.stop] ** 2).sum()
        found.append(torch.where(moved > 0, error / moved.clamp_min(torch.finfo(moved.dtype).tiny), 0 * error))
    return torch.stack(found)
