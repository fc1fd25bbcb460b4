"""Preprocessing fitted on training images: none, per-channel normalisation, or ZCA whitening; and its inverse.

Legend: N samples, C channels, H rows, W columns, D = C*H*W. ZCA is that of MTT, DATM and PAD (kornia's
`ZCAWhitening(eps=0.1)`): images in [0, 1] without mean/std normalisation, Sigma = (X-mu)^T (X-mu) / (N-1) =
U diag(S) U^T, z = (x-mu) U diag((S+eps)^-1/2) U^T. `eps` is added to the eigenvalues and is large beside most
of them; the result is meant to be far from unit covariance.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from padray.config import DataSettings
from padray.errors import InputError

_CHUNK_BYTES = 64 * 2**20  # of float64 rows held at once while fitting
_KINDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "normalize": ("mean", "std"),
    "zca": ("mean", "whiten", "unwhiten"),
}


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A fitted transform.

    `values` are float32: mean and std (C,) for normalize; mean (D,), whiten and unwhiten (D, D) for zca.
    """

    kind: str = "none"
    values: dict[str, Tensor] = field(default_factory=dict)
    eps: float | None = None

    def __post_init__(self) -> None:
        expected = _KINDS.get(self.kind)
        if expected is None:
            raise InputError(f"preprocessing kind {self.kind!r} is unknown; it is one of {', '.join(_KINDS)}")
        if set(self.values) != set(expected):
            raise InputError(f"preprocessing {self.kind!r} needs the tensors {expected}, got {tuple(self.values)}")

    def apply(self, images_NCHW: Tensor) -> Tensor:
        """Images (N, C, H, W), floats in [0, 1], in the space that networks see; same shape and dtype."""
        values = self._like(images_NCHW)
        if self.kind == "normalize":
            return (images_NCHW - values["mean"].view(-1, 1, 1)) / values["std"].view(-1, 1, 1)
        if self.kind == "zca":
            return ((images_NCHW.flatten(1) - values["mean"]) @ values["whiten"]).view(images_NCHW.shape)
        return images_NCHW

    def invert(self, z_NCHW: Tensor) -> Tensor:
        """Images to look at: `apply` undone, clamped to [0, 1]."""
        values = self._like(z_NCHW)
        if self.kind == "normalize":
            z_NCHW = z_NCHW * values["std"].view(-1, 1, 1) + values["mean"].view(-1, 1, 1)
        elif self.kind == "zca":
            z_NCHW = (z_NCHW.flatten(1) @ values["unwhiten"] + values["mean"]).view(z_NCHW.shape)
        return z_NCHW.clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """What has to be stored with an artefact, beside `meta()`."""
        return dict(self.values)

    def meta(self) -> dict[str, Any]:
        """The kind and, for zca, eps; plain JSON values."""
        return {"kind": self.kind} if self.eps is None else {"kind": self.kind, "eps": self.eps}

    @classmethod
    def from_tensors(cls, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Preprocessing":
        """The inverse of `meta()` and `tensors()`."""
        return cls(meta["kind"], dict(tensors), meta.get("eps"))

    def _like(self, images: Tensor) -> dict[str, Tensor]:
        return {name: value.to(images) for name, value in self.values.items()}


def fit(settings: DataSettings, images_NCHW: Tensor) -> Preprocessing:
    """The preprocessing of `settings`, from training images: uint8, or floats already in [0, 1].

    Raises InputError for constants of the wrong number, a constant channel, or too few images for ZCA.
    """
    if settings.preprocessing == "normalize":
        return _fit_normalize(settings, images_NCHW)
    if settings.preprocessing == "zca":
        return _fit_zca(images_NCHW, settings.zca_eps)
    return Preprocessing()


def to_unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images as floats in [0, 1]; floats only change their dtype."""
    return images.to(dtype) / 255 if images.dtype == torch.uint8 else images.to(dtype)


def _chunks(images: Tensor) -> Iterator[Tensor]:
    """The images as float64 rows (n, C, H, W) in [0, 1], few enough at a time."""
    rows = max(1, _CHUNK_BYTES // (8 * images[0].numel()))
    for chunk in torch.split(images, rows):
        yield to_unit(chunk, torch.float64)


def _fit_normalize(settings: DataSettings, images: Tensor) -> Preprocessing:
    if (settings.mean is None) != (settings.std is None):
        raise InputError("data.mean and data.std belong together; give both, or neither to have them computed")
    if settings.mean is None or settings.std is None:
        mean, std = _channel_statistics(images)
    else:
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (settings.mean, settings.std))
    channels = images.shape[1]
    if not len(mean) == len(std) == channels:
        raise InputError(
            f"data.mean has {len(mean)} and data.std {len(std)} numbers, but the images have {channels} channel(s); "
            f"give one number per channel"
        )
    return Preprocessing("normalize", {"mean": mean.float(), "std": std.float()})


def _channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) over all pixels of all images."""
    pixels = images.numel() // images.shape[1]
    mean = sum((c.sum(dim=(0, 2, 3)) for c in _chunks(images)), torch.zeros(())) / pixels
    squares = sum(((c - mean.view(-1, 1, 1)).square().sum(dim=(0, 2, 3)) for c in _chunks(images)), torch.zeros(()))
    std = (squares / pixels).sqrt()
    if bool((std < 1e-9).any()):
        raise InputError(
            f"channel {int(std.argmin())} of the training images has one value everywhere, so it cannot be scaled "
            f"to unit deviation; use data.preprocessing: none, or give data.mean and data.std"
        )
    return mean, std


def _fit_zca(images: Tensor, eps: float) -> Preprocessing:
    samples, dimension = images.shape[0], images[0].numel()
    if samples < 2:
        raise InputError(f"data.preprocessing: zca needs at least 2 training images (got {samples})")
    mean = sum((c.flatten(1).sum(dim=0) for c in _chunks(images)), torch.zeros(())) / samples
    sigma = torch.zeros(dimension, dimension, dtype=torch.float64)
    for chunk in _chunks(images):
        centred = chunk.flatten(1) - mean
        sigma.addmm_(centred.T, centred)
    spectrum, basis = torch.linalg.eigh(sigma.div_(samples - 1))
    spectrum = spectrum.clamp(min=0) + eps  # rounding may leave eigenvalues just below zero
    values = {"mean": mean, "whiten": _symmetric(basis, spectrum**-0.5), "unwhiten": _symmetric(basis, spectrum**0.5)}
    return Preprocessing("zca", {name: value.float().contiguous() for name, value in values.items()}, eps)


def _symmetric(basis: Tensor, spectrum: Tensor) -> Tensor:
    """U diag(s) U^T."""
    return (basis * spectrum) @ basis.T
