"""The machine's part in a result: device, threads and versions. Recorded with every artefact, not fingerprinted."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from padray.errors import GpuFullError, InfrastructureError, InputError
from padray.machine.allocator import keep_freed_memory
from padray.settings.machine import ComputeSettings

_DTYPES = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}
_NO_FORM = "does not have a deterministic implementation"  # what PyTorch says of an operation
# What CUDA, cuBLAS and cuDNN say where PyTorch's own allocator is not the one that is refused memory.
_GPU_FULL = ("CUDA error: out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED")


@dataclass(frozen=True)
class Numerics:
    """What, besides the settings, a result's bytes depend on; on CPUs of one kind equal numerics give equal bytes.

    `compile` as the settings say, or as it was decided for a distillation; None where an older padray compiled nothing.
    The last four are of a GPU: its model, cuDNN's version, whether float32 is shortened to TF32 (None where an older
    padray left it open), and whether only operations are used that give the same bytes every time (None: no).
    """

    device: str
    threads: int
    precision: str
    torch_version: str
    machine: str
    compile: Literal["auto", "on", "off"] | None = None
    gpu: str | None = None
    cudnn: int | None = None
    tf32: bool | None = None
    deterministic: bool | None = None

    @property
    def dtype(self) -> torch.dtype:
        return _DTYPES[self.precision]

    def record(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def use(self, allocator: str = "system") -> torch.device:
        """Set this process's threads and allocator, and give the device, of several GPUs the current one.

        Raises:
            InputError: the device is missing.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "this asks for a GPU (compute.device, or the checkpoint to go on from), but PyTorch sees none here; "
                "use a machine with one, or --fresh with compute.device=cpu"
            )
        if self.device == "cuda":
            _take_float32(as_tf32=bool(self.tf32))
            _repeat_bytes(always=bool(self.deterministic))
        torch.set_num_threads(self.threads)
        if allocator == "tuned":
            keep_freed_memory()
        return torch.device("cuda", torch.cuda.current_device()) if self.device == "cuda" else torch.device("cpu")


def decide(settings: ComputeSettings) -> Numerics:
    """A pure function of the settings and of the kind of device that is there, never of timing or free memory."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    numerics = Numerics(
        device, settings.threads, settings.precision, torch.__version__, platform.machine(), settings.compile
    )
    if device != "cuda" or not torch.cuda.is_available():  # a GPU that is not there is refused by `use`
        return numerics
    gpu, cudnn = torch.cuda.get_device_name(), torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return replace(numerics, gpu=gpu, cudnn=cudnn, tf32=settings.tf32, deterministic=settings.deterministic)


def _take_float32(as_tf32: bool) -> None:
    """As it is, or with TF32's 10 bits of mantissa, which cuDNN's convolutions have unless told otherwise."""
    for backend, operation in ((torch.backends.cuda, "matmul"), (torch.backends.cudnn, "conv")):
        getattr(backend, operation).fp32_precision = "tf32" if as_tf32 else "ieee"


def _repeat_bytes(always: bool) -> None:
    """Have equal operations on a GPU give equal bytes each time, or leave them free to be faster.

    cuBLAS reads its part from the environment when it is first used, which is after this in every process that works.
    """
    if always:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(always)
    torch.backends.cudnn.deterministic = always
    torch.backends.cudnn.benchmark = False


@contextmanager
def within_memory(what: str, remedy: str = "lower its batch or its network's width") -> Iterator[None]:
    """Raises InfrastructureError (GpuFullError of a GPU's), which says what to lower, where memory runs out.

    And InputError where an operation has no form that `compute.deterministic` allows.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _GPU_FULL):
            raise GpuFullError(f"{what} does not fit into the GPU's memory: {remedy}") from None
        if _NO_FORM in str(error):
            raise InputError(
                f"{what}: {str(error).split()[0]} has no deterministic form on GPUs; use a CPU (compute.device=cpu), "
                "or --fresh with compute.deterministic=false"
            ) from None
        if isinstance(error, MemoryError) or "allocate memory" in str(error):  # what PyTorch says on a CPU
            raise InfrastructureError(f"{what} does not fit into memory: {remedy}") from None
        raise
