"""Mixed batches: shares from their distribution, boxes from their formula, pixels from where they should be."""

import math

import pytest
import torch
from scipy import stats

from padray.data import mixing


def draws(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """The same generator twice."""
    return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [1.0, 0.8])
def test_shares_follow_the_beta_distribution(shape):
    draw = torch.Generator().manual_seed(0)
    found = [mixing.draw_beta(shape, draw) for _ in range(3000)]
    assert stats.kstest(found, stats.beta(shape, shape).cdf).pvalue > 0.05
    assert stats.kstest(found, stats.beta(0.5, 0.5).cdf).pvalue < 1e-6, "and the test would notice"


@pytest.mark.parametrize("seed", range(20))
def test_a_box_is_cutmixs(seed):
    height, width, share = 32, 20, 0.05 * seed
    draw, again = draws(seed)
    found = mixing.draw_box(height, width, share, draw)
    row, column = int(torch.randint(height, (), generator=again)), int(torch.randint(width, (), generator=again))
    tall, wide = int(height * math.sqrt(1.0 - share)), int(width * math.sqrt(1.0 - share))
    clip = lambda value, most: min(max(value, 0), most)  # noqa: E731
    assert (found.top, found.bottom) == (clip(row - tall // 2, height), clip(row + tall // 2, height))
    assert (found.left, found.right) == (clip(column - wide // 2, width), clip(column + wide // 2, width))


def numbered(count: int = 5) -> torch.Tensor:
    """Images whose every pixel tells which image it is of."""
    return torch.arange(count, dtype=torch.float64).view(-1, 1, 1, 1).expand(count, 2, 8, 8).clone()


def test_cutmix_pastes_one_box_of_another_image_into_each():
    images = numbered()
    draw, again = draws(4)
    mixed = mixing.mix("cutmix", images, draw)
    share = mixing.draw_beta(1.0, again)
    others = torch.randperm(5, generator=again)
    box = mixing.draw_box(8, 8, share, again)
    area = (box.bottom - box.top) * (box.right - box.left)
    assert 0 < area < 64, "this seed shows something"
    for n in range(5):
        foreign = mixed[n] == float(others[n])
        assert torch.equal(foreign | (mixed[n] == n), torch.ones_like(foreign))
        assert int(foreign.sum()) == (2 * area if int(others[n]) != n else 2 * 64)
    assert torch.equal(images, numbered()), "the batch itself stays"


def test_mixup_is_one_convex_combination():
    images = numbered()
    draw, again = draws(1)
    mixed = mixing.mix("mixup", images, draw)
    share = mixing.draw_beta(0.8, again)
    others = torch.randperm(5, generator=again).double()
    wanted = share * torch.arange(5) + (1 - share) * others
    assert 0.05 < share < 0.95 and torch.allclose(mixed, wanted.view(-1, 1, 1, 1).expand_as(mixed))


def test_cutmix_mixes_labels_by_the_area_that_each_image_has():
    draw, again = draws(4)
    labels = torch.eye(5, dtype=torch.float64)
    mixed, targets = mixing.cutmix(numbered(), labels, draw)
    assert torch.equal(mixed, mixing.mix("cutmix", numbered(), again)), "the same draws"
    shares = torch.stack([(mixed == k).double().mean(dim=(1, 2, 3)) for k in range(5)], dim=1)
    assert torch.allclose(targets, shares) and bool((targets < 1).any())


def test_nothing_mixed_draws_nothing():
    images = numbered()
    draw, again = draws(0)
    assert mixing.mix("none", images, draw) is images
    assert torch.rand(1, generator=draw) == torch.rand(1, generator=again)
