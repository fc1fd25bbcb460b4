"""Knowledge distillation: loss, gradient and step from formulas written out here, the cosine, the epoch that counts."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from padray.config import EvaluationSettings, TeacherSettings
from padray.errors import WorkError
from padray.evaluation import protocol, teaching
from padray.evaluation.accuracy import Accuracy
from padray.evaluation.protocol import RealSplits
from padray.evaluation.teaching import TeacherSpec
from padray.experts.optimisers import AdamW
from padray.experts.training import Draws, Samples
from padray.networks.derivatives import Execution

DRAWS = Draws(0, "evaluation", "x")


def logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def probabilities(logits_NK: torch.Tensor, temperature: float) -> torch.Tensor:
    powers = (logits_NK / temperature).exp()
    return powers / powers.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_loss_is_the_divergence_from_the_teacher_without_a_factor(temperature):
    student, teacher = logits(0).requires_grad_(), logits(1)
    p, q = probabilities(teacher, temperature), probabilities(student.detach(), temperature)
    loss = teaching.imitation_loss(student, teacher, temperature)
    assert float(loss.detach()) == pytest.approx(float((p * (p / q).log()).sum() / 4))
    loss.backward()
    assert torch.allclose(student.grad, (q - p) / (4 * temperature))


def teacher_spec(teacher: nn.Module, epochs: int = 1, batch: int = 8, **own: Any) -> TeacherSpec:
    settings = TeacherSettings(**{"mix": "none", "temperature": 4.0, "lr": 0.01, **own})
    return TeacherSpec(teacher, EvaluationSettings(epochs=epochs, batch=batch, augment="none", teacher=settings))


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()


IMAGES = torch.randn(6, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_one_step_is_adamws_and_decays_only_matrices():
    student, teacher = linear(0), linear(1)
    weight, bias = (p.detach().clone() for p in student.parameters())
    list(teaching.teach(student, IMAGES, teacher_spec(teacher, weight_decay=0.5), DRAWS))
    flat = IMAGES.flatten(1)
    wanted = probabilities(teacher(IMAGES).detach(), 4.0)
    slope = (probabilities(flat @ weight.T + bias, 4.0) - wanted) / (6 * 4.0)
    for before, after, gradient, decay in (
        (weight, student[1].weight, slope.T @ flat, 0.5),
        (bias, student[1].bias, slope.sum(dim=0), 0.0),
    ):
        stepped = before * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(after, stepped)


def test_the_lr_falls_along_a_cosine_to_half(monkeypatch):
    used: list[float] = []

    def epoch(student: Any, images: Any, teacher_spec: Any, optimiser: AdamW, draw: Any) -> float:
        used.append(optimiser.lr)
        return 0.0

    monkeypatch.setattr(teaching, "_teach_epoch", epoch)
    list(teaching.teach(linear(0), IMAGES, teacher_spec(linear(1), epochs=300), DRAWS))
    assert used == pytest.approx([0.01 * 0.5 * (1 + math.cos(math.pi * e / 600)) for e in range(300)])
    assert used[0] == 0.01 and used[-1] == pytest.approx(0.005, rel=0.01)


def taught(draws: Draws = DRAWS, **own: Any) -> torch.Tensor:
    student = linear(0)
    list(teaching.teach(student, IMAGES, teacher_spec(linear(1), epochs=3, batch=4, **own), draws))
    return student[1].weight.detach()


def test_a_student_is_a_function_of_its_draws():
    torch.manual_seed(9)  # nothing of this may matter
    assert torch.equal(taught(mix="cutmix"), taught(mix="cutmix"))
    assert not torch.equal(taught(mix="cutmix"), taught(Draws(1, "evaluation", "x"), mix="cutmix"))


@pytest.mark.parametrize(
    "own", [{"mix": "cutmix"}, {"mix": "mixup"}, {"temperature": 1.0}, {"lr": 0.02}, {"weight_decay": 0.3}]
)
def test_every_option_changes_the_student(own):
    assert not torch.allclose(taught(**own), taught())


def test_a_loss_that_is_not_finite_names_the_setting():
    with pytest.raises(WorkError, match=r"evaluation\.teacher\.lr"):
        list(teaching.teach(linear(0), IMAGES * torch.inf, teacher_spec(linear(1)), DRAWS))


class Clock(nn.Module):
    """A student that only knows which epoch it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epoch", torch.tensor(-1))


def judged(monkeypatch: pytest.MonkeyPatch, unseen: bool, metric: str = "accuracy") -> tuple[int, list[int]]:
    """The epoch whose accuracies were taken, and the epochs in which the test split was read."""
    clock, reads = Clock(), list[int]()
    held, test = Samples(torch.zeros(1), torch.zeros(1)), Samples(torch.ones(1), torch.ones(1))

    def teach(student: Clock, *rest: Any) -> Any:
        for epoch in range(20):
            student.epoch.fill_(epoch)
            yield 0.0

    def measure(student: Clock, samples: Samples, *execution: Execution) -> Accuracy:
        epoch = int(student.epoch)
        if samples is test:
            reads.append(epoch)
        plain = {3: 0.99, 17: 0.8, 18: 0.8}.get(epoch, 0.5)  # the best of all is too early to count
        return Accuracy(plain, {16: 0.7}.get(epoch, 0.1))

    monkeypatch.setattr(teaching, "fresh", lambda *rest: clock)
    monkeypatch.setattr(teaching, "teach", teach)
    for module in (teaching, protocol):
        monkeypatch.setattr(module, "measure", measure)
    settings = EvaluationSettings(epochs=20, protocol="rded-kd", metric=metric)
    arguments: Any = (
        held,
        None,
        TeacherSpec(nn.Identity(), settings),
        DRAWS,
        None,
        RealSplits(held if unseen else None, test),
    )
    teaching.judge_taught(*arguments)
    return int(clock.epoch), reads


def test_the_epoch_is_chosen_in_the_last_fifth_and_on_validation(monkeypatch):
    assert judged(monkeypatch, unseen=True) == (17, [17]), "and the test split is read once"
    assert judged(monkeypatch, unseen=True, metric="balanced_accuracy") == (16, [16])


def test_without_a_validation_split_the_last_epoch_counts(monkeypatch):
    assert judged(monkeypatch, unseen=False) == (19, [19])


@pytest.mark.parametrize("control", ["random_soft", "hard_labels", "full"])
def test_controls_whose_labels_a_teacher_would_overrule_are_refused(control):
    with pytest.raises(ValueError, match=f"controls.{control} needs another protocol"):
        EvaluationSettings(protocol="rded-kd", controls={control: True})
