"""What the GPU programme shares: its results on disk, its time, the ways that work is done, the devices' clock.

Legend: s seconds.
"""

import contextlib
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from tests.benchmarks.workloads import Case, Way


class Results:
    """A JSON file of what was found, by part and piece; written after every piece, so that a kill loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, part: str, piece: str, found: Any) -> None:
        """Keep a piece of a part, its numbers to five digits."""
        found = rounded(found)
        self.found.setdefault(part, {})[piece] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.found, indent=1, default=str) + "\n")
        os.replace(fresh, self.path)
        print(f"{part}, {piece}: {json.dumps(found, default=str)}", flush=True)

    def attempt(self, part: str, piece: str, make: Callable[[], Any]) -> Any:
        """Make a piece and keep it; what fails is kept as its error, and the next piece is made."""
        began = time.monotonic()
        try:
            found = make()
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            where = traceback.extract_tb(error.__traceback__)[-1]
            found = {
                "error": f"{type(error).__name__}: {lines[0][:300]}",
                "at": f"{Path(where.filename).name}:{where.lineno}",
            }
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if isinstance(found, dict):
            found["took_s"] = round(time.monotonic() - began, 2)
        self.put(part, piece, found)
        return found


def rounded(found: Any) -> Any:
    """The same with five digits of every number."""
    if isinstance(found, dict):
        return {name: rounded(one) for name, one in found.items()}
    if isinstance(found, list | tuple):
        return [rounded(one) for one in found]
    return float(f"{found:.5g}") if isinstance(found, float) else found


@dataclass(frozen=True)
class Programme:
    """What a part is told.

    Attributes:
        quick: toy sizes, to see that all of it runs.
        until: a moment of time.monotonic after which nothing new is begun.
        data: an .npz file of real samples, or None for made ones.
    """

    device: str
    quick: bool
    until: float
    results: Results
    data: Path | None = None

    @property
    def on(self) -> torch.device:
        return torch.device(self.device)

    def left(self) -> float:
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Variant:
    """A way of padray's that is tried on the device, or the usual way with PyTorch's switches thrown meanwhile.

    Attributes:
        compute: of `compute`, beside the device.
        tf32: what is shortened to TF32: nothing, convolutions alone (PyTorch's own choice), or matrix products too. A
            way of padray's has it from `compute`, and this says it for the roofline.
        exact: whether its errors are held to eager float32's; otherwise they are told.
    """

    name: str
    compute: dict[str, Any] = field(default_factory=dict)
    distill: dict[str, Any] = field(default_factory=dict)
    tf32: Literal["none", "convolutions", "all"] = "none"
    exact: bool = True

    def way(self, device: str) -> Way:
        return Way("padray", {"device": device, "compile": "off", **self.compute}, self.distill)

    @property
    def deterministic(self) -> bool:
        return bool(self.compute.get("deterministic"))

    @property
    def of_students(self) -> bool:
        """Whether it differs from others for trajectory matching alone."""
        return bool(self.distill) or "memory_budget" in self.compute

    @contextlib.contextmanager
    def switched(self) -> Iterator[None]:
        """PyTorch's own switches, for what is not padray's; on CPUs they change nothing."""
        backends = ((torch.backends.cuda, "matmul", ("all",)), (torch.backends.cudnn, "conv", ("all", "convolutions")))
        before = [getattr(backend, name).fp32_precision for backend, name, _ in backends]
        for backend, name, short in backends:
            getattr(backend, name).fp32_precision = "tf32" if self.tf32 in short else "ieee"
        try:
            yield
        finally:
            for (backend, name, _), old in zip(backends, before, strict=True):
                getattr(backend, name).fp32_precision = old


# What is tried: a fast path joins as a line.
VARIANTS = (
    Variant("float32"),
    Variant("float32 unroll", distill={"gradient": "unroll"}),
    Variant("float32, graphs kept", {"memory_budget": 64.0}),
    Variant("TF32", {"tf32": True}, tf32="all", exact=False),
    Variant("bf16", {"precision": "bf16"}, exact=False),
    Variant("deterministic", {"deterministic": True}),
)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], Any]) -> float:
    """Seconds until the device has done it."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def about(device: torch.device) -> dict[str, Any]:
    """The machine and the versions."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "kind": platform.machine(),
        "device": str(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "gpu_GB": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "multiprocessors": properties.multi_processor_count,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def toy(kind: str, **changes: Any) -> Case:
    """A case that takes no time."""
    sizes = {"width": 4, "depth": 2, "shape": (3, 8, 8), "classes": 3, "batch": 4, "steps": 3, "test": 9, "ipc": 2}
    return Case(kind, **{**sizes, **changes})  # type: ignore[arg-type]
