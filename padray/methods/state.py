"""The state of a distillation: all that the next iteration depends on, and all that a checkpoint holds.

Format 2 of the checkpoint added the images' moving average and the momentum of IADD's weights, format 3 the iterations
in a row without a finite contribution; earlier ones are read as having none.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import safetensors.torch
import torch

from padray.errors import InputError
from padray.store import tensors as stored
from padray.store.headers import metadata_of
from padray.store.pieces import Pieces
from padray.synthetic.set import Learned

CHECKPOINT_FORMAT = 3


@dataclass(frozen=True)
class Best:
    """The iterate with the highest validation accuracy so far."""

    iteration: int
    accuracy: float
    learned: Learned


@dataclass(frozen=True)
class State:
    """What has been learned after `iteration` iterations, the optimisers' momenta, and the best iterate.

    Attributes:
        own: what the family keeps besides, by name.
        average: the images' moving average (FTD).
        barren: how many iterations in a row, up to this state, had no finite contribution and changed nothing.
    """

    iteration: int
    learned: Learned
    momentum: Learned
    own: Mapping[str, torch.Tensor] = field(default_factory=dict)
    average: torch.Tensor | None = None
    best: Best | None = None
    barren: int = 0

    @property
    def candidate(self) -> Learned:
        """What is judged and stored of this iterate: with the images' moving average where there is one."""
        if self.average is None:
            return self.learned
        return replace(self.learned, images=self.average, raw_images=self.learned.images)

    def judged(self, accuracy: float) -> "State":
        """This state with the accuracy of its iterate known; the earlier one wins a tie."""
        if self.best is not None and self.best.accuracy >= accuracy:
            return self
        return replace(self, best=Best(self.iteration, accuracy, self.candidate))


def start(learned: Learned, own: Mapping[str, torch.Tensor] | None = None, averaged: bool = False) -> State:
    """The state before the first iteration; `averaged`: keep a moving average of the images."""
    average = learned.images.clone() if averaged else None
    return State(0, learned, learned.map(torch.zeros_like), own or {}, average)


_LEARNED = ("learned", "momentum", "best")  # before the names of what they hold


def _tensors(prefix: str, learned: Learned) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": part for name, part in learned.tensors().items()}


def _learned(prefix: str, tensors: dict[str, torch.Tensor]) -> Learned:
    lr, raw = tensors.get(f"{prefix}.lr"), tensors.get(f"{prefix}.raw_images")
    return Learned(tensors[f"{prefix}.images"], tensors[f"{prefix}.labels"], lr, raw)


def encode(state: State, facts: dict[str, Any]) -> Pieces:
    """A checkpoint. `facts` (fingerprint, numerics, history so far) go into its header."""
    tensors = _tensors("learned", state.learned) | _tensors("momentum", state.momentum)
    tensors |= state.own
    if state.average is not None:
        tensors["average"] = state.average
    facts = {**facts, "checkpoint_format": CHECKPOINT_FORMAT, "iteration": state.iteration, "barren": state.barren}
    if state.best is not None:
        tensors |= _tensors("best", state.best.learned)
        facts["best"] = {"iteration": state.best.iteration, "accuracy": state.best.accuracy}
    return stored.of_tensors(tensors, {"padray": json.dumps(facts, sort_keys=True)})


def decode(content: bytes) -> tuple[State, dict[str, Any]]:
    """A checkpoint's state and facts. Raises InputError if the bytes are no checkpoint or of a newer format."""
    try:
        facts = metadata_of(content)
        tensors = safetensors.torch.load(content)
        version, iteration = int(facts.pop("checkpoint_format")), int(facts.pop("iteration"))
        best, barren = facts.pop("best", None), int(facts.pop("barren", 0))
        learned, momentum, average = _learned("learned", tensors), _learned("momentum", tensors), tensors.get("average")
        own = {name: part for name, part in tensors.items() if name.split(".")[0] not in (*_LEARNED, "average")}
        if version == 1 and "weights" in own:
            own["weights_momentum"] = torch.zeros_like(own["weights"])
        state = State(iteration, learned, momentum, own, average, barren=barren)
        if best is not None:
            state = replace(state, best=Best(best["iteration"], best["accuracy"], _learned("best", tensors)))
    except (safetensors.SafetensorError, AttributeError, KeyError, ValueError, TypeError):
        raise InputError("this file is not a checkpoint that padray wrote") from None
    if version > CHECKPOINT_FORMAT:
        raise InputError(f"this checkpoint has format {version}; this padray reads up to {CHECKPOINT_FORMAT}")
    return state, facts


def to_device(state: State, device: torch.device) -> State:
    """The state's tensors on `device`."""

    def moved(learned: Learned) -> Learned:
        return learned.map(lambda part: part.to(device))

    best = None if state.best is None else replace(state.best, learned=moved(state.best.learned))
    own = {name: part.to(device) for name, part in state.own.items()}
    average = None if state.average is None else state.average.to(device)
    learned, momentum = moved(state.learned), moved(state.momentum)
    return replace(state, learned=learned, momentum=momentum, own=own, average=average, best=best)
