"""What follows from a look at a dataset: a network and learning rates that fit it, whatever the time that there is.

The numbers are scaled from our presets for two CPU cores (digits-ipc1, digits-ipc10, cifar10-narrow-ipc1) and from
tests/benchmarks/recipe.py, not from the papers. Legend: K classes, C channels, H rows, W columns.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from padray.config import DataSettings
from padray.data.datasets import held_count
from padray.data.sources import kept_count
from padray.data.survey import Survey
from padray.errors import InputError
from padray.machine.files import shown
from padray.planning.outline import Known
from padray.settings.sections import FULL_AUGMENTATION

WHITENED = 4096  # numbers per image up to which whitening is a matter of seconds
JUDGED = 4  # iterates that are judged on the validation split, evenly spread; the last one is among them
_SIDE = 32
_ONE_WAY = frozenset({"mnist", "svhn"})  # digits: no flip, as DSA has it
Family = Literal["trajectory", "distribution"]


@dataclass(frozen=True)
class Sizes:
    """What costs time, and so follows from the budget (sizing.py).

    Attributes:
        width: of the network.
        limit: training samples of each class that are read; None for all.
        experts, epochs: how many, and for how long; for families that need them.
        real_batch: real samples of a class in an iteration; for families that match class by class.
        judges: networks that judge an iterate, and judge_epochs how long they are trained; the same length is seeds'
            and cell_epochs' of the proof.
        full_epochs: of the network on the full data; 0 for none.
    """

    family: Family
    width: int
    limit: int | None
    iterations: int
    experts: int = 6
    epochs: int = 15
    real_batch: int = 64
    judges: int = 3
    judge_epochs: int = 200
    seeds: int = 5
    cell_epochs: int = 300
    full_epochs: int = 0


@dataclass(frozen=True)
class Plan:
    """A survey, and what follows from it. `seen` are the training samples that are left to learn from."""

    survey: Survey
    data: DataSettings
    ipc: int
    sizes: Sizes
    seen: int

    @property
    def is_image(self) -> bool:
        return self.survey.content == "image"

    @property
    def numbers(self) -> int:
        """C*H*W."""
        return math.prod(self.survey.shape)

    @property
    def side(self) -> int:
        """An image's smaller side, or a series' length."""
        _, height, width = self.survey.shape
        return min(height, width) if self.is_image else width

    @property
    def uneven(self) -> float:
        return self.survey.largest[1] / self.survey.smallest[1]

    @property
    def augment(self) -> str:
        if not self.is_image:
            return "none"
        if self.side < _SIDE // 2:
            return "crop"
        return FULL_AUGMENTATION.replace("_flip", "" if self.data.dataset in _ONE_WAY else "_flip")

    @property
    def architecture(self) -> dict[str, Any]:
        """A network that fits the samples: a block halves an image's side, until it is about four."""
        width = self.sizes.width
        if self.is_image and self.side >= 4:
            depth = max(2 if self.side >= 8 else 1, min(5, round(math.log2(self.side)) - 2))
            return {"name": "convnet", "width": width, "depth": depth}
        if self.survey.content == "series" and self.side >= 4:
            return {"name": "convnet1d", "width": width, "depth": max(1, min(4, round(math.log2(self.side)) - 3))}
        return {"name": "mlp", "width": 2 * width, "depth": 2}

    @property
    def batch(self) -> int:
        """Real samples per step: a power of two that gives an epoch about twenty steps."""
        return int(2 ** min(8, max(4, math.floor(math.log2(max(1, self.seen / 20))))))

    @property
    def lr(self) -> float:
        """Of experts."""
        return 0.02 if self.is_image and self.side > _SIDE else 0.05

    @property
    def student_lr(self) -> float:
        """Where the student's learning rate begins; a large one ends larger images' students farther away."""
        if not self.is_image or self.side < _SIDE // 2:
            return 0.02
        return 0.01 if self.side <= _SIDE else 0.005

    @property
    def windows(self) -> dict[str, int]:
        """The epochs at which students begin; more samples per class learn from later ones."""
        epochs = self.sizes.epochs
        first, last = (0, 2 * epochs // 5) if self.ipc == 1 else (0, epochs // 2) if self.ipc < 10 else (4, epochs - 3)
        return {"min_start": first, "start": last, "max_start": last}

    @property
    def lr_images(self) -> float:
        """Our presets have 3 at 64 numbers a sample and 100 at 3072, and three times as much from ten per class on.

        Of distribution matching as its authors have it, whatever the samples' size.
        """
        if self.sizes.family == "distribution":
            return 1.0 if self.ipc < 100 else 10.0
        return float(f"{self.numbers / 30 * (3 if self.ipc >= 10 else 1):.0e}")


def known_of(plan: Plan) -> Known:
    """The dataset as a plan knows it."""
    survey, data = plan.survey, plan.data
    kept = _kept(survey, data)
    held = [held_count(count, data.validation) for count in kept]
    train = tuple(count - off for count, off in zip(kept, held, strict=True))
    return Known(survey.shape, survey.names, train, sum(held), survey.test, survey.content, "a look at the files")


def plan(survey: Survey, ipc: int, sizes: Sizes) -> Plan:
    """Raises InputError for samples per class that the smallest class does not have."""
    if ipc < 1:
        raise InputError(f"--ipc {ipc}: a set has at least 1 sample per class")
    data = _data(survey, sizes.limit)
    kept = _kept(survey, data)
    left = [count - held_count(count, data.validation) for count in kept]
    fewest = left.index(min(left))
    if left[fewest] < ipc:
        name, held = shown(survey.names[fewest]), kept[fewest] - left[fewest]
        raise InputError(
            f"class {name!r} has {kept[fewest]} training sample(s), {held} of them to validate with; a set of {ipc} "
            f"per class needs {ipc} to train on: add samples, leave the class out, or lower --ipc"
        )
    return Plan(survey, data, ipc, sizes, sum(left))


def _kept(survey: Survey, data: DataSettings) -> list[int]:
    """Training samples of each class that are read, those to validate with among them."""
    return [kept_count(count, label, len(survey.names), data) for label, count in enumerate(survey.counts)]


def _data(survey: Survey, limit: int | None) -> DataSettings:
    """The survey's settings with a limit where it leaves something out, and with preprocessing; what is told stays."""
    settings, updates = survey.settings, dict[str, Any]()
    is_image, numbers = survey.content == "image", math.prod(survey.shape)
    if limit is not None and settings.limit_per_class is None and survey.largest[1] > limit:
        updates["limit_per_class"] = limit
    if "preprocessing" not in settings.model_fields_set:
        is_whitened = is_image and survey.shape[0] == 3 and numbers <= WHITENED
        updates["preprocessing"] = "zca" if is_whitened else "normalize"
    return settings.model_copy(update=updates)
