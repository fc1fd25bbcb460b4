"""Gradients and curvatures: the parts that a batch is cut into, what decides on compiling, and the two precisions."""

import copy
import math
import os
import subprocess
import time

import pytest
import torch
from torch.nn import functional as F

from padray.errors import InfrastructureError, InputError
from padray.networks import derivatives, factory, programs
from padray.networks.derivatives import Compiled, Derivatives, Execution
from padray.networks.flat import FlatNetwork
from padray.networks.programs import Program
from padray.networks.settings import NetworkSettings

SHAPE, CLASSES = (1, 8, 8), 4
needs_compiler = pytest.mark.skipif(programs.compiler() is None, reason="needs a C++ compiler")


def flat_network(shape=SHAPE, **settings) -> FlatNetwork:
    return FlatNetwork(
        factory.build(NetworkSettings(**{"width": 6, "depth": 2, **settings}), shape, CLASSES, 1).train()
    )


def batch(count, shape=SHAPE):
    draw = torch.Generator().manual_seed(count)
    return torch.randn(count, *shape, generator=draw), torch.arange(count) % CLASSES


def test_a_gradient_is_that_of_the_module_and_leaves_it_alone():
    flat = flat_network()
    images, targets = batch(5)
    module = copy.deepcopy(flat.module)
    loss = F.cross_entropy(module(images), targets)
    loss.backward()
    expected = torch.cat([parameter.grad.reshape(-1) for parameter in module.parameters()])
    before = flat.flatten()
    found_loss, found = Derivatives(flat).gradient(flat.flatten(), images, targets)
    assert torch.equal(found_loss, loss.detach())
    assert torch.allclose(found, expected, atol=1e-7)
    assert torch.equal(flat.flatten(), before)
    assert all(parameter.grad is None for parameter in flat.module.parameters())
    assert torch.equal(Derivatives(flat).put_gradient(images, targets), loss.detach())
    assert torch.equal(flat.gradient(), expected)


def test_a_curvature_is_the_difference_of_two_gradients():
    """In float64, by central differences along lambda, which knows nothing of second derivatives."""
    flat = flat_network().to(torch.float64)
    images, targets = (part.double() if part.is_floating_point() else part for part in batch(6))
    theta_P, lambda_P = flat.flatten(), torch.randn(flat.size, generator=torch.Generator().manual_seed(1)).double()
    slopes = Derivatives(flat)
    ahead, behind = (slopes.gradient(theta_P + e * lambda_P, images, targets) for e in (1e-6, -1e-6))
    found = slopes.curvature(theta_P, images, targets, lambda_P)
    assert torch.allclose(found.theta, (ahead[1] - behind[1]) / 2e-6, atol=1e-6)
    assert float(found.inner) == pytest.approx(float(ahead[0] - behind[0]) / 2e-6, rel=1e-6)
    assert found.targets is None
    assert slopes.curvature(theta_P, images, targets, lambda_P, of_theta=False).theta is None


@pytest.mark.parametrize(
    ("samples", "map_bytes", "part"),
    [
        (100, 131_072, 25),
        (256, 131_072, 32),
        (10, 131_072, 10),
        (256, 524_288, 16),
        (100, 8_192, 100),
        (97, 131_072, 97),
    ],
)
def test_a_part_fits_into_the_cache_and_divides_the_batch(samples, map_bytes, part):
    assert derivatives.part_of(samples, map_bytes) == part


def test_sizes_are_those_of_the_published_network():
    """7.7 million operations forward, as counted for the ConvNet of width 32 on 32x32 pixels."""
    module = factory.build(NetworkSettings(width=32, depth=3), (3, 32, 32), 10, 0)
    convolutions = 2 * 9 * 32 * (3 * 32 * 32 + 32 * 16 * 16 + 32 * 8 * 8)
    assert derivatives.forward_flops(module) == convolutions + 2 * 512 * 10
    assert derivatives.largest_map(module) == 4 * 32 * 32 * 32


@needs_compiler
@pytest.mark.parametrize(
    ("compile", "settings", "passes", "expected"),
    [
        ("auto", {}, 1e12, True),
        ("auto", {}, 1e3, False),
        ("on", {}, 0, True),
        ("off", {}, 1e15, False),
        ("on", {"norm": "batch"}, 1e15, False),
    ],
)
def test_what_is_compiled_is_decided_by_settings_and_the_work_to_come(compile, settings, passes, expected):
    module = flat_network(**settings).module
    assert derivatives.is_compiled(module, Execution(compile), passes) is expected


