"""VGG11 (Simonyan & Zisserman 2015) with norms and one linear layer, as the distillation papers evaluate it.

Shapes at 3x32x32, width 64: 64x16x16 -> 128x8x8 -> 256x4x4 -> 512x2x2 -> 512x1x1 -> 512 -> K.
"""

from torch import nn

from padray.networks.layers import Network, Shape, Stack, is_large, is_mnist
from padray.networks.settings import NetworkSettings

STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels of each convolution, in widths; a max pool ends a stage


def vgg11(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """Eight blocks of 3x3 convolution, norm and ReLU in five stages; `width` is that of the first."""
    assert settings.width  # NetworkSettings fills it
    stack, layer = Stack(shape), 0
    for stage, factors in enumerate(STAGES):
        for factor in factors:
            padding = 3 if layer == 0 and is_mnist(shape) else 1
            stack.conv(f"conv{layer}", factor * settings.width, 3, padding)
            stack.norm(f"norm{layer}", settings.norm)
            stack.add(f"relu{layer}", nn.ReLU())
            layer += 1
        stack.pool(f"pool{stage}", last=stage == len(STAGES) - 1)
    if is_large(shape):
        stack.add("subsample", nn.AvgPool2d(1, stride=2))
    stack.flatten()
    return Network(stack, classes)
