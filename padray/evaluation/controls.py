"""What networks are trained on in a set's place: real samples, or its images without what was learned as labels.

Legend: N samples, M = K * IPC samples of a set or control, E experts, K classes.
"""

import torch

from padray.data.datasets import held_count
from padray.draws import generator
from padray.experts.training import Samples
from padray.synthetic.set import Learned
from padray.synthetic.start import choose_samples, class_labels

CHOOSING = 0.1  # share of the training split


def samples_of_set(learned: Learned, device: torch.device) -> Samples:
    """A set as training samples: soft labels through their softmax, hard ones as they are."""
    labels = learned.labels.softmax(dim=1) if learned.soft else learned.labels
    return Samples(learned.images.to(device), labels.to(device))


def random_samples(labels_N: torch.Tensor, ipc: int, classes: int, seed: int) -> torch.Tensor:
    """Which of N samples are a control: `ipc` of each class, (M,), class after class; a stratified draw from `seed`."""
    return choose_samples(labels_N, torch.zeros((0, len(labels_N)), dtype=torch.bool), ipc, seed, classes)


def choosing_samples(labels_N: torch.Tensor, classes: int, seed: int) -> torch.Tensor:
    """Which training samples a control's lr is chosen on where no split is held out, rising; drawn for nothing else.

    `CHOOSING` of each class and at least one: as many as `data.validation` would hold out by default.
    """
    chosen = []
    for label in range(classes):
        ids = (labels_N == label).nonzero().flatten()
        order = torch.randperm(len(ids), generator=generator(seed, "evaluation", "choosing", label))
        chosen.append(ids[order[: held_count(len(ids), CHOOSING)]])
    return torch.cat(chosen).sort().values


def softened(samples: Samples, logits_EMK: torch.Tensor) -> Samples:
    """Samples labelled by the experts: the softmax of the mean logits of all of them, right or wrong.

    That is the strongest such control: what wrong experts say of a hard sample tells more than its class alone.
    """
    return Samples(samples.images, logits_EMK.mean(dim=0).softmax(dim=1))


def hardened(learned: Learned, classes: int, device: torch.device) -> Samples:
    """A set's images, each with the class of its position: a set is stored class after class."""
    labels = class_labels(classes, len(learned.images) // classes)
    return Samples(learned.images.to(device), labels.to(device))
