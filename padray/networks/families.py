"""The network families, by name. A new one is a module with a function of that name, and an entry here.

Every command reads the settings of networks, so this imports no PyTorch; a module is imported when it is asked for.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class NetworkFamily:
    """Where a family is built, and what can be chosen of it.

    Attributes:
        module: has a function called as the family: (settings, shape, classes) -> Network.
        width, depth: the usual ones; None where there is no choice.
        most_depth: the largest depth.
        choices: what else there is to choose, of norm and pooling.
    """

    module: str
    width: int | None = None
    depth: int | None = None
    most_depth: int | None = None
    choices: tuple[str, ...] = ()
    reads: Literal["images", "series", "anything"] = "images"

    def build(self, name: str) -> Any:
        """The function that builds it."""
        return getattr(import_module(self.module), name)


FAMILIES: dict[str, NetworkFamily] = {
    "convnet": NetworkFamily("padray.networks.convnet", width=128, depth=3, most_depth=5, choices=("norm", "pooling")),
    "resnet18": NetworkFamily("padray.networks.resnet", width=64, choices=("norm",)),
    "resnet34": NetworkFamily("padray.networks.resnet", width=64, choices=("norm",)),
    "vgg11": NetworkFamily("padray.networks.vgg", width=64, choices=("norm",)),
    "alexnet": NetworkFamily("padray.networks.alexnet"),
    "lenet": NetworkFamily("padray.networks.lenet"),
    "mlp": NetworkFamily("padray.networks.mlp", width=128, depth=2, most_depth=5, reads="anything"),
    "vit": NetworkFamily("padray.networks.vit", width=64, depth=4, most_depth=12),
    "convnet1d": NetworkFamily(
        "padray.networks.convnet1d", width=32, depth=3, most_depth=6, choices=("norm", "pooling"), reads="series"
    ),
}
