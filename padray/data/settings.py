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


class DataSettings(Section):
    """The dataset and its splits. `path` says where the files lie; what they hold decides the fingerprint.

    `size`, `image_column` are for images only. `mean` and `std` are one number per channel or the name of published
    ones (see `MEANS`); without them normalisation takes those of the training split.

    `imbalance` is the size of the first class's training samples over the last one's: each class keeps the first
    n * imbalance^(-c / (K - 1)) of its n samples, a long tail (Cui et al. 2019); the test split stays as it is.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"path"})
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=100)] = "digits"
    path: Place | None = None
    image_column: str | None = None
    label_column: str | None = None
    size: Annotated[int, Field(ge=4, le=1024)] | None = None
    limit_per_class: Count | None = None
    imbalance: Annotated[float, Field(ge=1)] = 1.0
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    split_seed: int = 0
    preprocessing: Literal["normalize", "zca", "none"] = "normalize"
    mean: Annotated[tuple[float, ...] | None, _named(MEANS)] = None
    std: Annotated[tuple[Positive, ...] | None, _named(STDS)] = None
    zca_eps: Positive = 0.1
