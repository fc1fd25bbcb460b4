"""Preprocessing fitted on training images: none, per-channel normalisation, or ZCA whitening; and its inverse.

Legend: N samples, C channels, H rows, W columns, D = C*H*W. ZCA is that of MTT, DATM and PAD (kornia's
`ZCAWhitening(eps=0.1)`): images in [0, 1] without mean/std normalisation, Sigma = (X-mu)^T (X-mu) / (N-1) =
U diag(S) U^T, z = (x-mu) U diag((S+eps)^-1/2) U^T. `eps` is added to the eigenvalues and is large beside most
of them; the result is meant to be far from unit covariance. The features of tables and the channels of series have
scales of their own: there x is divided by each one's deviation before, which the stored matrices contain.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from padray.data.listing import Content
from padray.data.settings import DataSettings
from padray.errors import InputError

LARGE = 2**20  # bytes: what is larger lies in an object of its own, which those who need it refer to
_CHUNK_BYTES = 64 * 2**20  # of float64 rows held at once while fitting
_CONSTANT = 1e-9  # float32 values that differ deviate by a larger share of their mean
_KINDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "normalize": ("mean", "std"),
    "zca": ("mean", "whiten", "unwhiten"),
}


class Deferred(Mapping[str, Tensor]):
    """Tensors by names that are known; they are read when the first of them is asked for."""

    def __init__(self, names: tuple[str, ...], read: Callable[[], Mapping[str, Tensor]]) -> None:
        self._names, self._read = names, read

    @cached_property
    def _tensors(self) -> Mapping[str, Tensor]:
        tensors = self._read()
        if set(tensors) != set(self._names):
            raise InputError(
                f"this object must hold the tensors {self._names} of a preprocessing, not {tuple(tensors)}"
            )
        return tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A fitted transform, and what it was fitted on.

    `values` are float32: mean and std (C,) for normalize; mean (D,), whiten and unwhiten (D, D) for zca.
    `known_digest` is that of the values, where they need not be read to know it.
    """

    kind: str = "none"
    values: Mapping[str, Tensor] = field(default_factory=dict)
    eps: float | None = None
    content: Content = "image"
    known_digest: str | None = None

    def __post_init__(self) -> None:
        if set(self.values) != set(names_of(self.kind)):
            raise InputError(
                f"preprocessing {self.kind!r} needs the tensors {names_of(self.kind)}, got {tuple(self.values)}"
            )

    def transform(self, dtype: torch.dtype, device: torch.device | None = None) -> Callable[[Tensor], Tensor]:
        """`apply` for samples of this type and on this device; the tensors that it needs are brought there once."""
        if self.kind == "none":
            return lambda images_NCHW: images_NCHW
        mean = self.values["mean"].to(device, dtype)
        if self.kind == "normalize":
            mean, std = mean.view(-1, 1, 1), self.values["std"].to(device, dtype).view(-1, 1, 1)
            return lambda images_NCHW: (images_NCHW - mean) / std
        whiten = self.values["whiten"].to(device, dtype)
        return lambda images_NCHW: ((images_NCHW.flatten(1) - mean) @ whiten).view(images_NCHW.shape)

    def apply(self, images_NCHW: Tensor) -> Tensor:
        """Samples (N, C, H, W), images as floats in [0, 1], in the space that networks see; same shape and dtype."""
        return self.transform(images_NCHW.dtype, images_NCHW.device)(images_NCHW)

    def invert(self, z_NCHW: Tensor) -> Tensor:
        """Samples to look at: `apply` undone; images are clamped to [0, 1]."""
        values = {name: self.values[name].to(z_NCHW) for name in self.values if name != "whiten"}
        if self.kind == "normalize":
            z_NCHW = z_NCHW * values["std"].view(-1, 1, 1) + values["mean"].view(-1, 1, 1)
        elif self.kind == "zca":
            z_NCHW = (z_NCHW.flatten(1) @ values["unwhiten"] + values["mean"]).view(z_NCHW.shape)
        return z_NCHW.clamp(0, 1) if self.content == "image" else z_NCHW

    def tensors(self) -> dict[str, Tensor]:
        """What has to be stored with an artefact, beside `meta()`."""
        return dict(self.values)

    def meta(self) -> dict[str, Any]:
        """The kind, for zca eps, and the content unless it is images; plain JSON values."""
        header = {"kind": self.kind} if self.eps is None else {"kind": self.kind, "eps": self.eps}
        return header if self.content == "image" else {**header, "content": self.content}

    @property
    def is_large(self) -> bool:
        """Whether the values are too large to lie in every file that needs them."""
        return self.known_digest is not None or sum(value.nbytes for value in self.values.values()) >= LARGE

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the values: of the JSON of their names, types and shapes, then of their bytes, by name."""
        if self.known_digest is not None:
            return self.known_digest
        named = sorted(self.values.items())
        about = [[name, str(value.dtype), list(value.shape)] for name, value in named]
        digest = hashlib.sha256(json.dumps(about).encode())
        for _, value in named:
            digest.update(value.contiguous().numpy().data.cast("B"))
        return digest.hexdigest()

    @classmethod
    def from_tensors(cls, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Preprocessing":
        """The inverse of `meta()` and `tensors()`."""
        return cls(meta["kind"], tensors, meta.get("eps"), meta.get("content", "image"))

    @classmethod
    def deferred(
        cls, meta: Mapping[str, Any], digest: str, read: Callable[[], Mapping[str, Tensor]]
    ) -> "Preprocessing":
        """A transform whose values, of this digest, `read` gives when they are needed."""
        values = Deferred(names_of(meta["kind"]), read)
        return cls(meta["kind"], values, meta.get("eps"), meta.get("content", "image"), digest)


def names_of(kind: str) -> tuple[str, ...]:
    """The tensors that a kind has. Raises InputError if there is no such kind."""
    if kind not in _KINDS:
        raise InputError(f"preprocessing kind {kind!r} is unknown; it is one of {', '.join(_KINDS)}")
    return _KINDS[kind]


def fit(
    settings: DataSettings, images_NCHW: Tensor, content: Content = "image", rows: Tensor | None = None
) -> Preprocessing:
    """The preprocessing of `settings`, from training samples: uint8, or floats (images already in [0, 1]).

    Args:
        rows: the training samples among `images_NCHW`; all of them if not given. They are never copied together.

    Raises:
        InputError: constants of the wrong number, an image channel that is constant, or too few samples for ZCA.
    """
    training = _Training(images_NCHW, torch.arange(len(images_NCHW)) if rows is None else rows, content)
    if settings.preprocessing == "normalize":
        values = _fit_normalize(settings, training)
        return Preprocessing("normalize", values, content=content)
    if settings.preprocessing == "zca":
        return Preprocessing("zca", _fit_zca(training, settings.zca_eps), settings.zca_eps, content)
    return Preprocessing(content=content)


def to_unit(images_NCHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images (N, C, H, W) as floats in [0, 1]; floats only change their dtype."""
    return images_NCHW.to(dtype) / 255 if images_NCHW.dtype == torch.uint8 else images_NCHW.to(dtype)


