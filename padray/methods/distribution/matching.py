"""Distribution matching as a method: an iteration is the sum over classes, in one fresh network.

L = sum over classes and outputs of |mean of f(real) - mean of f(synthetic)|^2, f the network's flattened output, both
batches of a class augmented alike (Siamese). No network is trained, and labels stay class indices. Sources: DM (Zhao &
Bilen 2023) Eq. 4 and 5, PAD Tables 6 and 7b. Ours: float32 augmentation of padray/data/augment.py, whose resampling
aligns corners; what is not finite is left out class by class.

Legend: M = K * IPC synthetic samples, N training samples, K classes, B samples of a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from padray.data import augment
from padray.draws import generator, seed_for
from padray.methods import steps
from padray.methods.distribution import report
from padray.methods.distribution.outputs import outputs_of
from padray.methods.distribution.settings import DistributionSettings
from padray.methods.figures import Figure, History
from padray.methods.method import Contribution, Costs, Iterative, Metrics, Sizes
from padray.methods.state import State, start
from padray.networks import factory
from padray.networks.flat import Span
from padray.networks.layers import Network
from padray.networks.peak import peak_of
from padray.networks.settings import PIXEL_PASSES
from padray.synthetic.set import Learned
from padray.synthetic.start import choose_samples, class_labels, noise

_LOWER = "lower distill.lr_images"
_METRICS, _CLASS = 110, 20  # bytes of an iteration in a checkpoint, about, and of what is noted of each class


class DistributionMatching(Iterative[DistributionSettings]):
    """A contribution is one class's, or with a batch norm the one of all: `loss` (classes,) and `grad_images`.

    `grad_images` (M of these classes, C, H, W) is the gradient of the sum of these losses.
    """

    contribution = "class"

    @cached_property
    def real(self) -> list[torch.Tensor]:
        """The samples of each class that may be drawn, K of (B, C, H, W)."""
        kept, labels = self.materials.kept, self.materials.labels
        images = self.materials.images
        return [images[kept[labels[kept] == label]] for label in range(self.materials.classes)]

    def start(self) -> State:
        settings, given = self.settings, self.materials
        labels = class_labels(given.classes, settings.ipc)
        if settings.init == "noise":
            images = noise(len(labels), given.shape, given.seed)
        else:
            kept = given.kept
            none_right = torch.zeros((0, len(kept)), dtype=torch.bool)
            chosen = choose_samples(given.labels[kept], none_right, settings.ipc, given.seed, given.classes)
            images = given.images[kept[chosen]].clone()
        return start(Learned(images.to(given.device, given.dtype), labels), averaged=settings.ema_decay > 0)

    def contribute(self, state: State, number: int, snapshots: Sequence[torch.Tensor]) -> Contribution:
        """The losses of the classes of this contribution (DM Eq. 5), and the gradient of their sum."""
        classes = range(self.materials.classes) if self.count == 1 else range(number, number + 1)
        ipc = self.settings.ipc
        images_MCHW = state.learned.images[classes.start * ipc : classes.stop * ipc].detach().requires_grad_()
        drawn = [self._real_batch(label, state.iteration) for label in classes]
        changes = [self._augmentation(label, state.iteration) for label in classes]
        parts = torch.split(images_MCHW, ipc)
        fake = [augment.apply(change, part) for change, part in zip(changes, parts, strict=True)]
        real = [augment.apply(change, part) for change, part in zip(changes, drawn, strict=True)]
        network = self._network(state.iteration)
        with torch.no_grad():
            wanted = self._means(network, real)
        losses_K = _distances(wanted, self._means(network, fake))
        (grad_images,) = torch.autograd.grad(losses_K.sum(), images_MCHW)
        return {"loss": losses_K.detach(), "grad_images": grad_images}

    def _real_batch(self, label: int, iteration: int) -> torch.Tensor:
        """Real samples of a class (B, C, H, W), drawn without replacement."""
        images_NCHW = self.real[label]
        draw = generator(self.materials.seed, "distill", f"real-{label}", iteration)
        return images_NCHW[torch.randperm(len(images_NCHW), generator=draw)[: self.settings.real_batch]]

    def _augmentation(self, label: int, iteration: int) -> augment.Augmentation:
        """One operation for both batches of a class, its parameters shared by all samples."""
        draw = generator(self.materials.seed, "distill", f"augment-{label}", iteration)
        return augment.draw(self.settings.augment, 1, self.materials.shape, draw)

    def _network(self, iteration: int) -> Network:
        """The iteration's network, which nobody trains."""
        given = self.materials
        seed = seed_for(given.seed, "distill", "network", iteration)
        network = factory.build(given.network, given.shape, given.classes, seed)
        return network.to(given.device, given.dtype).train().requires_grad_(False)

    def _means(self, network: Network, batches: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """Of each matched output and each batch (B, C, H, W) the mean over its samples, (F,); one pass for all."""
        outputs = outputs_of(network, torch.cat(batches), self.settings.outputs)
        sizes = [len(batch) for batch in batches]
        return [[part.mean(dim=0) for part in torch.split(output, sizes)] for output in outputs]

    def step(self, state: State, contributions: Sequence[Contribution]) -> tuple[State, Metrics]:
        """One step of all images along the sum over classes; a class whose part is not finite stays as it is.

        Raises:
            DivergedError: no class was finite, again and again, or the step leaves values that are not finite.
        """
        finite = [steps.is_finite(one) for one in contributions]
        stepped = steps.next_of(state, any(finite))
        steps.check_barren(stepped, self.contribution, f": {_LOWER}")
        losses = torch.cat([one["loss"] for one in contributions])
        metrics = {
            "iteration": state.iteration,
            "loss": float(losses.sum()),
            "skipped": finite.count(False),
            "not_finite": finite.count(False),
            "classes": losses.tolist(),
        }
        if not any(finite):
            return stepped, metrics
        moved = steps.descend_images(self.settings, stepped, torch.cat([one["grad_images"] for one in contributions]))
        if not all(finite):
            counts = torch.tensor([len(one["grad_images"]) for one in contributions])
            moves_M = torch.tensor(finite).repeat_interleave(counts).to(self.materials.device)
            moved = _only(moves_M, moved, stepped)
        steps.check_finite(moved, {"distill.lr_images": moved.learned.images})
        return moved, metrics

    def warning(self, state: State) -> str | None:
        """That the last iterations did nothing."""
        return steps.barren_warning(state, self.contribution, _LOWER)

    @classmethod
    def left_out(cls, settings: DistributionSettings) -> str:
        return "a class left out because its loss or gradient was not finite"

    @classmethod
    def notes(cls, settings: DistributionSettings, learned: Learned, noun: str) -> list[str]:
        return report.notes(settings, noun)

    @classmethod
    def figures(
        cls, settings: DistributionSettings, history: History, spans: Sequence[Span], classes: Sequence[str]
    ) -> list[Figure]:
        return report.figures(history, classes)

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
            peak_bytes=peak_of(run) + sizes.train * numbers * dtype.itemsize,
            own_numbers=0,
            contribution_numbers=at_once * (settings.ipc * numbers + 1),
            metrics_bytes=_METRICS + _CLASS * sizes.classes,
        )


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


def _only(moves_M: torch.Tensor, moved: State, stayed: State) -> State:
    """The moved state where images are to move, and what it was elsewhere."""
    mask = moves_M[:, None, None, None]

    def chosen(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, new, old)

    learned = Learned(chosen(moved.learned.images, stayed.learned.images), moved.learned.labels)
    momentum = Learned(chosen(moved.momentum.images, stayed.momentum.images), moved.momentum.labels)
    average = None
    if moved.average is not None and stayed.average is not None:
        average = chosen(moved.average, stayed.average)
    return replace(moved, learned=learned, momentum=momentum, average=average)
