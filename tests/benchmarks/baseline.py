"""The usual way of the field, to measure padray against: the loops of the published scripts, written down plainly.

Eager PyTorch in float32 with its default allocator; one network at a time; a DataLoader; DSA augmentation with one
operation drawn for each batch; trajectory matching by unrolling all student steps with `create_graph=True`. Nothing
here imports padray. test_baseline.py holds the numbers equal to padray's in float64, so both do the same work.

Sources: DC/DSA/DM (Zhao & Bilen 2021, 2023), MTT (Cazenavette et al. 2022), DATM (Guo et al. 2024).
Legend: N samples, C H W, K classes, P parameters, M synthetic samples.
"""

import math
import random
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

DSA = "color_crop_cutout_flip_scale_rotate"


class ConvNet(nn.Module):
    """Blocks of 3x3 convolution, instance norm, ReLU and 2x2 average pooling, then a linear classifier."""

    def __init__(self, channels: int, side: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=1),
                nn.GroupNorm(width, width, affine=True),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2, 2),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * (side // 2**depth) ** 2, classes)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.embed(images))


# -- augmentation (DSA)


def augment(images: torch.Tensor, strategy: str = DSA, siamese: int | None = None) -> torch.Tensor:
    """One operation of the strategy for the batch, each image with parameters of its own.

    Args:
        siamese: a seed; batches that are given the same one share the operation and one draw for all their images.
    """
    if strategy in ("", "none"):
        return images
    if siamese is not None:
        torch.manual_seed(siamese)
    names = strategy.split("_")
    name = names[int(torch.randint(0, len(names), (1,)))]
    draws = len(images) if siamese is None else 1
    for operation in OPERATIONS[name]:
        images = operation(images, draws)
    return images


def brightness(x: torch.Tensor, draws: int) -> torch.Tensor:
    return x + (torch.rand(draws, 1, 1, 1).to(x) - 0.5)


def saturation(x: torch.Tensor, draws: int) -> torch.Tensor:
    mean = x.mean(dim=1, keepdim=True)
    return (x - mean) * (torch.rand(draws, 1, 1, 1).to(x) * 2) + mean


def contrast(x: torch.Tensor, draws: int) -> torch.Tensor:
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    return (x - mean) * (torch.rand(draws, 1, 1, 1).to(x) + 0.5) + mean


def crop(x: torch.Tensor, draws: int) -> torch.Tensor:
    """A shift by up to an eighth of the side, zeros moving in."""
    n, _, height, width = x.shape
    up, left = int(height * 0.125 + 0.5), int(width * 0.125 + 0.5)
    rows = torch.randint(-up, up + 1, (draws, 1, 1)).to(x.device)
    columns = torch.randint(-left, left + 1, (draws, 1, 1)).to(x.device)
    samples, h, w = torch.meshgrid(
        torch.arange(n, device=x.device),
        torch.arange(height, device=x.device),
        torch.arange(width, device=x.device),
        indexing="ij",
    )
    h, w = (h + rows + 1).clamp(0, height + 1), (w + columns + 1).clamp(0, width + 1)
    padded = F.pad(x, [1, 1, 1, 1])
    return padded.permute(0, 2, 3, 1)[samples, h, w].permute(0, 3, 1, 2)


def cutout(x: torch.Tensor, draws: int) -> torch.Tensor:
    """A square of half the side is zero, clipped at the borders."""
    n, _, height, width = x.shape
    tall, wide = int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)
    row = torch.randint(0, height + (1 - tall % 2), (draws, 1, 1)).to(x.device)
    column = torch.randint(0, width + (1 - wide % 2), (draws, 1, 1)).to(x.device)
    samples, h, w = torch.meshgrid(
        torch.arange(n, device=x.device),
        torch.arange(tall, device=x.device),
        torch.arange(wide, device=x.device),
        indexing="ij",
    )
    h, w = (h + row - tall // 2).clamp(0, height - 1), (w + column - wide // 2).clamp(0, width - 1)
    mask = torch.ones(n, height, width, dtype=x.dtype, device=x.device)
    mask[samples, h, w] = 0
    return x * mask.unsqueeze(1)


def flip(x: torch.Tensor, draws: int) -> torch.Tensor:
    return torch.where(torch.rand(draws, 1, 1, 1).to(x.device) < 0.5, x.flip(3), x)


def scale(x: torch.Tensor, draws: int) -> torch.Tensor:
    factors = (torch.rand(draws, 2) * (1.2 - 1 / 1.2) + 1 / 1.2).tolist()
    return warp(x, [[[a, 0, 0], [0, b, 0]] for a, b in factors])


def rotate(x: torch.Tensor, draws: int) -> torch.Tensor:
    angles = ((torch.rand(draws) - 0.5) * 2 * 15 / 180 * math.pi).tolist()
    return warp(x, [[[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0]] for a in angles])


def warp(x: torch.Tensor, matrices: list[list[list[float]]]) -> torch.Tensor:
    theta = torch.tensor(matrices).to(x).expand(len(x), 2, 3)
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=True), align_corners=True)


OPERATIONS = {
    "color": [brightness, saturation, contrast],
    "crop": [crop],
    "cutout": [cutout],
    "flip": [flip],
    "scale": [scale],
    "rotate": [rotate],
}


# -- experts and evaluation


def loader(images: torch.Tensor, labels: torch.Tensor, batch: int, shuffle: bool = True) -> DataLoader:
    return DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=shuffle, num_workers=0)


