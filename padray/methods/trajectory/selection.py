"""Which parameters enter the matching loss: FIEM, PAD's filter of what is matched, and pruning beside it.

Student steps always use all parameters; only the distance is masked, numerator and denominator alike. Masks are
constants in the gradient. Sources: PAD section 3.3, Eq. 4 (depth), Table 4c (loss), Table 5b (deep); DDPP names
pruning of what is hard to match, and the two rules for it here are ours. Legend: P parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from padray.errors import DivergedError
from padray.methods.trajectory.settings import PruningSettings, SelectionSettings
from padray.networks.flat import Span

Spans = tuple[Span, ...]


def cut_index(alpha: float, size: int) -> int:
    """The first matched position of the flattened parameters, k = int(alpha * P) (PAD Eq. 4); it may cut a tensor."""
    return int(alpha * size)


def _everything(alpha: float, spans: Spans) -> torch.Tensor:
    return torch.ones(spans[-1].stop, dtype=torch.bool)


def _depth(alpha: float, spans: Spans) -> torch.Tensor:
    """The first alpha of the flattened vector, the shallow parameters, are left out."""
    return torch.arange(spans[-1].stop) >= cut_index(alpha, spans[-1].stop)


def _layer(alpha: float, spans: Spans) -> torch.Tensor:
    """As depth, but tensors stay whole: those that start behind the cut are in, and the last one always is."""
    cut = cut_index(alpha, spans[-1].stop)
    first = next((span.start for span in spans if span.start >= cut), spans[-1].start)
    return torch.arange(spans[-1].stop) >= first


def _deep(alpha: float, spans: Spans) -> torch.Tensor:
    """The last alpha of the flattened vector, the deep parameters, are left out."""
    return torch.arange(spans[-1].stop) < spans[-1].stop - cut_index(alpha, spans[-1].stop)


# What is known before any student has run; `loss` leaves everything in until then.
FIXED: dict[str, Callable[[float, Spans], torch.Tensor]] = {
    "none": _everything,
    "depth": _depth,
    "layer": _layer,
    "deep": _deep,
    "loss": _everything,
}


def without_small_errors(alpha: float, end_P: torch.Tensor, target_P: torch.Tensor) -> torch.Tensor:
    """All but the int(alpha * P) smallest squared errors, (P,); of equal ones the earlier position goes first.

    Source: PAD Table 4c.
    """
    return _without_first(alpha, ((end_P - target_P) ** 2).argsort(stable=True))


def without_large_errors(alpha: float, end_P: torch.Tensor, target_P: torch.Tensor) -> torch.Tensor:
    """All but the int(alpha * P) largest absolute errors, (P,); of equal ones the earlier position goes first."""
    return _without_first(alpha, (end_P - target_P).abs().argsort(descending=True, stable=True))


def _without_first(alpha: float, order_P: torch.Tensor) -> torch.Tensor:
    mask_P = torch.ones_like(order_P, dtype=torch.bool)
    mask_P[order_P[: cut_index(alpha, len(order_P))]] = False
    return mask_P


def alike(threshold: float, end_P: torch.Tensor, target_P: torch.Tensor) -> torch.Tensor:
    """Where the smaller magnitude is at least `threshold` of the larger and signs agree, or both are zero, (P,)."""
    small, large = torch.minimum(end_P.abs(), target_P.abs()), torch.maximum(end_P.abs(), target_P.abs())
    ratio_P = torch.where(large > 0, small / large.clamp_min(torch.finfo(large.dtype).tiny), 1.0)
    return torch.where(end_P * target_P.sign() < 0, 0.0, ratio_P) >= threshold


_PRUNING: dict[str, Callable[[float, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "magnitude_ratio": alike,
    "abs_error_quantile": without_large_errors,
}


@dataclass(frozen=True)
class Selection:
    """FIEM and pruning together. `fixed` (P,) is the part of the mask that no student changes."""

    settings: SelectionSettings
    pruning: PruningSettings
    fixed: torch.Tensor

    def mask(self, end_P: torch.Tensor, target_P: torch.Tensor) -> torch.Tensor:
        """The parameters that are compared when a student has ended at `end_P`, (P,).

        Raises:
            DivergedError: none is left.
        """
        mask_P = self.fixed
        if self.settings.strategy == "loss":
            mask_P = mask_P & without_small_errors(self.settings.alpha, end_P, target_P)
        if self.pruning.rule != "none":
            mask_P = mask_P & _PRUNING[self.pruning.rule](self.pruning.threshold, end_P, target_P)
            if not bool(mask_P.any()):
                raise DivergedError(
                    f"no parameter is left to match: lower distill.pruning.threshold ({self.pruning.threshold:g}) "
                    f"or distill.selection.alpha ({self.settings.alpha:g})"
                )
        return mask_P


def select(settings: SelectionSettings, pruning: PruningSettings, spans: Spans, device: torch.device) -> Selection:
    """The selection for a network with these spans."""
    return Selection(settings, pruning, FIXED[settings.strategy](settings.alpha, spans).to(device))
