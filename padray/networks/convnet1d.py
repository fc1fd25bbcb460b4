"""ConvNet for series: the ConvNet of the distillation papers along one axis. Series are images of one row, (C, 1, T).

Shapes at 3x1x64, width 32, depth 3: 32x1x32 -> 32x1x16 -> 32x1x8 -> 256 -> K.
"""

from torch import nn

from padray.networks.layers import Network, Shape, Stack
from padray.networks.settings import NetworkSettings


def convnet1d(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """`depth` blocks of 1x3 convolution, norm, ReLU and 1x2 pool, all of one width; then the linear classifier."""
    assert settings.width and settings.depth  # NetworkSettings fills them
    stack = Stack(shape)
    for block in range(settings.depth):
        stack.add(f"conv{block}", nn.Conv2d(stack.shape[0], settings.width, (1, 3), padding=(0, 1)))
        stack.norm(f"norm{block}", settings.norm)
        stack.add(f"relu{block}", nn.ReLU())
        stack.pool(f"pool{block}", settings.pooling, last=block == settings.depth - 1, kernel=(1, 2))
    stack.flatten()
    return Network(stack, classes)
