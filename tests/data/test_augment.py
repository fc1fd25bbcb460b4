"""Every operation against the formula written as loops over images and pixels; draws, replay and gradients."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from padray.config import EvaluationSettings
from padray.data import augment
from padray.data.augment import Augmentation
from padray.draws import generator
from padray.errors import InputError
from padray.settings.sections import FULL_AUGMENTATION

OPS = [*FULL_AUGMENTATION.split("_"), "reflectcrop"]
SHAPES = [(3, 8, 8), (1, 5, 9), (3, 6, 4)]


def batch(samples=6, shape=(3, 8, 8), dtype=torch.float64):
    return torch.randn(samples, *shape, generator=generator(0, "test images"), dtype=torch.float64).to(dtype)


def drawn(op, samples=6, shape=(3, 8, 8), unit=0) -> Augmentation:
    return augment.draw(op, samples, shape, generator(3, "test draw", unit))


def color(image, u):
    image = image + (u["brightness"] - 0.5)
    grey = sum(image) / len(image)
    image = torch.stack([(c - grey) * 2 * u["saturation"] + grey for c in image])
    return (image - image.mean()) * (u["contrast"] + 0.5) + image.mean()


def crop(image, u):
    (_, height, width), out = image.shape, torch.zeros_like(image)
    for h in range(height):
        for w in range(width):
            row, column = h + int(u["rows"]), w + int(u["columns"])
            if 0 <= row < height and 0 <= column < width:
                out[:, h, w] = image[:, row, column]
    return out


def cutout(image, u):
    (_, height, width), out = image.shape, image.clone()
    sides = int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)
    for i in range(sides[0]):
        for j in range(sides[1]):
            row, column = int(u["rows"]) - sides[0] // 2 + i, int(u["columns"]) - sides[1] // 2 + j
            if 0 <= row < height and 0 <= column < width:
                out[:, row, column] = 0
    return out


def flip(image, u):
    return torch.stack(list(reversed(image.unbind(2))), dim=2) if bool(u["flipped"]) else image


def resampled(image, theta):
    theta = torch.tensor([theta], dtype=image.dtype)
    grid = F.affine_grid(theta, [1, *image.shape], align_corners=True)
    return F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def scale(image, u):
    return resampled(image, [[float(u["x"]), 0, 0], [0, float(u["y"]), 0]])


def rotate(image, u):
    a = float(u["radians"])
    return resampled(image, [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0]])


def reflectcrop(image, u):
    """numpy's own reflection."""
    up, left = (int(side * 0.125 + 0.5) for side in image.shape[1:])
    padded = np.pad(image.numpy(), ((0, 0), (up, up), (left, left)), mode="reflect")
    row, column = up + int(u["rows"]), left + int(u["columns"])
    return torch.from_numpy(padded[:, row : row + image.shape[1], column : column + image.shape[2]].copy())


