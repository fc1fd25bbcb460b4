"""Methods by compiled programs: what they are made for, and that they give what autograd gives."""

from dataclasses import replace

import pytest
import torch

from padray.networks.derivatives import Execution
from tests.methods import test_distribution as distribution
from tests.methods.test_gradient import CLASSES, DSA, PER_CLASS, contributions, given, matching, settings


def test_real_gradients_and_the_training_between_two_steps_are_compiled_where_that_was_decided(programs_asked):
    changes = {"outer_steps": 2, "inner": {"epochs": 3, "batch": 6}, **DSA}
    plain = matching(given(), **changes)
    compiled = matching(replace(given(), execution=Execution("on", bf16=("gradient", "curvature"))), **changes)
    state = there = plain.start()
    for _ in range(2):
        wanted, found = contributions(plain, state), contributions(compiled, there)
        for a, b in zip(wanted, found, strict=True):
            assert torch.allclose(a["grad_images"], b["grad_images"], rtol=1e-9, atol=1e-12)
            assert torch.allclose(a["loss"], b["loss"], rtol=1e-9)
        state, there = plain.step(state, wanted)[0], compiled.step(there, found)[0]
    assert torch.allclose(state.learned.images, there.learned.images, rtol=1e-9, atol=1e-12)
    assert {(one.kind, one.batch, one.bf16) for one in programs_asked} == {
        ("gradient", 5, False),
        ("gradient", 6, False),
    }


def test_where_a_class_has_fewer_samples_than_a_batch_the_largest_one_is_compiled_for(programs_asked):
    fewer = torch.tensor([k for k in range(CLASSES * PER_CLASS) if k not in (0, 3)])  # of the first class
    made = matching(replace(given(rows=fewer), execution=Execution("on")), real_batch=100)
    parts = contributions(made, made.start())
    assert [one.batch for one in programs_asked] == [PER_CLASS] * 2
    autograd = matching(given(rows=fewer), real_batch=100)
    for a, b in zip(parts, contributions(autograd, autograd.start()), strict=True):
        assert torch.allclose(a["grad_images"], b["grad_images"], rtol=1e-9, atol=1e-12)


def test_the_work_that_programs_would_do_decides():
    """10 iterations of 3 classes of 5 real samples; 8 trainings of 4 epochs on 6: three passes each."""
    made = settings(iterations=10, outer_steps=5, inner={"epochs": 4})
    assert made.compilable_passes(CLASSES) == 3 * (10 * 3 * 5 + 8 * 4 * 6)
    assert settings(iterations=10).compilable_passes(CLASSES) == 3 * 10 * 3 * 5


@pytest.mark.parametrize(("outputs", "kinds"), [({}, ["features"] * CLASSES), ({"which": "blocks"}, [])])
def test_real_samples_of_distribution_matching_are_seen_by_a_program_where_embeddings_are_matched(
    programs_asked, outputs, kinds
):
    plain = distribution.matching(given(), outputs=outputs)
    compiled = distribution.matching(replace(given(), execution=Execution("on", bf16=("gradient",))), outputs=outputs)
    state = plain.start()
    for a, b in zip(contributions(plain, state), contributions(compiled, state), strict=True):
        assert torch.allclose(a["grad_images"], b["grad_images"], rtol=1e-9, atol=1e-12)
        assert torch.allclose(a["loss"], b["loss"], rtol=1e-9)
    assert [one.kind for one in programs_asked] == kinds and not any(one.bf16 for one in programs_asked)
    expected = plain.settings.iterations * CLASSES * 5 if kinds else 0
    assert plain.settings.compilable_passes(CLASSES) == expected