@dataclass(frozen=True, eq=False)
class _Training:
    """The samples to fit on: `rows` of all."""

    images: Tensor
    rows: Tensor
    content: Content

    def chunks(self) -> Iterator[Tensor]:
        """The samples as float64 rows (n, C, H, W), images in [0, 1], few enough at a time."""
        count = max(1, _CHUNK_BYTES // (8 * self.images[0].numel()))
        for rows in torch.split(self.rows, count):
            yield to_unit(self.images[rows], torch.float64)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (C,) over all values of all samples."""
        channels = self.images.shape[1]
        count = len(self.rows) * self.images[0].numel() // channels
        mean = sum((c.sum(dim=(0, 2, 3)) for c in self.chunks()), torch.zeros(())) / count
        squares = sum(((c - mean.view(-1, 1, 1)).square().sum(dim=(0, 2, 3)) for c in self.chunks()), torch.zeros(()))
        return mean, (squares / count).sqrt()

    def scales(self) -> Tensor:
        """What divides each feature or channel (C,): its deviation, or 1 where it is constant."""
        mean, std = self.statistics()
        return torch.where(std > _CONSTANT * mean.abs(), std, torch.ones_like(std))


def _fit_normalize(settings: DataSettings, training: _Training) -> dict[str, Tensor]:
    if (settings.mean is None) != (settings.std is None):
        raise InputError("data.mean and data.std belong together; give both, or neither to have them computed")
    if settings.mean is None or settings.std is None:
        mean, std = training.statistics()
        if training.content != "image":
            std = training.scales()
        elif bool((std < 1e-9).any()):
            raise InputError(
                f"channel {int(std.argmin())} of the training images has one value everywhere, so it cannot be scaled "
                f"to unit deviation; use data.preprocessing: none, or give data.mean and data.std"
            )
    else:
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (settings.mean, settings.std))
    channels = training.images.shape[1]
    if not len(mean) == len(std) == channels:
        raise InputError(
            f"data.mean has {len(mean)} and data.std {len(std)} numbers, but the samples have {channels} channel(s); "
            f"give one number per channel"
        )
    return {"mean": mean.float(), "std": std.float()}


def _fit_zca(training: _Training, eps: float) -> dict[str, Tensor]:
    """mean, whiten and unwhiten; a float64 matrix is dropped as soon as its float32 one is there."""
    samples, shape = len(training.rows), training.images.shape[1:]
    if samples < 2:
        raise InputError(f"data.preprocessing: zca needs at least 2 training samples (got {samples})")
    scale = torch.ones(shape[0], dtype=torch.float64) if training.content == "image" else training.scales()
    scale_D = scale.view(-1, 1, 1).expand(shape).flatten()
    mean = sum((c.flatten(1).sum(dim=0) for c in training.chunks()), torch.zeros(())) / samples
    sigma = torch.zeros(len(scale_D), len(scale_D), dtype=torch.float64)
    for chunk in training.chunks():
        centred = (chunk.flatten(1) - mean) / scale_D
        sigma.addmm_(centred.T, centred)
    spectrum, basis = torch.linalg.eigh(sigma.div_(samples - 1))
    del sigma
    spectrum = spectrum.clamp(min=0) + eps  # rounding may leave eigenvalues just below zero
    whiten = _symmetric(basis, spectrum**-0.5).div_(scale_D[:, None]).float().contiguous()
    unwhiten = _symmetric(basis, spectrum**0.5).mul_(scale_D).float().contiguous()
    return {"mean": mean.float(), "whiten": whiten, "unwhiten": unwhiten}


def _symmetric(basis: Tensor, spectrum: Tensor) -> Tensor:
    """U diag(s) U^T, (D, D); `basis` (D, D) has the eigenvectors as columns, `spectrum` (D,) the s."""
    return (basis * spectrum) @ basis.T
