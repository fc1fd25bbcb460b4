"""What manifests and headers say of datasets and sets, as types; a stage, and `verify`, believe nothing else.

Everything stored may have been written by anybody. Legend: N samples, K classes, M synthetic samples, C H W of one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, get_args

import torch
from pydantic import Field, TypeAdapter, ValidationError

from padray.data.datasets import SPLITS, Dataset
from padray.data.listing import Content
from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.networks.layers import Shape
from padray.store.artifacts import MANIFEST, Folder, Manifest
from padray.store.headers import read_outline, read_part
from padray.store.shards import rows_of
from padray.synthetic.set import SyntheticSet

T = TypeVar("T")
_Size = Annotated[int, Field(strict=True, ge=1, lt=1 << 31)]
_Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 62)]
_Names = Annotated[tuple[str, ...], Field(min_length=1)]
_FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Splits:
    """Samples of each split."""

    train: _Count
    validation: _Count
    test: _Count


@dataclass(frozen=True)
class DatasetFacts:
    """What a stored dataset's manifest says of it.

    Attributes:
        train_per_class: training samples of each class (K,), without the validation split's.
        read_from: the file or folder that the train and the test samples came from.
        available: training samples that lay there, of which settings may have taken a part; older manifests do not say.
    """

    class_names: _Names
    shape: tuple[_Size, _Size, _Size]
    splits: Splits
    train_per_class: tuple[_Count, ...]
    content: Content = "image"
    read_from: dict[str, str] = field(default_factory=dict)
    available: _Count | None = None

    def __post_init__(self) -> None:
        if len(self.train_per_class) != len(self.class_names) or sum(self.train_per_class) != self.splits.train:
            raise ValueError("its counts of training samples contradict each other")

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def splits_off(self) -> bool:
        """Whether the test samples were set aside from the training file, for want of a test split."""
        return "data.split_seed" in self.read_from.get("test", "")


def facts_of(dataset: Dataset, read_from: dict[str, str], available: int | None = None) -> DatasetFacts:
    """What is true of a dataset, and where of how many training samples it comes from."""
    splits = Splits(*(len(dataset.splits[name]) for name in SPLITS))
    per_class = tuple(dataset.per_class("train").tolist())
    return DatasetFacts(dataset.class_names, dataset.shape, splits, per_class, dataset.content, read_from, available)


_DATASET = TypeAdapter(DatasetFacts)


def plain(facts: DatasetFacts) -> dict[str, Any]:
    """Facts as a manifest holds them."""
    tree: dict[str, Any] = _DATASET.dump_python(facts, mode="json")
    return tree


def dataset_facts(folder: Folder, manifest: Manifest | None = None) -> DatasetFacts:
    """What a dataset's manifest, the folder's own if none is given, says of it. Raises LostObjectError if it lies."""
    try:
        return _parsed(manifest or folder.require())
    except ValueError as error:
        raise folder.lost(f"{folder.path}/{MANIFEST}", f"is wrong ({error})") from None


def compare(folder: Folder, dataset: Dataset) -> None:
    """Raises LostObjectError if a folder's manifest does not say of its dataset what is true."""
    try:
        _compare(_parsed(folder.require()), facts_of(dataset, {}))
    except ValueError as error:
        raise folder.lost(f"{folder.path}/{MANIFEST}", f"is wrong ({error})") from None


def _compare(said: DatasetFacts, measured: DatasetFacts) -> None:
    """Raises ValueError for the first fact that is not so."""
    for name in ("class_names", "shape", "splits", "train_per_class", "content"):
        if getattr(said, name) != getattr(measured, name):
            raise ValueError(f"facts.{name} is not that of its dataset")


def _parsed(manifest: Manifest) -> DatasetFacts:
    """Raises ValueError as `_validated` does."""
    return _validated(_DATASET, manifest.facts, "facts")


