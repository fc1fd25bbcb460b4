"""What a family of methods gives to the loop that all of them share, and what it is given.

A method is one family at work. An iterative one says how a set starts, what one contribution to an iteration is, and
how the state goes on from the contributions; a selective one, what one unit is, and what set they make. A contribution
is a function of the state and of its number alone, so it may be made anywhere; `step` is handed those of all workers in
the order of their numbers, so who made them does not matter. No method sees a path, a storage or Ray.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch

from padray.experts.positions import Keeper
from padray.experts.training import Samples
from padray.methods.figure_data import Figure, History
from padray.methods.settings import DistillSettings
from padray.methods.state import State
from padray.networks.derivatives import Execution
from padray.networks.flat import FlatNetwork, Span
from padray.networks.layers import Shape
from padray.networks.settings import NetworkSettings
from padray.synthetic.set import Learned

# Tensors by their names: the same ones, of the same shapes and dtype, in every contribution to an iteration.
Contribution = dict[str, torch.Tensor]
# What an iteration tells: numbers that are finite, lists of them, None for what is not finite, texts.
Metrics = dict[str, Any]
S = TypeVar("S", bound=DistillSettings)


class Snapshot(NamedTuple):
    """The parameters (P,) of an expert after an epoch."""

    expert: int
    epoch: int


class Experts(Protocol):
    """The trained experts."""

    @property
    def name(self) -> str:
        """What they are called in sentences."""

    @property
    def count(self) -> int:
        """How many there are."""

    def last(self, expert: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """An expert's last parameters (P,) and its last buffers by name."""


class Materials(Protocol):
    """What a method may read, on `device` and of type `dtype` where nothing else is said."""

    @property
    def network(self) -> NetworkSettings: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def classes(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def execution(self) -> Execution: ...

    @property
    def keeper(self) -> Keeper:
        """Of a training that all units need."""

    @property
    def labels(self) -> torch.Tensor:
        """The classes of the training samples (N,), on the CPU."""

    @property
    def images(self) -> torch.Tensor:
        """The training samples, preprocessed (N, C, H, W)."""

    @property
    def kept(self) -> torch.Tensor:
        """Which training samples are on the keep-list, rising rows of `images`; all of them without one."""

    @property
    def held(self) -> Samples:
        """The validation split, preprocessed; empty without one."""

    @property
    def experts(self) -> Experts:
        """The experts; where the settings need them."""


@dataclass(frozen=True)
class Sizes:
    """What the cost of a distillation depends on, besides its settings.

    Attributes:
        network: the distilling network without values.
        train: training samples.
        classes: K.
        experts: how many are trained.
        memory: bytes that a student and its way back may take, where graphs are kept for it.
    """

    network: FlatNetwork
    norm: str
    shape: Shape
    classes: int
    train: int
    experts: int
    memory: float = 0.0


@dataclass(frozen=True)
class Costs:
    """What a distillation takes beside its iterations' time.

    Attributes:
        looks: samples that pass forward once before the first iteration.
        passes: forward passes of a sample in all iterations, derivatives counted as in networks/settings.py.
        steps: optimiser's steps of the students in all iterations.
        peak: counts the bytes of an iteration at its peak, beside the state and what of the dataset is held.
        own_numbers: numbers of the state beside what is learned and its momentum.
        contribution_numbers: numbers of one contribution.
        metrics_bytes: of one iteration's metrics in a checkpoint, about.
        reads: snapshots of experts that all iterations read.
        scoring: a network that is trained to look at the samples, and `scored` how many it is trained on in all epochs.
    """

    looks: int
    passes: float
    steps: int
    peak: Callable[[], int]
    own_numbers: int
    contribution_numbers: int
    metrics_bytes: int = 140
    reads: int = 0
    scoring: NetworkSettings | None = None
    scored: int = 0

    @cached_property
    def peak_bytes(self) -> int:
        """What `peak` counts, which may take seconds, once."""
        return self.peak()


class Rehearsal(NamedTuple):
    """Settings whose iteration is quick to time, and how many times as long one of the real settings takes.

    Attributes:
        times: of the contributions.
        note: on what is calculated rather than measured.
        step_times: of the step from them to the next state.
    """

    settings: DistillSettings
    times: float
    note: str = ""
    step_times: float = 1.0


class Selected(NamedTuple):
    """The training samples that a set consists of: rows of `images` (M,) in its order, and their weights, if any."""

    rows: torch.Tensor
    weights: torch.Tensor | None = None


class Method(ABC, Generic[S]):
    """One family at work on one worker, in one of the two shapes below: `Iterative` or `Selective`."""

    contribution: ClassVar[str] = "contribution"  # what one is called

    def __init__(self, settings: S, materials: Materials) -> None:
        self.settings, self.materials = settings, materials

    @property
    def count(self) -> int:
        """How many contributions an iteration, or how many units the set, is made of."""
        return self.settings.contributions(self.materials.network, self.materials.classes).count

    @classmethod
    @abstractmethod
    def costs(cls, settings: S, sizes: Sizes) -> Costs:
        """What a plan counts."""

    @classmethod
    def rehearsal(cls, settings: S) -> Rehearsal:
        """What `plan --calibrate` times."""
        return Rehearsal(settings, 1.0)

    @classmethod
    def notes(cls, settings: S, learned: Learned, noun: str) -> list[str]:
        """Sentences for the report on how the set was made. `noun`: what its samples are called."""
        return []

    @classmethod
    def left_out(cls, settings: S) -> str:
        """What an iteration leaves out, and why, as the end of a sentence."""
        return f"a {cls.contribution} left out"

    @classmethod
    def figures(cls, settings: S, history: History, spans: Sequence[Span], classes: Sequence[str]) -> list[Figure]:
        """What a report shows of the history beside loss and accuracy; `spans`: of the distilling network."""
        return []


class Iterative(Method[S]):
    """From state to state. What is not handed over stays fixed while a set is distilled."""

    @abstractmethod
    def start(self) -> State:
        """The state before the first iteration."""

    def snapshots(self, iteration: int, number: int) -> tuple[Snapshot, ...]:
        """The snapshots of experts that a contribution reads; known beforehand, so that they can be fetched."""
        return ()

    @abstractmethod
    def contribute(self, state: State, number: int, snapshots: Sequence[torch.Tensor]) -> Contribution:
        """One contribution to the state's next iteration; `snapshots` (P,) are those that it asked for."""

    @abstractmethod
    def step(self, state: State, contributions: Sequence[Contribution]) -> tuple[State, Metrics]:
        """The next state and this iteration's metrics, from all contributions in the order of their numbers.

        Raises:
            DivergedError: there is nothing to go on with.
        """

    def warning(self, state: State) -> str | None:
        """What whoever uses the set of this state must know."""
        return None


class Selective(Method[S]):
    """Units, each made by itself and kept, and then a set of all of them: coresets, crops, generators."""

    @abstractmethod
    def make(self, number: int) -> Contribution:
        """One unit. It depends on its number alone, so that it can be made anywhere."""

    @abstractmethod
    def assemble(self, units: Sequence[Contribution]) -> Learned:
        """The set, from all units in the order of their numbers."""

    def selected(self, units: Sequence[Contribution]) -> Selected | None:
        """Which training samples those are, where the set consists of some."""
        return None
