"""The recipe of every random draw: documented, pinned, and without a trace in the global generator."""

import hashlib

import pytest
import torch

from padray.draws import generator, seed_for, torch_seed

PINNED_SEED = 351923702272801876
PINNED_NUMBERS = [695824463, 1156575943, 499195759]


@pytest.mark.parametrize("draw", [(0, "experts", "expert-0000", 3), (7, "split", 4, ""), (-1, "distill", "", "")])
def test_the_recipe_is_the_documented_one(draw):
    digest = hashlib.sha256("/".join(map(str, draw)).encode()).hexdigest()
    assert seed_for(*draw) == int(digest[:16], 16) // 2


def test_what_is_left_out_counts_as_empty():
    assert seed_for(1, "distill") == seed_for(1, "distill", "", "")


def test_a_draw_never_changes():
    """Whoever distilled a set years ago gets the same bytes today."""
    draw = (0, "experts", "expert-0000", 3)
    assert seed_for(*draw) == PINNED_SEED
    assert torch.randint(2**31, (3,), generator=generator(*draw)).tolist() == PINNED_NUMBERS


def test_draws_differ_by_each_part_of_their_name():
    draws = [(0, "a", "b", 1), (1, "a", "b", 1), (0, "c", "b", 1), (0, "a", "c", 1), (0, "a", "b", 2)]
    assert len({seed_for(*draw) for draw in draws}) == len(draws)


def test_a_generator_starts_anew_each_time():
    first, second = (torch.rand(5, generator=generator(0, "x")) for _ in range(2))
    assert torch.equal(first, second)


def test_torch_seed_repeats_its_draws_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with torch_seed(5):
        first = torch.rand(3)
    with pytest.raises(ValueError), torch_seed(5):
        assert torch.equal(torch.rand(3), first)
        raise ValueError
    assert torch.equal(torch.get_rng_state(), before)