def _validated(model: TypeAdapter[T], content: Any, what: str) -> T:
    """Raises ValueError, which names the first thing that is wrong, if a content does not have its model's types."""
    try:
        return model.validate_python(content)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, (what, *fault["loc"])))
        message = fault["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
        raise ValueError(f"{key}: {message}") from None


def check_dataset(dataset: Dataset) -> None:
    """Raises ValueError if a dataset's tensors do not fit each other. What lies apart is not read for it."""
    samples, classes = len(dataset.labels), dataset.classes
    _check(all(type(size) is int and size > 0 for size in dataset.shape), "shape")
    _check(all(isinstance(name, str) for name in dataset.class_names) and classes > 0, "class_names")
    _check(_are_indices(dataset.labels, classes) and samples > 0, "labels")
    _check(set(dataset.splits) == set(SPLITS), "splits")
    for name, rows in dataset.splits.items():
        _check(_are_indices(rows, samples), f"splits.{name}")
    _check(len(dataset.features) in (0, dataset.shape[0]), "features")
    _check_preprocessing(dataset.preprocessing, dataset.shape)


def check_part(stem: str, tensors: Mapping[str, torch.Tensor], dataset: Dataset) -> None:
    """Raises ValueError if what an object of that name holds does not fit its dataset."""
    if stem == "images":
        dtype = torch.uint8 if dataset.content == "image" else torch.float32
        images = tensors.get("images", torch.empty(0))
        _check(tuple(images.shape) == (len(dataset.labels), *dataset.shape) and images.dtype == dtype, "images")
    else:
        _check_values({name.rsplit(".", 1)[-1]: value for name, value in tensors.items()}, dataset.shape)


@dataclass(frozen=True)
class _SetFacts:
    """What is read of a set's header; there is more in it."""

    class_names: _Names
    dataset: str
    shape: tuple[_Size, _Size, _Size]
    network: dict[str, Any]
    fingerprint: str
    iterations: _Count
    iteration: _Count
    validation_accuracy: float | None
    selected: tuple[_Count, ...] = ()


_SET = TypeAdapter(_SetFacts)


def check_set(synthetic: SyntheticSet) -> None:
    """Raises ValueError if a set's header is not what is written there, or its tensors do not fit it."""
    chosen = _validated(_SET, synthetic.facts, "header").selected
    learned, shape = synthetic.learned, tuple(synthetic.facts["shape"])
    images, labels, count = learned.images, learned.labels, len(learned.images)
    _check(images.ndim == 4 and tuple(images.shape[1:]) == shape and _are_numbers(images), "images")
    _check(count > 0 and count % synthetic.classes == 0, "images")
    _check(len(chosen) in (0, count), "selected")
    soft = labels.shape == (count, synthetic.classes) and _are_numbers(labels)
    _check(soft or (labels.shape == (count,) and _are_indices(labels, synthetic.classes)), "labels")
    _check(learned.lr is None or (learned.lr.shape == () and _are_numbers(learned.lr)), "lr")
    _check_preprocessing(synthetic.preprocessing, synthetic.facts["shape"])


def _check_preprocessing(preprocessing: Preprocessing, shape: Shape) -> None:
    if preprocessing.known_digest is None:  # or it lies apart, and is looked at when it is read
        _check_values(preprocessing.values, shape)
    _check(preprocessing.content in get_args(Content), "preprocessing.content")
    _check(isinstance(preprocessing.eps, float | int | None), "preprocessing.eps")


def _check_values(values: Mapping[str, torch.Tensor], shape: Shape) -> None:
    features, channels = math.prod(shape), shape[0]
    wide = (channels,) if "std" in values else (features,)
    for name, value in values.items():
        expected = (features, features) if name in ("whiten", "unwhiten") else wide
        _check(tuple(value.shape) == expected and _are_numbers(value), f"preprocessing.{name}")


def _are_indices(values: torch.Tensor, below: int) -> bool:
    """Whether a tensor is a list of numbers from 0 to `below`."""
    listed = values.ndim == 1 and values.dtype == torch.int64
    return listed and (not len(values) or (int(values.min()) >= 0 and int(values.max()) < below))


def _are_numbers(values: torch.Tensor) -> bool:
    return values.dtype in _FLOATS and bool(values.isfinite().all())


def _check(right: bool, what: str) -> None:
    if not right:
        raise ValueError(what)


# -- what `verify` asks


def wrong(folder: Folder, manifest: Manifest, whole: bool) -> str:
    """Why a manifest cannot be true; empty if it can. Where all its objects are right, it is held against them."""
    try:
        if manifest.stage == "data" and whole:
            _compare(_parsed(manifest), _facts_of_object(folder, manifest))
        for item in manifest.objects if manifest.stage == "experts" else ():
            rows_of(item)
    except (InputError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"it cannot be true: {error}"
    return ""


def _facts_of_object(folder: Folder, manifest: Manifest) -> DatasetFacts:
    """The facts of a dataset by the header, the labels and the training split of its object, which may be large."""
    item = manifest.object("dataset")
    parts, about = read_outline(folder, item)
    labels, train = (
        torch.frombuffer(read_part(folder, item, parts[name]), dtype=torch.int64) for name in ("labels", "splits.train")
    )
    classes = len(about["class_names"])
    channels, height, width = parts["images"].shape[1:] if "images" in parts else about["shape"]
    _check(_are_indices(labels, classes) and _are_indices(train, len(labels)), "its labels are outside its classes")
    return DatasetFacts(
        tuple(about["class_names"]),
        (channels, height, width),
        Splits(*(parts[f"splits.{name}"].shape[0] for name in SPLITS)),
        tuple(torch.bincount(labels[train], minlength=classes).tolist()),
        about["preprocessing"].get("content", "image"),
    )
