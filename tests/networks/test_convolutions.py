"""The convolutions of a compiled program: the same sums as autograd's, and none that nobody asks for."""

import pytest
import torch
from torch.nn import functional as F

from padray.networks import convolutions
from padray.networks.tracing import traced

ATEN = torch.ops.aten
SHAPES = [(1, 8, 12), (3, 8, 8), (4, 6, 10), (2, 16, 4)]  # of images: blocks of 4, 2, 2 and 4 or 2 pixels


def operations(graph: torch.fx.GraphModule, target: object) -> list[torch.fx.Node]:
    return [node for node in graph.graph.nodes if node.target is target]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 0), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_the_gradient_for_images_of_few_channels_is_autograd_s(shape, kernel, padding):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, *shape, generator=draw, dtype=torch.float64).requires_grad_()
    weight = torch.randn(7, shape[0], kernel, kernel, generator=draw, dtype=torch.float64)
    maps = F.conv2d(images, weight, padding=padding)
    grad = torch.randn(maps.shape, generator=draw, dtype=torch.float64)
    (expected,) = torch.autograd.grad(maps, images, grad)
    made = convolutions.image_gradient(grad, weight, (padding, padding))
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)


BLOCKS = {  # channels, pixels of a side, padding, stride, and whether there are blocks
    "few": (3, 8, 1, 1, True),
    "one": (1, 8, 1, 1, True),
    "many channels": (5, 8, 1, 1, False),
    "no tiles": (3, 9, 1, 1, False),
    "wide padding": (3, 8, 3, 1, False),
    "stride": (3, 8, 1, 2, False),
}


@pytest.mark.parametrize(("channels", "side", "padding", "stride", "blocks"), BLOCKS.values(), ids=BLOCKS)
def test_blocks_are_for_few_channels_that_they_tile(channels, side, padding, stride, blocks):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, channels, side, side, generator=draw, dtype=torch.float64)
    weight = torch.randn(6, channels, 3, 3, generator=draw, dtype=torch.float64)

    def both(images: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images, weight = images.detach().requires_grad_(), weight.detach().requires_grad_()
        return torch.autograd.grad(F.conv2d(images, weight, None, stride, padding).square().sum(), (images, weight))

    graph = traced(both, (images, weight))
    for made, expected in zip(graph(images, weight), both(images, weight), strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)
    strides = [node.args[3] for node in operations(graph, ATEN.convolution.default)]
    assert any(each[0] in (2, 4) for each in strides[1:]) is blocks, "the first is the convolution itself"


def test_a_map_for_a_kernel_becomes_the_gradient_for_a_weight():
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(5, 2, 9, 7, generator=draw, dtype=torch.float64) for _ in range(2))

    def products(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (F.conv2d(one, other, padding=1),)

    graph = traced(products, (one, other))
    torch.testing.assert_close(graph(one, other)[0], products(one, other)[0], rtol=1e-12, atol=1e-12)
    assert not operations(graph, ATEN.convolution.default)
    assert len(operations(graph, ATEN.convolution_backward.default)) == 1


def test_what_nobody_asks_for_is_not_made():
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 8, 8, generator=draw)
    first, second = (torch.randn(8, 8, 3, 3, generator=draw) for _ in range(2))

    def of_the_first(images: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, second = first.detach().requires_grad_(), second.detach().requires_grad_()
        maps = F.conv2d(F.conv2d(images, first, padding=1), second, padding=1)
        return torch.autograd.grad(maps.square().sum(), (first, second))[:1]

    graph = traced(of_the_first, (images, first, second))
    masks = [node.args[10] for node in operations(graph, ATEN.convolution_backward.default)]
    assert masks == [[True, False, False], [False, True, False]]
    expected = of_the_first(images, first, second)
    torch.testing.assert_close(graph(images, first, second)[0], expected[0])
