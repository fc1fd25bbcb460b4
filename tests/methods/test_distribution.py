"""Distribution matching: its objective and gradients against a second implementation, its draws, its filters."""

import math

import pytest
import torch
from torch.nn import functional as F

from padray.config import Config, NetworkSettings
from padray.data import augment
from padray.draws import generator, seed_for
from padray.errors import DivergedError, InputError
from padray.methods import steps
from padray.methods.distribution.matching import DistributionMatching
from padray.methods.distribution.outputs import outputs_of
from padray.methods.distribution.settings import DistributionSettings, OutputSettings
from padray.methods.method import Sizes
from padray.networks import factory
from padray.networks.peak import shaped
from tests.methods.given import Given

SHAPE, CLASSES, PER_CLASS = (3, 8, 8), 3, 9
NETWORK = NetworkSettings(name="convnet", width=4, depth=2)


def given(network: NetworkSettings = NETWORK, rows: torch.Tensor | None = None) -> Given:
    images = torch.randn(CLASSES * PER_CLASS, *SHAPE, generator=generator(0, "images"), dtype=torch.float64)
    labels = torch.arange(CLASSES * PER_CLASS) % CLASSES
    return Given(network, SHAPE, CLASSES, 5, images=images, labels=labels, rows=rows)


def matching(materials: Given, **changes) -> DistributionMatching:
    chosen = {"family": "distribution", "ipc": 2, "real_batch": 5, "augment": "color_crop_flip_rotate", **changes}
    return DistributionMatching(DistributionSettings.model_validate(chosen), materials)


def plain_means(batch: torch.Tensor, parts: list[torch.Tensor], kind: str) -> list[torch.Tensor]:
    """A two-block ConvNet on one class's batch, written with PyTorch's functions alone: the means of its outputs."""
    outputs, x = [], batch
    for block in range(2):
        weight, bias, scale, shift = parts[4 * block : 4 * block + 4]
        x = F.conv2d(x, weight, bias, padding=1)
        x = F.instance_norm(x, weight=scale, bias=shift) if kind == "instance" else x
        x = F.avg_pool2d(F.relu(x), 2)
        outputs.append(x.flatten(1))
    outputs.append(F.linear(outputs[-1], parts[8], parts[9]))
    return [output.mean(dim=0) for output in outputs]


def second_implementation(materials: Given, made: DistributionMatching, images: torch.Tensor, iteration: int):
    """The loss of each class, and the gradient of their sum."""
    network = factory.build(NETWORK, SHAPE, CLASSES, seed_for(5, "distill", "network", iteration)).double()
    parts = [parameter.detach() for parameter in network.parameters()]
    leaf, losses = images.clone().requires_grad_(), []
    for label in range(CLASSES):
        real = materials.images[materials.labels == label]
        order = torch.randperm(PER_CLASS, generator=generator(5, "distill", f"real-{label}", iteration))[:5]
        draw = generator(5, "distill", f"augment-{label}", iteration)
        change = augment.draw(made.settings.augment, 1, SHAPE, draw)
        wanted = plain_means(augment.apply(change, real[order]), parts, "instance")
        reached = plain_means(augment.apply(change, leaf[2 * label : 2 * label + 2]), parts, "instance")
        which = {"embedding": [1], "blocks": [0, 1, 2][int(made.settings.outputs.alpha * 3) :]}
        chosen = which[made.settings.outputs.which]
        losses.append(sum((wanted[k] - reached[k]).pow(2).sum() for k in chosen))
    return torch.stack(losses), torch.autograd.grad(sum(losses), leaf)[0]


@pytest.mark.parametrize("outputs", [{}, {"which": "blocks"}, {"which": "blocks", "alpha": 0.5}])
def test_loss_and_gradient_are_those_of_a_second_implementation(outputs):
    materials = given()
    made = matching(materials, outputs=outputs)
    state = made.start()
    for iteration in (0, 3):
        at = type(state)(iteration, state.learned, state.momentum)
        found = [made.contribute(at, number, ()) for number in range(made.count)]
        losses, gradient = second_implementation(materials, made, state.learned.images, iteration)
        assert torch.allclose(torch.cat([one["loss"] for one in found]), losses, rtol=1e-12)
        assert torch.allclose(torch.cat([one["grad_images"] for one in found]), gradient, rtol=1e-10, atol=1e-14)


