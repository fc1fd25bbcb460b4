"""LeNet-5 (LeCun et al. 1998) with ReLU and max pools, as the distillation papers evaluate it.

Shapes at 3x32x32: 6x28x28 -> 6x14x14 -> 16x10x10 -> 16x5x5 -> 400 -> 120 -> 84 -> K.
"""

from torch import nn

from padray.networks.layers import Network, Shape, Stack, is_large, is_mnist
from padray.networks.settings import NetworkSettings


def lenet(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """Two 5x5 convolutions of 6 and 16 channels, each pooled; two hidden layers. Nothing in it can be chosen."""
    stack = Stack(shape)
    stack.conv("conv0", 6, 5, padding=2 if is_mnist(shape) else 0, stride=2 if is_large(shape) else 1)
    stack.add("relu0", nn.ReLU())
    stack.pool("pool0")
    stack.conv("conv1", 16, 5)
    stack.add("relu1", nn.ReLU())
    stack.pool("pool1", last=True)
    stack.flatten()
    stack.hidden(0, 120)
    stack.hidden(1, 84)
    return Network(stack, classes)
