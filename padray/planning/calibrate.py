"""The pace of each kind of work, measured on this machine's device by a few steps of the real thing.

The samples are drawn, of the dataset's shape: what the pixels are makes no difference to the time.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from padray import distill, networks
from padray.config import Config
from padray.distill import loop
from padray.distill.loop import Problem
from padray.draws import generator
from padray.evaluation.protocol import recipe_for
from padray.evaluation.teaching import Lesson, teach
from padray.experts.training import Draws, Recipe, Samples, logits_of, train
from padray.matching.student import Learned
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Network
from padray.numerics import decide
from padray.planning.lines import Line, Pace, Task
from padray.planning.memory import LOOK_BATCH
from padray.planning.outline import Known
from padray.sections import NetworkSettings
from padray.stages.base import Notify, Progress
from padray.stages.experts import recipe as expert_recipe
from padray.stages.scores import recipe as score_recipe

_REPEATS = 3
_LONG_S = 0.4  # what is timed takes about this long, or is the least that there is
_MOST_BATCHES, _MOST_EPOCHS = 8, 50
MOST_STEPS = 4  # of a student
_ITERATIONS = 2  # of a distillation: with IADD's turns, one of each


def measure(config: Config, known: Known, lines: Sequence[Line], notify: Notify) -> dict[Task, float]:
    """Seconds per sample, or per iteration, of every task that the units to do consist of."""
    asked = dict.fromkeys(part.task for line in lines if line.left for part in line.parts if part.amount)
    numerics = decide(config.compute)
    bench = _Bench(config, known, numerics.use(), numerics.dtype)
    found: dict[Task, float] = {}
    for place, task in enumerate(asked):
        notify(Progress("calibrate", place, len(asked), f"{task.kind} {task.network.label}"))
        found[task] = bench.pace(task)
    notify(Progress("calibrate", len(asked), len(asked)))
    return found


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
class _Bench:
    """Real code on drawn samples."""

    config: Config
    known: Known
    device: torch.device
    dtype: torch.dtype

    def pace(self, task: Task) -> float:
        """Seconds per sample, or per iteration."""
        if task.kind == "iteration":
            return self._iteration(task.network)
        if task.kind == "look":
            return self._look(task.network)
        if task.kind == "taught":
            return self._training(task, self.config.evaluation.batch, self._teach)
        recipe = self._recipe(task)

        def run(network: Network, samples: Samples, epochs: int) -> None:
            for _ in train(network, samples, replace(recipe, epochs=epochs), Draws(0, "plan", task.kind)):
                pass

        return self._training(task, recipe.batch, run)

    def _recipe(self, task: Task) -> Recipe:
        """Learning rates do not matter to the time, so they are small enough for labels without a meaning."""
        evaluation = self.config.evaluation
        if task.kind == "teacher":
            batched = evaluation.model_copy(update={"batch": evaluation.teacher.teacher_batch})
            return recipe_for(batched, 1, 1e-4)
        recipes = {
            "experts": expert_recipe(self.config.experts), "scores": score_recipe(self.config.scores),
            "standard": recipe_for(evaluation, 1, 1e-4),
        }  # fmt: skip
        return replace(recipes[task.kind], lr=1e-4, decay_epoch=None)

    def _training(self, task: Task, batch: int, run: Callable[[Network, Samples, int], None]) -> float:
        """Seconds per sample: of whole epochs where they are short, else of some full batches."""
        network, soft = self._network(task.network), task.kind == "standard"
        few = self._samples(min(batch, task.samples), soft)
        run(network, few, 1)
        step_s = _timed(lambda: run(network, few, 1))
        batches = min(_MOST_BATCHES, max(1, int(_LONG_S / step_s)))
        samples = self._samples(min(task.samples, batch * batches), soft)
        epoch_s = step_s * max(1.0, len(samples.images) / batch)
        epochs = min(_MOST_EPOCHS, max(1, int(_LONG_S / epoch_s)))
        return _median(lambda: run(network, samples, epochs)) / (epochs * len(samples.images))

    def _teach(self, network: Network, samples: Samples, epochs: int) -> None:
        settings = self.config.evaluation.model_copy(update={"epochs": epochs})
        teacher = self._network(settings.teacher.network).eval().requires_grad_(False)
        for _ in teach(network, samples.images, Lesson(teacher, settings), Draws(0, "plan", "taught")):
            pass

    def _look(self, settings: NetworkSettings) -> float:
        network = self._network(settings)
        few = self._samples(min(32, LOOK_BATCH)).images
        logits_of(network, few).sum().item()
        look_s = _timed(lambda: logits_of(network, few).sum().item())
        count = min(LOOK_BATCH, len(few) * max(1, int(_LONG_S / look_s)))
        images = self._samples(count).images
        return _median(lambda: logits_of(network, images).sum().item()) / count

    def _iteration(self, settings: NetworkSettings) -> float:
        """Its time is that of its student steps; a few of them stand for all, so that one measurement is short."""
        asked = self.config.distill
        steps = min(asked.student_steps, MOST_STEPS)
        still = {"lr_images": 0.0, "lr_student_lr": 0.0, "max_loss": float("inf")}  # nothing is learned from noise
        quick = asked.model_copy(update={"student_steps": steps, **still})
        problem = Problem(quick, FlatNetwork(self._network(settings).train()), 0)
        start_P = problem.network.flatten()
        target_P = start_P + 0.01 * torch.randn(len(start_P), generator=generator(0, "plan", "target")).to(start_P)
        state = self._state(problem)

        def contribute() -> list[loop.Contribution]:
            states = [replace(state, iteration=iteration) for iteration in range(_ITERATIONS)]
            made = [loop.contribute(problem, at, 0, start_P, target_P) for at in states]
            assert all(float(one.loss) >= 0 for one in made)  # asks the device, so the clock stops when it is done
            return made

        made = contribute()
        step_s = _median(lambda: loop.step(problem, state, made[:1] * asked.trajectories))
        both_s = _median(contribute)
        return step_s + asked.trajectories * both_s / _ITERATIONS * asked.student_steps / steps

    def _state(self, problem: Problem) -> distill.state.State:
        count = self.known.classes * self.config.distill.ipc
        samples = self._samples(count, soft=self.config.distill.labels.kind == "soft")
        lr = torch.tensor(self.config.distill.student_lr, dtype=self.dtype, device=self.device)
        weights = None if problem.importance is None else problem.importance.start(self.dtype)
        averaged = self.config.distill.ema_decay > 0
        return distill.state.start(Learned(samples.images, samples.labels, lr), weights, averaged)

    def _network(self, settings: NetworkSettings) -> Network:
        return networks.build(settings, self.known.shape, self.known.classes, 0).to(self.device, self.dtype)

    def _samples(self, count: int, soft: bool = False) -> Samples:
        draw = generator(0, "plan", "samples")
        images = torch.randn(count, *self.known.shape, generator=draw).to(self.device, self.dtype)
        labels = (torch.arange(count) % self.known.classes).to(self.device)
        if soft:
            return Samples(images, torch.nn.functional.one_hot(labels, self.known.classes).to(self.dtype))
        return Samples(images, labels)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return max(time.perf_counter() - began, 1e-9)


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_timed(work) for _ in range(_REPEATS))
