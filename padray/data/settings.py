"""The settings of the dataset."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from padray.settings.sections import Count, Place, Positive, Section

# Published normalisation, of pixels in [0, 1]. MTT, TESLA, FTD, DATM and PAD use cifar10's for CIFAR-100 too; DC, DSA
# and DM use cifar100's. imagenet's are also Tiny ImageNet's.
MEANS = {
    "mnist": (0.1307,),
    "fashionmnist": (0.2861,),
    "svhn": (0.4377, 0.4438, 0.4728),
    "cifar10": (0.4914, 0.4822, 0.4465),
    "cifar100": (0.5071, 0.4866, 0.4409),
    "imagenet": (0.485, 0.456, 0.406),
}
STDS = {
    "mnist": (0.3081,),
    "fashionmnist": (0.3530,),
    "svhn": (0.1980, 0.2010, 0.1970),
    "cifar10": (0.2023, 0.1994, 0.2010),
    "cifar100": (0.2673, 0.2564, 0.2762),
    "imagenet": (0.229, 0.224, 0.225),
}


def _named(table: dict[str, tuple[float, ...]]) -> BeforeValidator:
    """Numbers by the name of their dataset; lists become tuples, since types are strict."""

    def read(value: Any) -> Any:
        if isinstance(value, str) and value not in table:
            raise ValueError(f"must be a list of numbers or one of {', '.join(table)}")
        return table[value] if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    return BeforeValidator(read)


_NAMES = Field(json_schema_extra={"allowed": f"a list of numbers, one of {', '.join(MEANS)}, or `null`"})


class DataSettings(Section):
    """The dataset and its splits."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"path"})
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=100)] = "digits"
    """A built-in one (`digits`, `wine`, `breast_cancer`, `waves`), one of the layouts that are known (`cifar10`,
    `cifar100`, `mnist`, `fashionmnist`, `svhn`, `tiny`, `imagenette` and the other subsets of ImageNet), or a name of
    your own for what lies in `path`. [ours]"""
    path: Place | None = None
    """Where the files lie. What they hold decides the fingerprint, not where. [ours]"""
    image_column: str | None = None
    """Of Parquet: the column of the pictures, where it cannot be told. [ours]"""
    label_column: str | None = None
    """Of Parquet: the column of the classes, where it cannot be told. [ours]"""
    size: Annotated[int, Field(ge=4, le=1024)] | None = None
    """Pictures are resized to so many rows and columns; needed where they differ in size. [ours]"""
    limit_per_class: Count | None = None
    """So many training samples of each class are read, and no more. [ours]"""
    imbalance: Annotated[float, Field(ge=1)] = 1.0
    """A long tail: the size of the first class's training samples over the last one's. Each class keeps the first n *
    imbalance^(-c / (K - 1)) of its n samples (Cui et al. 2019); the test split stays as it is. [ours]"""
    test_share: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """The share of each class, drawn by `split_seed`, that is the test split where `path` names one file, or a folder
    with one file, that has no test split of its own; 0.2 where it is left out. [ours]"""
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """The share of the training samples, class by class, that is held out to choose iterates, learning rates and
    trials by; no expert sees it. The papers' presets have 0: then the last iterate is the set. [ours]"""
    split_seed: int = 0
    """Of the split, and of nothing else. [ours]"""
    preprocessing: Literal["normalize", "zca", "none"] = "normalize"
    """What networks see: normalised channels, ZCA-whitened pixels (without normalisation, as MTT has it), or values
    as they are. PAD and DATM whiten. [DC]"""
    mean: Annotated[tuple[float, ...] | None, _named(MEANS), _NAMES] = None
    """What normalisation takes off, a number per channel or the name of published ones; left out, the training
    split's. [ours]"""
    std: Annotated[tuple[Positive, ...] | None, _named(STDS), _NAMES] = None
    """What normalisation divides by, in the same way. [ours]"""
    zca_eps: Positive = 0.1
    """Added to the eigenvalues of the covariance before their roots are taken. [MTT]"""
