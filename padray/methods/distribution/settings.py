"""The settings of distribution matching."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from padray.methods.settings import ClasswiseSettings, Contributions
from padray.networks.settings import NetworkSettings
from padray.settings.sections import NotNegative, Section, Share


class OutputSettings(Section):
    """FIEM on outputs (PAD Table 7b, whose text leaves the rule open): which of a network's outputs are matched."""

    which: Literal["embedding", "blocks", "units"] = "embedding"
    """`embedding`: the features before the classifier, plain DM. `blocks`: the outputs of all blocks and the logits,
    without the first floor(alpha * L) of these L. `units`: the outputs of all modules before the classifier end to
    end, without the first alpha of these numbers. [DM]"""
    alpha: Share = 0.0
    """The share that is left out (PAD Table 7b, whose text leaves the rule open). [ours]"""

    @model_validator(mode="after")
    def _something_to_leave_out(self) -> "OutputSettings":
        if self.which == "embedding" and self.alpha:
            raise ValueError(f"alpha is left out of several outputs: set which to blocks or units (got {self.alpha:g})")
        return self


class DistributionSettings(ClasswiseSettings):
    """Distribution matching (DM): mean features of real and synthetic samples, in a fresh network each iteration."""

    family: Literal["distribution"]
    """Distribution matching: DM. No experts. [DM]"""
    iterations: Annotated[int, Field(ge=1, le=999_999)] = 20_000
    """Steps of the images, each with a fresh network that nobody trains. [DM]"""
    lr_images: NotNegative = 1.0
    """The learning rate of the images; from 100 images per class on, DM has 10. [DM]"""
    outputs: OutputSettings = OutputSettings()

    def compilable_passes(self, classes: int) -> float:
        """Of real samples up to the classifier, which nothing is differentiated for."""
        return float(self.iterations * classes * self.real_batch) if self.outputs.which == "embedding" else 0.0

    def contributions(self, network: NetworkSettings, classes: int) -> Contributions:
        if network.norm == "batch":  # its statistics are those of all classes together
            return Contributions(1, "the number of passes over all classes, which a batch norm sees together,")
        return Contributions(classes, "the number of classes")
