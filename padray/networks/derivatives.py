"""The derivatives that training and distilling are made of: of a network's mean cross-entropy over some samples.

`Derivatives` is the reference: PyTorch's autograd on the whole batch. `Compiled` makes the same from compiled programs
(programs.py), a part of the batch at a time, so that what lies between two layers stays in the processor's cache: the
time of about half, the memory of a part.

Targets are classes (N,) or probabilities (N, K). Axes: P parameters, N samples, C H W, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from padray.machine.numerics import Numerics
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Network, Shape
from padray.networks.programs import Call, Program, compiler
from padray.networks.settings import NetworkSettings

CACHED_BYTES = 4_200_000  # of the largest map between two layers: two of them lie in a usual core's caches
LEAST_SAMPLES = 16  # of a part: fewer do not fill a convolution
# Floating-point operations from which on compiling (14 to 20 CPU seconds a program, two for a distillation) has paid
# off, at the 50 to 70 thousand million a second that a core makes of them uncompiled, and half the time afterwards.
# Trainings come in dozens that share their program.
PAYS_ONCE, PAYS_FOR_MANY = 4e12, 2e11

Kind = Literal["gradient", "curvature"]


@dataclass(frozen=True)
class Execution:
    """How derivatives are made.

    Attributes:
        compile: `auto`: where the work to come is worth it (`pays`).
        bf16: whose convolutions and matrix products are made in bfloat16.
        memory: bytes that a student and its way back may take (trajectory/costs.py); no result depends on it.
    """

    compile: Literal["auto", "on", "off"] = "off"
    bf16: tuple[Kind, ...] = ()
    threads: int = 1
    memory: float = 0.0


REFERENCE = Execution()  # by autograd, in the precision of what it is given


def execution_of(numerics: Numerics, bf16: bool = True, memory: float = 0.0) -> Execution:
    """What the numerics of a piece of work say; without `bf16` they do not speak of its precision."""
    shortened: tuple[Kind, ...] = ("gradient", "curvature") if bf16 and numerics.precision == "bf16" else ()
    return Execution(numerics.compile or "off", shortened, numerics.threads, memory)


@dataclass(frozen=True)
class Curvature:
    """<lambda, g> () of a gradient g (P,), and its derivatives for images, targets (if probabilities) and theta."""

    inner: Tensor
    images: Tensor
    targets: Tensor | None
    theta: Tensor | None


@dataclass(frozen=True)
class Slope:
    """A gradient (P,) with its graph, and the leaves theta (P,), images (N, C, H, W) and targets of that graph."""

    gradient: Tensor
    theta: Tensor
    images: Tensor
    targets: Tensor

    def curvature(self, lambda_P: Tensor, of_theta: bool = True) -> Curvature:
        """<lambda, gradient> and its derivatives, once: the graph is gone then. `lambda_P` is a constant."""
        inner, soft = self.gradient @ lambda_P, self.targets.requires_grad
        wanted = {"images": self.images}
        wanted |= ({"theta": self.theta} if of_theta else {}) | ({"targets": self.targets} if soft else {})
        parts = dict(zip(wanted, torch.autograd.grad(inner, list(wanted.values())), strict=True))
        return Curvature(inner.detach(), parts["images"], parts.get("targets"), parts.get("theta"))


class Derivatives:
    """By autograd, on the whole batch at once.

    Attributes:
        keeps: whether `slope` makes the very gradient that `curvature` differentiates, so that its graph may be kept.
    """

    def __init__(self, network: FlatNetwork, bf16: Sequence[Kind] = ()) -> None:
        self.network, self.bf16 = network, tuple(bf16)
        self.keeps = ("gradient" in self.bf16) == ("curvature" in self.bf16)

    def loss(self, theta_P: Tensor, images_NCHW: Tensor, targets: Tensor, kind: Kind = "gradient") -> Tensor:
        """The mean cross-entropy (), differentiable; in the precision of that kind of derivative."""
        return cross_entropy(lambda images: self.network(theta_P, images), images_NCHW, targets, kind in self.bf16)

    def gradient(self, theta_P: Tensor, images_NCHW: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss () and its gradient (P,), detached."""
        theta = theta_P.detach().clone().requires_grad_()
        loss = self.loss(theta, images_NCHW, targets)
        (grad_P,) = torch.autograd.grad(loss, theta)
        return loss.detach(), grad_P

    def put_gradient(self, images_NCHW: Tensor, targets: Tensor) -> Tensor:
        """Put the gradient at the module's own parameters where an optimiser looks for it; the loss (), detached.

        A batch norm notes what it has seen, as it does whenever a module is trained.
        """
        loss = cross_entropy(self.network.module, images_NCHW, targets, "gradient" in self.bf16)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def curvature(
        self, theta_P: Tensor, images_NCHW: Tensor, targets: Tensor, lambda_P: Tensor, of_theta: bool = True
    ) -> Curvature:
        """<lambda, gradient> and its derivatives; `lambda_P` is a constant."""
        return self.slope(theta_P, images_NCHW, targets).curvature(lambda_P, of_theta)

    def slope(self, theta_P: Tensor, images_NCHW: Tensor, targets: Tensor) -> Slope:
        """The gradient that `curvature` differentiates, and its graph.

        A norm's gradient is rounded otherwise where it has a graph than where it has none.
        """
        theta, images = theta_P.detach().clone().requires_grad_(), images_NCHW.detach().requires_grad_()
        targets = targets.detach().requires_grad_(targets.is_floating_point())
        loss = self.loss(theta, images, targets, "curvature")
        (grad_P,) = torch.autograd.grad(loss, theta, create_graph=True)
        return Slope(grad_P, theta, images, targets)


