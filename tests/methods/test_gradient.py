"""Gradient matching: its distances and gradients against a second implementation, its networks, its filters."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from padray.config import Config, NetworkSettings
from padray.data import augment
from padray.draws import generator, seed_for
from padray.errors import DivergedError, InputError
from padray.methods import steps
from padray.methods.gradient import distances, inner
from padray.methods.gradient.distances import DISTANCES, distance_of, kept
from padray.methods.gradient.matching import GradientMatching
from padray.methods.gradient.settings import GradientSettings
from padray.methods.method import Sizes
from padray.networks import factory
from padray.networks.flat import spans_of
from padray.networks.peak import shaped
from tests.methods.given import Given

SHAPE, CLASSES, PER_CLASS, IPC = (3, 8, 8), 3, 9, 2
NETWORK = NetworkSettings(name="convnet", width=4, depth=2)
BATCH_NORM = NetworkSettings(name="convnet", width=4, depth=2, norm="batch")
DSA = {"augment": "color_crop_flip_rotate"}


def given(network: NetworkSettings = NETWORK, rows: torch.Tensor | None = None) -> Given:
    images = torch.randn(CLASSES * PER_CLASS, *SHAPE, generator=generator(0, "images"), dtype=torch.float64)
    labels = torch.arange(CLASSES * PER_CLASS) % CLASSES
    return Given(network, SHAPE, CLASSES, 5, images=images, labels=labels, rows=rows)


def settings(**changes) -> GradientSettings:
    return GradientSettings.model_validate({"family": "gradient", "ipc": IPC, "real_batch": 5, **changes})


def matching(materials: Given, **changes) -> GradientMatching:
    return GradientMatching(settings(**changes), materials)


def contributions(made: GradientMatching, state) -> list[dict[str, torch.Tensor]]:
    return [made.contribute(state, number, ()) for number in range(made.count)]


# -- a second implementation: gradients of the loss by hand-made networks, distances in plain loops


def plain_logits(parts: list[torch.Tensor], batch: torch.Tensor, kind: str, statistics) -> torch.Tensor:
    """A two-block ConvNet written with PyTorch's functions alone."""
    x = batch
    for block in range(2):
        weight, bias, scale, shift = parts[4 * block : 4 * block + 4]
        x = F.conv2d(x, weight, bias, padding=1)
        if kind == "instance":
            x = F.instance_norm(x, weight=scale, bias=shift)
        else:
            mean, variance = statistics[block]
            x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
            x = x * scale[:, None, None] + shift[:, None, None]
        x = F.avg_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), parts[8], parts[9])


