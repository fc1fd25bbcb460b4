"""ConvNet, the network of most dataset distillation papers (Gidaris & Komodakis 2018; Zhao et al. 2021).

Shapes at 3x32x32, width 128, depth 3: 128x16x16 -> 128x8x8 -> 128x4x4 -> 2048 -> K.
"""

from torch import nn

from padray.networks.layers import Network, Shape, Stack, is_mnist
from padray.networks.settings import NetworkSettings


def convnet(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """`depth` blocks of 3x3 convolution, norm, ReLU and pool, all of one width; then the linear classifier."""
    assert settings.width and settings.depth  # NetworkSettings fills them
    stack = Stack(shape)
    for block in range(settings.depth):
        stack.conv(f"conv{block}", settings.width, 3, padding=3 if block == 0 and is_mnist(shape) else 1)
        stack.norm(f"norm{block}", settings.norm)
        stack.add(f"relu{block}", nn.ReLU())
        stack.pool(f"pool{block}", settings.pooling, last=block == settings.depth - 1)
    stack.flatten()
    return Network(stack, classes)
