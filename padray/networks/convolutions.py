"""A convolution's derivatives as the processor's kernels are fast at them; the sums are the same, in another order.

`DECOMPOSITIONS` is what tracing.py replaces PyTorch's own operations with. Stride and dilation 1, no groups; what is
otherwise stays as it is.

Axes: N samples, I channels of the images, O channels of the maps, H W pixels, K pixels of a kernel's side, B pixels of
a block's side.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph
from torch.nn import functional as F

_ATEN = torch.ops.aten
_LANES = 16  # channels that a kernel makes at a time, asked for or not


def ask_for_less(graph: Graph) -> None:
    """Have a convolution's derivatives made of which somebody makes use, and no others."""
    for node in graph.find_nodes(op="call_function", target=_ATEN.convolution_backward.default):
        *given, wanted = node.args
        used = {user.args[1] for user in node.users}
        node.args = (*given, [asked and index in used for index, asked in enumerate(wanted)])


def _backward(grad_NOHW: Tensor, images_NIHW: Tensor, weight_OIKK: Tensor, biases: Any, *how: Any) -> Any:
    """Of images with few channels by blocks of their pixels.

    Args:
        how: stride, padding, dilation, transposed, output padding, groups, and which of the three are wanted.
    """
    *shaped, (of_images, *others) = how
    if not (of_images and _is_plain(*shaped) and _block(images_NIHW.shape, weight_OIKK.shape, shaped[1]) > 1):
        return NotImplemented
    images = image_gradient(grad_NOHW, weight_OIKK, shaped[1])
    given = (grad_NOHW, images_NIHW, weight_OIKK, biases, *shaped, [False, *others])
    return images, *(_ATEN.convolution_backward(*given)[1:] if any(others) else (None, None))


def _forward(images: Tensor, kernel: Tensor, bias: Tensor | None, *how: Any) -> Any:
    """What comes of differentiating twice: gradients for images, and for weights, that are put as convolutions."""
    stride, padding, dilation, transposed, output_padding, groups = how
    if bias is not None or not _is_plain(stride, padding, dilation, False, output_padding, groups):
        return NotImplemented
    if transposed:
        shape = _images_of(images.shape, kernel.shape, padding)
        return image_gradient(images, kernel, padding) if _block(shape, kernel.shape, padding) > 1 else NotImplemented
    sides = [
        side + 2 * pad - over + 1 for side, pad, over in zip(images.shape[2:], padding, kernel.shape[2:], strict=True)
    ]
    if not all(side < over for side, over in zip(sides, kernel.shape[2:], strict=True)):
        return NotImplemented
    # A map for a kernel: the products of two maps, summed over samples and pixels.
    weight = kernel.new_zeros(kernel.shape[0], images.shape[0], *sides)  # its shape is looked at, and nothing else
    given = (kernel.transpose(0, 1), images.transpose(0, 1), weight, None, *how, [False, True, False])
    return _ATEN.convolution_backward(*given)[1].transpose(0, 1)


def _is_plain(stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any, groups: int) -> bool:
    return {*stride, *dilation, groups} == {1} and not any(output_padding) and not transposed


def _images_of(grad: Sequence[int], weight: Sequence[int], padding: Sequence[int]) -> tuple[int, ...]:
    """The shape of the images whose maps a gradient (N, O, H, W) is of."""
    sides = [side + over - 1 - 2 * pad for side, over, pad in zip(grad[2:], weight[2:], padding, strict=True)]
    return grad[0], weight[1], *sides


def _block(images: Sequence[int], weight: Sequence[int], padding: Sequence[int]) -> int:
    """Pixels B of a block's side, such that B * B * I channels fill the lanes; 1 where blocks do not tile or help."""
    if any(pad >= over for pad, over in zip(padding, weight[2:], strict=True)):
        return 1  # of the maps only a part would be seen
    _, channels, height, width = images
    return next((b for b in (4, 2) if b * b * channels <= _LANES and height % b == width % b == 0), 1)


def image_gradient(grad_NOHW: Tensor, weight_OIKK: Tensor, padding: Sequence[int]) -> Tensor:
    """The gradient (N, I, H, W) for a convolution's images, of which there are few channels.

    The usual way is a convolution with I channels out, which costs as much as 16. Here the pixels of a block are its
    channels: a kernel of K + B - 1 pixels, moved on by B, sees all that a block's pixels depend on.
    """
    count, channels, height, width = shape = _images_of(grad_NOHW.shape, weight_OIKK.shape, padding)
    block = _block(shape, weight_OIKK.shape, padding)
    flipped, far = weight_OIKK.flip(2, 3), block - 1
    moved = [F.pad(flipped, (x, far - x, y, far - y)) for y in range(block) for x in range(block)]
    kernels = torch.stack(moved).transpose(1, 2).flatten(0, 1)  # (B * B * I, O, K + B - 1, K + B - 1)
    around = [over - 1 - pad for over, pad in zip(weight_OIKK.shape[2:], padding, strict=True)]
    blocks = _ATEN.convolution(grad_NOHW, kernels, None, [block, block], around, [1, 1], False, [0, 0], 1)
    apart: Tensor = blocks.reshape(count, block, block, channels, height // block, width // block)
    return apart.permute(0, 3, 4, 1, 5, 2).reshape(count, channels, height, width)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    _ATEN.convolution.default: _forward,
    _ATEN.convolution_backward.default: _backward,
}
