"""All settings of a run, as frozen models that check themselves.

Names are those of the papers' settings (see docs/glossary.md). A default is PAD's where the paper names
one. `UNITS` of a section are the settings that only say how many units fill a folder, or where it lies; they and
`seed` are not part of a section's meaning (see fingerprint.py).
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, model_validator

from padray.data.settings import DataSettings
from padray.evaluation.settings import ControlSettings, EvaluationSettings, TeacherSettings
from padray.experts.settings import ExpertSettings, ScheduleSettings, ScoreSettings
from padray.methods.families import DEFAULT, settings_of
from padray.methods.settings import DistillSettings, ValidationSettings
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks.settings import Architecture, NetworkSettings
from padray.settings.machine import ClusterSettings, ComputeSettings, StorageSettings
from padray.settings.sections import Section
from padray.settings.space import SearchSettings

__all__ = [
    "ClusterSettings",
    "ComputeSettings",
    "Config",
    "ControlSettings",
    "DataSettings",
    "DistillSettings",
    "EvaluationSettings",
    "ExpertSettings",
    "ScheduleSettings",
    "ScoreSettings",
    "StorageSettings",
    "TeacherSettings",
    "ValidationSettings",
]


def _of_its_family(value: Any, info: ValidationInfo) -> Any:
    """A section as the settings of the family that it names."""
    if not isinstance(value, dict):
        return value
    settings = settings_of(value.get("family", DEFAULT))
    if info.mode == "json":  # where lists are valid tuples
        return settings.model_validate_json(json.dumps(value))
    return settings.model_validate(value)


Distillation = Annotated[SerializeAsAny[DistillSettings], BeforeValidator(_of_its_family)]


class Config(Section):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    network: Architecture = NetworkSettings()
    scores: ScoreSettings = ScoreSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    experts: ExpertSettings = ExpertSettings()
    distill: Distillation = TrajectorySettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    search: SearchSettings = SearchSettings()
    cluster: ClusterSettings = ClusterSettings()
    compute: ComputeSettings = ComputeSettings()
    storage: StorageSettings = StorageSettings()
    seed: int = 0
    """Of every random draw; a stage's own seed takes its place. The split of the data has its own. [ours]"""

    @model_validator(mode="after")
    def _experts_that_fit(self) -> "Config":
        self.distill.check_experts(self.experts)
        if not self.distill.needs_experts and self.schedule.has_epochs:
            raise ValueError(
                f"schedule: distill.family {self.distill.family} trains no experts, so no epoch leaves samples out; "
                f"prune_hardest and prune_easiest leave a fixed share out"
            )
        return self

    @model_validator(mode="after")
    def _images_before_averaging(self) -> "Config":
        if self.evaluation.double_training and not self.distill.ema_decay:
            raise ValueError(
                "evaluation.double_training is of images before and after averaging, and distill.ema_decay is 0: "
                "nothing is averaged"
            )
        return self

    @property
    def scores_experts(self) -> bool:
        """Whether the experts are still to be trained by a schedule that leaves samples out."""
        return self.distill.needs_experts and self.experts.imported is None and self.needs_scores

    @property
    def needs_scores(self) -> bool:
        """Whether samples are left out by their difficulty: for good, or of epochs of experts still to be trained."""
        return self.schedule.prunes or (self.schedule.needs_scores and self.experts.imported is None)

    @property
    def trains_scoring_networks(self) -> bool:
        """Whether those scores come from networks of ours, not from a file."""
        return self.needs_scores and self.scores.method != "file"

    @property
    def idle(self) -> tuple[str, ...]:
        """The sections, and parts of them, that take no part in what these settings make."""
        plays = {
            "scores": self.needs_scores,
            "experts": self.distill.needs_experts,
            "evaluation.teacher": self.evaluation.taught,
            "search": bool(self.search.space),
        }
        return tuple(name for name, does in plays.items() if not does)

    def seed_of(self, stage: Literal["scores", "experts", "distill", "evaluation", "search"]) -> int:
        """The stage's own seed, or the common one."""
        own: int | None = getattr(self, stage).seed
        return self.seed if own is None else own
