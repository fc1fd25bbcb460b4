"""The same functions as torchvision's networks and PyTorch's own layers, given the same weights."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import EncoderBlock

from padray.config import NetworkSettings
from padray.networks.factory import build
from padray.networks.vit import Attention, Block, Tokens

CIFAR = (3, 32, 32)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def randomise(module: nn.Module) -> None:
    """Other values than the initial ones, so that no norm's scale of 1 or shift of 0 can hide."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.9).add_(0.02 * torch.randn(parameter.shape, generator=generator))


def copy_weights(theirs: nn.Module, ours: nn.Module) -> None:
    """Tensor by tensor: both list them in the order of the layers."""
    with torch.no_grad():
        for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
            a.copy_(b)


def assert_same_in_both_modes(theirs: Callable[[Tensor], Tensor], ours: nn.Module, images_NCHW: Tensor) -> None:
    """In train mode by the batch's statistics, then in eval mode by the running ones that this left behind."""
    for training in (True, False):
        for network in (theirs, ours):
            assert isinstance(network, nn.Module)
            network.train(training)
        with torch.no_grad():
            torch.testing.assert_close(ours(images_NCHW), theirs(images_NCHW), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_resnets_are_torchvisions_with_the_small_stem(name: str) -> None:
    theirs = getattr(torchvision.models, name)(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    ours = build(NetworkSettings(name=name, norm="batch"), CIFAR, 10, seed=0)  # type: ignore[arg-type]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    randomise(ours)
    copy_weights(theirs, ours)
    assert_same_in_both_modes(theirs, ours, draw(4, *CIFAR))


def test_vgg11_is_torchvisions_up_to_the_head() -> None:
    theirs = torchvision.models.vgg11_bn(init_weights=False).features.append(nn.Flatten())
    ours = build(NetworkSettings(name="vgg11", norm="batch"), CIFAR, 10, seed=0).features
    randomise(ours)
    copy_weights(theirs, ours)
    assert_same_in_both_modes(theirs, ours, draw(4, *CIFAR))


@pytest.mark.parametrize(("pooling", "pool"), [("avg", F.avg_pool1d), ("max", F.max_pool1d), ("none", None)])
def test_the_convnet1d_is_written_with_one_dimensional_layers(
    pooling: str, pool: Callable[[Tensor, int], Tensor] | None
) -> None:
    ours = build(NetworkSettings(name="convnet1d", width=8, pooling=pooling), (2, 1, 40), 3, seed=0)  # type: ignore[arg-type]
    randomise(ours)
    series_NC1T = draw(4, 2, 1, 40)
    x_NCT, layers = series_NC1T[:, :, 0], dict(ours.features.named_children())
    for block in range(3):
        conv, norm = layers[f"conv{block}"], layers[f"norm{block}"]
        x_NCT = F.conv1d(x_NCT, conv.weight[:, :, 0], conv.bias, padding=1)
        x_NCT = F.relu(F.instance_norm(x_NCT, weight=norm.weight, bias=norm.bias))
        x_NCT = pool(x_NCT, 2) if pool else x_NCT
    torch.testing.assert_close(ours(series_NC1T), ours.classifier(x_NCT.flatten(1)))


def test_attention_is_pytorchs() -> None:
    ours, tokens_NTD = Attention(48), draw(2, 5, 48)
    randomise(ours)
    tokens_TND = tokens_NTD.transpose(0, 1)
    theirs_TND, _ = F.multi_head_attention_forward(
        tokens_TND,
        tokens_TND,
        tokens_TND,
        48,
        3,
        ours.qkv.weight,
        ours.qkv.bias,
        None,
        None,
        False,
        0.0,
        ours.out.weight,
        ours.out.bias,
        need_weights=False,
    )
    torch.testing.assert_close(ours(tokens_NTD), theirs_TND.transpose(0, 1))


def test_a_block_of_the_vit_is_torchvisions() -> None:
    theirs = EncoderBlock(2, 32, 4 * 32, dropout=0.0, attention_dropout=0.0, norm_layer=nn.LayerNorm)
    ours, tokens_NTD = Block(32), draw(2, 7, 32)
    randomise(ours)
    copy_weights(theirs, ours)
    torch.testing.assert_close(ours(tokens_NTD), theirs(tokens_NTD))


def test_tokens_are_the_patches_row_by_row_plus_their_positions() -> None:
    tokens, images_NCHW = Tokens((2, 15, 17), 8), draw(3, 2, 15, 17)
    filled_NCHW = torch.zeros(3, 2, 16, 18)
    filled_NCHW[:, :, :15, :17] = images_NCHW
    weight_DF = tokens.patches.weight.flatten(1)
    for token in (0, 1, 8, 9, 71):
        row, column = divmod(token, 9)
        patch_NF = filled_NCHW[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1)
        expected_ND = patch_NF @ weight_DF.T + tokens.patches.bias + tokens.positions[token]
        torch.testing.assert_close(tokens(images_NCHW)[:, token], expected_ND)


def test_the_vit_ends_in_the_mean_of_its_normed_tokens() -> None:
    vit = build(NetworkSettings(name="vit", width=16, depth=1), CIFAR, 10, seed=0)
    randomise(vit)
    tokens, block, norm, _ = vit.features
    images_NCHW = draw(2, *CIFAR)
    x_NTD = block(tokens(images_NCHW))
    centred = x_NTD - x_NTD.mean(2, keepdim=True)
    normed_NTD = norm.weight * centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt() + norm.bias
    torch.testing.assert_close(vit.features(images_NCHW), normed_NTD.sum(1) / 64)


def test_the_vit_starts_as_documented() -> None:
    vit = build(NetworkSettings(name="vit"), CIFAR, 10, seed=3)
    torch.manual_seed(3)
    patches, positions = nn.Conv2d(3, 64, 4, stride=4), 0.02 * torch.randn(64, 64)
    torch.testing.assert_close(vit.features.tokens.patches.state_dict(), patches.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(vit.features.tokens.positions.detach(), positions, rtol=0, atol=0)
    torch.testing.assert_close(vit.features.block0.attention.qkv.weight, nn.Linear(64, 192).weight, rtol=0, atol=0)
