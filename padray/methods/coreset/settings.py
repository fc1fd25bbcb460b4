"""The settings of coresets."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from padray.experts.settings import ExpertSettings
from padray.methods.searched import Range
from padray.methods.settings import Contributions, DistillSettings, ValidationSettings
from padray.networks.settings import Architecture, NetworkSettings
from padray.settings.sections import Augmentation, Batch, Count, Positive, Section, Share, Units

Nothing = Annotated[float, Field(ge=0, le=0)]  # a setting of what is distilled, which is not chosen here
LOOKS = ("herding", "k_center", "forgetting", "glister", "craig", "gradmatch")  # at a trained network


class ScoringSettings(Section):
    """The network that embeds samples and has gradients, and how it is trained on them; DeepCore's, but for its data.

    Its augmentation is `distill.augment`.
    """

    network: Architecture = NetworkSettings(name="resnet18", norm="batch")
    """The network that embeds samples and has gradients. [DeepCore]"""
    epochs: Units = 40
    """For how many epochs it is trained. [DeepCore]"""
    batch: Batch = 256
    """Samples of a batch. [DeepCore]"""
    lr: Positive = 0.1
    """The learning rate. [DeepCore]"""
    momentum: Share = 0.9
    """Of SGD. [DeepCore]"""
    nesterov: bool = True
    """The momentum is Nesterov's. [DeepCore]"""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Of SGD. [DeepCore]"""


class CoresetSettings(DistillSettings):
    """Coresets: `ipc` real samples of each class, chosen by `method` (methods/coreset/rules.py), with their labels.

    Nothing is distilled, so images do not move and no iterate is judged.
    """

    family: Literal["coreset"]
    """Coresets: real samples are chosen, nothing is distilled. [ours]"""
    method: Literal["random", "herding", "k_center", "forgetting", "glister", "craig", "gradmatch"] = "random"
    """How the samples of a class are chosen. All but `random` look at a trained network. [ours]"""
    iterations: Literal[1] = 1
    """There is one choice. [ours]"""
    lr_images: Nothing = 0.0
    """Images do not move. [ours]"""
    momentum_images: Nothing = 0.0
    """Images do not move. [ours]"""
    ema_decay: Nothing = 0.0
    """Images do not move. [ours]"""
    augment: Augmentation = "none"
    """Augmentation of the scoring network's training. [ours]"""
    validation: ValidationSettings = ValidationSettings(seeds=0)
    scoring: ScoringSettings = ScoringSettings()
    glister_lr: Positive = 0.1
    """The step that Glister takes for its picks. [DeepCore]"""
    ridge: Positive = 1.0
    """Of GradMatch's weights. [DeepCore]"""

    @model_validator(mode="after")
    def _judged_by_nobody(self) -> "CoresetSettings":
        if self.validation.seeds:
            raise ValueError("a coreset has no iterates to judge: set validation.seeds to 0")
        return self

    @property
    def from_units(self) -> bool:
        return True

    def searched(self, experts: ExpertSettings) -> Mapping[str, Range | None]:
        return {}

    @property
    def looks(self) -> bool:
        """Whether a network is trained, to be looked at."""
        return self.method in LOOKS

    @property
    def samples_asked(self) -> Count:
        return max(self.ipc, 500)  # what a plan times a choice on

    def contributions(self, network: NetworkSettings, classes: int) -> Contributions:
        return Contributions(classes, "the number of classes")
