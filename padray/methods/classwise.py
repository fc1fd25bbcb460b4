"""What the families share that match real and synthetic samples class by class, in networks of no expert.

A contribution is one class's, or that of all classes at once where the settings say so. Both batches of a class are
augmented alike (Siamese); labels stay class indices. What is not finite is left out class by class.

Legend: M = K * IPC synthetic samples, N training samples, K classes, B samples of a batch.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, NamedTuple, TypeVar

import torch

from padray.data import augment
from padray.draws import generator, seed_for
from padray.methods import steps
from padray.methods.method import Contribution, Iterative, Metrics
from padray.methods.settings import ClasswiseSettings
from padray.methods.state import State, start
from padray.networks import factory
from padray.networks.layers import Network
from padray.synthetic.set import Learned
from padray.synthetic.start import choose_samples, class_labels, noise

METRICS_BYTES, CLASS_BYTES = 110, 20  # of an iteration in a checkpoint, about, and of what is noted of each class

S = TypeVar("S", bound=ClasswiseSettings)


class Batches(NamedTuple):
    """Augmented samples of some classes: for each a real batch and its synthetic ones, which come from `images`."""

    classes: range
    images: torch.Tensor
    real: list[torch.Tensor]
    fake: list[torch.Tensor]


class ClasswiseMatching(Iterative[S]):
    """A contribution has the `loss` of its classes (classes,), and `grad_images`, the gradient of their sum.

    `grad_images` is (M of these classes, C, H, W).
    """

    contribution = "class"
    lower: ClassVar[str] = "lower distill.lr_images"  # what to do where nothing is finite

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

    def _batches(self, state: State, number: int) -> Batches:
        """What a contribution compares."""
        classes = range(self.materials.classes) if self.count == 1 else range(number, number + 1)
        ipc = self.settings.ipc
        images_MCHW = state.learned.images[classes.start * ipc : classes.stop * ipc].detach().requires_grad_()
        drawn = [self._real_batch(label, state.iteration) for label in classes]
        changes = [self._augmentation(label, state.iteration) for label in classes]
        parts = torch.split(images_MCHW, ipc)
        fake = [augment.apply(change, part) for change, part in zip(changes, parts, strict=True)]
        real = [augment.apply(change, part) for change, part in zip(changes, drawn, strict=True)]
        return Batches(classes, images_MCHW, real, fake)

    def _real_batch(self, label: int, iteration: int) -> torch.Tensor:
        """Real samples of a class (B, C, H, W), drawn without replacement."""
        return self._draw(label, self.settings.real_batch, f"real-{label}", iteration)

    def _draw(self, label: int, count: int, what: str, step: int) -> torch.Tensor:
        """At most `count` real samples of a class; `what` and `step` name the draw."""
        images_NCHW = self.real[label]
        draw = generator(self.materials.seed, "distill", what, step)
        return images_NCHW[torch.randperm(len(images_NCHW), generator=draw)[:count]]

    def _augmentation(self, label: int, iteration: int) -> augment.Augmentation:
        """One operation for both batches of a class, its parameters shared by all samples."""
        draw = generator(self.materials.seed, "distill", f"augment-{label}", iteration)
        return augment.draw(self.settings.augment, 1, self.materials.shape, draw)

    def _network(self, number: int) -> Network:
        """A fresh network."""
        given = self.materials
        seed = seed_for(given.seed, "distill", "network", number)
        network = factory.build(given.network, given.shape, given.classes, seed)
        return network.to(given.device, given.dtype).train()

    def step(self, state: State, contributions: Sequence[Contribution]) -> tuple[State, Metrics]:
        """One step of all images along the sum over classes; a class whose part is not finite stays as it is.

        Raises:
            DivergedError: no class was finite, again and again, or the step leaves values that are not finite.
        """
        finite = [steps.is_finite(one) for one in contributions]
        stepped = steps.next_of(state, any(finite))
        steps.check_barren(stepped, self.contribution, f": {self.lower}")
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
        return steps.barren_warning(state, self.contribution, self.lower)

    @classmethod
    def left_out(cls, settings: S) -> str:
        return "a class left out because its loss or gradient was not finite"


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
