"""What follows from a look at a dataset: a network, and settings that fit it on a laptop.

The numbers are scaled from our presets for two CPU cores (digits-ipc1, digits-ipc10, cifar10-narrow-ipc1), not from
the papers. Legend: K classes, C channels, H rows, W columns.
"""

import math
from dataclasses import dataclass
from typing import Any

from padray.config import DataSettings
from padray.data.datasets import held_count
from padray.data.sources import kept_count
from padray.data.survey import Survey
from padray.errors import InputError
from padray.machine.files import shown
from padray.settings.sections import FULL_AUGMENTATION

WHITENED = 4096  # numbers per image up to which whitening is a matter of seconds
SEEN = 5000  # images of 32x32 that an expert's epoch takes seconds for; fewer where they are larger
SEEN_NUMBERS = 20_000  # the same for rows of tables and series
_SIDE = 32
_ONE_WAY = frozenset({"mnist", "svhn"})  # digits: no flip, as DSA has it


@dataclass(frozen=True)
class Plan:
    """A survey, and what follows from it. `seen` are the training samples that experts see."""

    survey: Survey
    data: DataSettings
    ipc: int
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
        if self.is_image and self.side >= 4:
            depth = max(2 if self.side >= 8 else 1, min(5, round(math.log2(self.side)) - 2))
            return {"name": "convnet", "width": 32 if self.side <= _SIDE else 16, "depth": depth}
        if self.survey.content == "series" and self.side >= 4:
            return {"name": "convnet1d", "width": 32, "depth": max(1, min(4, round(math.log2(self.side)) - 3))}
        return {"name": "mlp", "width": 64, "depth": 2}

    @property
    def epochs(self) -> int:
        """Of an expert; more samples per class learn from later epochs."""
        return 15 if self.ipc == 1 else 20 if self.ipc < 10 else 30

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
        """The epochs at which students begin."""
        first, last = (0, 6) if self.ipc == 1 else (0, 12) if self.ipc < 10 else (4, self.epochs - 3)
        return {"min_start": first, "start": last, "max_start": last}

    @property
    def lr_images(self) -> float:
        """Our presets have 3 at 64 numbers a sample and 100 at 3072, and three times as much from ten per class on."""
        return float(f"{self.numbers / 30 * (3 if self.ipc >= 10 else 1):.0e}")


def plan(survey: Survey, ipc: int) -> Plan:
    """Raises InputError for samples per class that the smallest class does not have."""
    if ipc < 1:
        raise InputError(f"--ipc {ipc}: a set has at least 1 sample per class")
    data, classes = _data(survey, ipc), len(survey.names)
    kept = [kept_count(count, label, classes, data) for label, count in enumerate(survey.counts)]
    left = [count - held_count(count, data.validation) for count in kept]
    fewest = left.index(min(left))
    if left[fewest] < ipc:
        name, held = shown(survey.names[fewest]), kept[fewest] - left[fewest]
        raise InputError(
            f"class {name!r} has {kept[fewest]} training sample(s), {held} of them to validate with; a set of {ipc} "
            f"per class needs {ipc} to train on: add samples, leave the class out, or lower --ipc"
        )
    return Plan(survey, data, ipc, sum(left))


def _data(survey: Survey, ipc: int) -> DataSettings:
    """The survey's settings with a limit where an epoch would take long, and with preprocessing; what is told stays."""
    settings, updates = survey.settings, dict[str, Any]()
    is_image, numbers = survey.content == "image", math.prod(survey.shape)
    budget = int(SEEN * min(1.0, _SIDE**2 / math.prod(survey.shape[1:]))) if is_image else SEEN_NUMBERS
    limit = max(50, 2 * ipc, budget // len(survey.names))
    if settings.limit_per_class is None and survey.largest[1] > limit:
        updates["limit_per_class"] = limit
    if "preprocessing" not in settings.model_fields_set:
        is_whitened = is_image and survey.shape[0] == 3 and numbers <= WHITENED
        updates["preprocessing"] = "zca" if is_whitened else "normalize"
    return settings.model_copy(update=updates)
