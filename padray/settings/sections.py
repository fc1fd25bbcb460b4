"""What all sections of the settings are made of: the base model, number types, augmentations."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

FULL_AUGMENTATION = "color_crop_cutout_flip_scale_rotate"
AUGMENTATIONS = (*FULL_AUGMENTATION.split("_"), "reflectcrop")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Units = Annotated[int, Field(ge=1, le=10_000)]  # what is made one by one: four digits number it
Epoch = Annotated[int, Field(ge=0, le=10_000)]  # of an expert, who leaves something of each: no more of them than units
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Batch = Annotated[int, Field(ge=1, le=10**6)]
Width = Annotated[int, Field(ge=1, le=2**16)]


def _one_place(value: str) -> str:
    if "\0" in value:
        raise ValueError("no file or folder has a NUL in its name")
    return value


Place = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_one_place)]  # a file, a folder or a URI


def _known_augmentations(value: Any) -> Any:
    unknown = [op for op in re.split(r"[_+]", str(value)) if op not in AUGMENTATIONS and value != "none"]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} is not one of {', '.join(AUGMENTATIONS)}, joined by _ (one of them is drawn) and + (one "
            f"after the other), or none"
        )
    return value


Augmentation = Annotated[
    str,
    BeforeValidator(_known_augmentations),
    Field(json_schema_extra={"allowed": f"`none`, or of {', '.join(AUGMENTATIONS)} any, joined by `_` and `+`"}),
]


def in_words(augmentation: str) -> str:
    """`flip, then color, then one of crop, scale, rotate`, for sentences."""
    steps = [step.split("_") for step in augmentation.split("+")]
    if len(steps) == 1:
        return ", ".join(steps[0])
    return ", then ".join(step[0] if len(step) == 1 else f"one of {', '.join(step)}" for step in steps)


class Section(BaseModel):
    """One section of the settings. Frozen; unknown keys, wrong types and non-finite numbers are errors.

    A text below a setting says what it means and, in brackets at its end, whose default it is: that of a paper, of its
    published scripts, or ours. `configuration/reference.py` makes docs/settings.md of them. `allowed` in the schema of
    a type says what its validators let pass, where no bounds and no choices do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
    UNITS: ClassVar[frozenset[str]] = frozenset()
