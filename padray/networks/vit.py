"""A small vision transformer (Dosovitskiy et al. 2021): pre-norm blocks, learned positions, mean over the tokens.

Shapes at 3x32x32, width 64: 64 patches of 4x4 -> 64x64 -> (blocks) 64x64 -> 64 -> K.
Differs from the paper: 1. the mean over the tokens takes the place of a class token (Beyer et al. 2022). 2. The
linear layers start as PyTorch starts them; the positions start as the paper's do, normal with deviation 0.02.
3. No dropout.

Axes: N images, C channels, H height, W width, T tokens (patches, row by row), D numbers per token, A heads,
E numbers per head.
"""

import torch
from torch import Tensor, nn

from padray.networks.layers import Network, Shape, Stack
from padray.networks.settings import HEAD_WIDTH, NetworkSettings

PATCHES_PER_SIDE = 8  # aimed at
POSITION_STD = 0.02
EXPANSION = 4  # hidden units of a block's two-layer perceptron, in widths


def patch_of(shape: Shape) -> int:
    """The side of a patch: an eighth of the smaller side in whole pixels, half a pixel counting as one; at least 1."""
    return max(1, (min(shape[1:]) + PATCHES_PER_SIDE // 2) // PATCHES_PER_SIDE)


class Tokens(nn.Module):
    """images_NCHW -> tokens_NTD: each patch through one linear map, plus its position.

    Zeros on the right and below fill up an image whose sides are no multiples of the patch.
    """

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        patch = patch_of(shape)
        rows, columns = (-(-side // patch) for side in shape[1:])
        self.fill = nn.ZeroPad2d((0, columns * patch - shape[2], 0, rows * patch - shape[1]))
        self.patches = nn.Conv2d(shape[0], width, patch, stride=patch)
        self.positions = nn.Parameter(POSITION_STD * torch.randn(rows * columns, width))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        tokens_NTD = self.patches(self.fill(images_NCHW)).flatten(2).transpose(1, 2)
        out_NTD: Tensor = tokens_NTD + self.positions
        return out_NTD


class Attention(nn.Module):
    """Every token's mean of all tokens' values, weighted by softmax(q k / sqrt(E)) (Vaswani et al. 2017, Eq. 1).

    Written out, because PyTorch's fused kernels have no second derivative, and trajectory matching needs it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        split_NTAE = (part.unflatten(2, (self.heads, HEAD_WIDTH)) for part in self.qkv(tokens_NTD).chunk(3, dim=2))
        q_NATE, k_NATE, v_NATE = (part.transpose(1, 2) for part in split_NTAE)
        weights_NATT = (q_NATE @ k_NATE.transpose(2, 3) / HEAD_WIDTH**0.5).softmax(dim=3)
        mixed_NTD = (weights_NATT @ v_NATE).transpose(1, 2).flatten(2)
        out_NTD: Tensor = self.out(mixed_NTD)
        return out_NTD


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm0, self.attention = nn.LayerNorm(width), Attention(width)
        hidden = EXPANSION * width
        self.norm1 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x_NTD: Tensor) -> Tensor:
        x_NTD = x_NTD + self.attention(self.norm0(x_NTD))
        out_NTD: Tensor = x_NTD + self.perceptron(self.norm1(x_NTD))
        return out_NTD


class TokenMean(nn.Module):
    """tokens_NTD -> features_ND."""

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        return tokens_NTD.mean(dim=1)


def vit(settings: NetworkSettings, shape: Shape, classes: int) -> Network:
    """`depth` blocks over about 8x8 patches; `width` numbers per token, one head for each 16 of them."""
    assert settings.width and settings.depth  # NetworkSettings fills them
    stack = Stack(shape)
    stack.add("tokens", Tokens(shape, settings.width))
    for block in range(settings.depth):
        stack.add(f"block{block}", Block(settings.width))
    stack.add("norm", nn.LayerNorm(settings.width))
    stack.add("mean", TokenMean())
    return Network(stack, classes)
