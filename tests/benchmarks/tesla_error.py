"""How far TESLA's gradient is from the exact one, on real images and a real expert, in float64.

    python -m tests.benchmarks.tesla_error --data FOLDER     # CIFAR-10's files; writes results/tesla_error.json

Random real images are the synthetic set (hard labels, no augmentation, batch = set), so nothing but the gradient
differs. The exact gradient is the adjoint, which tests/matching/test_adjoint.py holds equal to full unrolling.
"""

import argparse
import json
from pathlib import Path

import torch
from torch.nn import functional as F

from padray.config import DataSettings, NetworkSettings
from padray.data import datasets, sources
from padray.draws import generator
from padray.methods.trajectory import gradients, student
from padray.methods.trajectory.objective import Metric, match
from padray.methods.trajectory.selection import select
from padray.methods.trajectory.settings import PruningSettings, SelectionSettings
from padray.networks import factory
from padray.networks.derivatives import Derivatives
from padray.networks.flat import FlatNetwork
from padray.synthetic.set import Learned

RESULT = Path(__file__).parent / "results" / "tesla_error.json"
STEPS, LRS = (10, 20, 40), (0.01, 0.05)
EPOCHS, START, BATCH, EXPERT_LR = 3, 1, 64, 0.05


def expert(network: FlatNetwork, images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """Snapshots of plain SGD, in float32 since it only gives two points to match."""
    module, snapshots = network.module, [network.flatten().double()]
    sgd = torch.optim.SGD(module.parameters(), lr=EXPERT_LR)
    for epoch in range(EPOCHS):
        for ids in torch.randperm(len(images), generator=generator(0, "tesla", "epoch", epoch)).split(BATCH):
            sgd.zero_grad()
            F.cross_entropy(module(images[ids]), labels[ids]).backward()
            sgd.step()
        snapshots.append(network.flatten().double())
    return snapshots


def compare(network: FlatNetwork, learned: Learned, steps: int, start: torch.Tensor, target: torch.Tensor) -> dict:
    """Cosine and relative error of the images' gradient, and TESLA's lr gradient over the exact one."""
    shape = tuple(learned.images.shape[1:])
    plan = student.draw_steps(len(learned.images), steps, len(learned.images), "none", shape, generator(0, "tesla"))
    keep = select(SelectionSettings(strategy="none"), PruningSettings(), network.spans, start.device)
    found = {}
    for name in ("exact", "tesla"):
        run = gradients.GRADIENTS[name](Derivatives(network), start, learned, plan)
        matched = match(run.end, start, target, Metric(keep, network.spans))
        found[name] = run.back(matched.grad_theta)
    tesla, exact = found["tesla"], found["exact"]
    cosine = F.cosine_similarity(tesla.images.flatten(), exact.images.flatten(), dim=0)
    error = (tesla.images - exact.images).norm() / exact.images.norm()
    return {
        "lr": float(learned.lr),
        "steps": steps,
        "loss": float(matched.loss),
        "cosine": float(cosine),
        "relative_error": float(error),
        "lr_gradient_ratio": float(tesla.lr / exact.lr),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's files")
    path = parser.parse_args().data
    data = DataSettings(dataset="cifar10", path=path, limit_per_class=200, validation=0.0)
    images, labels = datasets.make(data, sources.read(data)).split("train")
    network = FlatNetwork(factory.build(NetworkSettings(width=32, depth=3), (3, 32, 32), 10, 0).train())
    snapshots = expert(network, images, labels)
    network.to(torch.float64)
    order = torch.randperm(len(images), generator=generator(0, "tesla", "set"))
    chosen = torch.cat([order[labels[order] == label][:1] for label in range(10)])
    rows = []
    print("  lr   N    cosine  relative error  lr gradient, TESLA / exact")
    for lr in LRS:
        for steps in STEPS:
            learned = Learned(images[chosen].double(), labels[chosen], torch.tensor(lr, dtype=torch.float64))
            row = compare(network, learned, steps, snapshots[START], snapshots[EPOCHS])
            rows.append({key: round(value, 4) for key, value in row.items()})
            print(
                f"{lr:5.2f} {steps:3d} {row['cosine']:9.4f} {row['relative_error']:15.3f} "
                f"{row['lr_gradient_ratio']:27.3f}",
                flush=True,
            )
    result = {
        "command": "python -m tests.benchmarks.tesla_error --data FOLDER",
        "network": "convnet3w32 at 3x32x32",
        "set": "10 random real images of CIFAR-10, hard labels, no augmentation, batch 10",
        "expert": f"{EPOCHS} epochs on 2000 images, matched from epoch {START} to {EPOCHS}",
        "torch": torch.__version__,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
