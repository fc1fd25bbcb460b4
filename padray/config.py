"""All settings of a run, as frozen models that check themselves.

Names are those of the papers' settings (see the table in README.md). A default is PAD's where the paper names
one. `UNITS` of a section are the settings that only say how many units fill a folder, or where it lies; they and
`seed` are not part of a section's meaning (see fingerprint.py).
"""

import math
from typing import Literal

from pydantic import model_validator

from padray.sections import Architecture, NetworkSettings, Section
from padray.settings.data import DataSettings
from padray.settings.distill import (
    DistillSettings,
    ImportanceSettings,
    LabelSettings,
    PruningSettings,
    SelectionSettings,
    ValidationSettings,
    WindowSettings,
)
from padray.settings.evaluation import ControlSettings, EvaluationSettings, TeacherSettings
from padray.settings.experts import ExpertSettings, ScheduleSettings, ScoreSettings
from padray.settings.machine import ClusterSettings, ComputeSettings, StorageSettings
from padray.space import SearchSettings

__all__ = [
    "ClusterSettings",
    "ComputeSettings",
    "Config",
    "ControlSettings",
    "DataSettings",
    "DistillSettings",
    "EvaluationSettings",
    "ExpertSettings",
    "ImportanceSettings",
    "LabelSettings",
    "PruningSettings",
    "ScheduleSettings",
    "ScoreSettings",
    "SelectionSettings",
    "StorageSettings",
    "TeacherSettings",
    "ValidationSettings",
    "WindowSettings",
]


class Config(Section):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    network: Architecture = NetworkSettings()
    scores: ScoreSettings = ScoreSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    experts: ExpertSettings = ExpertSettings()
    distill: DistillSettings = DistillSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    search: SearchSettings = SearchSettings()
    cluster: ClusterSettings = ClusterSettings()
    compute: ComputeSettings = ComputeSettings()
    storage: StorageSettings = StorageSettings()
    seed: int = 0

    @model_validator(mode="after")
    def _window_within_experts(self) -> "Config":
        windows, needed = self.distill.windows, self.distill.windows.max_start - 1 + self.distill.expert_epochs
        if needed > self.experts.epochs:
            raise ValueError(
                f"distill.windows.max_start={windows.max_start} with distill.expert_epochs="
                f"{self.distill.expert_epochs} reaches epoch {needed}, but experts.epochs is "
                f"{self.experts.epochs}; lower the window or train the experts longer"
            )
        first, last, kept = windows.min_start, needed, self.experts.keep_epochs
        begins = () if kept is None else (first, kept[1] + 1)  # where epochs that are left out may begin
        unkept = [e for e in begins if first <= e <= last and not self.experts.keeps(e)]
        if unkept:
            raise ValueError(
                f"experts.keep_epochs leaves out epoch {unkept[0]}, which distill.windows needs; keep [{first}, {last}]"
            )
        if not math.isclose(self.distill.selection.ratio, 0) and self.distill.selection.strategy == "none":
            raise ValueError("distill.selection.ratio needs distill.selection.strategy: depth, layer, deep or loss")
        return self

    @property
    def needs_scores(self) -> bool:
        """Whether the experts are still to be trained by a schedule that leaves samples out."""
        return self.schedule.needs_scores and self.experts.imported is None

    @property
    def trains_scoring_networks(self) -> bool:
        """Whether those scores come from networks of ours, not from a file."""
        return self.needs_scores and self.scores.method != "file"

    def seed_of(self, stage: Literal["scores", "experts", "distill", "evaluation", "search"]) -> int:
        """The stage's own seed, or the common one."""
        own: int | None = getattr(self, stage).seed
        return self.seed if own is None else own
