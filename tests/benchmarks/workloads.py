"""What the benchmarks measure, as work that goes on for so many units: the baseline's way, and padray's.

Everything is made from a seed, since speed does not depend on what samples show. padray's way goes through the
functions that its stages call: experts/training.train, methods/loop.run around a method's `contribute` and `step`,
evaluation/protocol.judge. Both ways get the same shapes, counts and batches.

Legend: K classes, M = K * IPC synthetic samples, N student steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from tests.benchmarks import baseline, baseline_gradient

Kind = Literal["expert", "distil", "evaluation", "distribution", "gradient"]
FOREVER = 999_999  # epochs or iterations to come, as far as whoever advances is told
REAL, TEST = 500, 10_000  # real samples of a class that DM draws from; samples of a test split
LR = 0.01
PROTOCOL = 1001  # epochs of an evaluation


@dataclass(frozen=True)
class Case:
    """A piece of work. A unit is an expert's step, an iteration, or an epoch of all `seeds` networks.

    Attributes:
        batch: of an expert, or of a student's step.
        epoch: batches of an expert's epoch.
        steps: N; of gradient matching the epochs that a network is trained between two iterations, 0 for fresh ones.
        soft: labels are learned.
        rho: of an expert's GSAM, which the baseline has not.
    """

    kind: Kind
    width: int
    depth: int = 3
    shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    batch: int = 256
    epoch: int = 2
    ipc: int = 1
    steps: int = 20
    soft: bool = False
    seeds: int = 1
    test: int = TEST
    augment: str = baseline.DSA
    rho: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))  # a list, where it comes from JSON


@dataclass(frozen=True)
class Way:
    """How a case is done: the baseline's way, or padray's with these settings.

    Attributes:
        compute: of `compute`, for padray.
        distill: of `distill`, for padray's trajectory matching.
    """

    side: Literal["baseline", "padray"]
    compute: Mapping[str, Any] = field(default_factory=dict)
    distill: Mapping[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """Something that can be gone on with."""

    def advance(self, units: int) -> None:
        """Do so many units more."""


class Steady:
    """Work that goes on where it was: an iterator, of which one value is one or more units."""

    def __init__(self, values: Iterator[Any], units: int = 1) -> None:
        self.values, self.units = values, units

    def advance(self, units: int) -> None:
        for _ in range(max(1, units // self.units)):
            next(self.values)


@dataclass
class Evaluation:
    """Training from scratch each time, then, apart, a test of the networks that were trained last."""

    train: Callable[[int], None]
    test: Callable[[], Sequence[float]]

    def advance(self, units: int) -> None:
        self.train(units)


@dataclass(frozen=True)
class Made:
    """Made samples: what is trained on, or distilled, and its labels; real samples and theirs."""

    images: torch.Tensor
    labels: torch.Tensor
    real: torch.Tensor
    real_labels: torch.Tensor

    @classmethod
    def of(cls, case: Case, device: torch.device, dtype: torch.dtype = torch.float32) -> "Made":
        """For an expert the real samples, for all else the synthetic ones, class after class."""
        draw = torch.Generator().manual_seed(case.seed)

        def images(count: int) -> torch.Tensor:
            return torch.randn(count, *case.shape, generator=draw).to(device, dtype)

        counts = {
            "expert": case.epoch * case.batch,
            "distil": 0,
            "evaluation": case.test,
            "distribution": REAL * case.classes,
            "gradient": REAL * case.classes,
        }
        real = images(counts[case.kind])
        labels = torch.arange(case.classes).repeat_interleave(case.ipc)
        if case.soft:
            labels = torch.randn(len(labels), case.classes, generator=draw).to(dtype)
        synthetic = images(case.classes * case.ipc)
        return cls(synthetic, labels.to(device), real, torch.arange(len(real)) % case.classes)

    def shares(self) -> torch.Tensor:
        """Labels as an evaluation takes them."""
        return self.labels.softmax(dim=1) if self.labels.is_floating_point() else self.labels


def target_of(start_P: torch.Tensor) -> torch.Tensor:
    """Where an expert that began at `start_P` may have come to (P,)."""
    draw = torch.Generator().manual_seed(1)
    return start_P + 0.01 * torch.randn(len(start_P), generator=draw).to(start_P)


def per_unit(long_s: float, short_s: float, long: int, short: int) -> float:
    """Seconds of a unit, from two lengths that begin anew; where noise hides the difference, what begins is in it."""
    return (long_s - short_s) / (long - short) if long_s > short_s else long_s / long


# -- the baseline


def usual(case: Case, device: torch.device) -> Work:
    """The case as the field does it."""
    return {
        "expert": _usual_expert,
        "distil": _usual_distil,
        "evaluation": _usual_evaluation,
        "distribution": _usual_distribution,
        "gradient": _usual_gradient,
    }[case.kind](case, device)


def _net(case: Case, device: torch.device) -> baseline.ConvNet:
    channels, side, _ = case.shape
    return baseline.ConvNet(channels, side, case.classes, case.width, case.depth).to(device)


def _usual_expert(case: Case, device: torch.device) -> Work:
    made = Made.of(case, torch.device("cpu"))
    batches = baseline.loader(made.real, made.real_labels, case.batch)
    return Steady(baseline.train_expert(_net(case, device), batches, FOREVER, LR), case.epoch)


def _usual_distil(case: Case, device: torch.device) -> Work:
    made = Made.of(case, device)
    method = baseline.TrajectoryMatching(made.images, made.labels, LR, case.augment)
    start = baseline.flatten(_net(case, device))
    target = target_of(start)

    def iterations() -> Iterator[float]:
        while True:
            yield method.iterate(_net(case, device), start, target, case.batch, case.steps)

    return Steady(iterations())


def _usual_evaluation(case: Case, device: torch.device) -> Work:
    made, trained = Made.of(case, device), []
    images, labels = made.images.cpu(), made.shares().cpu()

    def train(epochs: int) -> None:
        trained[:] = [
            baseline.train_on_set(_net(case, device), images, labels, LR, epochs, case.augment)
            for _ in range(case.seeds)
        ]

    def test() -> list[float]:
        batches = baseline.loader(made.real.cpu(), made.real_labels, 256, shuffle=False)
        return [baseline.accuracy(net, batches) for net in trained]

    return Evaluation(train, test)


def _usual_distribution(case: Case, device: torch.device) -> Work:
    made = Made.of(case, device)
    method = baseline.DistributionMatching(made.images, _by_class(made, case), case.ipc)

    def iterations() -> Iterator[float]:
        while True:
            yield method.iterate(_net(case, device), case.batch)

    return Steady(iterations())


def _usual_gradient(case: Case, device: torch.device) -> Work:
    made = Made.of(case, device)
    method = baseline_gradient.GradientMatching(made.images, made.labels, _by_class(made, case), case.ipc)

    def iterations() -> Iterator[float]:
        net = _net(case, device)
        while True:
            yield method.iterate(net, case.batch, case.steps)
            net = net if case.steps else _net(case, device)

    return Steady(iterations())


def _by_class(made: Made, case: Case) -> list[torch.Tensor]:
    return [made.real[made.real_labels == label] for label in range(case.classes)]
