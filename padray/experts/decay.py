"""How the lr of a training falls, as functions of where it stands.

half: a tenth from epoch index (E - 1) // 2 + 2 on, by a new optimiser whose momentum is zero (DC, MTT; their E is 1001
for "1000 epochs", and index 501 is the last with the whole lr). sixths: a fifth from index 2E // 3 on and a fifth of
that from 5E // 6 on (IDC). cosine: lr_0 down to 1e-4 along half a cosine, a little with every batch (DeepCore).
Legend: E epochs.
"""

import math
from collections.abc import Callable

COSINE_END = 1e-4

# lr before anything falls, E, the epoch's index, and the share of that epoch that is over -> lr
Decayed = Callable[[float, int, int, float], float]


def first_of_half(epochs: int) -> int:
    """The first epoch index with a tenth of the lr."""
    return (epochs - 1) // 2 + 2


def _none(lr: float, epochs: int, epoch: int, share: float) -> float:
    return lr


def _half(lr: float, epochs: int, epoch: int, share: float) -> float:
    return lr if epoch < first_of_half(epochs) else lr * 0.1


def _sixths(lr: float, epochs: int, epoch: int, share: float) -> float:
    passed = (epoch >= 2 * epochs // 3) + (epoch >= 5 * epochs // 6)
    return lr * 0.2**passed


def _cosine(lr: float, epochs: int, epoch: int, share: float) -> float:
    over = (epoch + share) / epochs
    return COSINE_END + (lr - COSINE_END) * 0.5 * (1 + math.cos(math.pi * over))


DECAYS: dict[str, Decayed] = {"none": _none, "half": _half, "sixths": _sixths, "cosine": _cosine}
