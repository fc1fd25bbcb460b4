"""What a plan needs to know of the dataset: from the storage, from the files, or from what is published."""

import hashlib
import math
from dataclasses import dataclass

from padray.config import DataSettings
from padray.data.builtin import is_built_in
from padray.data.datasets import held_count
from padray.data.listing import Content
from padray.data.sources import kept_count, outline, source_digest
from padray.errors import InputError
from padray.networks.layers import Shape
from padray.stages.facts import DatasetFacts, Splits

NOWHERE = hashlib.sha256(b"").hexdigest()  # the digest of files that are not here: it leads to no folder


@dataclass(frozen=True)
class Known:
    """The dataset that the stages will have. `source` says how it is known, in words.

    Attributes:
        train_per_class: training samples of each class, without the validation split's.
    """

    shape: Shape
    class_names: tuple[str, ...]
    train_per_class: tuple[int, ...]
    validation: int
    test: int
    content: Content
    source: str

    @property
    def train(self) -> int:
        return sum(self.train_per_class)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def sample_numbers(self) -> int:
        """Numbers of one sample."""
        return math.prod(self.shape)

    def facts(self) -> DatasetFacts:
        """As a stored dataset's manifest says it."""
        splits = Splits(self.train, self.validation, self.test)
        return DatasetFacts(self.class_names, self.shape, splits, self.train_per_class, self.content)


_MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_SVHN = (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)
# Shape, training samples of each class, test samples, as the authors of each dataset published it.
PUBLISHED: dict[str, tuple[Shape, tuple[int, ...], int]] = {
    "cifar10": ((3, 32, 32), (5000,) * 10, 10_000),
    "cifar100": ((3, 32, 32), (500,) * 100, 10_000),
    "mnist": ((1, 28, 28), _MNIST, 10_000),
    "fashionmnist": ((1, 28, 28), (6000,) * 10, 10_000),
    "svhn": ((3, 32, 32), _SVHN, 26_032),
    "tiny": ((3, 64, 64), (500,) * 200, 10_000),
}


def digest_of(settings: DataSettings) -> str:
    """The digest of the dataset's files; of files that nobody has named, `NOWHERE`."""
    return NOWHERE if _is_published(settings) else source_digest(settings)


def know(settings: DataSettings, stored: DatasetFacts | None) -> Known:
    """The dataset of these settings.

    Args:
        stored: what its manifest says, if it is in storage.

    Raises:
        InputError: it is not stored, there are no files, and its size is not published.
    """
    if stored is not None:
        splits = stored.splits
        return Known(
            stored.shape,
            stored.class_names,
            stored.train_per_class,
            splits.validation,
            splits.test,
            stored.content,
            "the stored dataset",
        )
    if _is_published(settings):
        return _published(settings)
    outlined = outline(settings)
    source = "what is built in" if is_built_in(settings) else f"the files in {settings.path}"
    names, content = outlined.class_names, outlined.content
    return _split(settings, Known(outlined.shape, names, outlined.kept, 0, outlined.test, content, source))


def _is_published(settings: DataSettings) -> bool:
    return settings.path is None and not is_built_in(settings) and settings.dataset in PUBLISHED


def _published(settings: DataSettings) -> Known:
    shape, counts, test = PUBLISHED[settings.dataset]
    if settings.size is not None:
        shape = (shape[0], settings.size, settings.size)
    kept = tuple(kept_count(count, label, len(counts), settings) for label, count in enumerate(counts))
    names = tuple(str(label) for label in range(len(counts)))
    return _split(settings, Known(shape, names, kept, 0, test, "image", "its published size, without its files"))


def _split(settings: DataSettings, whole: Known) -> Known:
    """With the validation split taken off. Raises InputError where nothing would be left to train on."""
    held = [held_count(count, settings.validation) for count in whole.train_per_class]
    train = tuple(count - off for count, off in zip(whole.train_per_class, held, strict=True))
    if min(train) < 1:
        raise InputError(
            f"class {whole.class_names[train.index(min(train))]!r} has too few training samples to train on and to "
            f"validate with; add samples or set data.validation to 0"
        )
    return Known(whole.shape, whole.class_names, train, sum(held), whole.test, whole.content, whole.source)
