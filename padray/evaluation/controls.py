"""What networks are trained on in a set's place: real samples, or its images without what was learned as labels.

Legend: N samples, M = K * IPC samples of a set or control, E experts, K classes.
"""

import torch

from padray.distill.synthetic import choose_samples, class_labels, soft_labels
from padray.experts.training import Samples
from padray.matching.student import Learned


def samples_of_set(learned: Learned, device: torch.device) -> Samples:
    """A set as training samples: soft labels through their softmax, hard ones as they are."""
    labels = learned.labels.softmax(dim=1) if learned.soft else learned.labels
    return Samples(learned.images.to(device), labels.to(device))


def random_samples(train_split: Samples, ipc: int, classes: int, seed: int) -> Samples:
    """`ipc` random real samples of each class, class after class: a stratified draw from `seed`."""
    nobody = torch.zeros((0, len(train_split.labels)), dtype=torch.bool)
    ids = choose_samples(train_split.labels.cpu(), nobody, ipc, seed, classes)
    return Samples(train_split.images[ids], train_split.labels[ids])


def softened(samples: Samples, logits_EMK: torch.Tensor) -> Samples:
    """Samples labelled by the experts as a set's are before anything is learned (DATM section 3.3)."""
    labels = soft_labels(logits_EMK.to(samples.images), samples.labels)
    return Samples(samples.images, labels.softmax(dim=1))


def hardened(learned: Learned, classes: int, device: torch.device) -> Samples:
    """A set's images, each with the class of its position: a set is stored class after class."""
    labels = class_labels(classes, len(learned.images) // classes)
    return Samples(learned.images.to(device), labels.to(device))
