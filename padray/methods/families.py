"""The families of methods, by name: the settings of each, and where its method is.

A new family is a module with both, and an entry here. The settings are read by every command, so they import no
PyTorch; a method does, and is imported when it is asked for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from padray.methods.coreset.settings import CoresetSettings
from padray.methods.distribution.settings import DistributionSettings
from padray.methods.gradient.settings import GradientSettings
from padray.methods.settings import DistillSettings
from padray.methods.trajectory.settings import TrajectorySettings

if TYPE_CHECKING:
    from padray.methods.method import Iterative, Materials, Method, Selective


class Family(NamedTuple):
    """A family's settings, and how to come by its method."""

    settings: type[DistillSettings]
    method: "Callable[[], type[Method[Any]]]"


def _trajectory() -> "type[Method[Any]]":
    from padray.methods.trajectory.matching import TrajectoryMatching

    return TrajectoryMatching


def _distribution() -> "type[Method[Any]]":
    from padray.methods.distribution.matching import DistributionMatching

    return DistributionMatching


def _gradient() -> "type[Method[Any]]":
    from padray.methods.gradient.matching import GradientMatching

    return GradientMatching


def _coreset() -> "type[Method[Any]]":
    from padray.methods.coreset.choosing import CoresetSelection

    return CoresetSelection


FAMILIES: dict[str, Family] = {
    "trajectory": Family(TrajectorySettings, _trajectory),
    "distribution": Family(DistributionSettings, _distribution),
    "gradient": Family(GradientSettings, _gradient),
    "coreset": Family(CoresetSettings, _coreset),
}
DEFAULT = "trajectory"


def settings_of(name: Any) -> type[DistillSettings]:
    """The settings that a family has. Raises ValueError for a name that is none."""
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)} (got {name!r})")
    return family.settings


def iterative(settings: DistillSettings, materials: "Materials") -> "Iterative[Any]":
    """The method of these settings, from state to state."""
    from padray.methods.method import Iterative

    method = method_of(settings)(settings, materials)
    assert isinstance(method, Iterative), f"{settings.family} makes its set from units"
    return method


def selective(settings: DistillSettings, materials: "Materials") -> "Selective[Any]":
    """The method of these settings, from units."""
    from padray.methods.method import Selective

    method = method_of(settings)(settings, materials)
    assert isinstance(method, Selective), f"{settings.family} makes its set in iterations"
    return method


def method_of(settings: DistillSettings) -> "type[Method[Any]]":
    """The method that these settings are of."""
    return FAMILIES[settings.family].method()
