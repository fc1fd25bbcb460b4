"""The pace of each kind of work, measured on this machine's device by a few steps of the real thing.

The samples are drawn, of the dataset's shape: what the pixels are makes no difference to the time.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from padray.config import Config
from padray.draws import generator
from padray.evaluation.protocol import recipe_for
from padray.evaluation.teaching import TeacherSpec, teach
from padray.experts.positions import NOWHERE, Keeper
from padray.experts.training import Draws, Recipe, Samples, train
from padray.machine.numerics import Numerics, decide
from padray.methods.families import iterative, method_of, selective
from padray.methods.method import Contribution, Materials
from padray.networks import factory
from padray.networks.derivatives import Execution, execution_of
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Network, Shape
from padray.networks.logits import logits_of
from padray.networks.peak import LOOK_BATCH
from padray.networks.settings import NetworkSettings
from padray.planning.lines import Line, Pace, Task
from padray.planning.outline import Known
from padray.stages.base import Notify, Progress
from padray.stages.deciding import graph_bytes, numerics_of
from padray.stages.experts import recipe as expert_recipe
from padray.stages.scores import recipe as score_recipe

_REPEATS = 3
_LONG_S = 0.4  # what is timed takes about this long, or is the least that there is
_MOST_BATCHES, _MOST_EPOCHS = 8, 50
_ITERATIONS = 2  # of a distillation: with IADD's turns, one of each


def measure(config: Config, known: Known, lines: Sequence[Line], notify: Notify) -> dict[Task, float]:
    """Seconds per sample, or per iteration, of every task that the units to do consist of."""
    asked = dict.fromkeys(part.task for line in lines if line.left for part in line.parts if part.amount)
    numerics = decide(config.compute)
    calibrator = _Calibrator(config, known, numerics.use(config.compute.allocator), numerics)
    paces: dict[Task, float] = {}
    for place, task in enumerate(asked):
        notify(Progress("calibrate", place, len(asked), f"{task.kind} {task.network.label}"))
        paces[task] = calibrator.pace(task)
    notify(Progress("calibrate", len(asked), len(asked)))
    return paces


def pace(line: Line, paces: dict[Task, float]) -> Pace | None:
    """One unit's seconds: each part's amount times its pace."""
    parts = [part for part in line.parts if part.amount]
    if not parts or not all(part.task in paces for part in parts):
        return None
    return Pace(sum(part.amount * paces[part.task] for part in parts), "calibrated")


def device_name(config: Config) -> str:
    """What was measured, in words."""
    numerics = decide(config.compute)
    kind = torch.cuda.get_device_name() if numerics.device == "cuda" else f"CPU, {numerics.machine}"
    return f"{kind}, {numerics.threads} thread{'s' * (numerics.threads > 1)}, PyTorch {numerics.torch_version}"


@dataclass(frozen=True)
class _Calibrator:
    """Real code on drawn samples."""

    config: Config
    known: Known
    device: torch.device
    numerics: Numerics

    @property
    def dtype(self) -> torch.dtype:
        return self.numerics.dtype

    @cached_property
    def execution(self) -> Execution:
        """How the real distillation is made: compiled only where the whole of it is worth that."""
        numerics = numerics_of(self.config, self.known.shape, self.known.classes)
        return execution_of(numerics, memory=graph_bytes(self.config, numerics))

    @cached_property
    def clock(self) -> Callable[[], float]:
        return _clock(self.numerics)

    def pace(self, task: Task) -> float:
        """Seconds per sample, or per iteration."""
        if task.kind == "iteration":
            return self._iteration(task.network)
        if task.kind == "look":
            return self._look(task.network)
        if task.kind == "taught":
            return self._training(task, self.config.evaluation.training.batch, self._teach)
        recipe = self._recipe(task)

        def run(network: Network, samples: Samples, epochs: int) -> None:
            for _ in train(network, samples, replace(recipe, epochs=epochs), Draws(0, "plan", task.kind)):
                pass

        return self._training(task, recipe.batch, run)

    def _recipe(self, task: Task) -> Recipe:
        """Learning rates do not matter to the time, so they are small enough for labels without a meaning."""
        evaluation = self.config.evaluation
        recipes = {
            "experts": expert_recipe(self.config.experts),
            "scores": score_recipe(self.config.scores),
            "teacher": recipe_for(replace(evaluation.judging, batch=evaluation.teacher.teacher_batch), 1, 1e-4),
            "judged": recipe_for(evaluation.judging, 1, 1e-4),
            "cell": recipe_for(evaluation.training, 1, 1e-4),
        }
        return replace(recipes[task.kind], lr=1e-4, decay="none")

    def _training(self, task: Task, batch: int, run: Callable[[Network, Samples, int], None]) -> float:
        """Seconds per sample: of whole epochs where they are short, else of some full batches."""
        network, soft = self._network(task.network), task.kind in ("judged", "cell")
        few = self.samples(min(batch, task.samples), soft)
        run(network, few, 1)
        step_s = self._timed(lambda: run(network, few, 1))
        batches = min(_MOST_BATCHES, max(1, int(_LONG_S / step_s)))
        samples = self.samples(min(task.samples, batch * batches), soft)
        epoch_s = step_s * max(1.0, len(samples.images) / batch)
        epochs = min(_MOST_EPOCHS, max(1, int(_LONG_S / epoch_s)))
        return self._median(lambda: run(network, samples, epochs)) / (epochs * len(samples.images))

    def _teach(self, network: Network, samples: Samples, epochs: int) -> None:
        settings = self.config.evaluation.model_copy(update={"epochs": epochs})
        teacher = self._network(settings.teacher.network).eval().requires_grad_(False)
        for _ in teach(network, samples.images, TeacherSpec(teacher, settings), Draws(0, "plan", "taught")):
            pass

    def _look(self, settings: NetworkSettings) -> float:
        network = self._network(settings)
        few = self.samples(min(32, LOOK_BATCH)).images
        logits_of(network, few).sum().item()
        look_s = self._timed(lambda: logits_of(network, few).sum().item())
        count = min(LOOK_BATCH, len(few) * max(1, int(_LONG_S / look_s)))
        images = self.samples(count).images
        return self._median(lambda: logits_of(network, images).sum().item()) / count

    def _iteration(self, settings: NetworkSettings) -> float:
        """Of a distillation that starts from drawn samples, and goes on as the family's rehearsal says."""
        quick, times, _, step_times = method_of(self.config.distill).rehearsal(self.config.distill)
        drawn = _Drawn(self, settings)
        if quick.from_units:
            made_of = selective(quick, drawn)
            return self._median(lambda: made_of.make(0)) * made_of.count * times
        method = iterative(quick, drawn)
        state = method.start()
        rows = [_drawn_snapshots(method.materials, len(method.snapshots(0, 0)))]

        def contribute() -> list[Contribution]:
            states = [replace(state, iteration=iteration) for iteration in range(_ITERATIONS)]
            contributions = [method.contribute(at, 0, rows[0]) for at in states]
            # Asks the device, so the clock stops when it is done.
            assert all(float(one["loss"]) >= 0 for one in contributions)
            return contributions

        contributions = contribute()
        step_s = self._median(lambda: method.step(state, contributions[:1] * method.count))
        both_s = self._median(contribute)
        return float(step_s * step_times + method.count * both_s / _ITERATIONS * times)

    def _network(self, settings: NetworkSettings) -> Network:
        return factory.build(settings, self.known.shape, self.known.classes, 0).to(self.device, self.dtype)

    def samples(self, count: int, soft: bool = False) -> Samples:
        draw = generator(0, "plan", "samples")
        images = torch.randn(count, *self.known.shape, generator=draw).to(self.device, self.dtype)
        labels = (torch.arange(count) % self.known.classes).to(self.device)
        if soft:
            return Samples(images, torch.nn.functional.one_hot(labels, self.known.classes).to(self.dtype))
        return Samples(images, labels)

    def _timed(self, work: Callable[[], object]) -> float:
        began = self.clock()
        work()
        return max(self.clock() - began, 1e-9)

    def _median(self, work: Callable[[], object]) -> float:
        return statistics.median(self._timed(work) for _ in range(_REPEATS))


