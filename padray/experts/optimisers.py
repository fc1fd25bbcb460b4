"""A network's parameters descend along their gradients: SGD and AdamW, with the bytes of torch.optim's.

Not torch.optim itself, whose first step imports the compiler torch._dynamo: more than a CPU second for every process
that trains. Parameters move in one call for all, which on a GPU is one kernel, as torch.optim has it there.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

_BETAS, _EPS = (0.9, 0.999), 1e-8  # of AdamW, torch.optim's defaults


class Optimiser:
    """Parameters that a step moves in place, using their gradients up. One without a gradient stays as it is."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        self.parameters, self.lr, self.weight_decay = list(parameters), lr, weight_decay

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        pairs = [(parameter, parameter.grad) for parameter in self.parameters]
        if moved := [(parameter, gradient) for parameter, gradient in pairs if gradient is not None]:
            self._move([parameter for parameter, _ in moved], [gradient for _, gradient in moved])

    def _move(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        raise NotImplementedError


class SGD(Optimiser):
    """g = gradient + weight_decay x, v = momentum v + g, x = x - lr v; v begins as the first g.

    With `nesterov` x = x - lr (g + momentum v).
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float, nesterov: bool = False
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov
        self.velocities: dict[Tensor, Tensor] = {}

    def _move(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        if self.weight_decay:
            torch._foreach_add_(gradients, parameters, alpha=self.weight_decay)
        if self.momentum:
            velocities = self._smooth(parameters, gradients)
            if self.nesterov:
                torch._foreach_add_(gradients, velocities, alpha=self.momentum)
            else:
                gradients = velocities
        torch._foreach_add_(parameters, gradients, alpha=-self.lr)

    def _smooth(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        known, pairs = self.velocities, list(zip(parameters, gradients, strict=True))
        if old := [(known[parameter], gradient) for parameter, gradient in pairs if parameter in known]:
            torch._foreach_mul_([velocity for velocity, _ in old], self.momentum)
            torch._foreach_add_([velocity for velocity, _ in old], [gradient for _, gradient in old])
        known.update((parameter, gradient.clone()) for parameter, gradient in pairs if parameter not in known)
        return [known[parameter] for parameter in parameters]


class AdamW(Optimiser):
    """m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, x = (1 - lr weight_decay) x - lr m' / (sqrt(v') + eps).

    m' and v' are m and v over 1 - b^t after t steps. Biases and norms, the parameters of one axis, do not decay.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.means: dict[Tensor, Tensor] = {}
        self.squares: dict[Tensor, Tensor] = {}
        self.steps: dict[Tensor, int] = {}

    def _move(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        means, squares, steps = self._remember(parameters, gradients)
        if self.weight_decay and (decaying := [parameter for parameter in parameters if parameter.ndim > 1]):
            torch._foreach_mul_(decaying, 1 - self.lr * self.weight_decay)
        roots = list(torch._foreach_sqrt(squares))
        torch._foreach_div_(roots, [(1 - _BETAS[1] ** t) ** 0.5 for t in steps])
        torch._foreach_add_(roots, _EPS)
        torch._foreach_addcdiv_(parameters, means, roots, [-self.lr / (1 - _BETAS[0] ** t) for t in steps])

    def _remember(
        self, parameters: list[Tensor], gradients: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[int]]:
        for parameter in parameters:
            self.steps[parameter] = self.steps.get(parameter, 0) + 1
            for known in (self.means, self.squares):
                if parameter not in known:
                    known[parameter] = torch.zeros_like(parameter)
        means, squares = ([known[parameter] for parameter in parameters] for known in (self.means, self.squares))
        torch._foreach_lerp_(means, gradients, 1 - _BETAS[0])
        torch._foreach_mul_(squares, _BETAS[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - _BETAS[1])
        return means, squares, [self.steps[parameter] for parameter in parameters]
