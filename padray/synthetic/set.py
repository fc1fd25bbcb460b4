"""The synthetic set, and the file that holds it with everything a stranger needs.

`set.safetensors`: `images` (C*IPC, ch, H, W), class after class, in the space in which they were distilled; `labels`
as raw logits (C*IPC, C) or class indices (C*IPC,); `lr` () if one was learned; where the images are a moving average,
`raw_images`, those of its last iteration, which are for comparison alone; the tensors of the preprocessing under
`preprocessing.<name>`; and one JSON text in the header under `padray`. A preprocessing that is large beside most sets
(ZCA's two matrices) stays with the dataset; the set's file, then of format 2, has its digest in that text, beside the
dataset's fingerprint. Legend: M = C*IPC samples, K classes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import safetensors
import safetensors.torch
import torch

from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.store.headers import metadata_of

SET_FORMAT = 2
USUAL_LR = 0.01  # of a student, where its set brings none (DC, DSA, DM)
_FITTED = "preprocessing."  # before the names of a transform's tensors


@dataclass(frozen=True)
class Learned:
    """What is distilled: images (M, C, H, W), labels as logits (M, K) or class indices (M,), a student's lr () or None.

    A family that matches no training has no lr to learn; its sets are evaluated with `evaluation.lr`. `raw_images`:
    where the images are a moving average, those of the last iteration; only `evaluation.double_training` reads them.
    """

    images: torch.Tensor
    labels: torch.Tensor
    lr: torch.Tensor | None = None
    raw_images: torch.Tensor | None = None

    @property
    def soft(self) -> bool:
        """Whether the labels are learned logits."""
        return self.labels.is_floating_point()

    @property
    def student_lr(self) -> torch.Tensor:
        """The learned lr, for a family that learns one."""
        assert self.lr is not None, "this family learns an lr"
        return self.lr

    @property
    def lr_to_use(self) -> float:
        """What to train with on the set: the lr that was learned with it, or else the usual one."""
        return USUAL_LR if self.lr is None else float(self.lr)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its parts by their names, without those that it does not have."""
        parts = {"images": self.images, "labels": self.labels, "lr": self.lr, "raw_images": self.raw_images}
        return {name: part for name, part in parts.items() if part is not None}

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Learned":
        """The same with every part changed."""
        return Learned(**{name: change(part) for name, part in self.tensors().items()})


@dataclass(frozen=True)
class SyntheticSet:
    """A distilled set and its facts (class names, network, iterations, settings, provenance)."""

    learned: Learned
    preprocessing: Preprocessing
    facts: dict[str, Any]

    @property
    def classes(self) -> int:
        return len(self.facts["class_names"])

    @property
    def ipc(self) -> int:
        return len(self.learned.images) // self.classes

    @property
    def size_bytes(self) -> int:
        """Bytes of everything that is learned: images, soft labels and, where there is one, the lr."""
        parts = replace(self.learned, raw_images=None).tensors().values()
        return sum(part.numel() * part.element_size() for part in parts)


Find = Callable[[Mapping[str, Any], str], Mapping[str, torch.Tensor]]


def encode(synthetic: SyntheticSet) -> bytes:
    """The file's bytes: a function of the set alone."""
    learned, fitted = synthetic.learned, synthetic.preprocessing
    tensors, about = learned.tensors(), fitted.meta()
    if fitted.is_large:
        about["sha256"] = fitted.digest
    else:
        tensors |= {f"{_FITTED}{name}": value for name, value in fitted.tensors().items()}
    facts = {**synthetic.facts, "set_format": SET_FORMAT if fitted.is_large else 1, "preprocessing": about}
    return safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={"padray": json.dumps(facts, sort_keys=True)},
    )


def _nowhere(facts: Mapping[str, Any], digest: str) -> Mapping[str, torch.Tensor]:
    raise InputError("the preprocessing of this set lies with its dataset, which cannot be reached from its file alone")


def decode(content: bytes, find: Find = _nowhere) -> SyntheticSet:
    """A set from its file.

    Args:
        find: gives the tensors of a preprocessing that is not in the file, by the set's facts and the digest of the
            tensors, when they are needed.

    Raises:
        InputError: the bytes are no set or one of a newer format.
    """
    try:
        facts = metadata_of(content)
        tensors = safetensors.torch.load(content)
        learned = Learned(tensors["images"], tensors["labels"], tensors.get("lr"), tensors.get("raw_images"))
        parts = {name.removeprefix(_FITTED): value for name, value in tensors.items() if name.startswith(_FITTED)}
        version, about = int(facts.pop("set_format")), dict(facts.pop("preprocessing"))
        digest = str(about.pop("sha256", ""))
        if version > SET_FORMAT:
            raise InputError(f"this set has format {version}; this padray reads up to {SET_FORMAT}: update it")
        fitted = (
            Preprocessing.deferred(about, digest, lambda: find(facts, digest))
            if digest
            else Preprocessing.from_tensors(about, parts)
        )
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError):
        raise InputError("this file is not a distilled set that padray wrote") from None
    return SyntheticSet(learned, fitted, facts)
