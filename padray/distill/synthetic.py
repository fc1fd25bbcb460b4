"""The synthetic set: how it starts, and the file that holds it with everything a stranger needs.

`set.safetensors`: `images` (C*IPC, ch, H, W), class after class, in the space in which they were distilled;
`labels` as raw logits (C*IPC, C) or class indices (C*IPC,); `lr` (); the tensors of the preprocessing under
`preprocessing.<name>`; and one JSON text in the header under `padray`. A preprocessing that is large beside most sets
(ZCA's two matrices) stays with the dataset; the set's file, then of format 2, has its digest in that text, beside the
dataset's fingerprint. Legend: M = C*IPC samples, K classes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch.nn import functional as F

from padray.data.whitening import Preprocessing
from padray.draws import generator
from padray.errors import InputError
from padray.matching.student import Learned
from padray.store.headers import metadata_of

SET_FORMAT = 2
_FITTED = "preprocessing."  # before the names of a transform's tensors
_SURE = 5.0  # logit of the right class where no expert says better


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
        """Bytes of everything that is learned: images, soft labels and lr."""
        parts = (self.learned.images, self.learned.labels, self.learned.lr)
        return sum(part.numel() * part.element_size() for part in parts)


Find = Callable[[Mapping[str, Any], str], Mapping[str, torch.Tensor]]


def encode(synthetic: SyntheticSet) -> bytes:
    """The file's bytes: a function of the set alone."""
    learned, fitted = synthetic.learned, synthetic.preprocessing
    tensors, about = {"images": learned.images, "labels": learned.labels, "lr": learned.lr}, fitted.meta()
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
        learned = Learned(tensors["images"], tensors["labels"], tensors["lr"])
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


def choose_samples(labels_N: torch.Tensor, correct_EN: torch.Tensor, ipc: int, seed: int, classes: int) -> torch.Tensor:
    """Which real samples the images start from: `ipc` of each class, (M,), class after class.

    In a random order per class, those that the first expert gets right come first, then those that the second
    does, and so on; samples that none gets right fill up what is left.

    Args:
        labels_N: the class of every candidate.
        correct_EN: which candidates expert e classifies correctly; no rows: any candidate will do.

    Raises:
        InputError: a class has fewer than `ipc` candidates.
    """
    chosen = []
    for label in range(classes):
        ids = (labels_N == label).nonzero().flatten()
        if len(ids) < ipc:
            raise InputError(
                f"distill.ipc is {ipc}, but class {label} has only {len(ids)} training samples; lower distill.ipc"
            )
        ids = ids[torch.randperm(len(ids), generator=generator(seed, "distill", "init", label))]
        first_right = torch.full((len(ids),), len(correct_EN))
        for expert in reversed(range(len(correct_EN))):
            first_right[correct_EN[expert, ids]] = expert
        chosen.append(ids[first_right.argsort(stable=True)][:ipc])
    return torch.cat(chosen)


def soft_labels(logits_EMK: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
    """Where the learned labels start: for each sample the mean logits of the experts that get it right, (M, K).

    Where none does, the mean of all, though it names another class: a plain logit for the sample's own class made sets
    that were no better on any of three seeds (`tests/benchmarks/results/start_labels.json`).
    Source: DATM section 3.3, with its failure cases answered.
    """
    right = logits_EMK.argmax(dim=2) == labels_M
    votes = torch.where(right.any(dim=0), right, torch.ones_like(right)).to(logits_EMK.dtype)
    return (logits_EMK * votes[:, :, None]).sum(dim=0) / votes.sum(dim=0)[:, None]


def plain_logits(labels_M: torch.Tensor, classes: int) -> torch.Tensor:
    """Soft labels that name the sample's class and nothing else, (M, K)."""
    return _SURE * F.one_hot(labels_M, classes)


def noise(count: int, shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Images to start from where nothing real may show: standard normal in the preprocessed space, (M, C, H, W)."""
    return torch.randn(count, *shape, generator=generator(seed, "distill", "noise"), dtype=torch.float64)


def class_labels(classes: int, ipc: int) -> torch.Tensor:
    """The class of every synthetic sample, (M,): the order is class-major."""
    return torch.arange(classes).repeat_interleave(ipc)