def plain_statistics(parts: list[torch.Tensor], samples: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What each batch norm sees of these samples, block by block."""
    x, statistics = samples, []
    for block in range(2):
        weight, bias, scale, shift = parts[4 * block : 4 * block + 4]
        x = F.conv2d(x, weight, bias, padding=1)
        statistics.append((x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3))))
        x = F.avg_pool2d(F.relu(F.batch_norm(x, None, None, scale, shift, training=True)), 2)
    return statistics


def plain_rows(real: list[torch.Tensor], fake: list[torch.Tensor], cut: int) -> torch.Tensor:
    total, place = torch.zeros((), dtype=torch.float64), 0
    for a, b in zip(real, fake, strict=True):
        length = a.numel() // a.shape[0]
        for row in range(a.shape[0]):
            if a.ndim > 1 and place + row * length >= cut:
                u, v = a[row].reshape(-1), b[row].reshape(-1)
                total = total + 1 - (u @ v) / (u.pow(2).sum().sqrt() * v.pow(2).sum().sqrt() + 1e-6)
        place += a.numel()
    return total


def plain_distance(kind: str, real: list[torch.Tensor], fake: list[torch.Tensor], cut: int) -> torch.Tensor:
    if kind == "rows":
        return plain_rows(real, fake, cut)
    u, v = (torch.cat([part.flatten() for part in parts])[cut:] for parts in (real, fake))
    return (u - v).square().sum() if kind == "mse" else 1 - (u @ v) / (u.norm() * v.norm() + 1e-6)


def plain_class(materials: Given, made: GradientMatching, parts, images, label: int, iteration: int, statistics=None):
    """A class's loss as it depends on all images; `parts`: the network's parameters."""
    real = materials.images[materials.labels == label]
    order = torch.randperm(PER_CLASS, generator=generator(5, "distill", f"real-{label}", iteration))[:5]
    change = augment.draw(made.settings.augment, 1, SHAPE, generator(5, "distill", f"augment-{label}", iteration))
    batches = (real[order], images[IPC * label : IPC * label + IPC])
    parts = [part.detach().requires_grad_() for part in parts]
    gradients = []
    for batch in batches:
        logits = plain_logits(parts, augment.apply(change, batch), materials.network.norm, statistics)
        loss = logits.logsumexp(dim=1).mean() - logits[:, label].mean()
        gradients.append(list(torch.autograd.grad(loss, parts, create_graph=True)))
    cut = int(made.settings.selection.alpha * sum(part.numel() for part in parts))
    return plain_distance(made.settings.distance, [part.detach() for part in gradients[0]], gradients[1], cut)


def fresh_parts(network: NetworkSettings, number: int) -> list[torch.Tensor]:
    built = factory.build(network, SHAPE, CLASSES, seed_for(5, "distill", "network", number)).double()
    return [parameter.detach() for parameter in built.parameters()]


def check(materials: Given, made: GradientMatching, state, parts, statistics=None) -> None:
    """Value and gradient of every class."""
    for label, one in enumerate(contributions(made, state)):
        leaf = state.learned.images.clone().requires_grad_()
        loss = plain_class(materials, made, parts, leaf, label, state.iteration, statistics)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert torch.allclose(one["loss"], loss.detach(), rtol=1e-9, atol=0)
        found, expected = one["grad_images"], gradient[IPC * label : IPC * label + IPC]
        assert float((found - expected).norm()) < 1e-9 * float(expected.norm()), label


CASES = [
    {"distance": "rows"},
    {"distance": "cosine", **DSA},
    {"distance": "mse", **DSA},
    {"distance": "rows", "selection": {"alpha": 0.5}, **DSA},
    {"distance": "cosine", "selection": {"alpha": 0.4}},
    {"distance": "mse", "selection": {"alpha": 0.4}},
]


@pytest.mark.parametrize("changes", CASES)
def test_losses_and_gradients_are_those_of_a_second_implementation(changes):
    materials = given()
    made = matching(materials, init="real", **changes)
    state = made.start()
    for iteration in (0, 3):
        check(materials, made, replace(state, iteration=iteration), fresh_parts(NETWORK, iteration))


@pytest.mark.parametrize("distance", ["rows", "cosine", "mse"])
def test_a_batch_norm_has_the_statistics_of_real_samples_of_all_classes(distance):
    materials = given(BATCH_NORM)
    made = matching(materials, init="real", distance=distance)
    assert made.count == CLASSES, "each class can be matched by another worker"
    parts = fresh_parts(BATCH_NORM, 0)
    everything = torch.cat([materials.images[materials.labels == label] for label in range(CLASSES)])
    check(materials, made, made.start(), parts, plain_statistics(parts, everything))


def test_statistics_are_those_of_a_draw_of_16_samples_a_class():
    images = torch.randn(CLASSES * 40, *SHAPE, generator=generator(0, "more"), dtype=torch.float64)
    materials = Given(BATCH_NORM, SHAPE, CLASSES, 5, images=images, labels=torch.arange(len(images)) % CLASSES)
    made = matching(materials)
    network = made._matched(made.start()).network.module
    drawn = [
        images[label::CLASSES][torch.randperm(40, generator=generator(5, "distill", f"statistics-{label}", 0))[:16]]
        for label in range(CLASSES)
    ]
    expected = plain_statistics(fresh_parts(BATCH_NORM, 0), torch.cat(drawn))
    for norm, (mean, variance) in zip(inner.batch_norms(network), expected, strict=True):
        assert torch.allclose(norm.running_mean, mean) and torch.allclose(norm.running_var, variance)
        assert not norm.training


@pytest.mark.parametrize("network", [NETWORK, BATCH_NORM], ids=["instance", "batch"])
def test_steps_and_the_training_between_them_are_those_of_a_plain_loop(network):
    materials = given(network)
    made = matching(
        materials, outer_steps=3, inner={"epochs": 2, "lr": 0.1, "batch": 4}, init="real", lr_images=0.3, **DSA
    )
    state = made.start()
    pixels = state.learned.images.clone().requires_grad_()
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    sgd = torch.optim.SGD([pixels], lr=0.3, momentum=0.5)
    for iteration in range(5):
        if iteration % 3 == 0:
            plain = factory.build(network, SHAPE, CLASSES, seed_for(5, "distill", "network", iteration // 3)).double()
        parts = [parameter.detach().clone() for parameter in plain.parameters()]
        everything = torch.cat([materials.images[materials.labels == label] for label in range(CLASSES)])
        statistics = plain_statistics(parts, everything) if network is BATCH_NORM else None
        leaf = pixels.detach().clone().requires_grad_()
        losses = [plain_class(materials, made, parts, leaf, label, iteration, statistics) for label in range(CLASSES)]
        (pixels.grad,) = torch.autograd.grad(sum(losses), leaf)
        sgd.step()
        state, metrics = made.step(state, contributions(made, state))
        assert metrics["loss"] == pytest.approx(sum(losses).item(), rel=1e-9)
        assert torch.allclose(state.learned.images, pixels.detach(), rtol=1e-9, atol=1e-12)
        if iteration % 3 == 2:
            assert not state.own, "the network has served; nothing would see its training"
            continue
        weights = torch.optim.SGD(plain.train().parameters(), lr=0.1)
        for epoch in range(2):
            draw = generator(5, "distill", f"inner-{iteration}", epoch)
            for batch in torch.randperm(len(labels), generator=draw).split(4):
                change = augment.draw(made.settings.augment, len(batch), SHAPE, draw)
                loss = F.cross_entropy(plain(augment.apply(change, pixels.detach()[batch])), labels[batch])
                weights.zero_grad()
                loss.backward()
                weights.step()
        trained = torch.cat([parameter.detach().flatten() for parameter in plain.parameters()])
        assert torch.allclose(state.own["network"], trained, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(trained, torch.cat([part.flatten() for part in parts]))


# -- closed cases


def gradients(samples: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    network = factory.build(NETWORK, SHAPE, CLASSES, 0).double()
    return list(torch.autograd.grad(F.cross_entropy(network(samples), labels), list(network.parameters())))


def test_equal_gradients_are_at_distance_0_but_for_what_stands_beside_the_norms():
    batch = given().images[:4]
    found = gradients(batch, torch.zeros(4, dtype=torch.int64))
    keeps = kept(0.0, spans_of(factory.build(NETWORK, SHAPE, CLASSES, 0)))
    assert float(distances.mse(found, found, keeps)) == 0
    squares = torch.cat([part.flatten(1).pow(2).sum(dim=1) for part in found if part.ndim > 1])
    by_rows, cosine = (float(distance(found, found, keeps)) for distance in (distances.by_rows, distances.cosine))
    assert by_rows == pytest.approx(float((1e-6 / (squares + 1e-6)).sum()), abs=1e-12)
    square = sum(part.pow(2).sum() for part in found)
    assert cosine == pytest.approx(float(1e-6 / (square + 1e-6)), abs=1e-12)


def test_images_that_are_the_real_batch_feel_no_force():
    rows = torch.tensor([label + CLASSES * k for label in range(CLASSES) for k in range(IPC)]).sort().values
    made = matching(given(rows=rows), init="real", distance="mse")
    for one in contributions(made, made.start()):
        assert float(one["loss"]) == pytest.approx(0, abs=1e-25) and float(one["grad_images"].abs().max()) < 1e-12


@pytest.mark.parametrize("distance", list(DISTANCES))
def test_the_order_of_samples_makes_no_difference(distance):
    made = matching(given(), init="real", distance=distance)
    state = made.start()
    turned = state.learned.images.view(CLASSES, IPC, *SHAPE).flip(1).reshape(-1, *SHAPE)
    other = replace(state, learned=replace(state.learned, images=turned))
    for one, two in zip(contributions(made, state), contributions(made, other), strict=True):
        assert torch.allclose(one["loss"], two["loss"], rtol=1e-9)
        assert torch.allclose(one["grad_images"].flip(0), two["grad_images"], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("network", [NETWORK, BATCH_NORM], ids=["instance", "batch"])
def test_a_class_depends_on_no_other_synthetic_image(network):
    made = matching(given(network), init="real")
    state = made.start()
    elsewhere = state.learned.images.clone()
    elsewhere[IPC : 2 * IPC] *= 3
    other = replace(state, learned=replace(state.learned, images=elsewhere))
    same = [
        torch.equal(one["grad_images"], two["grad_images"])
        for one, two in zip(contributions(made, state), contributions(made, other), strict=True)
    ]
    assert same == [True, False, True]


def test_who_makes_a_contribution_and_in_which_order_makes_no_difference():
    """A worker keeps its network from class to class, and must not take that of another state."""
    one, two = (matching(given(BATCH_NORM), outer_steps=2, inner={"epochs": 3}) for _ in range(2))
    state = one.start()
    after, _ = one.step(state, contributions(one, state))
    for at in (after, state, after):
        for number in (2, 0, 1):
            fresh = matching(given(BATCH_NORM), outer_steps=2, inner={"epochs": 3})
            for found in (one, two):
                made, expected = found.contribute(at, number, ()), fresh.contribute(at, number, ())
                assert all(torch.equal(made[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (NetworkSettings(name="mlp", width=8), (5, 1, 1)),
        (NetworkSettings(name="convnet1d", width=4, depth=2), (2, 1, 16)),
        (NetworkSettings(name="lenet"), (1, 8, 8)),
        (NetworkSettings(name="vgg11", width=4), (3, 16, 16)),
        (NetworkSettings(name="resnet18", width=4, norm="batch"), (3, 16, 16)),
        (NetworkSettings(name="convnet", width=4, depth=2, norm="layer"), (3, 8, 8)),
        (NetworkSettings(name="vit", width=16, depth=2), (3, 16, 16)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_its_gradient_is_the_slope_of_its_loss_in_every_family_of_networks(network, shape):
    draw = generator(0, "slope")
    images = torch.randn(CLASSES * 6, *shape, generator=draw, dtype=torch.float64)
    materials = Given(network, shape, CLASSES, 5, images=images, labels=torch.arange(len(images)) % CLASSES)
    made = matching(materials, init="real", real_batch=4)
    state = made.start()
    direction = torch.randn(IPC, *shape, generator=draw, dtype=torch.float64)

    def loss(step: float) -> float:
        moved = state.learned.images.clone()
        moved[IPC : 2 * IPC] += step * direction
        return made.contribute(replace(state, learned=replace(state.learned, images=moved)), 1, ())["loss"].item()

    slope = float((made.contribute(state, 1, ())["grad_images"] * direction).sum())
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-4) and slope != 0


# -- FIEM


@pytest.mark.parametrize(("alpha", "count"), [(0.0, 394), (0.25, 199), (0.5, 130), (0.75, 61)])
def test_fiem_keeps_the_rows_that_begin_behind_its_share_of_the_papers_network(alpha, count):
    network = shaped(NetworkSettings(width=128, depth=3), (3, 32, 32), 10, torch.float32)
    keeps = kept(alpha, network.spans)
    assert (keeps.rows, keeps.all_rows) == (count, 394)
    assert keeps.first == int(alpha * 320_010)


@pytest.mark.parametrize(("distance", "times"), [("rows", 11 / 6), ("mse", 327 / (327 - 100))])
def test_rescaling_divides_by_the_share_that_is_kept(distance, times):
    alpha = {"rows": 0.4, "mse": 100.5 / 327}[distance]
    plain, scaled = (
        matching(given(), init="real", distance=distance, selection={"alpha": alpha, "rescale": rescale})
        for rescale in ("none", "kept")
    )
    assert scaled.distance.keeps.all_rows == 11 and scaled.distance.keeps.size == 327
    state = plain.start()
    for one, two in zip(contributions(plain, state), contributions(scaled, state), strict=True):
        assert all(torch.allclose(times * one[name], two[name], rtol=1e-9) for name in one)


def test_a_share_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match=r"distill\.selection\.alpha is 0\.999, and no row .* lower it"):
        matching(given(), selection={"alpha": 0.999}).start()
    spans = spans_of(factory.build(NETWORK, SHAPE, CLASSES, 0))
    numbers = distance_of(settings(distance="mse", selection={"alpha": 0.999}), spans)
    assert numbers.keeps.size - numbers.keeps.first == 1


# -- draws, losses that are not finite, settings


def test_what_fiex_leaves_out_is_neither_a_start_nor_in_a_batch_nor_in_a_statistic():
    rows = torch.tensor([k for k in range(CLASSES * PER_CLASS) if k % 2])
    whole = given(BATCH_NORM, rows)
    whole.images[::2] = 1e6  # the left out
    made = matching(whole, init="real")
    state = made.start()
    assert float(state.learned.images.abs().max()) < 1e3
    for norm in inner.batch_norms(made._matched(state).network.module):
        assert float(norm.running_var.max()) < 1e3
    assert all(float(made._real_batch(label, k).abs().max()) < 1e3 for label in range(CLASSES) for k in range(6))


def test_a_network_that_is_lost_is_counted_and_another_one_takes_over():
    made = matching(given(), outer_steps=2, inner={"lr": 1e200, "epochs": 2}, init="real")
    state = made.start()
    counts = []
    for _ in range(4):
        state, metrics = made.step(state, contributions(made, state))
        counts.append(metrics["not_finite"])
    assert counts == [0, 3, 0, 3] and bool(torch.isfinite(state.learned.images).all())
    assert "lower distill.lr_images or distill.inner.lr" in made.warning(state)


def test_a_class_that_is_not_finite_stays_and_only_several_iterations_without_any_end_the_work():
    made = matching(given(), init="real")
    state = made.start()
    good = contributions(made, state)
    bad = {**good[1], "loss": torch.full_like(good[1]["loss"], math.nan)}
    stepped, metrics = made.step(state, [good[0], bad, good[2]])
    assert (metrics["skipped"], metrics["not_finite"]) == (1, 1)
    assert torch.equal(stepped.learned.images[2:4], state.learned.images[2:4])
    assert not torch.equal(stepped.learned.images[:2], state.learned.images[:2])
    for _ in range(steps.BARREN - 1):
        state, _ = made.step(state, [bad] * 3)
    with pytest.raises(DivergedError, match=r"no class was finite in 10 .* lower distill\.lr_images or distill\.inner"):
        made.step(state, [bad] * 3)


@pytest.mark.parametrize(
    ("distill", "sentence"),
    [
        ({"inner": {"epochs": 5}}, "outer_steps is 1: make it 2 or more"),
        ({"selection": {"rescale": "kept"}}, "needs a selection.alpha above 0"),
        ({"distance": "cosine", "selection": {"alpha": 0.5, "rescale": "kept"}}, "does not fit distance: cosine"),
        ({"distance": "ours"}, "distance"),
        ({"selection": {"strategy": "deep"}}, "strategy"),
        ({"student_steps": 3}, "student_steps"),
        ({"outputs": {"which": "blocks"}}, "outputs"),
    ],
)
def test_settings_that_do_nothing_or_are_of_another_family_are_refused(distill, sentence):
    with pytest.raises(ValueError, match=sentence):
        Config.model_validate({"distill": {"family": "gradient", **distill}})


def test_a_plan_counts_the_training_between_steps_and_the_network_that_is_kept():
    network = shaped(NETWORK, SHAPE, CLASSES, torch.float32)

    def costs(**changes):
        asked = settings(iterations=10, **changes)
        return GradientMatching.costs(asked, Sizes(network, "instance", SHAPE, CLASSES, 50, 0))

    plain, trained = costs(), costs(outer_steps=4, inner={"epochs": 5, "batch": 4})
    assert (plain.steps, plain.own_numbers) == (0, 0)
    assert (trained.steps, trained.own_numbers) == ((10 - 2) * 5 * 2, network.size)
    assert plain.contribution_numbers == IPC * math.prod(SHAPE) + 1
    assert costs(real_batch=40).peak_bytes > plain.peak_bytes


def test_a_rehearsal_trains_for_two_epochs_and_counts_all_of_them_after_all_but_the_last_step():
    quick = GradientMatching.rehearsal(settings(outer_steps=10, inner={"epochs": 50}))
    assert quick.settings.inner.epochs == 2 and quick.step_times == pytest.approx(0.9 * 25)
    assert "50 epochs of training between two iterations are calculated from 2" in quick.note
    assert GradientMatching.rehearsal(settings())[1:] == (1.0, "", 1.0)
