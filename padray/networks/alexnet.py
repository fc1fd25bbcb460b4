"""AlexNet (Krizhevsky et al. 2012) cut down to 32 pixels, as the distillation papers evaluate it. No norm.

Shapes at 3x32x32: 128x16x16 -> 192x8x8 -> 256x8x8 -> 192x8x8 -> 192x4x4 -> 3072 -> K.
"""

from torch import nn

from padray.networks.layers import Network, Shape, Stack, is_large, is_mnist
from padray.networks.settings import NetworkSettings


def alexnet(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """Five convolutions with ReLU, the first two and the last pooled. Nothing in it can be chosen."""
    stack = Stack(shape)
    for layer, (channels, kernel) in enumerate([(128, 5), (192, 5), (256, 3), (192, 3), (192, 3)]):
        first = layer == 0
        padding = kernel // 2 + (2 if first and is_mnist(shape) else 0)
        stack.conv(f"conv{layer}", channels, kernel, padding, stride=2 if first and is_large(shape) else 1)
        stack.add(f"relu{layer}", nn.ReLU())
        if layer in (0, 1, 4):
            stack.pool(f"pool{layer}", last=layer == 4)
    stack.flatten()
    return Network(stack, classes)
