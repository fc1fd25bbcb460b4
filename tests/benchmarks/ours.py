"""padray's way of the cases in workloads.py, through the functions that its stages call.

What `compute` decides is decided here once, as a stage's worker does it. A new setting that changes how work is done
is handed on from here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.evaluation.protocol import RealSplits, fresh, judge, recipe_for, score_of
from padray.evaluation.settings import EvaluationSettings
from padray.experts.settings import ExpertSettings
from padray.experts.sharpness import Sharpness
from padray.experts.training import Draws, Recipe, Samples, train
from padray.machine.numerics import decide
from padray.methods import loop
from padray.methods.distribution.matching import DistributionMatching
from padray.methods.distribution.settings import DistributionSettings
from padray.methods.gradient.matching import GradientMatching
from padray.methods.gradient.settings import GradientSettings
from padray.methods.loop import LoopHooks
from padray.methods.method import Iterative
from padray.methods.settings import DistillSettings, ValidationSettings
from padray.methods.state import State, start
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import factory
from padray.networks.derivatives import PAYS_ONCE, Execution, execution_of, is_compiled
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Network
from padray.networks.settings import GRADIENT_PASSES, NetworkSettings
from padray.settings.machine import ComputeSettings
from padray.synthetic.set import Learned
from tests.benchmarks.workloads import FOREVER, LR, PROTOCOL, Case, Evaluation, Made, Steady, Way, Work, target_of
from tests.methods.given import Given

_NOT_JUDGED = ValidationSettings(seeds=0)


class Machine(NamedTuple):
    """What `compute` comes to, as a stage's worker has it: this process has its threads and its allocator by then."""

    device: torch.device
    dtype: torch.dtype
    execution: Execution

    @classmethod
    def of(cls, way: Way) -> "Machine":
        settings = ComputeSettings(**way.compute)
        numerics = decide(settings)
        execution = execution_of(numerics, memory=settings.budget_bytes)
        return cls(numerics.use(settings.allocator), numerics.dtype, execution)


class Matching(NamedTuple):
    """A method, the state that it begins with, and the snapshots that every contribution is given."""

    method: Iterative[Any]
    state: State
    rows: tuple[torch.Tensor, ...]


def ours(case: Case, way: Way) -> Work:
    """The case as padray does it."""
    machine = Machine.of(way)
    if case.kind == "expert":
        network, epochs = expert(case, machine)
        return Steady(_with_snapshots(network, epochs), case.epoch)
    if case.kind == "evaluation":
        return evaluation(case, machine)
    if case.kind == "distil":
        return _iterations(trajectory(case, machine, way))
    return _iterations(distribution(case, machine) if case.kind == "distribution" else gradient(case, machine))


def network_of(case: Case) -> NetworkSettings:
    return NetworkSettings(width=case.width, depth=case.depth)


def built(case: Case, machine: Machine) -> Network:
    return factory.build(network_of(case), case.shape, case.classes, case.seed).to(machine.device, machine.dtype)


def expert(case: Case, machine: Machine) -> tuple[Network, Iterator[float]]:
    """A network, and its training."""
    made = Made.of(case, machine.device, machine.dtype)
    settings = ExpertSettings(batch=case.batch, lr=LR, augment=case.augment, rho=case.rho)
    sharpness = Sharpness(settings.rho, settings.gsam_alpha, settings.adaptive) if settings.rho else None
    recipe = Recipe(
        FOREVER,
        settings.batch,
        settings.lr,
        settings.momentum,
        settings.weight_decay,
        settings.augment,
        sharpness=sharpness,
        execution=machine.execution,
    )
    network = built(case, machine)
    samples = Samples(made.real, made.real_labels.to(machine.device))
    return network, train(network, samples, recipe, Draws(case.seed, "experts", "expert-0000"))


def _with_snapshots(network: Network, epochs: Iterator[float]) -> Iterator[torch.Tensor]:
    for _ in epochs:  # an expert leaves its parameters after every epoch
        yield FlatNetwork(network).flatten().cpu()


