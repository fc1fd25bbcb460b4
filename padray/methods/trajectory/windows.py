"""Which expert, from which epoch, at which iteration: a pure function, so every worker and every restart agrees.

Experts come in rounds: each is used once before any is used again. The start epoch is drawn from
[min_start, bound), and DATM's bound grows by one epoch every `interval` iterations.
"""

from dataclasses import dataclass

import torch

from padray.draws import generator
from padray.methods.trajectory.settings import WindowSettings


@dataclass(frozen=True)
class Pair:
    """One trajectory: an expert and the epoch from which its student starts."""

    expert: int
    start: int


def bound(settings: WindowSettings, iteration: int) -> int:
    """The start epochs' exclusive upper bound, min(T+, T + iteration // interval): DATM's sequential generation."""
    if settings.interval is None:
        return settings.max_start
    return min(settings.max_start, settings.start + iteration // settings.interval)


def pair(settings: WindowSettings, experts: int, position: int, iteration: int, seed: int) -> Pair:
    """The pair at `position` (= iteration * trajectories + trajectory) of the order of a distillation."""
    around, place = divmod(position, experts)
    order = torch.randperm(experts, generator=generator(seed, "distill", "round", around))
    draw = generator(seed, "distill", "start", position)
    start = torch.randint(settings.min_start, bound(settings, iteration), (), generator=draw)
    return Pair(int(order[place]), int(start))


def pairs(settings: WindowSettings, experts: int, trajectories: int, iteration: int, seed: int) -> list[Pair]:
    """The pairs of one iteration, in trajectory order."""
    first = iteration * trajectories
    return [pair(settings, experts, first + j, iteration, seed) for j in range(trajectories)]
