"""FIEM, PAD's filter of what is matched: which parameters enter the matching loss.

Student steps always use all parameters; only the distance is masked. Source: PAD section 3.3, Eq. 4.
"""

from collections.abc import Callable

import torch


def cut_index(ratio: float, size: int) -> int:
    """The first matched position of the flattened parameters, k = int(alpha * P); it may lie inside a tensor."""
    return int(ratio * size)


def no_selection(size: int, ratio: float) -> torch.Tensor:
    """Every parameter, (P,)."""
    return torch.ones(size, dtype=torch.bool)


def depth(size: int, ratio: float) -> torch.Tensor:
    """The deep parameters: the first alpha of the flattened vector, the shallow ones, are left out; (P,)."""
    mask = torch.ones(size, dtype=torch.bool)
    mask[: cut_index(ratio, size)] = False
    return mask


SELECTIONS: dict[str, Callable[[int, float], torch.Tensor]] = {"none": no_selection, "depth": depth}
