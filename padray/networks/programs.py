"""A network's derivatives and logits as compiled programs: traced, made into machine code, kept on this machine.

A program works on a part of a batch that fits into the processor's cache, and gives its share of the mean. It is made
in a process of its own, which takes the compiler's memory with it when it ends; whoever comes second waits for it and
loads the file. Programs are told apart by everything that they are made from: what they compute, the sources of
padray's networks, PyTorch's version and the processor.

Axes: P parameters, N samples of a part, C H W, K classes.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional as F

from padray.errors import InfrastructureError, InputError
from padray.machine import activity
from padray.machine.files import user_cache
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.networks.layers import WithoutClassifier
from padray.networks.settings import NetworkSettings

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_AS_LONG_AS_NEEDED = -1  # for a lock, in seconds
_TELLS = 2000  # characters of what a compiler says that are passed on
_UNUSED_S = 90 * 86_400  # after which a program that nobody has loaded goes

Call = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Program:
    """What is compiled: derivatives of `samples` samples' share of the mean cross-entropy of a batch, or their outputs.

    Attributes:
        kind: `gradient` (theta_P, images, targets) -> loss (), gradient (P,); `curvature` also takes lambda_P and gives
            <lambda, gradient> () and its derivatives for images, targets (if probabilities) and theta; `logits`
            (theta_P, images) -> logits (N, K) in evaluation mode, `features` what the classifier sees then (N, F).
        probabilities: the targets are (N, K); otherwise classes (N,).
        of_theta: whether `curvature` gives the derivative for theta.
        bf16: the network's matrix products and convolutions in bfloat16.
    """

    kind: Literal["gradient", "curvature", "logits", "features"]
    network: NetworkSettings
    shape: tuple[int, int, int]
    classes: int
    samples: int
    batch: int
    probabilities: bool
    precision: str
    of_theta: bool = True
    bf16: bool = False
    threads: int = 1

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "network": self.network.model_dump(mode="json")}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Program":
        fields = json.loads(text)
        network = NetworkSettings.model_validate(fields.pop("network"))
        return cls(**{**fields, "network": network, "shape": tuple(fields["shape"])})

    def load(self) -> Call:
        """The program, compiled if this machine has not done so before.

        Raises:
            InputError: there is no compiler.
            InfrastructureError: the compiler fails, or its file cannot be kept.
        """
        return _loaded(self)


@cache
def _loaded(program: Program) -> Call:
    path = _folder() / f"{_digest(program)}.so"
    if not path.exists():
        _make(program, path)
    with suppress(OSError):  # a cache that others own
        os.utime(path)  # used today
    try:
        return _open(path)
    except RuntimeError:  # a file that was cut short or made for another machine
        path.unlink(missing_ok=True)
        _make(program, path)
        return _open(path)


def _open(path: Path) -> Call:
    # Not PyTorch's loader of packages: that unpacks into a folder of its own, which a killed process leaves behind.
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1)

    def call(*tensors: Tensor) -> list[Tensor]:
        return list(runner.run(list(tensors)))

    return call


def _folder() -> Path:
    root = user_cache()
    if root is None:
        raise InfrastructureError("compiled programs need a home folder: set XDG_CACHE_HOME, or compute.compile=off")
    return root / "programs"


def _digest(program: Program) -> str:
    parts = [program.to_json(), torch.__version__, platform.machine(), _processor(), _sources()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@cache
def _processor() -> str:
    """What this machine's processors can do, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


