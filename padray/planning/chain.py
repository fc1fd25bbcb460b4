"""What the stages of a configuration lead to: their places in storage, and the sizes that all costs come from.

Legend: N training samples, M samples of the set, P parameters, D numbers of a sample, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from padray import fingerprint
from padray.config import Config
from padray.data import whitening
from padray.fingerprint import Identity
from padray.machine.numerics import decide
from padray.networks import peak
from padray.networks.flat import FlatNetwork
from padray.networks.settings import NetworkSettings
from padray.planning.outline import Known
from padray.stages import keeplist
from padray.stages.base import Context
from padray.store import shelf
from padray.store.artifacts import split_key

_LABEL_BYTES = 8


class Held(NamedTuple):
    """Bytes that a worker has to itself, and those that the workers of a machine have in common."""

    own: int
    shared: int


@dataclass(frozen=True)
class Chain:
    """A command's settings and storage, its dataset, and where that is."""

    context: Context
    known: Known
    data: Identity

    @property
    def config(self) -> Config:
        return self.context.config

    @cached_property
    def scores(self) -> Identity:
        return fingerprint.scores_identity(self.config, self.data)

    @cached_property
    def experts(self) -> Identity:
        return fingerprint.experts_identity(self.config, self.data)

    @cached_property
    def keep(self) -> Identity | None:
        return fingerprint.keep_identity(self.config, self.data)

    @cached_property
    def distilled(self) -> Identity:
        return fingerprint.distill_inputs(self.config, self.data).identity(self.config)

    def there(self, place: Identity, names: Sequence[str]) -> int:
        """How many of these units the stage would not make again: those that are listed, or lie there unlisted."""
        folder = self.context.folder(place)
        manifest = folder.manifest()
        listed = {item.stem for item in manifest.objects} if manifest else set()
        if listed >= set(names):
            return len(names)
        names_there = map(split_key, folder.keys(""))
        lying = {stem for stem, _ in names_there}
        return len(lying & set(names))

    # -- sizes

    @cached_property
    def listed_per_class(self) -> list[int]:
        """Training samples of each class that the file of `schedule.keep_list` lists: as if alike of each class."""
        if self.config.schedule.keep_list is None:
            return list(self.known.train_per_class)
        share = min(1.0, keeplist.count(self.config) / self.known.train)
        return [max(1, round(share * size)) for size in self.known.train_per_class]

    @property
    def dtype(self) -> torch.dtype:
        return decide(self.config.compute).dtype

    @property
    def set_samples(self) -> int:
        """M."""
        return self.known.classes * self.config.distill.ipc

    def network(self, settings: NetworkSettings) -> FlatNetwork:
        """The network without values."""
        return peak.shaped(settings, self.known.shape, self.known.classes, self.dtype)

    def parameter_bytes(self, settings: NetworkSettings) -> int:
        """Of one vector (P,)."""
        return self.network(settings).size * self.dtype.itemsize

    def snapshot_bytes(self, settings: NetworkSettings) -> int:
        """Of one snapshot: the parameters and the buffers."""
        buffers = self.network(settings).module.buffers()
        return self.parameter_bytes(settings) + sum(buffer.nbytes for buffer in buffers)

    def sample_bytes(self, count: int) -> int:
        """Of preprocessed samples and their labels, as a worker holds them."""
        return count * (self.known.sample_numbers * self.dtype.itemsize + _LABEL_BYTES)

    @property
    def preprocessing_bytes(self) -> int:
        """Of the fitted transform: float32, whatever the precision."""
        channels, numbers = self.known.shape[0], self.known.sample_numbers
        return (
            4 * {"none": 0, "normalize": 2 * channels, "zca": numbers + 2 * numbers**2}[self.config.data.preprocessing]
        )

    @property
    def set_preprocessing_bytes(self) -> int:
        """Of the transform, where it lies in the set's file and not with the dataset."""
        return self.preprocessing_bytes if self.preprocessing_bytes < whitening.LARGE else 0

    def held(self, samples: int) -> "Held":
        """Of the stored dataset, and of its preprocessed samples: on CPUs what is large is mapped by all workers."""
        stored, preprocessed = self.dataset_bytes, self.sample_bytes(samples)
        shared = stored if stored >= shelf.LEAST else 0
        if preprocessed >= shelf.LEAST and decide(self.config.compute).device == "cpu":
            shared += preprocessed
        return Held(stored + preprocessed - shared, shared)

    @property
    def dataset_bytes(self) -> int:
        """Of the stored dataset: samples (uint8 or float32), labels, the splits' indices, the transform."""
        count = self.known.train + self.known.validation + self.known.test
        numbers = self.known.sample_numbers * (1 if self.known.content == "image" else 4)
        return count * (numbers + 2 * _LABEL_BYTES) + self.preprocessing_bytes

    @property
    def averaged_bytes(self) -> int:
        """Of the images once more, where a moving average of them is kept."""
        count = self.set_samples if self.config.distill.ema_decay > 0 else 0
        return count * self.known.sample_numbers * self.dtype.itemsize

    @property
    def learned_bytes(self) -> int:
        """Of what is learned: images, labels and lr."""
        item, soft = self.dtype.itemsize, self.config.distill.soft_labels
        label = self.known.classes * item if soft else _LABEL_BYTES
        return self.set_samples * (self.known.sample_numbers * item + label) + item
