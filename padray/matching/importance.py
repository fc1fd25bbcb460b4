"""IADD: a learned weight for every parameter, and whether the weights have collapsed.

The matching loss for weights w is sum (w d)^2 / D with d the student's distance to the expert, so descent on w
can only shrink weights, most where the mismatch is largest, and w = 0 would be a perfect score. The constraint
`mean1` rules that out by scaling the matched weights back to a mean of one after every step. The paper leaves the
constraint and the weights' learning rate open: both are ours. Source: IADD Eq. 6-8.
"""

import torch


def update(weights_P: torch.Tensor, gradient_P: torch.Tensor, lr: float, mask_P: torch.Tensor) -> torch.Tensor:
    """One descent step on the matched weights, kept non-negative and scaled back to mean one.

    Parameters that FIEM leaves out (mask false) have no gradient; in the mean they would let all others shrink.
    """
    stepped = (weights_P - lr * gradient_P).clamp_min(0)
    return torch.where(mask_P, stepped / stepped[mask_P].mean(), weights_P)


def effective_fraction(weights_P: torch.Tensor) -> float:
    """(sum w)^2 / (P sum w^2), in (0, 1]: the share of parameters that carries the loss; 1 for equal weights."""
    return float(weights_P.sum() ** 2 / (weights_P.numel() * (weights_P**2).sum()))


def diagnostics(weights_P: torch.Tensor) -> dict[str, float]:
    """Smallest, median and largest weight, and the effective fraction."""
    return {
        "weight_min": float(weights_P.min()),
        "weight_median": float(weights_P.median()),
        "weight_max": float(weights_P.max()),
        "weight_effective_fraction": effective_fraction(weights_P),
    }