class Compiled(Derivatives):
    """By compiled programs, for batches of `batch` samples; other batches are left to autograd.

    Raises (when first used):
        InputError: there is no compiler.
        InfrastructureError: it fails.
    """

    def __init__(self, network: FlatNetwork, batch: int, execution: Execution) -> None:
        super().__init__(network, execution.bf16)
        self.batch, self.threads, self.keeps = batch, execution.threads, False
        self.part = part_of(batch, largest_map(network.module))

    def _program(self, kind: Kind, targets: Tensor, of_theta: bool = True) -> Call:
        blueprint = blueprint_of(self.network.module)
        assert blueprint is not None, "`can_compile` has seen to it"
        settings, shape, classes = blueprint
        precision = str(next(self.network.module.parameters()).dtype).removeprefix("torch.")
        return Program(
            kind,
            settings,
            shape,
            classes,
            samples=self.part,
            batch=self.batch,
            probabilities=targets.is_floating_point(),
            precision=precision,
            of_theta=of_theta,
            bf16=kind in self.bf16,
            threads=self.threads,
        ).load()

    def gradient(self, theta_P: Tensor, images_NCHW: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if len(images_NCHW) != self.batch:
            return super().gradient(theta_P, images_NCHW, targets)
        program = self._program("gradient", targets)
        parts = [program(theta_P, *pair) for pair in self._parts(images_NCHW, targets)]
        return _sum([loss for loss, _ in parts]), _sum([grad_P for _, grad_P in parts])

    def put_gradient(self, images_NCHW: Tensor, targets: Tensor) -> Tensor:
        if len(images_NCHW) != self.batch:
            return super().put_gradient(images_NCHW, targets)
        loss, grad_P = self.gradient(self.network.flatten(), images_NCHW, targets)
        self.network.set_gradient(grad_P)
        return loss

    def curvature(
        self, theta_P: Tensor, images_NCHW: Tensor, targets: Tensor, lambda_P: Tensor, of_theta: bool = True
    ) -> Curvature:
        if len(images_NCHW) != self.batch:
            return super().curvature(theta_P, images_NCHW, targets, lambda_P, of_theta)
        program, soft = self._program("curvature", targets, of_theta), targets.is_floating_point()
        parts = [program(theta_P, *pair, lambda_P) for pair in self._parts(images_NCHW, targets)]
        inner, images, *others = zip(*parts, strict=True)
        grad_targets = torch.cat(others[0]) if soft else None
        return Curvature(_sum(inner), torch.cat(images), grad_targets, _sum(others[-1]) if of_theta else None)

    def _parts(self, images_NCHW: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        images, targets = images_NCHW.detach().contiguous(), targets.detach().contiguous()
        if self.part == self.batch:
            return [(images, targets)]
        return list(zip(torch.split(images, self.part), torch.split(targets, self.part), strict=True))


def cross_entropy(network: Callable[[Tensor], Tensor], images_NCHW: Tensor, targets: Tensor, bf16: bool) -> Tensor:
    """The mean cross-entropy () of what the network says of the images."""
    if not bf16:
        return F.cross_entropy(network(images_NCHW), targets)
    with torch.autocast(images_NCHW.device.type, torch.bfloat16):
        logits: Tensor = network(images_NCHW)
    return F.cross_entropy(logits.to(images_NCHW.dtype), targets)


def _sum(parts: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Summed in their order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def derivatives(network: FlatNetwork, execution: Execution, batch: int, passes: float = 0) -> Derivatives:
    """The derivatives for batches of `batch` samples; `passes`: see `is_compiled`."""
    if is_compiled(network.module, execution, passes):
        return Compiled(network, batch, execution)
    return Derivatives(network, execution.bf16)


def is_compiled(network: nn.Module, execution: Execution, passes: float, pays: float = PAYS_FOR_MANY) -> bool:
    """Whether derivatives are compiled: a pure function of settings, shapes and the kind of machine.

    Args:
        passes: of a sample through the network that are to come, a gradient counting as GRADIENT_PASSES.
        pays: floating-point operations from which on it is worth while.
    """
    if execution.compile == "off" or not can_compile(network):
        return False
    return execution.compile == "on" or (compiler() is not None and passes * forward_flops(network) >= pays)


def can_compile(network: nn.Module) -> bool:
    """Whether a batch may be cut into parts: not where a norm looks at all of it. On CPUs: no GPU has been tried."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    return on_cpu and blueprint_of(network) is not None and not any(True for _ in network.buffers())


def blueprint_of(network: nn.Module) -> tuple[NetworkSettings, Shape, int] | None:
    """What the network was built from; None for one that was not built here."""
    return network.blueprint if isinstance(network, Network) else None


def most_samples(map_bytes: int) -> int:
    """Samples of which two maps between layers lie in the cache; enough of them to fill a convolution."""
    return max(LEAST_SAMPLES, CACHED_BYTES // map_bytes)


def part_of(batch: int, map_bytes: int) -> int:
    """Samples of a part: the most that fit, of those that divide the batch; all of it where hardly any do."""
    most = most_samples(map_bytes)
    part = max(size for size in range(1, min(most, batch) + 1) if batch % size == 0)
    return part if 4 * part >= min(most, batch) else batch


def largest_map(network: nn.Module) -> int:
    """Bytes of the largest output of a layer, for one sample."""
    return max(_sizes_of(network)[0])


def forward_flops(network: nn.Module) -> float:
    """Floating-point operations of a sample's pass forward: twice the products of convolutions and linear layers."""
    return float(sum(_sizes_of(network)[1]))


def _sizes_of(network: nn.Module) -> tuple[list[int], list[int]]:
    blueprint = blueprint_of(network)
    assert blueprint is not None, "`can_compile` has seen to it"
    return _sizes(*blueprint, next(network.parameters()).dtype)


@cache  # methods ask anew for every fresh network
def _sizes(settings: NetworkSettings, shape: Shape, classes: int, dtype: torch.dtype) -> tuple[list[int], list[int]]:
    """For one sample: the bytes of every layer's output, and the operations of its products."""
    network = factory.build(settings, shape, classes, seed=0).to(dtype)
    maps: list[int] = []
    operations: list[int] = []

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        maps.append(output.numel() * output.element_size())
        if isinstance(layer, nn.Conv2d | nn.Linear):  # a weight row for each number that comes out
            per_number = layer.weight[0].numel()
            operations.append(2 * output.numel() * per_number)

    layers = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            network(torch.zeros(1, *shape, dtype=dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return maps, operations