def test_without_a_compiler_nothing_is_compiled_unless_asked_for(monkeypatch):
    monkeypatch.setattr(derivatives, "compiler", lambda: None)
    monkeypatch.setattr(programs, "compiler", lambda: None)
    flat = flat_network(width=5)
    assert not derivatives.is_compiled(flat.module, Execution("auto"), 1e15)
    with pytest.raises(InputError, match=r"compiled gradients .* no C\+\+ compiler; install"):
        Compiled(flat, 4, Execution("on")).gradient(flat.flatten(), *batch(4))


def test_a_compiler_that_fails_is_named_with_the_way_around(users_cache, monkeypatch):
    ended = subprocess.CompletedProcess([], 1, stdout="", stderr="no space in the file system")
    monkeypatch.setattr(programs.subprocess, "run", lambda *line, **options: ended)
    flat = flat_network(width=5)
    with pytest.raises(InfrastructureError, match=r"compute\.compile=off works without it\. It said: no space"):
        Compiled(flat, 4, Execution("on")).gradient(flat.flatten(), *batch(4))


@pytest.mark.chaos
def test_a_compiler_that_refuses_everything_is_such_a_one(monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    programs.compiler.cache_clear()
    flat = flat_network(width=7)
    try:
        with pytest.raises(InfrastructureError, match=r"compute\.compile=off works without it"):
            Compiled(flat, 4, Execution("on")).gradient(flat.flatten(), *batch(4))
    finally:
        programs.compiler.cache_clear()


@needs_compiler
def test_programs_that_nobody_loads_go_when_another_is_made(users_cache, monkeypatch):
    folder, day = users_cache / "programs", 86_400
    folder.mkdir(parents=True, exist_ok=True)
    others = set(folder.glob("*.so"))
    for name, days in (("forgotten", 91), ("used", 89)):
        for path in (folder / f"{name}.so", folder / f"{name}.lock"):
            path.touch()
            os.utime(path, (time.time() - days * day,) * 2)
    program = Program("logits", NetworkSettings(width=2, depth=1), SHAPE, CLASSES, 2, 2, False, "float32")
    made = folder / f"{programs._digest(program)}.so"
    made.touch()
    os.utime(made, (0, 0))
    monkeypatch.setattr(programs, "_open", lambda path: path)
    monkeypatch.setattr(subprocess, "run", lambda *line, **how: subprocess.CompletedProcess(line, 0, "", ""))
    programs._loaded.cache_clear()
    program.load()  # that is a use of it
    programs._make(program, folder / "other.so")
    programs._loaded.cache_clear()
    assert set(folder.glob("*.so")) == {*others, folder / "used.so", made}
    assert not (folder / "forgotten.lock").exists()
    made.unlink()


@needs_compiler
def test_a_broken_program_is_made_again_and_a_good_one_is_kept(users_cache, monkeypatch):
    """The compiled one is what autograd gives, in float64, for all that it is asked for."""
    flat = flat_network(width=3, depth=1).to(torch.float64)
    draw = torch.Generator().manual_seed(0)
    images, targets, lambda_P = (
        torch.rand(*shape, generator=draw, dtype=torch.float64) for shape in ((4, *SHAPE), (4, CLASSES), (flat.size,))
    )
    theta_P = flat.flatten()
    expected = Derivatives(flat).curvature(theta_P, images, targets, lambda_P)
    program = Program("curvature", flat.module.blueprint[0], SHAPE, CLASSES, 4, 4, True, "float64")
    path = users_cache / "programs" / f"{programs._digest(program)}.so"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"cut short")
    times, make = [], programs._make
    monkeypatch.setattr(programs, "_make", lambda *parts: times.append(parts) or make(*parts))
    for _ in range(2):
        programs._loaded.cache_clear()  # as in a new process
        given = Compiled(flat, 4, Execution("on")).curvature(theta_P, images, targets, lambda_P)
        for name in ("inner", "images", "targets", "theta"):
            found, wanted = getattr(given, name), getattr(expected, name)
            assert float((found - wanted).norm()) <= 1e-12 * float(wanted.norm()), name
    assert len(times) == 1
    assert {one.suffix for one in path.parent.iterdir() if one.stem == path.stem} == {".lock", ".so"}


def test_bf16_shortens_the_products_of_what_it_is_asked_for_alone():
    flat = flat_network()
    images, targets = batch(8)
    theta_P, lambda_P = flat.flatten(), torch.randn(flat.size, generator=torch.Generator().manual_seed(1))
    plain, shortened = Derivatives(flat), Derivatives(flat, ["curvature"])
    assert torch.equal(plain.gradient(theta_P, images, targets)[1], shortened.gradient(theta_P, images, targets)[1])
    exact, near = (one.curvature(theta_P, images, targets, lambda_P) for one in (plain, shortened))
    error = float((near.theta - exact.theta).norm() / exact.theta.norm())
    assert 1e-5 < error < 0.2
    assert near.theta.dtype == near.images.dtype == torch.float32
    assert math.isfinite(float(near.inner))