@dataclass(frozen=True)
class _Drawn:
    """Materials (methods/method.py) that are drawn: `images` as many as one needs to find some of every class."""

    calibrator: _Calibrator
    network: NetworkSettings
    seed: int = 0
    name: str = "drawn experts"
    keeper: Keeper = NOWHERE

    @property
    def shape(self) -> Shape:
        return self.calibrator.known.shape

    @property
    def classes(self) -> int:
        return self.calibrator.known.classes

    @property
    def device(self) -> torch.device:
        return self.calibrator.device

    @property
    def dtype(self) -> torch.dtype:
        return self.calibrator.dtype

    @property
    def execution(self) -> Execution:
        return self.calibrator.execution

    @property
    def labels(self) -> torch.Tensor:
        return torch.arange(self.count_of_samples) % self.classes

    @property
    def images(self) -> torch.Tensor:
        return self.calibrator.samples(self.count_of_samples).images

    @property
    def kept(self) -> torch.Tensor:
        return torch.arange(self.count_of_samples)

    @property
    def held(self) -> Samples:
        return Samples(self.images[:0], self.labels[:0])

    @property
    def count_of_samples(self) -> int:
        """Enough for what is asked of a class, and no more than the dataset has."""
        return self.calibrator.config.distill.samples_asked * self.classes

    @property
    def experts(self) -> "_Drawn":
        return self

    @property
    def count(self) -> int:
        return 1

    def last(self, expert: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        flat = FlatNetwork(factory.build(self.network, self.shape, self.classes, expert).to(self.device, self.dtype))
        return flat.flatten(), flat.buffers()


def _drawn_snapshots(materials: Materials, count: int) -> list[torch.Tensor]:
    """Where a student starts, and places that are not far from there."""
    if not count:
        return []
    start_P = materials.experts.last(0)[0]
    draw = generator(0, "plan", "target")
    moves = [0.01 * torch.randn(len(start_P), generator=draw).to(start_P) for _ in range(count - 1)]
    return [start_P, *(start_P + move for move in moves)]


def _clock(numerics: Numerics) -> Callable[[], float]:
    """Of one thread on a CPU the time for which it computes, whatever else the machine does; otherwise what passes."""
    return time.process_time if numerics.device == "cpu" and numerics.threads == 1 else time.perf_counter
