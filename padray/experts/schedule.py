"""FIEX, PAD's filter of what the experts see: sample indices of epoch e, as a pure function of the scores.

Easy samples come first; until the addition end epoch (AEE) the kept share of each class grows linearly from the
initial ratio (IR) to one; from each removal stage's first epoch on, that share of the easiest is left out.
Fractions apply to each class's own size, are floored, and leave at least one sample.
Source: PAD section 3.2 and Table 10.
"""

import math

import torch

from padray.config import ScheduleSettings

_ROUNDING = 1e-9  # 0.7 * 10 must floor to 7 although it is 6.999... in binary


def kept_range(size: int, epoch: int, settings: ScheduleSettings) -> tuple[int, int]:
    """The kept positions [start, stop) of a class of `size` samples sorted from easy to hard."""
    ramp = settings.addition_end_epoch
    if epoch <= ramp and ramp > 0:
        share = min(1.0, settings.initial_ratio + (1 - settings.initial_ratio) * epoch / ramp)
        return 0, max(1, math.floor(share * size + _ROUNDING))
    removed = [ratio for first, ratio in settings.easy_removal if epoch >= first]
    dropped = math.floor((removed[-1] if removed else 0.0) * size + _ROUNDING)
    return min(dropped, size - 1), size


def rank(scores_N: torch.Tensor, labels_N: torch.Tensor, classes: int) -> list[torch.Tensor]:
    """For each class its sample indices from easy to hard; equal scores stay in the samples' order."""
    members = [(labels_N == label).nonzero().flatten() for label in range(classes)]
    return [ids[scores_N[ids].argsort(stable=True)] for ids in members]


def samples_of_epoch(ranked: list[torch.Tensor], epoch: int, settings: ScheduleSettings) -> torch.Tensor:
    """The indices of the samples that the experts see in epoch `epoch` (0-based), class after class."""
    kept = []
    for ids in ranked:
        start, stop = kept_range(len(ids), epoch, settings)
        kept.append(ids[start:stop])
    return torch.cat(kept)