def test_a_step_is_sgd_with_momentum_along_the_sum_over_classes():
    materials = given()
    made = matching(materials, lr_images=0.3, momentum_images=0.7)
    state = made.start()
    pixels = state.learned.images.clone().requires_grad_()
    sgd = torch.optim.SGD([pixels], lr=0.3, momentum=0.7)
    for iteration in range(3):
        _, pixels.grad = second_implementation(materials, made, pixels.detach(), iteration)
        sgd.step()
        state, metrics = made.step(state, [made.contribute(state, number, ()) for number in range(made.count)])
    assert torch.allclose(state.learned.images, pixels.detach(), rtol=1e-9)
    assert state.learned.labels.tolist() == [0, 0, 1, 1, 2, 2] and state.learned.lr is None
    assert (state.iteration, metrics["iteration"], metrics["loss"]) == (3, 2, pytest.approx(sum(metrics["classes"])))


def test_a_batch_norm_sees_all_classes_in_one_pass():
    materials = given(NetworkSettings(name="convnet", width=4, depth=2, norm="batch"))
    made = matching(materials, augment="none", real_batch=PER_CLASS)
    state = made.start()
    assert made.count == 1
    found = made.contribute(state, 0, ())
    network = factory.build(materials.network, SHAPE, CLASSES, seed_for(5, "distill", "network", 0)).double().train()
    by_class = torch.cat([materials.images[materials.labels == label] for label in range(CLASSES)])
    leaf = state.learned.images.clone().requires_grad_()
    wanted = network.features(by_class).view(CLASSES, PER_CLASS, -1).mean(dim=1).detach()
    losses = (wanted - network.features(leaf).view(CLASSES, 2, -1).mean(dim=1)).pow(2).sum(dim=1)
    assert torch.allclose(found["loss"], losses, rtol=1e-9)
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    assert torch.allclose(found["grad_images"], gradient, rtol=1e-8, atol=1e-12)


def test_what_fiex_leaves_out_is_neither_a_start_nor_in_a_batch():
    rows = torch.tensor([k for k in range(CLASSES * PER_CLASS) if k % 2])
    whole = given()
    whole.images[::2] = 1e6  # the left out
    made = matching(Given(NETWORK, SHAPE, CLASSES, 5, images=whole.images, labels=whole.labels, rows=rows))
    assert float(made.start().learned.images.abs().max()) < 1e3
    for iteration in range(6):
        for label in range(CLASSES):
            assert float(made._real_batch(label, iteration).abs().max()) < 1e3
    counts = [len(samples) for samples in made.real]
    assert sum(counts) == len(rows)


def test_a_class_smaller_than_the_batch_is_whole_and_too_small_a_class_is_refused():
    made = matching(given(), real_batch=100)
    batch = made._real_batch(1, 0)
    assert len(batch) == PER_CLASS and torch.equal(batch.sum(dim=0), batch.sum(dim=0))
    assert torch.allclose(batch.sum(dim=0), made.real[1].sum(dim=0))
    with pytest.raises(InputError, match="class 0 has only 9"):
        matching(given(), ipc=10).start()


def test_real_batches_change_with_the_iteration_and_hold_no_sample_twice():
    made = matching(given())
    seen = [made._real_batch(0, iteration).flatten(1) for iteration in range(4)]
    assert all(len(torch.unique(batch, dim=0)) == 5 for batch in seen)
    assert not torch.equal(seen[0], seen[1])


