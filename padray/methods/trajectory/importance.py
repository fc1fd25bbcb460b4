"""IADD: a learned weight for every parameter, channel or tensor, and whether the weights have collapsed.

The matching loss for weights w is sum (w d)^2 / D with d the student's distance to the expert, so descent on w
can only shrink weights, most where the mismatch is largest, and w = 0 would be a perfect score. A constraint rules
that out. Source: IADD Eq. 6-8; the paper leaves the constraint, the weights' learning rate, their grouping and the
order of the updates open, so all of these are ours.

Legend: P parameters, G groups of parameters that share a weight. `values` (G,) is what descends: the weights, or
with the constraint softmax the free logits that give them.
"""

from dataclasses import dataclass
from typing import Any

import torch

from padray.methods.trajectory.settings import ImportanceSettings
from padray.networks.flat import Span

# Bins of log10 |w|; 1 lies in the middle of one. What is smaller or larger counts in the first or the last bin.
HISTOGRAM_EDGES = tuple(-4.125 + 0.25 * k for k in range(26))
COLLAPSED = 0.01  # of the parameters that carry the loss, or of the weights' start


def counts_of_groups(granularity: str, spans: tuple[Span, ...]) -> list[int]:
    """How many groups each tensor has; a channel is an index of its first axis."""
    if granularity == "channel":
        return [span.shape[0] if span.shape else 1 for span in spans]
    return [span.stop - span.start if granularity == "scalar" else 1 for span in spans]


def groups_of(granularity: str, spans: tuple[Span, ...]) -> torch.Tensor:
    """The group of every parameter, (P,), counted in their order."""
    groups, total = [], 0
    for span, count in zip(spans, counts_of_groups(granularity, spans), strict=True):
        groups.append(total + torch.arange(count).repeat_interleave((span.stop - span.start) // count))
        total += count
    return torch.cat(groups)


@dataclass(frozen=True)
class Importance:
    """How the weights are grouped and kept. `groups` (P,); `matched` (P,): those that FIEM's fixed part lets in."""

    settings: ImportanceSettings
    groups: torch.Tensor
    matched: torch.Tensor

    def start(self, dtype: torch.dtype) -> torch.Tensor:
        """The values before the first iteration: weights of `init`, or logits that give weights of 1."""
        value = 0.0 if self.settings.constraint == "softmax" else self.settings.init
        return torch.full((int(self.groups[-1]) + 1,), value, dtype=dtype, device=self.groups.device)

    def weights(self, values_G: torch.Tensor) -> torch.Tensor:
        """The weight of every parameter, (P,), w of IADD Eq. 6. Differentiable."""
        if self.settings.constraint == "softmax":
            share_G = (values_G - values_G.detach().max()).exp()
            share_P = share_G.index_select(0, self.groups)
            return share_P / share_P[self.matched].mean()
        return values_G.index_select(0, self.groups)  # its backward is 70 times faster than [...]'s

    def gradient(self, values_G: torch.Tensor, grad_P: torch.Tensor) -> torch.Tensor:
        """dL/dvalues (G,) from dL/dw (P,): what a group's members say is summed."""
        values = values_G.detach().requires_grad_()
        (grad_G,) = torch.autograd.grad(self.weights(values), values, grad_P)
        return grad_G

    def update(
        self, values_G: torch.Tensor, momentum_G: torch.Tensor, grad_G: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of descent with momentum, then the constraint; the new values and the new momentum, each (G,).

        mean1 and l2 keep weights non-negative and scale them. Groups that FIEM leaves out have no gradient and stay;
        in the mean they would let all others shrink.
        """
        momentum_G = self.settings.momentum * momentum_G + grad_G
        stepped_G = values_G - self.settings.lr * momentum_G
        constraint = self.settings.constraint
        if constraint == "clamp":
            return stepped_G.clamp(*self.settings.clamp), momentum_G
        if constraint in ("mean1", "l2"):
            stepped_G = stepped_G.clamp_min(0)
            matched = stepped_G.index_select(0, self.groups)[self.matched]
            scale = matched.mean() if constraint == "mean1" else (matched**2).mean().sqrt()
            present_G = torch.bincount(self.groups[self.matched], minlength=len(values_G)) > 0
            stepped_G = torch.where(present_G, stepped_G / scale, values_G)
        return stepped_G, momentum_G

    def diagnostics(self, values_G: torch.Tensor) -> dict[str, Any]:
        """Metrics of the matched parameters' weights: their spread, and a `warning` if they have collapsed."""
        weights = self.weights(values_G)[self.matched]
        numbers = diagnostics(weights)
        warning = self._collapse(numbers["weight_effective_fraction"], float(weights.abs().max()))
        return {**numbers, "warning": warning} if warning else numbers

    def warning(self, values_G: torch.Tensor) -> str | None:
        """A sentence if the weights have collapsed."""
        sentence: str | None = self.diagnostics(values_G).get("warning")
        return sentence

    def _collapse(self, fraction: float, largest: float) -> str | None:
        settings = self.settings
        advice = f"lower distill.importance.lr ({settings.lr:g})"
        if settings.constraint == "none":
            advice += " or set distill.importance.constraint to mean1"
            if largest < COLLAPSED * settings.init:
                return f"IADD's weights have collapsed, the largest is {largest:.2g}: {advice}"
        if fraction < COLLAPSED:
            return f"IADD's weights have collapsed, {100 * fraction:.2g} % of the parameters carry the loss: {advice}"
        return None


def weigh(settings: ImportanceSettings, spans: tuple[Span, ...], matched_P: torch.Tensor) -> Importance:
    """The weighting of a network with these spans."""
    return Importance(settings, groups_of(settings.granularity, spans).to(matched_P.device), matched_P)


def effective_fraction(weights_P: torch.Tensor) -> float:
    """(sum |w|)^2 / (P sum w^2): the share of parameters that carries the loss; 1 for equal weights, 0 for none."""
    squares = weights_P.numel() * (weights_P**2).sum()
    return float(weights_P.abs().sum() ** 2 / squares) if float(squares) > 0 else 0.0


def diagnostics(weights_P: torch.Tensor) -> dict[str, Any]:
    """Smallest, median and largest weight, the effective fraction, and counts between `HISTOGRAM_EDGES`."""
    return {
        "weight_min": float(weights_P.min()),
        "weight_median": float(weights_P.median()),
        "weight_max": float(weights_P.max()),
        "weight_effective_fraction": effective_fraction(weights_P),
        "weight_histogram": histogram(weights_P),
    }


def histogram(weights_P: torch.Tensor) -> list[int]:
    """How many weights lie in each bin of `HISTOGRAM_EDGES`; zero is in the first one."""
    inner = torch.tensor(HISTOGRAM_EDGES[1:-1], dtype=weights_P.dtype, device=weights_P.device)
    bins = torch.bucketize(weights_P.abs().log10(), inner, right=True)
    counts: list[int] = torch.bincount(bins, minlength=len(HISTOGRAM_EDGES) - 1).tolist()
    return counts
