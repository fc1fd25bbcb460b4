"""The settings of a network."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from padray.networks.families import FAMILIES
from padray.settings.sections import Count, Section, Width

# Forward passes of a sample that take as long as these derivatives: of a loss for the parameters; of that gradient for
# images and parameters; of an output for the images alone.
GRADIENT_PASSES, CURVATURE_PASSES, PIXEL_PASSES = 3, 9, 2
HEAD_WIDTH = 16  # of the vit's attention: one head for each so many numbers of a token


def _known(value: Any) -> Any:
    if not isinstance(value, str) or value not in FAMILIES:
        raise ValueError(f"must be one of {', '.join(FAMILIES)}")
    return value


class NetworkSettings(Section):
    """A network family and its shape."""

    name: Annotated[str, BeforeValidator(_known), Field(json_schema_extra={"enum": list(FAMILIES)})] = "convnet"
    """The family. [PAD]"""
    width: Width | None = None
    """Channels of a convnet or of a first stage, hidden units of an mlp, numbers per token of a vit (a multiple of
    16); left out, the family's usual ones. [PAD]"""
    depth: Count | None = None
    """Blocks of convnet, convnet1d and vit, hidden layers of mlp; left out, the family's usual ones. [PAD]"""
    norm: Literal["instance", "batch", "group", "layer", "none"] = "instance"
    """The normalisation between layers; instance has no running statistics. [PAD]"""
    pooling: Literal["avg", "max", "none"] = "avg"
    """How convnet and convnet1d halve their maps. [PAD]"""

    @model_validator(mode="before")
    @classmethod
    def _fill_shape(cls, value: Any) -> Any:
        name = value.get("name", "convnet") if isinstance(value, dict) else None
        if isinstance(name, str) and name in FAMILIES:
            for key in ("width", "depth"):
                usual = getattr(FAMILIES[name], key)
                if usual is None and value.get(key) is not None:
                    raise ValueError(f"{name} has no {key} to choose; leave it out")
                value = {**value, key: value.get(key) if value.get(key) is not None else usual}
        return value

    @model_validator(mode="after")
    def _within_its_family(self) -> "NetworkSettings":
        most = FAMILIES[self.name].most_depth
        if most is not None and self.depth is not None and self.depth > most:
            raise ValueError(f"{self.name} has a depth of 1 to {most} (got {self.depth})")
        if self.name == "vit" and self.width is not None and self.width % HEAD_WIDTH:
            raise ValueError(f"vit has a width that is a multiple of {HEAD_WIDTH}, such as 64 (got {self.width})")
        return self

    @property
    def label(self) -> str:
        """Short name for tables and folders, e.g. `convnet2w32`, `resnet18w16`, `convnet3w128-batch`."""
        family = FAMILIES[self.name]
        depth = str(self.depth) if family.depth is not None else ""
        width = f"w{self.width}" if family.depth is not None or self.width != family.width else ""
        norm = f"-{self.norm}" if self.norm != "instance" else ""
        return f"{self.name}{depth}{width}{norm}" + (f"-{self.pooling}pool" if self.pooling != "avg" else "")


def _network_from_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Architecture = Annotated[NetworkSettings, BeforeValidator(_network_from_name)]
