"""The graph that is compiled: which tensors are kept, and that it computes what the function does."""

import torch

from padray.networks.tracing import traced


def normed(images_NCHW: torch.Tensor, weight_C: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A root of each channel of each image spreads over 256 pixels; the square of the whole spreads nowhere."""
    spread_NC = images_NCHW.var(dim=(2, 3)).add(1e-5).rsqrt()
    scaled = images_NCHW * (spread_NC * weight_C)[:, :, None, None]
    return scaled, scaled.sum().square()


def test_what_far_larger_tensors_are_made_with_is_kept():
    examples = torch.randn(2, 3, 16, 16), torch.randn(3)
    graph = traced(normed, examples)
    for given, expected in zip(graph(*examples), normed(*examples), strict=True):
        assert torch.equal(given, expected)
    kept = [node for node in graph.graph.nodes if node.target is torch.ops.aten.as_strided.default]
    assert [node.args[0].target for node in kept] == [torch.ops.aten.mul.Tensor]
    assert [tuple(node.meta["val"].shape) for node in kept] == [(2, 3)]
    assert kept[0].users, "it is what the larger one is made with"


def test_a_pool_is_a_mean_of_a_view_unless_its_tiles_do_not_fit():
    pool = torch.nn.AvgPool2d(2)
    for side, left in ((8, 0), (9, 1)):
        example = (torch.randn(2, 3, side, side),)
        graph = traced(lambda images: (pool(images),), example)
        pooled = graph(*example)[0]
        assert torch.allclose(pooled, pool(*example))
        assert pooled.is_contiguous(memory_format=torch.channels_last) or left, (
            "the layout that convolutions are fast in"
        )
        assert sum("avg_pool2d" in str(node.target) for node in graph.graph.nodes) == left


def test_in_bfloat16_no_convolution_is_made_in_float32():
    """What is compiled is what `torch.export` makes of the graph, and that has its own mind of a norm's gradient."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.GroupNorm(8, 8), torch.nn.Conv2d(8, 8, 3, padding=1)
    )

    def gradient(images_NCHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16):
            value = net(images_NCHW).square().mean()
        return torch.autograd.grad(value, list(net.parameters()))

    examples = (torch.randn(2, 3, 8, 8),)
    exported = torch.export.export(traced(gradient, examples), examples)
    given = {
        argument.meta["val"].dtype
        for node in exported.graph.nodes
        if node.target is torch.ops.aten.convolution_backward.default
        for argument in node.args[:3]
    }
    assert given == {torch.bfloat16}
