"""The settings of the dataset."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from padray.sections import Count, Positive, Section


class DataSettings(Section):
    """The dataset and its splits. `path` says where the files lie; what they hold decides the fingerprint.

    `imbalance` is the size of the first class's training samples over the last one's: each class keeps the first
    n * imbalance^(-c / (K - 1)) of its n samples, a long tail (Cui et al. 2019); the test split stays as it is.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"path"})
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")] = "digits"
    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    size: Annotated[int, Field(ge=4, le=1024)] | None = None
    limit_per_class: Count | None = None
    imbalance: Annotated[float, Field(ge=1)] = 1.0
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    split_seed: int = 0
    preprocessing: Literal["normalize", "zca", "none"] = "normalize"
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None
    zca_eps: Positive = 0.1
