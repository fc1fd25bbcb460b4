"""What all sections of the settings are made of: the base model, number types, augmentations, networks."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

FULL_AUGMENTATION = "color_crop_cutout_flip_scale_rotate"
AUGMENTATIONS = tuple(FULL_AUGMENTATION.split("_"))

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
    unknown = [op for op in str(value).split("_") if op not in AUGMENTATIONS and value != "none"]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(AUGMENTATIONS)}, joined by _, or none")
    return value


Augmentation = Annotated[str, BeforeValidator(_known_augmentations)]


class Section(BaseModel):
    """One section of the settings. Frozen; unknown keys, wrong types and non-finite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
    UNITS: ClassVar[frozenset[str]] = frozenset()


_SHAPES: dict[str, tuple[int | None, int | None]] = {  # width and depth where a network has that choice
    "convnet": (128, 3), "mlp": (128, 2), "lenet": (None, None), "alexnet": (None, None), "vgg11": (64, None),
    "resnet18": (64, None), "resnet34": (64, None), "vit": (64, 4), "convnet1d": (32, 3),
}  # fmt: skip
_MOST_DEPTH = {"convnet": 5, "mlp": 5, "vit": 12, "convnet1d": 6}
HEAD_WIDTH = 16  # of the vit's attention: one head for each so many numbers of a token


class NetworkSettings(Section):
    """A network family and its shape. `width` and `depth` left out mean the family's usual ones.

    depth: blocks of convnet (1 to 5), convnet1d (1 to 6) and vit (1 to 12), hidden layers of mlp (1 to 5). width:
    channels of a convnet or of a first stage, hidden units of mlp, numbers per token of vit (a multiple of 16).
    """

    name: Literal["convnet", "resnet18", "resnet34", "vgg11", "alexnet", "lenet", "mlp", "vit", "convnet1d"] = "convnet"
    width: Width | None = None
    depth: Count | None = None
    norm: Literal["instance", "batch", "group", "layer", "none"] = "instance"
    pooling: Literal["avg", "max", "none"] = "avg"

    @model_validator(mode="before")
    @classmethod
    def _fill_shape(cls, value: Any) -> Any:
        name = value.get("name", "convnet") if isinstance(value, dict) else None
        if isinstance(name, str) and name in _SHAPES:
            for key, usual in zip(("width", "depth"), _SHAPES[name], strict=True):
                if usual is None and value.get(key) is not None:
                    raise ValueError(f"{name} has no {key} to choose; leave it out")
                value = {**value, key: value.get(key) if value.get(key) is not None else usual}
        return value

    @model_validator(mode="after")
    def _within_its_family(self) -> "NetworkSettings":
        most = _MOST_DEPTH.get(self.name)
        if most is not None and self.depth is not None and self.depth > most:
            raise ValueError(f"{self.name} has a depth of 1 to {most} (got {self.depth})")
        if self.name == "vit" and self.width is not None and self.width % HEAD_WIDTH:
            raise ValueError(f"vit has a width that is a multiple of {HEAD_WIDTH}, such as 64 (got {self.width})")
        return self

    @property
    def label(self) -> str:
        """Short name for tables and folders, e.g. `convnet2w32`, `resnet18w16`, `convnet3w128-batch`."""
        usual_width, usual_depth = _SHAPES[self.name]
        depth = str(self.depth) if usual_depth is not None else ""
        width = f"w{self.width}" if usual_depth is not None or self.width != usual_width else ""
        norm = f"-{self.norm}" if self.norm != "instance" else ""
        return f"{self.name}{depth}{width}{norm}" + (f"-{self.pooling}pool" if self.pooling != "avg" else "")


def _network_from_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Architecture = Annotated[NetworkSettings, BeforeValidator(_network_from_name)]
