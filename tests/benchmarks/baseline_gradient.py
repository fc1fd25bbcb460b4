"""The usual way of gradient matching (DC; Zhao et al. 2021), beside the rest of the field's ways in baseline.py."""

import random
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from tests.benchmarks.baseline import DSA, augment, loader, train_epoch

Tensors = Iterable[torch.Tensor]


def row_distance(wanted: Tensors, reached: Tensors) -> torch.Tensor:
    """1 - cosine of two rows, summed over the rows of all weights; biases and norms' scales have none."""
    distance = torch.zeros(())
    for a, b in zip(wanted, reached, strict=True):
        if a.ndim > 1:
            a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
            products = torch.sum(a * b, dim=-1)
            distance = distance.to(a) + torch.sum(1 - products / (torch.norm(a, dim=-1) * torch.norm(b, dim=-1) + 1e-6))
    return distance


def matching_loss(net: nn.Module, real: Tensors, synthetic: Tensors, strategy: str = DSA) -> torch.Tensor:
    """The distances of a real and a synthetic batch's gradients, class by class, summed; both augmented alike."""
    parameters, loss = list(net.parameters()), torch.zeros(())
    for label, (wanted, images) in enumerate(zip(real, synthetic, strict=True)):
        seed = random.randrange(100_000)
        wanted, images = augment(wanted, strategy, seed), augment(images, strategy, seed)
        error = F.cross_entropy(net(wanted), torch.full((len(wanted),), label, device=wanted.device))
        goal = [gradient.detach().clone() for gradient in torch.autograd.grad(error, parameters)]
        error = F.cross_entropy(net(images), torch.full((len(images),), label, device=images.device))
        reached = torch.autograd.grad(error, parameters, create_graph=True)
        loss = loss.to(images) + row_distance(goal, reached)
    return loss


class GradientMatching:
    """A set of IPC images a class, class after class, and the real images of each class, K of (n, C, H, W)."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, real: list[torch.Tensor], ipc: int) -> None:
        self.images, self.labels = images.detach().clone().requires_grad_(), labels
        self.real, self.ipc = real, ipc
        self.optimiser = torch.optim.SGD([self.images], lr=0.1, momentum=0.5)

    def iterate(self, net: nn.Module, batch: int = 256, epochs: int = 0, strategy: str = DSA) -> float:
        """One step of the images, then so many epochs of the network on them."""
        real = [images[torch.randperm(len(images))[:batch]] for images in self.real]
        loss = matching_loss(net, real, torch.split(self.images, self.ipc), strategy)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        batches = loader(self.images.detach().clone(), self.labels, 256)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(epochs):
            train_epoch(net, batches, optimiser, strategy)
        return loss.item()