def trajectory(case: Case, machine: Machine, way: Way) -> Matching:
    """Matching trajectories, one an iteration."""
    made = Made.of(case, machine.device, machine.dtype)
    settings = TrajectorySettings(
        ipc=case.ipc,
        iterations=FOREVER,
        student_steps=case.steps,
        batch=case.batch,
        lr_images=1.0,
        student_lr=LR,
        max_loss=1e9,
        augment=case.augment,
        validation=_NOT_JUDGED,
        labels={"kind": "soft" if case.soft else "hard"},
        **way.distill,
    )
    method = TrajectoryMatching(settings, _given(case, machine, settings))
    start_P = FlatNetwork(built(case, machine)).flatten()
    lr = torch.tensor(LR, dtype=machine.dtype, device=machine.device)
    own = {}
    if method.importance is not None:
        weights = method.importance.start(machine.dtype)
        own = {"weights": weights, "weights_momentum": torch.zeros_like(weights)}
    return Matching(method, start(Learned(made.images, made.labels, lr), own), (start_P, target_of(start_P)))


def _given(case: Case, machine: Machine, settings: DistillSettings) -> Given:
    """Materials; whether gradients are compiled is decided for all iterations to come."""
    passes = settings.compilable_passes(case.classes)
    compiled = passes > 0 and is_compiled(built(case, machine), machine.execution, passes, PAYS_ONCE)
    return Given(
        network_of(case),
        case.shape,
        case.classes,
        case.seed,
        dtype=machine.dtype,
        execution=replace(machine.execution, compile="on" if compiled else "off"),
        device=machine.device,
    )


def distribution(case: Case, machine: Machine) -> Matching:
    """Matching distributions."""
    settings = DistributionSettings(family="distribution", **_classwise(case))
    return _of_classes(DistributionMatching, settings, case, machine)


def gradient(case: Case, machine: Machine) -> Matching:
    """Matching gradients, in networks that are fresh, or one that is trained between two iterations."""
    trained = {"outer_steps": FOREVER, "inner": {"epochs": case.steps}} if case.steps else {}
    settings = GradientSettings(family="gradient", **_classwise(case), **trained)
    return _of_classes(GradientMatching, settings, case, machine)


def _classwise(case: Case) -> dict[str, Any]:
    """What the families that match class by class are told of a case."""
    shared = {"ipc": case.ipc, "iterations": FOREVER, "real_batch": case.batch, "augment": case.augment}
    return shared | {"validation": _NOT_JUDGED}


def _of_classes(method: type[Iterative[Any]], settings: DistillSettings, case: Case, machine: Machine) -> Matching:
    made = Made.of(case, machine.device, machine.dtype)
    given = replace(_given(case, machine, settings), images=made.real, labels=made.real_labels)
    return Matching(method(settings, given), start(Learned(made.images, made.labels)), ())


def _iterations(matching: Matching) -> Work:
    hooks = LoopHooks(
        rows=itertools.repeat(matching.rows),
        mine=range(matching.method.count),
        exchange=lambda own: own,
        judge=lambda learned: [],
        keep=lambda state, metrics: None,
    )
    return Steady(loop.run(matching.method, matching.state, FOREVER, hooks))


def evaluation(case: Case, machine: Machine) -> Evaluation:
    """Networks by the standard protocol, which is never shortened to bf16, and their test.

    Whether they are compiled is decided as for all epochs of the protocol, however few are timed.
    """
    device, settings = machine.device, EvaluationSettings(augment=case.augment)
    made = Made.of(case, device, machine.dtype)
    empty = torch.zeros(0, *case.shape, dtype=torch.uint8)
    names = tuple(map(str, range(case.classes)))
    dataset = Dataset.of(empty, torch.zeros(0, dtype=torch.int64), names, {}, Preprocessing())
    training, test = Samples(made.images, made.shares()), Samples(made.real, made.real_labels.to(device))
    draws = [Draws(case.seed, "evaluation", f"distilled-{seed}") for seed in range(case.seeds)]
    passes = GRADIENT_PASSES * PROTOCOL * len(training.images)
    compiled = is_compiled(built(case, machine), machine.execution, passes)
    execution = replace(machine.execution, bf16=(), compile="on" if compiled else "off")
    looking = replace(machine.execution, bf16=())
    network, neither, tested = network_of(case), RealSplits(None, None), RealSplits(None, test)

    def train_all(epochs: int) -> None:
        recipe = replace(recipe_for(settings.judging, epochs, LR), execution=execution)
        for draw in draws:
            judge(training, network, recipe, draw, dataset, neither)

    def test_all() -> list[float]:
        models = [fresh(network, dataset, draw, training) for draw in draws]
        scores = [score_of(model, tested, looking) for model in models]
        return [score.test.plain for score in scores if score.test is not None]

    return Evaluation(train_all, test_all)