DIRECT = {
    "color": color,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "scale": scale,
    "rotate": rotate,
    "reflectcrop": reflectcrop,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", OPS)
def test_operation_equals_the_direct_formula(op, shape):
    images = batch(40, shape)
    augmentation = drawn(op, 40, shape)
    rows = [DIRECT[op](x, {k: v[i] for k, v in augmentation.values.items()}) for i, x in enumerate(images)]
    assert torch.allclose(augment.apply(augmentation, images), torch.stack(rows), atol=1e-12)
    assert len({tuple(float(v[i]) for v in augmentation.values.values()) for i in range(40)}) > 1


@pytest.mark.parametrize("op", OPS)
def test_one_draw_is_shared_by_the_whole_batch(op):
    images, augmentation = batch(), drawn(op, 1, unit=1)
    together = augment.apply(augmentation, images)
    for i in range(len(images)):
        assert torch.allclose(augment.apply(augmentation, images[i : i + 1])[0], together[i], atol=1e-12)
    with pytest.raises(ValueError, match="was drawn for 4 samples, the batch has 6"):
        augment.apply(drawn(op, 4), images)


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_ranges_of_the_parameters(side):
    def values(op, samples=4000):
        return augment.draw(op, samples, (3, side, side), generator(0, op)).values

    reach, square = int(side * 0.125 + 0.5), int(side * 0.5 + 0.5)
    for value in values("crop").values():
        assert set(value.tolist()) == set(range(-reach, reach + 1))
    for value in values("cutout").values():
        assert set(value.tolist()) == set(range(side + 1 - square % 2))
    assert abs(values("flip")["flipped"].double().mean() - 0.5) < 0.05
    for value, low, high in [
        *((v, 0, 1) for v in values("color").values()),
        *((v, 1 / 1.2, 1.2) for v in values("scale").values()),
        (values("rotate")["radians"], -math.pi / 12, math.pi / 12),
    ]:
        assert value.dtype == torch.float64 and low <= value.min() and value.max() <= high
        assert value.max() - value.min() > 0.99 * (high - low)
        assert abs(value.mean() - (low + high) / 2) < 0.03 * (high - low)


def test_sizes_for_cifar():
    images = torch.ones(1, 3, 32, 32)
    centre = {"rows": torch.tensor([16]), "columns": torch.tensor([16])}
    assert (augment.apply(Augmentation("cutout", centre), images) == 0).sum() == 3 * 16 * 16
    assert augment.draw("crop", 999, (3, 32, 32), generator(0, "crop")).values["rows"].max() == 4


def test_resampling_by_nothing_changes_nothing():
    images = batch()
    still = Augmentation("rotate", {"radians": torch.zeros(6, dtype=torch.float64)})
    assert torch.allclose(augment.apply(still, images), images, atol=1e-12)
    ones = Augmentation("scale", {k: torch.ones(1, dtype=torch.float64) for k in "xy"})
    assert torch.allclose(augment.apply(ones, images), images, atol=1e-12)


def test_none_is_the_identity_and_unknown_names_are_refused():
    source = generator(0, "none")
    images = batch()
    assert augment.apply(augment.draw("none", 6, (3, 8, 8), source), images) is images
    assert torch.equal(source.get_state(), generator(0, "none").get_state())
    with pytest.raises(InputError, match=r"'blur'.*color, crop, cutout, flip, scale, rotate"):
        augment.draw("color_blur", 6, (3, 8, 8), source)


def test_samples_of_one_row_are_no_images():
    for shape in ((13, 1, 1), (2, 1, 64)):
        assert augment.draw("none", 6, shape, generator(0, "none")).op == "none"
        with pytest.raises(InputError, match=r"'crop' is for images, .* set it to none"):
            augment.draw("crop", 6, shape, generator(0, "none"))


def test_operations_are_chosen_uniformly():
    source = generator(0, "choice")
    counts = Counter(augment.draw(FULL_AUGMENTATION, 1, (1, 8, 8), source).op for _ in range(3000))
    assert set(counts) == set(FULL_AUGMENTATION.split("_")) and all(abs(n - 500) < 100 for n in counts.values())


def test_draws_depend_on_the_generator_alone():
    torch.manual_seed(1)
    first = [drawn(FULL_AUGMENTATION, unit=i) for i in range(20)]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    for one, i in zip(first, range(20), strict=True):
        two = drawn(FULL_AUGMENTATION, unit=i)
        assert one.op == two.op and one.values.keys() == two.values.keys()
        assert all(torch.equal(one.values[k], two.values[k]) for k in one.values)
    assert torch.equal(before, torch.get_rng_state())
    assert any(drawn(FULL_AUGMENTATION, unit=i).op != first[0].op for i in range(20))


@pytest.mark.parametrize("op", OPS)
def test_replay_gives_the_same_bytes(op):
    augmentation, images = drawn(op), batch(dtype=torch.float32)
    first = augment.apply(augmentation, images)
    assert first.dtype == torch.float32 and first.shape == images.shape
    assert first.numpy().tobytes() == augment.apply(augmentation, images.clone()).numpy().tobytes()
    assert torch.allclose(first.double(), augment.apply(augmentation, images.double()), atol=1e-5)


@pytest.mark.parametrize("samples", [3, 1])
@pytest.mark.parametrize("op", OPS)
def test_gradients(op, samples):
    images = batch(3, (2, 5, 4)).requires_grad_()
    augmentation = drawn(op, samples, (2, 5, 4))
    assert torch.autograd.gradcheck(lambda x: augment.apply(augmentation, x), (images,))
    single = batch(3, (2, 5, 4), torch.float32).requires_grad_()
    (gradient,) = torch.autograd.grad(augment.apply(augmentation, single).square().sum(), single)
    assert gradient.dtype == torch.float32 and bool(gradient.abs().sum() > 0)


def test_crop_works_under_functional_transforms_and_twice():
    augmentation = drawn("crop")
    gradient = torch.func.grad(lambda x: augment.apply(augmentation, x).square().sum())(batch())
    shifted = augment.apply(augmentation, batch())
    back = Augmentation("crop", {k: -v for k, v in augmentation.values.items()})
    assert torch.allclose(gradient, 2 * augment.apply(back, shifted))
    assert torch.autograd.gradgradcheck(
        lambda x: augment.apply(drawn("crop", 2, (1, 4, 4)), x), (batch(2, (1, 4, 4)).requires_grad_(),)
    )


def test_steps_follow_each_other_and_each_draws_one_of_its_names():
    """`flip+crop_cutout`: a flip, then one of the two, with draws of their own that can be replayed."""
    images, seen = batch(), set()
    for unit in range(12):
        found = drawn("flip+crop_cutout", unit=unit)
        assert found.op == "flip" and found.then.op in ("crop", "cutout") and found.then.then is None
        one_by_one = images
        for step in (found, found.then):
            one_by_one = augment.apply(Augmentation(step.op, step.values), one_by_one)
        assert torch.equal(augment.apply(found, images), one_by_one)
        seen.add(found.then.op)
    assert seen == {"crop", "cutout"}


@pytest.mark.parametrize("strategy", ["flip+none", "flip+", "+crop", "flip+swirl"])
def test_steps_that_are_none_are_refused(strategy):
    with pytest.raises(ValueError, match=r"joined by _ .one of them is drawn. and"):
        EvaluationSettings(augment=strategy)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", ["scale", "rotate"])
def test_looking_up_samples_as_the_grid_does_and_where_bytes_must_repeat_alone(op, shape, monkeypatch):
    """Values and gradients in float64, here with what is for GPUs alone."""
    images, step = batch(shape=shape).requires_grad_(), drawn(op, shape=shape)
    outer = torch.randn(images.shape, generator=generator(0, "outer"), dtype=torch.float64)
    monkeypatch.setattr(augment, "_look_up", lambda *_: pytest.fail("on a CPU, where all bytes repeat anyway"))
    usual = augment.apply(step, images)
    monkeypatch.undo()
    monkeypatch.setattr(augment, "_must_repeat", lambda images: True)
    monkeypatch.setattr(F, "grid_sample", lambda *_, **__: pytest.fail("its gradient does not repeat on GPUs"))
    looked = augment.apply(step, images)
    assert torch.allclose(looked, usual, rtol=0, atol=1e-12)
    truth, found = (torch.autograd.grad(one, images, outer)[0] for one in (usual, looked))
    assert torch.allclose(found, truth, rtol=0, atol=1e-12)
