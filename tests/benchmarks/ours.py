"""padray's way of the cases in workloads.py, through the functions that its stages call.

What `compute` decides is decided here once, as a stage's worker does it. A new setting that changes how work is done
is handed on from here.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.evaluation.protocol import RealSplits, fresh, judge, recipe_for, score_of
from padray.evaluation.settings import EvaluationSettings
from padray.experts.settings import ExpertSettings
from padray.experts.training import Draws, Recipe, Samples, train
from padray.machine.numerics import Numerics, decide
from padray.methods import loop
from padray.methods.distribution.matching import DistributionMatching
from padray.methods.distribution.settings import DistributionSettings
from padray.methods.loop import LoopHooks
from padray.methods.method import Iterative
from padray.methods.settings import ValidationSettings
from padray.methods.state import State, start
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.networks.settings import NetworkSettings
from padray.settings.machine import ComputeSettings
from padray.synthetic.set import Learned
from tests.benchmarks.workloads import FOREVER, LR, Case, Evaluation, Made, Steady, Way, Work, pair_of
from tests.methods.given import Given

_NOT_JUDGED = ValidationSettings(seeds=0)


def ours(case: Case, way: Way) -> Work:
    """The case as padray does it."""
    numerics = decide(ComputeSettings(**way.compute))
    make = {"expert": _expert, "distil": _distil, "evaluation": _evaluation, "distribution": _distribution}[case.kind]
    return make(case, numerics, way)


def network_of(case: Case) -> NetworkSettings:
    return NetworkSettings(width=case.width, depth=case.depth)


def _expert(case: Case, numerics: Numerics, way: Way) -> Work:
    device = numerics.use()
    made = Made.of(case, device, numerics.dtype)
    settings = ExpertSettings(batch=case.batch, lr=LR, augment=case.augment)
    recipe = Recipe(
        FOREVER, settings.batch, settings.lr, settings.momentum, settings.weight_decay, settings.augment
    )  # fmt: skip
    network = factory.build(network_of(case), case.shape, case.classes, 0).to(device, numerics.dtype)
    samples = Samples(made.real, made.real_labels.to(device))

    def epochs() -> Iterator[torch.Tensor]:  # an expert leaves its parameters after every epoch
        for _ in train(network, samples, recipe, Draws(0, "experts", "expert-0000")):
            yield FlatNetwork(network).flatten().cpu()

    return Steady(epochs(), len(samples.images) // case.batch)


def _distil(case: Case, numerics: Numerics, way: Way) -> Work:
    device = numerics.use()
    made = Made.of(case, device, numerics.dtype)
    settings = TrajectorySettings(
        ipc=case.ipc, iterations=FOREVER, student_steps=case.steps, batch=case.batch, lr_images=1.0, student_lr=LR,
        max_loss=1e9, augment=case.augment, validation=_NOT_JUDGED,
        labels={"kind": "soft" if case.soft else "hard"}, **way.distill,
    )  # fmt: skip
    given = Given(network_of(case), case.shape, case.classes, dtype=numerics.dtype, device=device)
    network = factory.build(given.network, case.shape, case.classes, 0).to(device, numerics.dtype)
    start_P = FlatNetwork(network).flatten()
    lr = torch.tensor(LR, dtype=numerics.dtype, device=device)
    state = start(Learned(made.images, made.labels, lr))
    return _iterations(TrajectoryMatching(settings, given), state, (start_P, pair_of(start_P)))


def _distribution(case: Case, numerics: Numerics, way: Way) -> Work:
    device = numerics.use()
    made = Made.of(case, device, numerics.dtype)
    settings = DistributionSettings(
        family="distribution", ipc=case.ipc, iterations=FOREVER, real_batch=case.batch, augment=case.augment,
        validation=_NOT_JUDGED,
    )  # fmt: skip
    given = Given(
        network_of(case), case.shape, case.classes, dtype=numerics.dtype, device=device, images=made.real,
        labels=made.real_labels,
    )  # fmt: skip
    return _iterations(DistributionMatching(settings, given), start(Learned(made.images, made.labels)), ())


def _iterations(method: Iterative[Any], state: State, rows: Sequence[torch.Tensor]) -> Work:
    hooks = LoopHooks(
        rows=itertools.repeat(rows), mine=range(method.count), exchange=lambda own: own, judge=lambda learned: [],
        keep=lambda state, metrics: None,
    )  # fmt: skip
    return Steady(loop.run(method, state, FOREVER, hooks))


def _evaluation(case: Case, numerics: Numerics, way: Way) -> Work:
    device, settings = numerics.use(), EvaluationSettings(augment=case.augment)
    made = Made.of(case, device, numerics.dtype)
    empty = torch.zeros(0, *case.shape, dtype=torch.uint8)
    names = tuple(map(str, range(case.classes)))
    dataset = Dataset.of(empty, torch.zeros(0, dtype=torch.int64), names, {}, Preprocessing())
    training, test = Samples(made.images, made.shares()), Samples(made.real, made.real_labels.to(device))
    draws = [Draws(0, "evaluation", f"distilled-{seed}") for seed in range(case.seeds)]
    network, neither, all_splits = network_of(case), RealSplits(None, None), RealSplits(None, test)

    def train_all(epochs: int) -> None:
        recipe = recipe_for(settings, epochs, LR)
        for draw in draws:
            judge(training, network, recipe, draw, dataset, neither)

    def test_all() -> list[float]:
        scores = [score_of(fresh(network, dataset, draw, training), all_splits) for draw in draws]
        return [score.test.plain for score in scores if score.test is not None]

    return Evaluation(train_all, test_all)
