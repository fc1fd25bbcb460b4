"""Distribution matching as a method: an iteration is the sum over classes, in one fresh network.

L = sum over classes and outputs of |mean of f(real) - mean of f(synthetic)|^2, f the network's flattened output, both
batches of a class augmented alike (Siamese). No network is trained, and labels stay class indices. Sources: DM (Zhao &
Bilen 2023) Eq. 4 and 5, PAD Tables 6 and 7b. Ours: float32 augmentation of padray/data/augment.py, whose resampling
aligns corners.

Legend: M = K * IPC synthetic samples, N training samples, K classes, B samples of a batch.
"""

import math
from collections.abc import Sequence

import torch

from padray.methods.classwise import CLASS_BYTES, METRICS_BYTES, ClasswiseMatching
from padray.methods.distribution import report
from padray.methods.distribution.outputs import outputs_of, outputs_without_graph
from padray.methods.distribution.settings import DistributionSettings
from padray.methods.figure_data import Figure, History, class_losses
from padray.methods.method import Contribution, Costs, Sizes
from padray.methods.state import State
from padray.networks.flat import Span
from padray.networks.layers import Network
from padray.networks.peak import peak_of
from padray.networks.settings import PIXEL_PASSES
from padray.synthetic.set import Learned


class DistributionMatching(ClasswiseMatching[DistributionSettings]):
    """Of mean features; with a batch norm in the network there is one contribution, that of all classes."""

    def contribute(self, state: State, number: int, snapshots: Sequence[torch.Tensor]) -> Contribution:
        """The losses of the classes of this contribution (DM Eq. 5), and the gradient of their sum."""
        batches = self._batches(state, number)
        network, which = self._network(state.iteration).requires_grad_(False), self.settings.outputs
        real = outputs_without_graph(network, torch.cat(batches.real), which, self.materials.execution)
        fake = outputs_of(network, torch.cat(batches.fake), which)
        losses_K = _distances(_means(real, batches.real), _means(fake, batches.fake))
        (grad_images,) = torch.autograd.grad(losses_K.sum(), batches.images)
        return {"loss": losses_K.detach(), "grad_images": grad_images}

    @classmethod
    def notes(cls, settings: DistributionSettings, learned: Learned, noun: str) -> list[str]:
        return report.notes(settings, noun)

    @classmethod
    def figures(
        cls, settings: DistributionSettings, history: History, spans: Sequence[Span], classes: Sequence[str]
    ) -> list[Figure]:
        return [class_losses(history, classes, "each iteration has another network")]

    @classmethod
    def costs(cls, settings: DistributionSettings, sizes: Sizes) -> Costs:
        """A real batch without gradients, a synthetic one with them: of all classes at once with a batch norm.

        And the training samples once more, class by class.
        """
        at_once = sizes.classes if sizes.norm == "batch" else 1
        seen = min(settings.real_batch, sizes.train / sizes.classes)
        numbers = math.prod(sizes.shape)
        network = sizes.network.module
        assert isinstance(network, Network)
        dtype = next(network.parameters()).dtype

        def run() -> None:
            real = torch.empty(
                min(settings.real_batch * at_once, sizes.train), *sizes.shape, device="meta", dtype=dtype
            )
            fake = torch.empty(settings.ipc * at_once, *sizes.shape, device="meta", dtype=dtype, requires_grad=True)
            with torch.no_grad():
                outputs_of(network, real, settings.outputs)
            outputs = outputs_of(network, fake, settings.outputs)
            torch.autograd.grad(torch.stack([output.sum() for output in outputs]).sum(), fake)

        return Costs(
            looks=0,
            passes=settings.iterations * sizes.classes * (seen + PIXEL_PASSES * settings.ipc),
            steps=0,
            peak=lambda: peak_of(run) + sizes.train * numbers * dtype.itemsize,
            own_numbers=0,
            contribution_numbers=at_once * (settings.ipc * numbers + 1),
            metrics_bytes=METRICS_BYTES + CLASS_BYTES * sizes.classes,
        )


def _means(outputs: list[torch.Tensor], batches: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Of each matched output (B, F), for all batches end to end, the mean over each batch's samples, (F,)."""
    sizes = [len(batch) for batch in batches]
    return [[part.mean(dim=0) for part in torch.split(output, sizes)] for output in outputs]


def _distances(wanted: list[list[torch.Tensor]], reached: list[list[torch.Tensor]]) -> torch.Tensor:
    """Squared distances of means by class, summed over outputs, (K,) (DM Eq. 4 and 5 without their sum over classes).

    Args:
        wanted, reached: of real and of synthetic samples, for each output the means (F,) of K classes.
    """
    return torch.stack(
        [
            torch.stack([((a - b) ** 2).sum() for a, b in zip(real, fake, strict=True)])
            for real, fake in zip(wanted, reached, strict=True)
        ]
    ).sum(dim=0)
