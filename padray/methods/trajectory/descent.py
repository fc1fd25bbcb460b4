"""How the state descends: the set (images, labels, lr), its moving average, and IADD's weights.

SGD with momentum, v = m v + gradient and x = x - lr v, for each part with its own settings. Sources: MTT Algorithm 1,
DATM (labels), IADD Algorithm 1. Ours: the ways of keeping the lr positive.
"""

from dataclasses import replace

import torch

from padray.methods import steps
from padray.methods.state import State
from padray.methods.trajectory.importance import Importance
from padray.methods.trajectory.settings import TrajectorySettings
from padray.methods.trajectory.student import Gradient

SMALLEST_LR = 1e-6


def turns(settings: TrajectorySettings, iteration: int) -> tuple[bool, bool]:
    """Whether the set and whether the weights descend in an iteration."""
    if not settings.importance.enabled:
        return True, False
    if settings.importance.order == "together":
        return True, True
    return iteration % 2 == 0, iteration % 2 == 1


def descend_set(settings: TrajectorySettings, state: State, gradient: Gradient) -> State:
    """One step of images, labels if they are soft, lr, and the images' moving average."""
    old, momenta = state.learned, state.momentum
    new_lr, lr = _step_lr(settings, old.student_lr, momenta.student_lr, gradient.lr)
    labels, new_labels = momenta.labels, old.labels
    if gradient.labels is not None:
        labels = settings.labels.momentum * labels + gradient.labels
        new_labels = old.labels - settings.labels.lr * labels
    state = steps.descend_images(settings, state, gradient.images)
    learned = replace(state.learned, labels=new_labels, lr=new_lr)
    return replace(state, learned=learned, momentum=replace(state.momentum, labels=labels, lr=lr))


def _step_lr(
    settings: TrajectorySettings, lr: torch.Tensor, momentum: torch.Tensor, grad_lr: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The student's next lr and its momentum; with `log` both belong to its logarithm, dL/dlog(lr) = lr dL/dlr."""
    if settings.keep_lr_positive == "log":
        momentum = settings.momentum_student_lr * momentum + lr * grad_lr
        return lr * torch.exp(-settings.lr_student_lr * momentum), momentum
    momentum = settings.momentum_student_lr * momentum + grad_lr
    stepped = lr - settings.lr_student_lr * momentum
    return (stepped.clamp_min(SMALLEST_LR) if settings.keep_lr_positive == "clamp" else stepped), momentum


def descend_weights(importance: Importance, state: State, grad_G: torch.Tensor) -> State:
    """One step of IADD's weights."""
    weights, momentum = importance.update(state.own["weights"], state.own["weights_momentum"], grad_G)
    return replace(state, own={**state.own, "weights": weights, "weights_momentum": momentum})