def train_epoch(
    net: nn.Module, batches: Iterable, optimiser: torch.optim.Optimizer, strategy: str = DSA
) -> tuple[float, float]:
    """One pass with gradient descent; mean loss and accuracy, as the scripts keep them. Labels: classes or shares."""
    device = next(net.parameters()).device
    net.train()
    loss_sum, right, seen = 0.0, 0, 0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        output = net(augment(images, strategy))
        loss = F.cross_entropy(output, labels)
        classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
        right += int((output.detach().argmax(dim=1) == classes).sum())
        loss_sum, seen = loss_sum + loss.item() * len(labels), seen + len(labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss_sum / seen, right / seen


@torch.no_grad()
def accuracy(net: nn.Module, batches: Iterable) -> float:
    """The share of samples that are right."""
    device = next(net.parameters()).device
    net.eval()
    right = seen = 0
    for images, labels in batches:
        right += int((net(images.to(device)).argmax(dim=1).cpu() == labels).sum())
        seen += len(labels)
    return right / seen


def train_expert(net: nn.Module, batches: Iterable, epochs: int, lr: float = 0.01) -> Iterator[list[torch.Tensor]]:
    """Plain SGD; the parameters after every epoch, copied to the CPU."""
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.0, weight_decay=0.0)
    for _ in range(epochs):
        train_epoch(net, batches, optimiser)
        yield [parameter.detach().cpu().clone() for parameter in net.parameters()]


def train_on_set(
    net: nn.Module, images: torch.Tensor, labels: torch.Tensor, lr: float, epochs: int, strategy: str = DSA
) -> nn.Module:
    """The standard protocol: `epochs` passes in batches of 128, a tenth of the lr and a new optimiser half way."""
    batches = loader(images, labels, 128)

    def sgd(lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=0.0005)

    optimiser = sgd(lr)
    for epoch in range(epochs):
        train_epoch(net, batches, optimiser, strategy)
        if epoch == (epochs - 1) // 2 + 1:
            optimiser = sgd(lr * 0.1)
    return net


# -- trajectory matching


def flatten(net: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in net.parameters()])


def forward_flat(net: nn.Module, flat: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The network with its parameters taken from one vector (P,)."""
    state, start = {}, 0
    for name, parameter in net.named_parameters():
        state[name] = flat[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    return functional_call(net, state, (images,))


def chunks(count: int, batch: int) -> Iterator[torch.Tensor]:
    """Indices of minibatches, permutation after permutation."""
    while True:
        yield from torch.split(torch.randperm(count), batch)


class TrajectoryMatching:
    """A set under distillation: images (M, C, H, W), labels as classes (M,) or logits (M, K), the student's lr."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, lr: float, strategy: str = DSA) -> None:
        self.images = images.detach().clone().requires_grad_()
        self.soft, self.strategy = labels.is_floating_point(), strategy
        self.labels = labels.detach().clone().requires_grad_(self.soft)
        self.lr = torch.tensor(lr, dtype=images.dtype, device=images.device, requires_grad=True)
        self.optimisers = [
            torch.optim.SGD([self.images], lr=1.0, momentum=0.5),
            torch.optim.SGD([self.lr], lr=1e-5, momentum=0.5),
        ]
        if self.soft:
            self.optimisers.append(torch.optim.SGD([self.labels], lr=2.0, momentum=0.9))

    def loss(
        self, net: nn.Module, start: torch.Tensor, target: torch.Tensor, batches: Iterable, steps: int
    ) -> torch.Tensor:
        """How far a student of so many steps from `start` (P,) ends from `target`, relative to where it began."""
        net.train()
        student = start.detach().clone().requires_grad_()
        for _, indices in zip(range(steps), batches, strict=False):
            labels = self.labels[indices]
            output = forward_flat(net, student, augment(self.images[indices], self.strategy))
            error = F.cross_entropy(output, labels.softmax(dim=1) if self.soft else labels)
            (gradient,) = torch.autograd.grad(error, student, create_graph=True)
            student = student - self.lr * gradient
        distance = F.mse_loss(student, target, reduction="sum")
        return distance / F.mse_loss(start, target, reduction="sum")

    def iterate(self, net: nn.Module, start: torch.Tensor, target: torch.Tensor, batch: int, steps: int) -> float:
        """One iteration: the student's steps, the loss, and a step of everything that is learned."""
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss = self.loss(net, start, target, chunks(len(self.images), batch), steps)
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        return loss.item()


# -- distribution matching


def distribution_loss(
    net: ConvNet, real: Iterable[torch.Tensor], synthetic: Iterable[torch.Tensor], strategy: str = DSA
) -> torch.Tensor:
    """The squared distances of mean features, class by class, summed; both batches of a class augmented alike."""
    net.train()
    loss = torch.zeros(())
    for wanted, images in zip(real, synthetic, strict=True):
        seed = random.randrange(100_000)
        wanted, images = augment(wanted, strategy, seed), augment(images, strategy, seed)
        distance = net.embed(wanted).detach().mean(dim=0) - net.embed(images).mean(dim=0)
        loss = loss.to(images) + (distance**2).sum()
    return loss


class DistributionMatching:
    """A set of IPC images a class, class after class, and the real images of each class, K of (n, C, H, W)."""

    def __init__(self, images: torch.Tensor, real: list[torch.Tensor], ipc: int) -> None:
        self.images, self.real, self.ipc = images.detach().clone().requires_grad_(), real, ipc
        self.optimiser = torch.optim.SGD([self.images], lr=1.0, momentum=0.5)

    def iterate(self, net: ConvNet, batch: int = 256) -> float:
        """One iteration in a fresh network, which is not trained."""
        for parameter in net.parameters():
            parameter.requires_grad = False
        real = [images[torch.randperm(len(images))[:batch]] for images in self.real]
        loss = distribution_loss(net, real, torch.split(self.images, self.ipc))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()
