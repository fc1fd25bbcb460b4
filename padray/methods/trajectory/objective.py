"""The matching loss of one trajectory and its derivatives at the student's end.

L = sum m (w r)^2 / D with r = theta_N - target, d = theta_0 - target, mask m (FIEM, pruning) and weights w (IADD).
D = sum m d^2, or sum m (w d)^2 where the denominator is weighted too, which is ours. m is a constant.
Sources: MTT Eq. 2, PAD Eq. 4, IADD Eq. 6. Legend: P parameters, L tensors.
"""

from dataclasses import dataclass

import torch

from padray.errors import DivergedError
from padray.methods.trajectory.selection import Selection
from padray.networks.flat import Span


@dataclass(frozen=True)
class Match:
    """Loss (), dL/dtheta_N (P,), dL/dw (P,) where there are weights, and each tensor's unmasked errors (2, L).

    The errors are squared distances: relative to the expert's own, and absolute.
    """

    loss: torch.Tensor
    grad_theta: torch.Tensor
    grad_weights: torch.Tensor | None
    layers: torch.Tensor


@dataclass(frozen=True)
class Metric:
    """How distances are measured: what is compared, the tensors' spans, the weights (P,) or None, and their reach."""

    selection: Selection
    spans: tuple[Span, ...]
    weights: torch.Tensor | None = None
    weighted_denominator: bool = False


def match(end_P: torch.Tensor, start_P: torch.Tensor, target_P: torch.Tensor, metric: Metric) -> Match:
    """Compare where student and expert arrived: MTT Eq. 2, masked (PAD Eq. 4) and weighted (IADD Eq. 6).

    Args:
        end_P: theta_N; `start_P`: theta_0, the expert's snapshot that both start from.

    Raises:
        DivergedError: the expert did not move between the two snapshots where it is compared, or nothing is compared.
    """
    mask_P, weights_P = metric.selection.mask(end_P, target_P), metric.weights
    residual, moved = end_P - target_P, start_P - target_P
    denominator = (moved[mask_P] ** 2).sum()
    if not denominator > 0:
        raise DivergedError(
            "an expert did not move between the matched epochs: raise experts.lr or distill.expert_epochs"
        )
    masked = residual * mask_P
    layers = _by_layer(residual, moved, metric.spans)
    if weights_P is None:
        return Match((masked**2).sum() / denominator, 2 * masked / denominator, None, layers)
    if metric.weighted_denominator:
        denominator = ((moved * weights_P)[mask_P] ** 2).sum()
        if not denominator > 0:
            raise DivergedError("IADD's weights are zero wherever the expert moved: lower distill.importance.lr")
    weighted = masked * weights_P
    loss = (weighted**2).sum() / denominator
    grad_weights = 2 * weights_P * masked**2 / denominator
    if metric.weighted_denominator:
        grad_weights = grad_weights - 2 * loss * weights_P * (moved * mask_P) ** 2 / denominator
    return Match(loss, 2 * (weighted * weights_P) / denominator, grad_weights, layers)


def _by_layer(residual_P: torch.Tensor, moved_P: torch.Tensor, spans: tuple[Span, ...]) -> torch.Tensor:
    """Each tensor's squared distance relative to the expert's own, 0 where the expert did not move, and absolute."""
    relative, absolute = [], []
    for span in spans:
        moved = (moved_P[span.start : span.stop] ** 2).sum()
        error = (residual_P[span.start : span.stop] ** 2).sum()
        relative.append(torch.where(moved > 0, error / moved.clamp_min(torch.finfo(moved.dtype).tiny), 0 * error))
        absolute.append(error)
    return torch.stack([torch.stack(relative), torch.stack(absolute)])
