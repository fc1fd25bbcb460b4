"""ZCA and normalisation against independent float64 computations."""

import numpy as np
import pytest
import torch

from padray.config import DataSettings
from padray.data import whitening
from padray.errors import InputError


def images(count: int = 60, seed: int = 0) -> torch.Tensor:
    """Correlated uint8 pictures (N, 3, 4, 5), more often dark than bright."""
    rng = np.random.default_rng(seed)
    smooth = rng.random((count, 3, 4, 5)) ** 2 * 0.4 + rng.random((count, 1, 1, 1)) * 0.6
    return torch.from_numpy((smooth * 255).astype(np.uint8))


def zca_by_svd(pictures: torch.Tensor, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mean, W and its inverse: from the SVD of the centred data instead of the covariance's eigenvectors."""
    rows = pictures.numpy().reshape(len(pictures), -1).astype(np.float64) / 255
    mean = rows.mean(axis=0)
    _, singular, vectors = np.linalg.svd(rows - mean, full_matrices=True)
    spectrum = np.zeros(rows.shape[1])
    spectrum[: len(singular)] = singular**2 / (len(rows) - 1)
    return mean, *(vectors.T @ np.diag((spectrum + eps) ** power) @ vectors for power in (-0.5, 0.5))


@pytest.mark.parametrize("count", [200, 20])
@pytest.mark.parametrize("eps", [0.1, 1e-3])
def test_zca_equals_the_svd(count, eps):
    pictures = images(count)
    fitted = whitening.fit(DataSettings(preprocessing="zca", zca_eps=eps), pictures)
    mean, whiten, unwhiten = zca_by_svd(pictures, eps)
    assert np.allclose(fitted.values["mean"], mean, atol=1e-7)
    assert np.allclose(fitted.values["whiten"], whiten, atol=1e-5)
    assert np.allclose(fitted.values["unwhiten"], unwhiten, atol=1e-6)
    assert all(value.dtype == torch.float32 for value in fitted.tensors().values())
    z = fitted.apply(pictures.double() / 255)
    expected = ((pictures.flatten(1).numpy() / 255 - mean) @ whiten).reshape(z.shape)
    assert z.shape == pictures.shape and np.allclose(z, expected, atol=1e-5)
    assert fitted.meta() == {"kind": "zca", "eps": eps}


def test_covariance_does_not_depend_on_the_chunks(monkeypatch):
    settings, pictures = DataSettings(preprocessing="zca"), images()
    whole = whitening.fit(settings, pictures)
    monkeypatch.setattr(whitening, "_CHUNK_BYTES", 8 * 60 * 7)
    for name, value in whitening.fit(settings, pictures).values.items():
        assert torch.allclose(value, whole.values[name], atol=1e-6)


@pytest.mark.parametrize("kind", ["none", "normalize", "zca"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_gives_the_images_back(kind, dtype):
    pictures = images().to(dtype) / 255
    fitted = whitening.fit(DataSettings(preprocessing=kind), images())
    back = fitted.invert(fitted.apply(pictures))
    assert back.dtype == dtype and torch.allclose(back, pictures, atol=1e-5)
    assert fitted.invert(pictures * 1e4 - 5e3).aminmax() == (0, 1)


def test_normalisation_from_the_images_or_from_given_constants():
    pictures = images()
    rows = pictures.double() / 255
    fitted = whitening.fit(DataSettings(), pictures)
    assert torch.allclose(fitted.values["mean"].double(), rows.mean(dim=(0, 2, 3)))
    assert torch.allclose(fitted.values["std"].double(), rows.std(dim=(0, 2, 3), correction=0))
    given = whitening.fit(DataSettings(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)), pictures)
    assert torch.allclose(given.apply(rows)[:, 2], (rows[:, 2] - 0.3) / 4)
    floats = whitening.fit(DataSettings(), rows.float())
    assert torch.allclose(floats.values["std"], fitted.values["std"])


def table(count: int = 80) -> torch.Tensor:
    """Correlated features (N, 5, 1, 1) float32 of very different scales, all far from [0, 1]; the third is constant."""
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(count, 5)) @ rng.normal(size=(5, 5)) * [1e-3, 1, 0, 50, 1e4] + [0, 7, 123.4, -900, 3e4]
    return torch.from_numpy(mixed.astype(np.float32)).view(count, 5, 1, 1)


def test_features_are_standardised_and_a_constant_one_becomes_zero():
    rows = table()
    fitted = whitening.fit(DataSettings(), rows, "table")
    z = fitted.apply(rows.double()).flatten(1)
    assert torch.allclose(z.mean(dim=0), torch.zeros(5).double(), atol=1e-4)
    assert torch.allclose(z.std(dim=0, correction=0), torch.tensor([1, 1, 0, 1, 1]).double(), atol=1e-4)
    assert fitted.apply(rows)[:, 2].abs().max() == 0
    with pytest.raises(InputError, match=r"channel 2 .* one value everywhere"):
        whitening.fit(DataSettings(), rows)


@pytest.mark.parametrize("kind", ["none", "normalize", "zca"])
def test_only_images_are_clamped(kind):
    rows = table()
    fitted = whitening.fit(DataSettings(preprocessing=kind), rows, "table")
    back = fitted.invert(fitted.apply(rows.double()))
    assert torch.allclose(back, rows.double(), rtol=1e-3, atol=1e-3)
    again = whitening.Preprocessing.from_tensors(fitted.meta(), fitted.tensors())
    assert torch.equal(again.invert(fitted.apply(rows)), fitted.invert(fitted.apply(rows)))


def test_zca_of_a_table_is_that_of_its_standardised_features():
    rows = table()
    fitted = whitening.fit(DataSettings(preprocessing="zca"), rows, "table")
    flat = rows.flatten(1).double().numpy()
    scale = np.where(flat.std(axis=0) > 1e-9, flat.std(axis=0), 1)
    unit = (flat - flat.mean(axis=0)) / scale
    spectrum, basis = np.linalg.eigh(np.cov(unit.T))
    expected = unit @ basis @ np.diag((spectrum + 0.1) ** -0.5) @ basis.T
    assert np.allclose(fitted.apply(rows.double()).flatten(1), expected, atol=1e-4)


def test_the_training_samples_may_be_some_of_all():
    pictures, rows = images(), torch.arange(5, 40)
    for kind in ("normalize", "zca"):
        some = whitening.fit(DataSettings(preprocessing=kind), pictures, rows=rows)
        for name, value in whitening.fit(DataSettings(preprocessing=kind), pictures[rows]).values.items():
            assert torch.equal(value, some.values[name])


def test_round_trip_through_tensors():
    for kind in ("none", "normalize", "zca"):
        fitted = whitening.fit(DataSettings(preprocessing=kind), images())
        back = whitening.Preprocessing.from_tensors(fitted.meta(), fitted.tensors())
        assert back.meta() == fitted.meta()
        assert torch.equal(back.apply(images().float() / 255), fitted.apply(images().float() / 255))


@pytest.mark.parametrize(
    ("settings", "pictures", "sentence"),
    [
        ({"mean": (0.5,), "std": (1.0,)}, images(), "data.mean has 1 .* 3 channel"),
        ({"mean": (0.5, 0.5, 0.5)}, images(), "belong together"),
        ({}, images() * torch.tensor([1, 0, 1], dtype=torch.uint8).view(3, 1, 1), "channel 1 .* one value everywhere"),
        ({"preprocessing": "zca"}, images(1), "at least 2 training samples"),
    ],
)
def test_faults(settings, pictures, sentence):
    with pytest.raises(InputError, match=sentence):
        whitening.fit(DataSettings(**settings), pictures)
    with pytest.raises(InputError, match="unknown"):
        whitening.Preprocessing("pca")


def test_the_matrices_of_small_pictures_lie_in_their_sets_and_those_of_cifar_do_not():
    for side, channels, large in ((8, 1, False), (32, 3, True)):
        size = channels * side**2
        values = {"mean": torch.zeros(size), "whiten": torch.zeros(size, size), "unwhiten": torch.zeros(size, size)}
        assert whitening.Preprocessing("zca", values, 0.1).is_large == large
