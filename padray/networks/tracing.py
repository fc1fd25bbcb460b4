"""A function of tensors as a graph of operations that the compiler makes good code of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from padray.networks import convolutions

_MANY = 64  # times that a number is used, from which on it is worth being kept


def traced(function: Callable[..., tuple[Tensor, ...]], examples: tuple[Tensor, ...]) -> GraphModule:
    """The graph of what the function does to tensors like the examples, of which no two may be the same."""
    graph = make_fx(function, decomposition_table=_POOLS | convolutions.DECOMPOSITIONS)(*examples)
    graph.graph.eliminate_dead_code()
    convolutions.ask_for_less(graph.graph)
    _keep_precision(graph.graph)
    _keep_small(graph)
    return graph


# -- the precision of a norm's gradient: `torch.export` takes it for that of the norm's weights, and so what follows it


def _keep_precision(graph: Graph) -> None:
    """Have it said where such a gradient is shorter: a convolution would be made in float32 otherwise."""
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.native_group_norm_backward.default):
        for part in list(node.users):
            if part.args[1] != 0 or part.meta["val"].dtype != torch.bfloat16:
                continue
            _follow(part, torch.ops.aten._to_copy.default, dtype=torch.bfloat16)


def _follow(node: Node, operation: Any, *args: Any, **kwargs: Any) -> None:
    """Put an operation after a node, for all who use it; it gives a tensor like the node's."""
    with node.graph.inserting_after(node):
        after = node.graph.call_function(operation, (node, *args), kwargs)
    after.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(after, delete_user_cb=lambda user: user is not after)


# -- numbers of a channel: the compiler would make them again for each of its pixels, roots and quotients included


def _keep_small(module: GraphModule) -> None:
    """Have tensors kept in memory that far larger ones are made with: it is what `as_strided` asks of the compiler."""
    nodes = [node for node in module.graph.nodes if _is_made(node) and _spreads(node, node.meta["val"].numel())]
    for node in nodes:
        value = node.meta["val"]
        _follow(node, torch.ops.aten.as_strided.default, list(value.shape), list(value.stride()))
    module.recompile()


def _is_made(node: Node) -> bool:
    """Whether it is a tensor of its own: no input, no view of another, no part of a tuple."""
    is_operation = isinstance(node.target, torch._ops.OpOverload) and not _is_view(node)
    return is_operation and isinstance(node.meta.get("val"), Tensor)


def _is_view(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target.is_view


def _spreads(node: Node, size: int) -> bool:
    """Whether a far larger tensor is made with it, maybe by way of a view."""
    return any(
        _spreads(user, size) if _is_view(user) else _is_made(user) and user.meta["val"].numel() >= _MANY * size
        for user in node.users
    )


# -- pools as means over a view: the compiler makes slow code of PyTorch's own, which asks of every pixel where it lies


def _is_plain(images: Tensor, kernel: list[int], stride: list[int], padding: Any) -> bool:
    """Whether the kernel tiles the map: no overlap, no padding, nothing left over."""
    tiles = list(stride or kernel) == list(kernel) and not any([padding] if isinstance(padding, int) else padding)
    return tiles and all(side % size == 0 for side, size in zip(images.shape[2:], kernel, strict=True))


def _pool(images: Tensor, kernel: list[int], stride: Any = (), padding: Any = 0, *rest: Any) -> Any:
    if not _is_plain(images, kernel, stride, padding):
        return NotImplemented
    count, channels, height, width = images.shape
    tall, wide = kernel
    pooled = images.reshape(count, channels, height // tall, tall, width // wide, wide).mean((3, 5))
    return pooled.contiguous(memory_format=torch.channels_last)  # a convolution of it is faster


def _pool_backward(grad: Tensor, images: Tensor, kernel: list[int], stride: Any, padding: Any, *rest: Any) -> Any:
    if not _is_plain(images, kernel, stride, padding):
        return NotImplemented
    count, channels, height, width = images.shape
    tall, wide = kernel
    shares = (grad / (tall * wide))[:, :, :, None, :, None]
    spread = shares.expand(count, channels, height // tall, tall, width // wide, wide).reshape(images.shape)
    return spread.contiguous(memory_format=torch.channels_last)


_POOLS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.avg_pool2d.default: _pool,
    torch.ops.aten.avg_pool2d_backward.default: _pool_backward,
}
