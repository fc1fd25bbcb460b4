"""The flat view: a network as a function of one vector that holds all its parameters.

Axes: P parameters (in the order of `module.parameters()`), N images, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class Span:
    """Where one parameter lies in the vector: theta_P[start:stop], to be seen as `shape`."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


def spans_of(module: nn.Module) -> tuple[Span, ...]:
    """The spans of a module's parameters, end to end."""
    spans: list[Span] = []
    for name, parameter in module.named_parameters():
        start = spans[-1].stop if spans else 0
        spans.append(Span(name, tuple(parameter.shape), start, start + math.prod(parameter.shape)))
    return tuple(spans)


class FlatNetwork:
    """logits_NK = flat(theta_P, images_NCHW). Differentiable in both, twice.

    The module lends its structure, its mode (train or eval) and its buffers, and is changed by `load`,
    `set_gradient` and `to` only.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.spans = spans_of(module)
        self.size = self.spans[-1].stop if self.spans else 0
        self._sizes = [span.stop - span.start for span in self.spans]
        self._parameters = list(module.parameters())  # looking for them costs as much as a tiny network's step
        self._has_buffers = any(True for _ in module.buffers())
        # Looking for tied weights costs a quarter of a tiny network's call: done once, here.
        self._tied = len(list(module.named_parameters(remove_duplicate=False))) > len(self.spans)

    def flatten(self) -> Tensor:
        """The module's parameters as a new vector (P,)."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])

    def buffers(self) -> dict[str, Tensor]:
        """Copies of the module's buffers, e.g. a batch norm's running statistics, by name."""
        return {name: buffer.detach().clone() for name, buffer in self.module.named_buffers()}

    def __call__(self, theta_P: Tensor, images_NCHW: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """The logits (N, K); `buffers`, by name, stand in for the module's own."""
        # One split has one backward, a cat; a slice per parameter would have a zero-filled vector each.
        parts = torch.split_with_sizes(theta_P, self._sizes)
        state = {
            span.name: part if len(span.shape) == 1 else part.view(span.shape)
            for span, part in zip(self.spans, parts, strict=True)
        }
        if self._has_buffers:  # a batch norm in train mode writes into its statistics: into these copies
            state.update(self.buffers())
            state.update((name, buffer.clone()) for name, buffer in (buffers or {}).items())
        logits_NK: Tensor = functional_call(self.module, state, (images_NCHW,), tie_weights=self._tied)
        return logits_NK

    def parts(self, vector_P: Tensor) -> list[Tensor]:
        """A vector as tensors of the parameters' shapes, which share its memory."""
        parts = torch.split_with_sizes(vector_P, self._sizes)
        return [part.view_as(parameter) for parameter, part in zip(self._parameters, parts, strict=True)]

    def load(self, theta_P: Tensor) -> None:
        """Copy a vector into the module's parameters, in place."""
        with torch.no_grad():
            for parameter, part in zip(self._parameters, self.parts(theta_P), strict=True):
                parameter.copy_(part)

    def gradient(self) -> Tensor:
        """The gradients that lie at the module's parameters as a new vector (P,)."""
        gradients = [parameter.grad for parameter in self._parameters]
        return torch.cat([gradient.reshape(-1) for gradient in gradients if gradient is not None])

    def set_gradient(self, gradient_P: Tensor) -> None:
        """Lay a vector's parts at the module's parameters as their gradients; they share its memory."""
        for parameter, part in zip(self._parameters, self.parts(gradient_P), strict=True):
            parameter.grad = part

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast the module, as `nn.Module.to` does."""
        self.module.to(*args, **kwargs)
        return self
