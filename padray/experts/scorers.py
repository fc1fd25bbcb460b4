"""How hard a sample is for a trained network. Higher is harder; every score is per sample, never of a batch mean.

A score is a function of what was seen of one network (`Observed`): evaluation mode, no augmentation, float64. The
average over networks is the plain mean of their scores; only ranks are ever used, so scales do not matter.

Legend: N samples, K classes, E epochs. z logits, p = softmax(z), y the one-hot label, h what enters the last layer.

Sources: `el2n`, `grand` Paul et al. 2021 (PAD Eq. 1 averages EL2N over networks); `forgetting` Toneva et al. 2019;
`least_confidence`, `entropy` and `margin` are active learning's, and read no labels.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from padray.experts.positions import NOWHERE, Keeper
from padray.experts.training import Samples
from padray.networks.layers import Network

NEVER_LEARNED = 1000.0  # above any count, even where one network in ten never learned a sample and nine always knew it
_TIE = 1e-3  # below any difference of counts averaged over fewer than a thousand networks
_BATCH = 1000


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of one network.

    Attributes:
        logits_NK: z, at the end of training.
        feature_squares_N: ||h||^2, at the end of training.
        labels_N: class indices.
        correct_EN: whether the largest logit was the label's, after every epoch.
        losses_EN: the cross entropy, after every epoch.
        lots_N: one number in [0, 1) drawn for each sample.
    """

    logits_NK: torch.Tensor
    feature_squares_N: torch.Tensor
    labels_N: torch.Tensor
    correct_EN: torch.Tensor
    losses_EN: torch.Tensor
    lots_N: torch.Tensor


def observe(
    network: Network,
    epochs: Iterable[object],
    parts: Sequence[Samples],
    draw: torch.Generator,
    keeper: Keeper = NOWHERE,
) -> Observed:
    """Look at the samples of all parts, in their order, after each of the epochs that train the network.

    Args:
        epochs: trains the network in place, one epoch for each thing that it yields (`training.train`); at least one.
        keeper: of the training's positions, which is also told what was seen.
    """
    labels_N = torch.cat([part.labels for part in parts]).cpu()

    def seen() -> dict[str, torch.Tensor]:
        return {"correct": torch.stack(correct), "losses": torch.stack(losses)} if correct else {}

    before = keeper.remember(seen)
    correct, losses = list(before.get("correct", ())), list(before.get("losses", ()))
    for _ in epochs:
        logits_NK, squares_N = _look(network, parts)
        correct.append(logits_NK.argmax(dim=1) == labels_N)
        losses.append(F.cross_entropy(logits_NK, labels_N, reduction="none"))
    lots_N = torch.rand(len(labels_N), generator=draw, dtype=torch.float64)
    return Observed(logits_NK, squares_N, labels_N, torch.stack(correct), torch.stack(losses), lots_N)


@torch.no_grad()
def _look(network: Network, parts: Sequence[Samples]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) and the features' squared lengths (N,), float64 on the CPU."""
    network.eval()
    logits, squares = [], []
    for part in parts:
        for images_NCHW in torch.split(part.images, _BATCH):
            features_NF = network.features(images_NCHW)
            logits.append(network.classifier(features_NF).cpu().double())
            squares.append(features_NF.cpu().double().square().sum(dim=1))
    return torch.cat(logits), torch.cat(squares)


def el2n(seen: Observed) -> torch.Tensor:
    """||p - y||_2, the length of the error vector, in [0, sqrt 2]; (N,). PAD Eq. 1 for one network."""
    error_NK = seen.logits_NK.softmax(dim=1) - F.one_hot(seen.labels_N, seen.logits_NK.shape[1])
    norms_N: torch.Tensor = torch.linalg.vector_norm(error_NK, dim=1)
    return norms_N


def grand(seen: Observed) -> torch.Tensor:
    """||p - y||_2 sqrt(1 + ||h||^2), the length of the loss's gradient in the last layer, bias included; (N,).

    Source: Paul et al. 2021, who take the gradient of all layers.
    """
    return el2n(seen) * (1 + seen.feature_squares_N).sqrt()


def loss(seen: Observed) -> torch.Tensor:
    """The cross entropy; (N,)."""
    return F.cross_entropy(seen.logits_NK, seen.labels_N, reduction="none")


def least_confidence(seen: Observed) -> torch.Tensor:
    """1 - max p, in [0, 1); (N,)."""
    return 1 - seen.logits_NK.softmax(dim=1).amax(dim=1)


def entropy(seen: Observed) -> torch.Tensor:
    """-sum p log p, in nats; (N,)."""
    return -(seen.logits_NK.softmax(dim=1) * seen.logits_NK.log_softmax(dim=1)).sum(dim=1)


def margin(seen: Observed) -> torch.Tensor:
    """1 - (p1 - p2), of the two largest probabilities; in [0, 1]; (N,)."""
    largest_N2 = seen.logits_NK.softmax(dim=1).topk(2, dim=1).values
    return 1 - (largest_N2[:, 0] - largest_N2[:, 1])


def forgetting(seen: Observed) -> torch.Tensor:
    """How often the sample went from correct to wrong between the ends of two epochs in a row; (N,).

    A sample that was correct after no epoch counts `NEVER_LEARNED`, so that it is the hardest of all, also in the
    mean over networks. Equal counts are told apart by the mean loss over the epochs, in less than a thousandth.
    """
    forgotten_N = (seen.correct_EN[:-1] & ~seen.correct_EN[1:]).sum(dim=0).double()
    counts_N = torch.where(seen.correct_EN.any(dim=0), forgotten_N, NEVER_LEARNED)
    mean_N = seen.losses_EN.mean(dim=0)
    return counts_N + _TIE * mean_N / (1 + mean_N)


def random(seen: Observed) -> torch.Tensor:
    """The lots: a ranking that knows nothing, to measure the others by; (N,)."""
    return seen.lots_N


SCORES: dict[str, Callable[[Observed], torch.Tensor]] = {
    "el2n": el2n,
    "grand": grand,
    "loss": loss,
    "least_confidence": least_confidence,
    "entropy": entropy,
    "margin": margin,
    "forgetting": forgetting,
    "random": random,
}
