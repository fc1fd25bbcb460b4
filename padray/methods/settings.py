"""What the settings of every family have, and what a configuration asks of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from padray.experts.settings import ExpertSettings
from padray.methods.searched import WIDE, Between, Range, around
from padray.networks.settings import NetworkSettings
from padray.settings.sections import (
    FULL_AUGMENTATION,
    Augmentation,
    Batch,
    Count,
    Epochs,
    NotNegative,
    Section,
    Share,
)


@dataclass(frozen=True)
class Contributions:
    """How many contributions an iteration is made of, what says so, and what to do for more workers than these."""

    count: int
    what: str
    advice: str = "lower cluster.workers"


class ValidationSettings(Section):
    """How the iterates are judged on the validation split while distilling."""

    every: Count = 500
    """After so many iterations each, the set is judged on the validation split. [ours]"""
    seeds: Annotated[int, Field(ge=0, le=10_000)] = 3
    """By so many fresh networks, each time; 0: not at all, and the last iterate is the set. [ours]"""
    epochs: Epochs = 300
    """Trained for so many epochs. [ours]"""


class DistillSettings(Section):
    """What every family has: the size of the set, how long and how fast its images descend, how iterates are judged."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"iterations", "checkpoint_seconds", "seed"})
    family: str
    """What is matched, and so which settings there are; see below. [PAD]"""
    ipc: Count = 10
    """IPC: synthetic samples per class. [ours]"""
    iterations: Annotated[int, Field(ge=1, le=999_999)] = 10_000  # six digits number them
    """Steps of the images. More of them go on where the last run ended. [PAD]"""
    lr_images: NotNegative = 100.0
    """The learning rate of the images. [PAD]"""
    momentum_images: Share = 0.5
    """Their momentum. [PAD]"""
    ema_decay: Share = 0.0
    """A moving average of the images is judged and stored (FTD, 0.999); 0 is off. [PAD]"""
    augment: Augmentation = FULL_AUGMENTATION
    """Augmentation of what networks see while distilling; families that compare with real batches draw one for both.
    [PAD]"""
    checkpoint_seconds: NotNegative = 20.0
    """What a kill may cost. States are stored beside the work, and further apart only where that would take more than
    2 % of the cores' time. 0: after every iteration, and the work waits for it. [ours]"""
    validation: ValidationSettings = ValidationSettings()
    seed: int | None = None
    """In the common seed's place. [ours]"""

    @property
    def needs_experts(self) -> bool:
        """Whether trained experts are matched."""
        return False

    @property
    def from_units(self) -> bool:
        """Whether the set is put together from units, and not distilled in iterations (see methods/method.py)."""
        return False

    @property
    def soft_labels(self) -> bool:
        """Whether the set has learned labels."""
        return False

    @property
    def learns_lr(self) -> bool:
        """Whether the set brings the learning rate of its students."""
        return False

    @property
    def changes_lr(self) -> bool:
        """Whether that descends with the images."""
        return False

    @property
    def samples_asked(self) -> int:
        """The most training samples of a class that an iteration, or the start, looks at."""
        return self.ipc

    def searched(self, experts: ExpertSettings) -> Mapping[str, Range | None]:
        """Of its settings those that a first search is worth, and what from; None where one is to stay as it is.

        Args:
            experts: which stay as they are, so that all trials share them.
        """
        momenta = Between(0.0, max(0.9, self.momentum_images))
        return {"lr_images": around(self.lr_images, WIDE), "momentum_images": momenta}

    def compilable_passes(self, classes: int) -> float:
        """Forward passes of a sample that networks/derivatives.py makes in all iterations, in their equivalents."""
        return 0.0

    def contributions(self, network: NetworkSettings, classes: int) -> Contributions:
        """What an iteration consists of; each of them can be made by another worker."""
        raise NotImplementedError

    def check_experts(self, experts: ExpertSettings) -> None:
        """Refuse experts that do not fit. Raises ValueError."""


class ClasswiseSettings(DistillSettings):
    """What the families have that match class by class (classwise.py), without experts."""

    real_batch: Batch = 256
    """Real samples of a class, drawn anew in each iteration; of a smaller class all. What `schedule.prune_*` leaves
    out is never seen (PAD Table 6). [DM]"""
    init: Literal["real", "noise"] = "real"
    """Images start from real samples of their class, or from noise. [DM]"""

    @property
    def samples_asked(self) -> int:
        return max(self.ipc, self.real_batch)
