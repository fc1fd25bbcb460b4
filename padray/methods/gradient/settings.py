"""The settings of gradient matching."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from padray.methods.settings import ClasswiseSettings, Contributions
from padray.networks.settings import NetworkSettings
from padray.settings.sections import Augmentation, Batch, Count, Epochs, NotNegative, Section, Share


class GradientSelectionSettings(Section):
    """FIEM on gradients (PAD Table 7a): the distance, not the network, leaves out what begins before int(alpha * P).

    What begins there: for `distance: rows` a row of a weight, otherwise a single number. rescale: with `kept` the
    distance is divided by the share that is kept, so that leaving something out does not slow the images down; `none`
    is how the paper's text reads.
    """

    alpha: Share = 0.0
    rescale: Literal["none", "kept"] = "none"


class InnerTrainingSettings(Section):
    """How a network is trained on the synthetic set between two steps of the images: SGD without momentum (DC)."""

    epochs: Epochs = 1
    lr: NotNegative = 0.01
    batch: Batch = 256


class GradientSettings(ClasswiseSettings):
    """Gradient matching (DC; DSA with an augmentation): gradients of real and of synthetic samples in young networks.

    iterations: steps of the images. outer_steps: how many of them see the same network before a fresh one is drawn;
    between two of them it is trained on the synthetic set (`inner`). As published for 1, 10 and 50 images per class:
    outer_steps 1, 10, 50 and inner.epochs 1 (which nothing sees), 50, 10, on 1000 networks. distance: `rows` is DC's
    own, 1 - cosine summed over the rows of every weight; `cosine` and `mse` compare all parameters as one vector.
    """

    family: Literal["gradient"]
    iterations: Annotated[int, Field(ge=1, le=999_999)] = 1000
    lr_images: NotNegative = 0.1
    augment: Augmentation = "none"
    init: Literal["real", "noise"] = "noise"
    outer_steps: Count = 1
    inner: InnerTrainingSettings = InnerTrainingSettings()
    distance: Literal["rows", "cosine", "mse"] = "rows"
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

    def contributions(self, network: NetworkSettings, classes: int) -> Contributions:
        return Contributions(classes, "the number of classes")
