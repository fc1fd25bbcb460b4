"""What the commands about settings and about what is stored print; the others bring their own."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SettingLine:
    """A setting, its value, and where that came from."""

    setting: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Description:
    """Every setting, and where the stages' artefacts will be."""

    config: str
    settings: list[SettingLine]
    artifacts: dict[str, str]


@dataclass(frozen=True)
class ArtifactLine:
    """An artefact: what it reached and took, the name of its settings, its objects and their bytes.

    Attributes:
        accuracy: test accuracy of its set, or of the control that it is, in [0, 1], mean and sample standard deviation
            over `networks` networks; None where no evaluation says.
        ipc: samples per class of its set.
        seconds: that making its units took; None where the events table does not say.
        metric: which accuracy, the one that decides; None without one.
    """

    accuracy: float | None
    accuracy_std: float | None
    networks: int
    ipc: int | None
    seconds: float | None
    artifact: str
    stage: str
    config: str
    objects: int
    bytes: int
    metric: str | None


@dataclass(frozen=True)
class BrokenLine:
    """One whose manifest cannot be read, and why."""

    artifact: str
    broken: str


@dataclass(frozen=True)
class Listing:
    """What a storage root holds."""

    artifacts: list[ArtifactLine | BrokenLine]


@dataclass(frozen=True)
class ObjectLine:
    """An object of an artefact."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Artifact(ArtifactLine):
    """An artefact, whole: how it was made, from what, and what it holds."""

    fingerprint: str
    inputs: dict[str, Any]
    numerics: dict[str, Any]
    facts: dict[str, Any]
    settings: dict[str, Any]
    contents: list[ObjectLine]
