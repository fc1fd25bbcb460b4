"""The settings of gradient matching."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from padray.methods.settings import ClasswiseSettings, Contributions
from padray.networks.settings import GRADIENT_PASSES, NetworkSettings
from padray.settings.sections import Augmentation, Batch, Count, Epochs, NotNegative, Section, Share


class GradientSelectionSettings(Section):
    """FIEM on gradients (PAD Table 7a): the distance, not the network, leaves out what begins before int(alpha * P)."""

    alpha: Share = 0.0
    """What begins before int(alpha * P) is left out of the distance (PAD Table 7a): for `distance: rows` a row of a
    weight, otherwise a single number. [ours]"""
    rescale: Literal["none", "kept"] = "none"
    """`kept`: the distance is divided by the share that is kept, so that leaving something out does not slow the
    images down; `none` is how the paper's text reads. [PAD]"""


class InnerTrainingSettings(Section):
    """How a network is trained on the synthetic set between two steps of the images: SGD without momentum (DC)."""

    epochs: Epochs = 1
    """For how many epochs; as published 50 and 10 at 10 and 50 images per class. [DC]"""
    lr: NotNegative = 0.01
    """The learning rate of SGD without momentum. [DC]"""
    batch: Batch = 256
    """Samples of a batch. [DC]"""


class GradientSettings(ClasswiseSettings):
    """Gradient matching (DC; DSA with an augmentation): gradients of real and synthetic samples in young networks."""

    family: Literal["gradient"]
    """Gradient matching: DC, and with an augmentation DSA. No experts. [DC]"""
    iterations: Annotated[int, Field(ge=1, le=999_999)] = 1000
    """Steps of the images. [DC]"""
    lr_images: NotNegative = 0.1
    """The learning rate of the images. [DC]"""
    augment: Augmentation = "none"
    """`none` is DC, the full one DSA. [DC]"""
    init: Literal["real", "noise"] = "noise"
    """Images start from noise (DC) or from real samples of their class (DSA). [DC]"""
    outer_steps: Count = 1
    """How many steps of the images see the same network before a fresh one is drawn; between two of them it is
    trained on the set. As published 1, 10 and 50 at 1, 10 and 50 images per class. [DC]"""
    inner: InnerTrainingSettings = InnerTrainingSettings()
    distance: Literal["rows", "cosine", "mse"] = "rows"
    """`rows` is DC's own, 1 - cosine summed over the rows of every weight; `cosine` and `mse` compare all parameters
    as one vector. [DC]"""
    selection: GradientSelectionSettings = GradientSelectionSettings()

    @model_validator(mode="after")
    def _nothing_in_vain(self) -> "GradientSettings":
        if self.outer_steps == 1 and self.inner != InnerTrainingSettings():
            raise ValueError("inner trains a network between its outer steps, and outer_steps is 1: make it 2 or more")
        if self.selection.rescale == "kept":
            if not self.selection.alpha:
                raise ValueError("selection.rescale: kept needs a selection.alpha above 0, which leaves something out")
            if self.distance == "cosine":
                raise ValueError("selection.rescale: kept does not fit distance: cosine, which is one term; use none")
        return self

    @property
    def trainings(self) -> int:
        """How often a network is trained on the synthetic set."""
        return self.iterations - self.iterations // self.outer_steps

    def compilable_passes(self, classes: int) -> float:
        """Of gradients without a graph: of real batches, and in the training between two steps."""
        trained = float(self.trainings * self.inner.epochs * self.ipc)
        return GRADIENT_PASSES * classes * (self.iterations * self.real_batch + trained)

    def contributions(self, network: NetworkSettings, classes: int) -> Contributions:
        return Contributions(classes, "the number of classes")