def test_a_class_that_is_not_finite_stays_and_is_counted_and_only_several_in_a_row_end_the_work():
    made = matching(given(), ema_decay=0.5)
    state = made.start()
    good = [made.contribute(state, number, ()) for number in range(made.count)]
    bad = {**good[1], "loss": torch.full_like(good[1]["loss"], math.nan)}
    stepped, metrics = made.step(state, [good[0], bad, good[2]])
    assert (metrics["skipped"], metrics["not_finite"]) == (1, 1)
    whole, _ = made.step(state, good)
    for name in ("learned", "momentum"):
        mixed, before, after = (getattr(one, name).images for one in (stepped, state, whole))
        assert torch.equal(mixed[2:4], before[2:4]) and torch.equal(mixed[[0, 1, 4, 5]], after[[0, 1, 4, 5]])
    assert torch.equal(stepped.average[2:4], state.average[2:4])
    for _ in range(steps.BARREN - 1):
        state, _ = made.step(state, [bad] * 3)
    assert "no class was finite in the last 9 iterations" in made.warning(state)
    with pytest.raises(DivergedError, match=r"no class was finite in 10 iterations .* lower distill\.lr_images"):
        made.step(state, [bad] * 3)


def test_a_step_that_leaves_what_is_not_finite_names_its_setting():
    made = matching(given(), lr_images=1e308)
    state = made.start()
    steep = {"loss": torch.ones(1), "grad_images": torch.full((2, *SHAPE), 10.0).double()}
    with pytest.raises(DivergedError, match=r"iteration 0 left values that are not finite: lower distill\.lr_images"):
        made.step(state, [steep] * 3)


@pytest.mark.parametrize(("share", "kept"), [(0.0, [0, 1, 2, 3]), (0.25, [1, 2, 3]), (0.5, [2, 3]), (0.75, [3])])
def test_fiem_on_blocks_leaves_the_first_outputs_of_a_three_block_network_and_its_logits_out(share, kept):
    network = factory.build(NetworkSettings(width=128, depth=3), (3, 32, 32), 10, 0)
    found = outputs_of(network, torch.zeros(2, 3, 32, 32), OutputSettings(which="blocks", alpha=share))
    sizes = [128 * 16 * 16, 128 * 8 * 8, 2048, 10]
    assert [output.shape for output in found] == [(2, sizes[k]) for k in kept]


def test_fiem_on_units_cuts_the_numbers_of_all_modules_end_to_end():
    network = factory.build(NetworkSettings(width=128, depth=3), (3, 32, 32), 10, 0)
    images = torch.rand(2, 3, 32, 32)
    (whole,) = outputs_of(network, images, OutputSettings(which="units"))
    assert whole.shape == (2, 559_104), "FAMILIES of the paper's network: 12 modules"
    (half,) = outputs_of(network, images, OutputSettings(which="units", alpha=0.5))
    assert torch.equal(half, whole[:, 559_104 // 2 :])
    (plain,) = outputs_of(network, images, OutputSettings())
    assert torch.equal(whole[:, -2048:], plain)


def test_a_plan_counts_the_training_samples_once_more_and_all_classes_at_once_with_a_batch_norm():
    settings = DistributionSettings(family="distribution", ipc=2)

    def costs(norm: str, train: int):
        network = shaped(NetworkSettings(width=8, depth=2, norm=norm), SHAPE, CLASSES, torch.float32)
        return DistributionMatching.costs(settings, Sizes(network, norm, SHAPE, CLASSES, train, 0))

    more = costs("instance", 5000).peak_bytes - costs("instance", 3000).peak_bytes
    assert more == 2000 * math.prod(SHAPE) * 4, "from 3 batches of 256 on, nothing else depends on them"
    assert costs("batch", 5000).peak_bytes > costs("instance", 5000).peak_bytes
    assert costs("batch", 5000).contribution_numbers == CLASSES * costs("instance", 5000).contribution_numbers


def test_settings_of_another_family_are_refused_and_those_that_do_nothing_too():
    def refused(distill: dict, **more) -> str:
        with pytest.raises(ValueError) as caught:
            Config.model_validate({"distill": distill, **more})
        return str(caught.value)

    assert "student_steps" in refused({"family": "distribution", "student_steps": 3})
    assert "real_batch" in refused({"real_batch": 3})
    assert "family must be one of trajectory, distribution, gradient" in refused({"family": "gradients"})
    assert "set which to blocks or units" in refused({"family": "distribution", "outputs": {"alpha": 0.25}})
    epochs = {"initial_ratio": 0.5, "addition_end_epoch": 3}
    assert "trains no experts, so no epoch" in refused({"family": "distribution"}, schedule=epochs)
