"""Multi-layer perceptron. Shapes at 3x32x32 and its usual settings: 3072 -> 128 -> 128 -> K.

The peers' code has two hidden layers, the text of PAD one; `depth` counts the hidden layers.
"""

from padray.networks.layers import Network, Shape, Stack
from padray.networks.settings import NetworkSettings


def mlp(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """`depth` hidden layers of one width, each with ReLU."""
    assert settings.width and settings.depth  # NetworkSettings fills them
    stack = Stack(shape)
    stack.flatten()
    for layer in range(settings.depth):
        stack.hidden(layer, settings.width)
    return Network(stack, classes)
