"""How long a whole run still takes: the work of each of its stages as it can be counted, at the pace measured so far.

Work is what passes through networks, in operations: forward passes of a sample (`effort`) times the operations of one.
It is told as `about`, for small networks are slower than their operations say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import nn

from padray.config import Config
from padray.evaluation.protocol import Source
from padray.networks import factory
from padray.networks.layers import Shape
from padray.networks.settings import GRADIENT_PASSES, NetworkSettings
from padray.stages.effort import effort_of
from padray.stages.facts import DatasetFacts
from padray.stages.progress import Ahead, Watched


@dataclass(frozen=True)
class Work:
    """A stage's work in operations, and how many units of it can be made side by side."""

    operations: float
    units: int


@dataclass(frozen=True)
class Course:
    """The stages of a chain, in their order, for a dataset of these sizes."""

    stages: tuple[str, ...]
    config: Config
    facts: DatasetFacts

    def ahead(self, stage: str) -> Ahead:
        """What is over and what is to come while the run is at `stage`."""
        if stage not in self.stages:
            return Ahead()
        place = self.stages.index(stage)
        return Ahead(self.stages[:place], self.stages[place + 1 :])

    def left_s(self, stage: str, watched: Mapping[str, Watched], slots: int, now: float) -> float | None:
        """Seconds until the run's end; None where nothing says.

        Args:
            watched: the stages that were heard of.
            slots: units that are made side by side.
        """
        pace, left = self._pace(watched, slots, now), watched[stage].left_s(now)
        if pace is None or stage not in self.stages:
            return None

        def foretold(name: str) -> float:
            work = self.work.get(name)
            return pace * work.operations / min(work.units, slots) if work else 0.0

        if left is None:
            last = watched[stage].last
            left = foretold(stage) * (last.total - last.done) / max(1, last.total)
        return left + sum(map(foretold, self.ahead(stage).to_come))

    def _pace(self, watched: Mapping[str, Watched], slots: int, now: float) -> float | None:
        """Seconds of one of the slots for an operation; None before anything was measured."""
        seconds, operations = 0.0, 0.0
        for stage, work in self.work.items():
            if stage in watched and (steady := watched[stage].steady_s(now)):
                seconds += steady * min(work.units, slots)
                operations += watched[stage].part * work.operations
        return seconds / operations if operations else None

    def count(self) -> None:
        """Count the work of all stages, which takes a moment, and need not be done again."""
        self.work  # noqa: B018

    @cached_property
    def work(self) -> dict[str, Work]:
        """Of the stages that train networks."""
        config, facts = self.config, self.facts
        effort, of_set = effort_of(config, facts), self._operations(config.network)
        of_scores = self._operations(config.scores.network) if effort.scores else 0.0
        work = {
            "scores": Work(effort.scores * of_scores, config.scores.networks),
            "experts": Work(effort.experts * of_set, config.experts.count),
            "distill": Work(effort.distillation * of_set + self._judging(of_set), 1),
            "evaluate": self._evaluation(),
        }
        return {stage: each for stage, each in work.items() if stage in self.stages and each.operations}

    def _operations(self, network: NetworkSettings) -> float:
        return operations(network, self.facts.shape, self.facts.classes)

    def _judging(self, of_network: float) -> float:
        validation, samples = self.config.distill.validation, self.facts.classes * self.config.distill.ipc
        judged = validation.seeds * (self.config.distill.iterations // validation.every)
        return judged * of_network * (GRADIENT_PASSES * validation.epochs * samples + self.facts.splits.validation)

    def _evaluation(self) -> Work:
        """The cells; the controls' first ones choose their learning rate."""
        settings, facts = self.config.evaluation, self.facts
        controls, samples = settings.controls, facts.classes * self.config.distill.ipc
        networks = list(dict.fromkeys([self.config.network, *settings.architectures]))

        def cells_of(source: Source) -> int:
            tuning = controls.tuning_on(source)
            return max(settings.seeds_on(source), tuning) + (len(controls.lrs_on(source)) - 1) * tuning

        sources = 1 + controls.random_soft + controls.hard_labels
        tuned, full = cells_of("random"), cells_of("full") if controls.full else 0
        own = GRADIENT_PASSES * settings.epochs_on("distilled") * samples + facts.splits.test
        other = GRADIENT_PASSES * settings.training.epochs * samples + facts.splits.test
        passes = settings.seeds * own + sources * tuned * other
        passes += full * (GRADIENT_PASSES * controls.full_epochs * facts.splits.train + facts.splits.test)
        cells = len(networks) * (settings.seeds + sources * tuned + full)
        return Work(passes * sum(map(self._operations, networks)), cells)


@lru_cache(maxsize=64)
def operations(network: NetworkSettings, shape: Shape, classes: int) -> float:
    """Of one sample's forward pass: those of its linear layers and convolutions, found on tensors without values."""
    counted = []

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor), "or it would not be heard"
        counted.append(2.0 * weight.numel() * output[0].numel() / len(weight))

    with torch.device("meta"), torch.no_grad():
        built = factory.build(network, shape, classes, 0).eval()
        for layer in built.modules():
            weight = getattr(layer, "weight", None)
            if isinstance(weight, torch.Tensor) and weight.ndim > 1:
                layer.register_forward_hook(count)
        built(torch.empty(1, *shape))
    return sum(counted)
