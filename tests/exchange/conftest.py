"""A finished tiny chain, and files as the peers write them: by the test, with PyTorch alone."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from padray.commandline import commands
from padray.stages import pipeline
from padray.stages.pipeline import Outcome
from tests.conftest import TINY

EPOCHS = 6  # of the tiny chain's experts


class Chain(NamedTuple):
    """The settings file, the storage root and what the chain made."""

    settings: Path
    root: Path
    outcome: Outcome

    @property
    def set_name(self) -> str:
        return self.outcome.identities["distill"].folder


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("exchange")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    context = commands.context(str(settings), commands.Request((), str(folder / "runs"), "inline"))
    return Chain(settings, folder / "runs", pipeline.run(context, "evaluate"))


def peer_network(seed: int) -> nn.Sequential:
    """The tiny chain's network, written out: two blocks of width 4 on 8x8 images."""
    torch.manual_seed(seed)
    blocks = [
        layer
        for channels in (1, 4)
        for layer in (nn.Conv2d(channels, 4, 3, padding=1), nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2))
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(16, 10))


def peer_expert(seed: int) -> list[list[torch.Tensor]]:
    """One expert as MTT's script keeps it: the parameters before training and after every epoch."""
    network = peer_network(seed)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images[:400] / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels[:400])
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    snapshots = [[p.detach().clone() for p in network.parameters()]]
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(400), 50):
            sgd.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            sgd.step()
        snapshots.append([p.detach().clone() for p in network.parameters()])
    return snapshots


@pytest.fixture(scope="session")
def experts() -> list[list[list[torch.Tensor]]]:
    with torch.random.fork_rng():
        return [peer_expert(seed) for seed in range(3)]


def peer_set(folder: Path, labels: torch.Tensor | None = None, lr: float | None = 0.02) -> Path:
    """A set in MTT's layout, one image per class; learned labels and a learning rate as DATM adds them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(3)
    torch.save(torch.randn(10, 1, 8, 8, generator=draw), folder / "images_best.pt")
    logits = 3 * torch.eye(10) + torch.randn(10, 10, generator=draw) / 9
    torch.save(logits if labels is None else labels, folder / "labels_best.pt")
    if lr is not None:
        torch.save(torch.tensor(lr), folder / "lr_best.pt")
    return folder
