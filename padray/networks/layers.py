"""What all families share: layers stacked on a dry run, and the network that they end in.

Axes: N images, C channels, H height, W width, F features, K classes.

Sizes. Every family is written for 3x32x32; these rules, and no others, fit it to another image:

1. The map's size is never computed: an image of zeros goes through each layer as it is added (no gradient, eval
   mode), and the next layer, the affine shape of a layer norm and the head are sized by what came out.
2. A convolution whose kernel is larger than its padded map is padded by half its kernel.
3. A pool, or a stride of 2 inside a network, is left out where fewer than 2 pixels a side would remain for the
   layers to come (an instance norm of a single pixel is a constant, and nothing before it would learn); a pool
   that closes the network is left out only where the map is 1 pixel wide already.
4. One channel of 28x28 (MNIST): 2 more pixels of padding in the first convolution of ConvNet, VGG, AlexNet and
   LeNet make it 32x32.
5. From 64 pixels on the first convolution of ResNet, AlexNet and LeNet has stride 2, and VGG ends in a pool of
   kernel 1 and stride 2.

Height and width may differ; the smaller one decides. A series is one row of steps, (C, 1, T): its length decides.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from padray.networks.settings import NetworkSettings

Shape = tuple[int, int, int]  # C, H, W
LARGE_PIXELS = 64
GROUPS = 4


def is_mnist(shape: Shape) -> bool:
    """Rule 4: whether the first convolution widens the image to 32x32."""
    return shape == (1, 28, 28)


def is_large(shape: Shape) -> bool:
    """Rule 5: whether the network starts (VGG: ends) with a stride."""
    return min(shape[1:]) >= LARGE_PIXELS


def make_norm(kind: str, shape: Shape) -> nn.Module:
    """The norm of a map (C, H, W). "instance" has one group a channel: affine, eps 1e-5, no running statistics.

    "group" needs channels divisible by `GROUPS`, which `factory.check` has seen to.
    """
    channels = shape[0]
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "layer":
        return nn.LayerNorm(shape)
    return nn.GroupNorm(GROUPS if kind == "group" else channels, channels)


class Stack:
    """Layers in order, under their names, and the shape that an image has after them."""

    def __init__(self, shape: Shape) -> None:
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self._map = torch.zeros(1, *shape)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the map so far."""
        channels, height, width = self._map.shape[1:]
        return channels, height, width

    @property
    def numel(self) -> int:
        """Numbers per image so far."""
        return self._map.numel()

    def add(self, name: str, layer: nn.Module) -> None:
        """Append a layer and run it once; the norm of a dry run must not touch its running statistics."""
        layer.eval()
        with torch.no_grad():
            self._map = layer(self._map)
        self.layers[name] = layer.train()

    def conv(self, name: str, channels: int, kernel: int, padding: int = 0, stride: int = 1, bias: bool = True) -> None:
        """Append a convolution (rule 2)."""
        if min(self.shape[1:]) + 2 * padding < kernel:
            padding = kernel // 2
        self.add(name, nn.Conv2d(self.shape[0], channels, kernel, stride, padding, bias=bias))

    def norm(self, name: str, kind: str) -> None:
        """Append a norm; "none" appends nothing."""
        if kind != "none":
            self.add(name, make_norm(kind, self.shape))

    def flatten(self) -> None:
        """From a map to a vector; every family calls it once."""
        self.add("flatten", nn.Flatten())

    def hidden(self, index: int, width: int) -> None:
        """Append a linear layer and its ReLU."""
        self.add(f"linear{index}", nn.Linear(self.numel, width))
        self.add(f"relu_linear{index}", nn.ReLU())

    def pool(self, name: str, kind: str = "max", last: bool = False, kernel: tuple[int, int] = (2, 2)) -> None:
        """Append a pool (rule 3, over the sides that the kernel halves); "none" appends nothing."""
        left = min(side // 2 for side, halved in zip(self.shape[1:], kernel, strict=True) if halved > 1)
        if kind != "none" and left >= (1 if last else 2):
            self.add(name, nn.AvgPool2d(kernel) if kind == "avg" else nn.MaxPool2d(kernel))

    def sequential(self) -> nn.Sequential:
        """The layers as one module."""
        return nn.Sequential(self.layers)


class Network(nn.Module):
    """A classifier in two parts: images_NCHW -> `features` (N, F) -> `classifier` -> logits_NK.

    `blueprint`: the settings, the shape of samples and the number of classes that it was built from.
    """

    blueprint: tuple[NetworkSettings, Shape, int] | None = None

    def __init__(self, stack: Stack, classes: int) -> None:
        super().__init__()
        self.features = stack.sequential()
        self.classifier = nn.Linear(stack.numel, classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.classifier(self.features(images_NCHW))
        return logits_NK

    def unit_outputs(self, images_NCHW: Tensor) -> list[Tensor]:
        """What each module of `features` gives, from shallow to deep; flattening is none."""
        return [output for _, output in self._walk(images_NCHW)]

    def block_outputs(self, images_NCHW: Tensor) -> list[Tensor]:
        """What each block of `features` gives: modules in a row whose names end in the same number, and what follows.

        A network's stem, before the first number, is a block too.
        """
        blocks: dict[str, Tensor] = {}
        number, count = None, 0
        for name, output in self._walk(images_NCHW):
            ending = re.search(r"[0-9]+(_[0-9]+)?$", name)
            if ending and ending[0] != number:
                number, count = ending[0], count + 1
            blocks[str(count)] = output
        return list(blocks.values())

    def _walk(self, images_NCHW: Tensor) -> Iterator[tuple[str, Tensor]]:
        output = images_NCHW
        for name, module in self.features.named_children():
            output = module(output)
            if not isinstance(module, nn.Flatten):
                yield name, output


class WithoutClassifier(nn.Module):
    """A network's features (N, F) as a module of its own; its parameters are the whole network's, in their order."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NCHW: Tensor) -> Tensor:
        features_NF: Tensor = self.network.features(images_NCHW)
        return features_NF
