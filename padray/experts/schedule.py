"""FIEX, PAD's filter of what the experts see: sample indices of epoch e, as a pure function of the scores.

Before all else a fixed share of each class may be left out for good, at its easy and at its hard end; what follows
applies to what remains. Easy samples come first; until the addition end epoch (AEE) the kept share of each class
grows linearly from the initial ratio (IR) to one. From each removal stage's first epoch on, that share of the
easiest is left out; a gradual stage reaches its share linearly, at the removal end epoch.
Fractions apply to each class's own size, are floored, and leave at least one sample.
Source: PAD section 3.2, Tables 8 and 10.
"""

import math
from collections.abc import Sequence

import torch

from padray.experts.settings import ScheduleSettings

_ROUNDING = 1e-9  # 0.7 * 10 must floor to 7 although it is 6.999... in binary


def kept_range(size: int, epoch: int, settings: ScheduleSettings) -> tuple[int, int]:
    """The kept positions [start, stop) of a class of `size` samples sorted from easy to hard (PAD section 3.2)."""
    first, last = unpruned_range(size, settings)
    start, stop = _scheduled(last - first, epoch, settings)
    return first + start, first + stop


def unpruned_range(size: int, settings: ScheduleSettings) -> tuple[int, int]:
    """The positions [start, stop) that are not left out for good."""
    easiest, hardest = _part(settings.prune_easiest, size), _part(settings.prune_hardest, size)
    left = max(1, size - easiest - hardest)
    first = min(easiest, size - left)
    return first, first + left


def _scheduled(size: int, epoch: int, settings: ScheduleSettings) -> tuple[int, int]:
    """The same for a class that nothing is pruned from."""
    ramp = settings.addition_end_epoch
    if epoch <= ramp and ramp > 0:
        share = min(1.0, settings.initial_ratio + (1 - settings.initial_ratio) * epoch / ramp)
        return 0, max(1, _part(share, size))
    return min(_part(_removed(epoch, settings), size), size - 1), size


def _removed(epoch: int, settings: ScheduleSettings) -> float:
    """The share of the easiest that is left out in `epoch`; of several stages the last one begun holds."""
    begun = [(first, share) for first, share in settings.easy_removal if epoch >= first]
    if not begun:
        return 0.0
    first, share = begun[-1]
    if settings.removal_end_epoch is None:
        return share
    return share * min(1.0, (epoch - first) / (settings.removal_end_epoch - first))


def _part(share: float, size: int) -> int:
    return math.floor(share * size + _ROUNDING)


def counts_of_epochs(sizes: Sequence[int], epochs: int, settings: ScheduleSettings) -> torch.Tensor:
    """How many samples the experts see in each epoch of classes of these sizes, (E, K) int64."""
    ranges = [[kept_range(size, epoch, settings) for size in sizes] for epoch in range(epochs)]
    return torch.tensor([[stop - start for start, stop in row] for row in ranges], dtype=torch.int64)


def rank(scores_N: torch.Tensor, labels_N: torch.Tensor, classes: int) -> list[torch.Tensor]:
    """For each of K classes its sample indices (n,) from easy to hard; equal scores stay in the samples' order."""
    members = [(labels_N == label).nonzero().flatten() for label in range(classes)]
    return [ids[scores_N[ids].argsort(stable=True)] for ids in members]


def samples_of_epoch(ranked: list[torch.Tensor], epoch: int, settings: ScheduleSettings) -> torch.Tensor:
    """The indices of the samples that the experts see in epoch `epoch` (0-based), class after class, (N,).

    Args:
        ranked: what `rank` gives.
    """
    kept = []
    for ids in ranked:
        start, stop = kept_range(len(ids), epoch, settings)
        kept.append(ids[start:stop])
    return torch.cat(kept)
