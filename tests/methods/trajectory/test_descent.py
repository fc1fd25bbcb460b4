"""The optimiser's step against PyTorch's own, the moving average, the lr's ways of staying positive, and turns."""

import math

import pytest
import torch

from padray.methods.state import start
from padray.methods.trajectory import descent
from padray.methods.trajectory.settings import TrajectorySettings
from padray.methods.trajectory.student import Gradient
from padray.synthetic.set import Learned


def settings(**changes) -> TrajectorySettings:
    given = {"lr_images": 0.3, "momentum_images": 0.7, "lr_student_lr": 0.2, "labels": {"lr": 0.4, "momentum": 0.6}}
    return TrajectorySettings.model_validate({**given, **changes})


def set_at(lr: float = 0.5, soft: bool = True) -> Learned:
    draw = torch.Generator().manual_seed(1)
    labels = torch.rand(2, 3, generator=draw, dtype=torch.float64) if soft else torch.tensor([0, 1])
    return Learned(torch.rand(2, 1, 2, 2, generator=draw, dtype=torch.float64), labels, torch.tensor(lr).double())


def gradients(count: int, lr: float = 0.1) -> list[Gradient]:
    draw = torch.Generator().manual_seed(2)
    return [
        Gradient(
            torch.rand(2, 1, 2, 2, generator=draw).double(),
            torch.rand(2, 3, generator=draw).double(),
            torch.tensor(lr).double(),
        )
        for _ in range(count)
    ]


def test_the_set_descends_as_torch_sgd_does():
    chosen, state = settings(), start(set_at(), None)
    groups = [(0.3, 0.7), (0.4, 0.6), (0.2, chosen.momentum_student_lr)]
    parts = [part.clone().requires_grad_() for part in (state.learned.images, state.learned.labels, state.learned.lr)]
    sgd = torch.optim.SGD([{"params": [p], "lr": lr, "momentum": m} for p, (lr, m) in zip(parts, groups, strict=True)])
    for gradient in gradients(4):
        state = descent.descend_set(chosen, state, gradient)
        for part, found in zip(parts, (gradient.images, gradient.labels, gradient.lr), strict=True):
            part.grad = found.clone()
        sgd.step()
    for part, found in zip(parts, (state.learned.images, state.learned.labels, state.learned.lr), strict=True):
        assert torch.allclose(part, found, rtol=1e-13)


def test_hard_labels_stay():
    state = start(set_at(soft=False), None)
    gradient = gradients(1)[0]
    stepped = descent.descend_set(settings(), state, Gradient(gradient.images, None, gradient.lr))
    assert stepped.learned.labels.tolist() == [0, 1]


def test_the_average_is_the_weighted_sum_of_all_iterates():
    chosen, state = settings(ema_decay=0.8), start(set_at(), None, averaged=True)
    iterates = [state.learned.images]
    for gradient in gradients(3):
        state = descent.descend_set(chosen, state, gradient)
        iterates.append(state.learned.images)
    expected = 0.8**3 * iterates[0] + 0.2 * sum(0.8 ** (3 - k) * iterates[k] for k in (1, 2, 3))
    assert torch.allclose(state.average, expected, rtol=1e-13)
    assert torch.equal(state.candidate.images, state.average)


def test_a_positive_lr_by_clamp_or_logarithm_and_none_without():
    steep = gradients(1, lr=10.0)[0]

    def lr_after(way: str) -> float:
        return float(descent.descend_set(settings(keep_lr_positive=way), start(set_at(), None), steep).learned.lr)

    assert lr_after("no") == pytest.approx(0.5 - 0.2 * 10)
    assert lr_after("clamp") == descent.SMALLEST_LR
    assert lr_after("log") == pytest.approx(math.exp(math.log(0.5) - 0.2 * 10 * 0.5))


def test_the_logarithm_descends_as_torch_sgd_does_on_log_lr():
    chosen, state = settings(keep_lr_positive="log"), start(set_at(), None)
    log_lr = state.learned.lr.log().requires_grad_()
    sgd = torch.optim.SGD([log_lr], lr=0.2, momentum=chosen.momentum_student_lr)
    for gradient in gradients(4, lr=1.5):
        sgd.zero_grad()
        (1.5 * log_lr.exp()).backward()  # a loss with dL/dlr = 1.5
        sgd.step()
        state = descent.descend_set(chosen, state, gradient)
    assert state.learned.lr == pytest.approx(float(log_lr.detach().exp()), rel=1e-12)


def test_turns():
    def turns(**importance) -> list[tuple[bool, bool]]:
        chosen = settings(importance={"enabled": True, **importance})
        return [descent.turns(chosen, k) for k in range(3)]

    assert turns() == [(True, True)] * 3
    assert turns(order="alternate") == [(True, False), (False, True), (True, False)]
    assert descent.turns(settings(), 1) == (True, False)
