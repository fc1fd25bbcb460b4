"""ResNet18 and ResNet34 (He et al. 2016) with the stem for small images: one 3x3 convolution, no pool.

Shapes at 3x32x32, width 64: 64x32x32 -> 128x16x16 -> 256x8x8 -> 512x4x4 -> 512 -> K.
Differs from the papers' code: 1. it ends in the mean of the whole map, which is their AvgPool4 wherever the map
is 4x4, as it is at 28, 32 and 64 pixels.
"""

from torch import Tensor, nn

from padray.networks.layers import Network, Shape, Stack, is_large
from padray.networks.settings import NetworkSettings

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels in widths, stride of the first block
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # per stage, by the number of layers


class Residual(nn.Module):
    """relu(main(x) + shortcut(x)); an empty shortcut is the identity."""

    def __init__(self, main: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.main, self.shortcut, self.relu = main, shortcut, nn.ReLU()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out_NCHW: Tensor = self.relu(self.main(x_NCHW) + self.shortcut(x_NCHW))
        return out_NCHW


def _block(shape: Shape, channels: int, stride: int, norm: str) -> Residual:
    """Two 3x3 convolutions; a 1x1 convolution in the shortcut where the shape changes."""
    if (min(shape[1:]) + 1) // 2 < 2:  # rule 3 of layers.py
        stride = 1
    main, shortcut = Stack(shape), Stack(shape)
    main.conv("conv0", channels, 3, padding=1, stride=stride, bias=False)
    main.norm("norm0", norm)
    main.add("relu0", nn.ReLU())
    main.conv("conv1", channels, 3, padding=1, bias=False)
    main.norm("norm1", norm)
    if stride != 1 or channels != shape[0]:
        shortcut.conv("conv", channels, 1, stride=stride, bias=False)
        shortcut.norm("norm", norm)
    return Residual(main.sequential(), shortcut.sequential())


def resnet18(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """Two residual blocks in each of the four stages; `width` is that of the first stage."""
    return _resnet(18, settings, shape, classes)


def resnet34(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """Three, four, six and three residual blocks in the stages; `width` is that of the first stage."""
    return _resnet(34, settings, shape, classes)


def _resnet(layers: int, settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """Stem, four stages of residual blocks, mean over the map."""
    assert settings.width  # NetworkSettings fills it
    stack = Stack(shape)
    stack.conv("conv", settings.width, 3, padding=1, stride=2 if is_large(shape) else 1, bias=False)
    stack.norm("norm", settings.norm)
    stack.add("relu", nn.ReLU())
    for stage, (factor, stride) in enumerate(STAGES):
        for block in range(BLOCKS[layers][stage]):
            channels, first = factor * settings.width, block == 0
            stack.add(f"block{stage}_{block}", _block(stack.shape, channels, stride if first else 1, settings.norm))
    stack.add("mean", nn.AdaptiveAvgPool2d(1))
    stack.flatten()
    return Network(stack, classes)
