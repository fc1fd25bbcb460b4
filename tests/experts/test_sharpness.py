"""GSAM: against a second implementation on lists of tensors, and against the closed form of a quadratic."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from padray.data import augment
from padray.draws import generator, torch_seed
from padray.errors import WorkError
from padray.experts import sharpness
from padray.experts.sharpness import Sharpness
from padray.experts.training import Draws, Recipe, Samples, train

LR, MOMENTUM, DECAY = 0.1, 0.9, 0.01


def samples() -> Samples:
    draw = generator(1, "samples")
    images = torch.rand(20, 1, 6, 6, generator=draw, dtype=torch.float64)
    return Samples(images, torch.randint(0, 3, (20,), generator=draw))


def network() -> nn.Module:
    with torch_seed(0):
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers).double()


def trained(settings: Sharpness | None) -> nn.Module:
    module = network()
    recipe = Recipe(2, 8, LR, MOMENTUM, DECAY, "crop", sharpness=settings)
    list(train(module, samples(), recipe, Draws(0, "test", "unit")))
    return module


def reference(settings: Sharpness) -> nn.Module:
    """The same training, tensor by tensor; the second pass is a copy's, so that it leaves no trace."""
    module, data = network(), samples()
    moments = [torch.zeros_like(p) for p in module.parameters()]
    for epoch in range(2):
        draw = generator(0, "test", "unit", epoch)
        for batch in torch.randperm(20, generator=draw).split(8):
            x = augment.apply(augment.draw("crop", len(batch), (1, 6, 6), draw), data.images[batch])
            old = gradients(module, x, data.labels[batch])
            above = copy.deepcopy(module)
            scales = [p.detach().abs() if settings.adaptive else torch.ones_like(p) for p in module.parameters()]
            norm = math.sqrt(sum(float(((s * g) ** 2).sum()) for s, g in zip(scales, old, strict=True)))
            with torch.no_grad():
                for p, s, g in zip(above.parameters(), scales, old, strict=True):
                    p += settings.rho / norm * s**2 * g
            new = gradients(above, x, data.labels[batch])
            along = dot(old, new) / dot(new, new)
            with torch.no_grad():
                for p, m, g, h in zip(module.parameters(), moments, old, new, strict=True):
                    m.mul_(MOMENTUM).add_(h - settings.alpha * (g - along * h) + DECAY * p)
                    p -= LR * m
    return module


def gradients(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(module(images), labels), list(module.parameters())))


def dot(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_equals_a_second_implementation_and_leaves_one_pass_s_statistics(adaptive, alpha):
    settings = Sharpness(0.5, alpha, adaptive)
    ours, theirs = trained(settings).state_dict(), reference(settings).state_dict()
    assert len(ours) == 9  # six parameters, two statistics and the count of batches
    assert int(ours["1.num_batches_tracked"]) == 6
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-9, atol=1e-12, msg=name)


def test_rho_alpha_and_adaptive_all_count_and_no_rho_is_plain_sgd():
    usual = Sharpness(0.5, 0.3, True)
    kinds = [None, usual, Sharpness(0.25, 0.3, True), Sharpness(0.5, 0.0, True), Sharpness(0.5, 0.3, False)]
    ends = [trained(kind)[0].weight.detach() for kind in kinds]
    for place, end in enumerate(ends):
        assert all(float((end - other).abs().max()) > 1e-6 for other in ends[:place])
    assert torch.allclose(trained(Sharpness(1e-9, 0.3, True))[0].weight, ends[0], atol=1e-7)


@pytest.mark.parametrize(("adaptive", "above"), [(False, (3 + 0.5 * 0.6, 1 + 0.5 * 0.8)), (True, None)])
def test_the_ascent_of_a_quadratic_by_hand(adaptive, above):
    theta, curvature = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 4.0])  # gradient (3, 4), of length 5
    if adaptive:  # |theta| * g = (9, 4); theta^2 * g = (27, 4)
        above = (3 + 0.5 * 27 / math.sqrt(97), 1 + 0.5 * 4 / math.sqrt(97))
    seen = []

    def gradient_at(theta_P):
        seen.append(theta_P.tolist())
        return curvature * theta_P

    found = sharpness.direction(theta, curvature * theta, gradient_at, Sharpness(0.5, 0.0, adaptive))
    assert seen[0] == pytest.approx(above)
    assert found.tolist() == pytest.approx([above[0], 4 * above[1]])


def test_alpha_undoes_only_what_is_across_the_new_gradient():
    theta, curvature = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 4.0])
    old = curvature * theta
    new, turned = (
        sharpness.direction(theta, old, lambda t: curvature * t, Sharpness(0.5, alpha, False)) for alpha in (0.0, 0.3)
    )
    across = (new - turned) / 0.3
    assert float(across @ new) == pytest.approx(0, abs=1e-4)
    along = (old - across) / new
    assert float(along[0]) == pytest.approx(float(along[1]), rel=1e-4)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_vanishing_gradient_stays_where_it_is(adaptive):
    nothing = torch.zeros(3)
    assert torch.equal(
        sharpness.direction(torch.ones(3), nothing, torch.zeros_like, Sharpness(1.0, 0.3, adaptive)), nothing
    )


def test_a_loss_that_is_not_finite_names_rho_too():
    data = samples()
    recipe = Recipe(1, 8, LR, 0, 0, "none", sharpness=Sharpness(0.5, 0.3, True))
    with pytest.raises(WorkError, match=r"lower experts\.lr \(0\.1\) or experts\.rho \(0\.5\)"):
        list(train(network(), Samples(data.images * math.inf, data.labels), recipe, Draws(0, "experts", "unit")))
