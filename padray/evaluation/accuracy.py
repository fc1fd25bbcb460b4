"""How good a trained network is: accuracy and balanced accuracy. Legend: N samples."""

from dataclasses import dataclass

import torch
from torch import nn

from padray.errors import DivergedError
from padray.experts.training import Samples
from padray.networks.derivatives import REFERENCE, Execution
from padray.networks.logits import logits_of


@dataclass(frozen=True)
class Accuracy:
    """In [0, 1]: the share of samples that are right (`plain`), and the mean of that share over the classes."""

    plain: float
    balanced: float

    def by(self, metric: str) -> float:
        """The one that `evaluation.metric` names."""
        return self.balanced if metric == "balanced_accuracy" else self.plain


def accuracy_of(predicted_N: torch.Tensor, labels_N: torch.Tensor) -> Accuracy:
    """Both accuracies of predicted classes; a class without samples has no share, and does not count."""
    predicted_N, labels_N = predicted_N.cpu(), labels_N.cpu()
    right = predicted_N == labels_N
    sizes = labels_N.bincount()
    hits = labels_N[right].bincount(minlength=len(sizes))
    there = sizes > 0
    recalls = hits[there].double() / sizes[there]
    return Accuracy(float(right.double().mean()), float(recalls.mean()))


def credits_of(predicted_N: torch.Tensor, labels_N: torch.Tensor, metric: str) -> torch.Tensor:
    """What each sample (N,) adds to the accuracy that `metric` names, which is their mean; 0 for one that is wrong."""
    predicted_N, labels_N = predicted_N.cpu(), labels_N.cpu()
    right = (predicted_N == labels_N).double()
    if metric != "balanced_accuracy":
        return right
    sizes = labels_N.bincount()
    return right * len(labels_N) / (int((sizes > 0).sum()) * sizes[labels_N])


def predicted(network: nn.Module, samples: Samples, execution: Execution = REFERENCE) -> torch.Tensor:
    """The classes (N,) that a network says, in evaluation mode and without augmentation.

    Raises:
        DivergedError: its logits are not finite. The loss of its last batch may have been, before the last step.
    """
    logits_NK = logits_of(network, samples.images, execution)
    if not bool(logits_NK.isfinite().all()):
        raise DivergedError("a trained network's outputs are not finite: lower its learning rate")
    return logits_NK.argmax(dim=1)


def measure(network: nn.Module, samples: Samples, execution: Execution = REFERENCE) -> Accuracy:
    """Both accuracies of a network. Raises DivergedError as `predicted` does."""
    return accuracy_of(predicted(network, samples, execution), samples.labels)
