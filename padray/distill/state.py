"""The state of a distillation: all that the next iteration depends on, and all that a checkpoint holds.

Format 2 of the checkpoint added the images' moving average and the weights' momentum, format 3 the iterations in a
row without a finite trajectory; earlier ones are read as having none. Legend: G weights of IADD.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import safetensors.torch
import torch

from padray.errors import InputError
from padray.matching.student import Learned
from padray.store.headers import metadata_of

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
        weights: what IADD descends on (G,), see matching/importance.py; with `weights_momentum` (G,).
        average: the images' moving average (FTD).
        barren: how many iterations in a row, up to this state, had no finite trajectory and changed nothing.
    """

    iteration: int
    learned: Learned
    momentum: Learned
    weights: torch.Tensor | None = None
    weights_momentum: torch.Tensor | None = None
    average: torch.Tensor | None = None
    best: Best | None = None
    barren: int = 0

    @property
    def candidate(self) -> Learned:
        """What is judged and stored of this iterate: with the images' moving average where there is one."""
        return self.learned if self.average is None else replace(self.learned, images=self.average)

    def judged(self, accuracy: float) -> "State":
        """This state with the accuracy of its iterate known; the earlier one wins a tie."""
        if self.best is not None and self.best.accuracy >= accuracy:
            return self
        return replace(self, best=Best(self.iteration, accuracy, self.candidate))


def start(learned: Learned, weights: torch.Tensor | None, averaged: bool = False) -> State:
    """The state before the first iteration; `averaged`: keep a moving average of the images."""
    still = Learned(*(torch.zeros_like(part) for part in (learned.images, learned.labels, learned.lr)))
    weights_momentum = None if weights is None else torch.zeros_like(weights)
    return State(0, learned, still, weights, weights_momentum, learned.images.clone() if averaged else None)


_PARTS = ("weights", "weights_momentum", "average")  # those that not every state has


def _tensors(prefix: str, learned: Learned) -> dict[str, torch.Tensor]:
    return {f"{prefix}.images": learned.images, f"{prefix}.labels": learned.labels, f"{prefix}.lr": learned.lr}


def _learned(prefix: str, tensors: dict[str, torch.Tensor]) -> Learned:
    return Learned(tensors[f"{prefix}.images"], tensors[f"{prefix}.labels"], tensors[f"{prefix}.lr"])


def encode(state: State, facts: dict[str, Any]) -> bytes:
    """A checkpoint's bytes. `facts` (fingerprint, numerics, history so far) go into its header."""
    tensors = _tensors("learned", state.learned) | _tensors("momentum", state.momentum)
    tensors |= {name: value for name in _PARTS if (value := getattr(state, name)) is not None}
    facts = {**facts, "checkpoint_format": CHECKPOINT_FORMAT, "iteration": state.iteration, "barren": state.barren}
    if state.best is not None:
        best = _tensors("best", state.best.learned)
        tensors |= {name: value.clone() for name, value in best.items()}  # they may be those of this very state
        facts["best"] = {"iteration": state.best.iteration, "accuracy": state.best.accuracy}
    return safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={"padray": json.dumps(facts, sort_keys=True)},
    )


def decode(content: bytes) -> tuple[State, dict[str, Any]]:
    """A checkpoint's state and facts. Raises InputError if the bytes are no checkpoint or of a newer format."""
    try:
        facts = metadata_of(content)
        tensors = safetensors.torch.load(content)
        version, iteration = int(facts.pop("checkpoint_format")), int(facts.pop("iteration"))
        best, barren = facts.pop("best", None), int(facts.pop("barren", 0))
        parts: dict[str, Any] = {name: tensors[name] for name in _PARTS if name in tensors}
        if version == 1 and "weights" in parts:
            parts["weights_momentum"] = torch.zeros_like(parts["weights"])
        state = State(iteration, _learned("learned", tensors), _learned("momentum", tensors), **parts, barren=barren)
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
        return Learned(learned.images.to(device), learned.labels.to(device), learned.lr.to(device))

    best = None if state.best is None else replace(state.best, learned=moved(state.best.learned))
    parts = {name: value.to(device) for name in _PARTS if (value := getattr(state, name)) is not None}
    return replace(state, learned=moved(state.learned), momentum=moved(state.momentum), best=best, **parts)
