"""What a method reads, from storage: the training samples, their scores, the experts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from padray.config import Config
from padray.data.datasets import Dataset
from padray.experts.positions import NOWHERE, Keeper
from padray.experts.training import Samples, samples_of
from padray.fingerprint import DistillInputs, Identity
from padray.machine.numerics import Numerics
from padray.methods.method import Snapshot
from padray.networks.derivatives import execution_of
from padray.stages import keeplist, stored
from padray.stages.base import require_units
from padray.stages.deciding import graph_bytes
from padray.store.artifacts import Folder
from padray.store.location import Location
from padray.store.shards import read_buffers, read_row
from padray.store.stream import Request


@dataclass(frozen=True)
class Source:
    """Where everything lies that a distillation reads. It travels; it holds settings and names."""

    config: Config
    location: Location
    read: DistillInputs

    def folder(self, place: Identity) -> Folder:
        return Folder(self.location, place.folder, place.fingerprint)

    def dataset(self) -> Dataset:
        return stored.load_dataset(self.folder(self.read.data))


class StoredExperts:
    """The trained experts of a folder."""

    def __init__(self, folder: Folder, count: int) -> None:
        self.folder, self.count, self.name = folder, count, folder.path
        self.manifest = folder.require()
        require_units(self.manifest, count, folder.path)

    def last(self, expert: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See `Experts`."""
        item = self.manifest.object(f"expert-{expert:04d}")
        return read_row(self.folder, item, -1), read_buffers(self.folder, item, -1)


class StoredMaterials:
    """See `Materials`."""

    def __init__(self, source: Source, dataset: Dataset, device: torch.device, numerics: Numerics) -> None:
        self.source, self.dataset, self.device, self.dtype = source, dataset, device, numerics.dtype
        self.execution = execution_of(numerics, memory=graph_bytes(source.config, numerics))
        self.network, self.seed = source.config.network, source.config.seed_of("distill")
        self.shape, self.classes = dataset.shape, dataset.classes
        self.keeper: Keeper = NOWHERE

    @property
    def shards(self) -> Folder:
        """Where snapshots are read from; nothing is read where there are no experts."""
        return self.source.folder(self.source.read.experts or self.source.read.data)

    @cached_property
    def experts(self) -> StoredExperts:
        assert self.source.read.experts is not None, "the settings of a family say whether it needs experts"
        return StoredExperts(self.shards, self.source.config.experts.count)

    @property
    def labels(self) -> torch.Tensor:
        return self.dataset.labels[self.dataset.splits["train"]]

    @property
    def images(self) -> torch.Tensor:
        return self.dataset.split("train", self.dtype, self.device)[0]

    @cached_property
    def held(self) -> Samples:
        return samples_of(self.dataset, "validation", self.device, self.dtype)

    @cached_property
    def kept(self) -> torch.Tensor:
        place = self.source.read.keep
        return (
            torch.arange(len(self.labels))
            if place is None
            else keeplist.rows_of(self.source.folder(place), self.dataset)
        )

    def requests(self, snapshots: Sequence[Snapshot]) -> tuple[Request, ...]:
        """Where these snapshots lie."""
        return tuple((self.experts.manifest.object(f"expert-{one.expert:04d}"), one.epoch) for one in snapshots)
