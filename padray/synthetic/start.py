"""Where synthetic samples start: real samples, noise, and what is said of them.

Legend: N training samples, M = K * IPC synthetic samples, class after class, K classes, E experts.
"""

import torch
from torch.nn import functional as F

from padray.draws import generator
from padray.errors import InputError

_SURE = 5.0  # logit of the right class where no expert says better


def choose_samples(labels_N: torch.Tensor, correct_EN: torch.Tensor, ipc: int, seed: int, classes: int) -> torch.Tensor:
    """Which real samples the images start from: `ipc` of each class, (M,), class after class.

    In a random order per class, those that the first expert gets right come first, then those that the second
    does, and so on; samples that none gets right fill up what is left.

    Args:
        labels_N: the class of every candidate.
        correct_EN: which candidates expert e classifies correctly; no rows: any candidate will do.

    Raises:
        InputError: a class has fewer than `ipc` candidates.
    """
    chosen = []
    for label in range(classes):
        ids = (labels_N == label).nonzero().flatten()
        if len(ids) < ipc:
            raise InputError(
                f"distill.ipc is {ipc}, but class {label} has only {len(ids)} training samples; lower distill.ipc"
            )
        ids = ids[torch.randperm(len(ids), generator=generator(seed, "distill", "init", label))]
        first_right = torch.full((len(ids),), len(correct_EN))
        for expert in reversed(range(len(correct_EN))):
            first_right[correct_EN[expert, ids]] = expert
        chosen.append(ids[first_right.argsort(stable=True)][:ipc])
    return torch.cat(chosen)


def soft_labels(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
    """Where the learned labels start: for each sample the mean logits of the experts that get it right, (M, K).

    Where none does, the mean of all, though it names another class: a plain logit for the sample's own class made sets
    that were no better on any of three seeds (`tests/benchmarks/results/start_labels.json`).
    Source: DATM section 3.3, with its failure cases answered.
    """
    right = logits_EMK.argmax(dim=2) == labels_M
    votes = torch.where(right.any(dim=0), right, torch.ones_like(right)).to(logits_EMK.dtype)
    return (logits_EMK * votes[:, :, None]).sum(dim=0) / votes.sum(dim=0)[:, None]


def plain_logits(labels_M: torch.Tensor, classes: int) -> torch.Tensor:
    """Soft labels that name the sample's class and nothing else, (M, K)."""
    return _SURE * F.one_hot(labels_M, classes)


def noise(count: int, shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Images to start from where nothing real may show: standard normal in the preprocessed space, (M, C, H, W)."""
    return torch.randn(count, *shape, generator=generator(seed, "distill", "noise"), dtype=torch.float64)


def class_labels(classes: int, ipc: int) -> torch.Tensor:
    """The class of every synthetic sample, (M,): the order is class-major."""
    return torch.arange(classes).repeat_interleave(ipc)
