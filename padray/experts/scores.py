"""How hard a sample is for a trained network. Higher is harder; every score is per sample, never of a batch mean.

Legend: N samples, K classes.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F


def el2n(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """The length of the error vector, ||softmax(z) - onehot(y)||_2, in [0, sqrt 2]; (N,).

    Source: Paul et al. 2021; PAD Eq. 1, where it is averaged over networks.
    """
    probabilities = logits_NK.softmax(dim=1)
    error_NK = probabilities - F.one_hot(labels_N, logits_NK.shape[1])
    norms_N: torch.Tensor = torch.linalg.vector_norm(error_NK, dim=1)
    return norms_N


SCORES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {"el2n": el2n}