@cache
def _sources() -> str:
    """The digest of the modules that say what a network computes."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


@cache
def compiler() -> str | None:
    """The C++ compiler that would be used; None where there is none."""
    return next(
        (path for name in (os.environ.get("CXX", ""), "g++", "clang++") if name and (path := shutil.which(name))), None
    )


def require_compiler() -> None:
    """Raises InputError where nothing can be compiled."""
    if compiler() is None:
        raise InputError(
            "this asks for compiled gradients (compute.compile: on, or the checkpoint to go on from), and this machine "
            "has no C++ compiler; install g++ or clang++, or use --fresh with compute.compile=off"
        )


def _make(program: Program, path: Path) -> None:
    """Compile it in a process of its own, once on this machine."""
    require_compiler()
    what = f"compiling the {program.kind} of {program.network.label}, once on this machine"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with activity.aside(what), FileLock(path.with_suffix(".lock"), timeout=_AS_LONG_AS_NEEDED):
            if path.exists():
                return
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            line = [sys.executable, "-m", "padray.networks.programs", program.to_json(), str(path)]
            ended = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
            _drop_unused(path.parent)
    except OSError as error:
        raise InfrastructureError(f"{path.parent} cannot keep programs ({error}): set compute.compile=off") from None
    if ended.returncode:
        raise InfrastructureError(
            f"the compiler failed on {program.kind} of {program.network.label}; compute.compile=off works without it. "
            f"It said: {ended.stderr.strip()[-_TELLS:]}"
        )


def _drop_unused(folder: Path) -> None:
    """Remove programs that nobody has loaded for long: of earlier releases, of networks of the past."""
    for path in folder.glob("*.so"):
        with suppress(OSError):  # another process was faster, or others own it
            if time.time() - path.stat().st_mtime > _UNUSED_S:
                path.unlink()
                path.with_suffix(".lock").unlink()


class _Examples(NamedTuple):
    theta_P: Tensor
    images_NCHW: Tensor
    targets: Tensor
    lambda_P: Tensor


def _compile(program: Program, path: Path) -> None:
    """Trace the program and write its machine code."""
    from torch._inductor import aoti_compile_and_package

    from padray.networks.tracing import traced

    torch.set_num_threads(program.threads)
    function, examples = _function(program)
    exported = torch.export.export(traced(function, examples), examples)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        package = Path(place) / "program.pt2"
        aoti_compile_and_package(exported, package_path=str(package))
        with zipfile.ZipFile(package) as parts:
            (library,) = (name for name in parts.namelist() if name.endswith(".so"))
            partial = Path(parts.extract(library, place))
        os.replace(partial, path)


def _function(program: Program) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """The function to trace, and tensors of the shapes that it takes. No two are the same: tracing would join them."""
    dtype, draw = _DTYPES[program.precision], torch.Generator().manual_seed(0)
    built = factory.build(program.network, program.shape, program.classes, 0).to(dtype)
    built.train(program.kind in ("gradient", "curvature"))
    flat = FlatNetwork(WithoutClassifier(built) if program.kind == "features" else built)
    count = program.samples
    images = torch.randn(count, *program.shape, generator=draw).to(dtype)
    targets = torch.arange(count) % program.classes
    if program.probabilities:
        targets = torch.rand(count, program.classes, generator=draw).to(dtype)
    theta_P = flat.flatten()
    lambda_P = torch.randn(theta_P.shape, generator=draw).to(dtype)
    examples = _Examples(theta_P, images, targets, lambda_P)

    def logits(theta_P: Tensor, images_NCHW: Tensor) -> Tensor:
        seen = images_NCHW.contiguous(memory_format=torch.channels_last)  # the norms and pools are then vectorised
        with torch.autocast("cpu", torch.bfloat16, enabled=program.bf16):
            return flat(theta_P, seen).to(dtype)

    def loss(logits_NK: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits_NK, targets, reduction="sum") / program.batch

    def look(theta_P: Tensor, images_NCHW: Tensor) -> tuple[Tensor, ...]:
        return (logits(theta_P.detach(), images_NCHW),)

    def gradient(theta_P: Tensor, images_NCHW: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        theta_P = theta_P.detach().requires_grad_()
        value = loss(logits(theta_P, images_NCHW), targets)
        return value.detach(), *torch.autograd.grad(value, theta_P)

    def curvature(theta_P: Tensor, images_NCHW: Tensor, targets: Tensor, lambda_P: Tensor) -> tuple[Tensor, ...]:
        theta_P, images_NCHW = theta_P.detach().requires_grad_(), images_NCHW.detach().requires_grad_()
        targets = targets.detach().requires_grad_(program.probabilities)
        logits_NK = logits(theta_P, images_NCHW)
        (slope_NK,) = torch.autograd.grad(loss(logits_NK, targets), logits_NK, create_graph=True)
        (grad_P,) = torch.autograd.grad(logits_NK, theta_P, slope_NK, create_graph=True)
        wanted = [slope_NK, images_NCHW, *[targets] * program.probabilities, *[theta_P] * program.of_theta]
        turn_NK, *parts = torch.autograd.grad(grad_P, wanted, lambda_P)
        # <lambda, g> is <J lambda, slope>, with J of the logits for theta: so nothing asks for g itself.
        return (turn_NK * slope_NK.detach()).sum(), *parts

    functions: dict[str, tuple[Callable[..., tuple[Tensor, ...]], int]] = {
        "gradient": (gradient, 3),
        "curvature": (curvature, 4),
        "logits": (look, 2),
        "features": (look, 2),
    }
    function, arguments = functions[program.kind]
    return function, tuple(examples[:arguments])


if __name__ == "__main__":
    _compile(Program.from_json(sys.argv[1]), Path(sys.argv[2]))
