"""The machine's part in a result: recorded whole where there is a GPU, and float32 is float32 there."""

import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from padray.config import ComputeSettings
from padray.machine import numerics


def with_gpu(monkeypatch, name="NVIDIA A100-SXM4-40GB"):
    """PyTorch as it answers where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)


def test_a_gpus_model_cudnn_and_tf32_are_recorded(monkeypatch):
    """Two models give two results; whoever compares them must see that."""
    with_gpu(monkeypatch)
    record = numerics.decide(ComputeSettings()).record()
    assert (record["device"], record["gpu"]) == ("cuda", "NVIDIA A100-SXM4-40GB")
    assert (record["cudnn"], record["tf32"]) == (91002, False)
    assert numerics.Numerics(**record) == numerics.decide(ComputeSettings()), "a checkpoint gives it back"


def test_on_a_cpu_the_record_has_nothing_of_a_gpu(monkeypatch):
    with_gpu(monkeypatch)
    record = numerics.decide(ComputeSettings(device="cpu")).record()
    assert record.keys() == {"device", "threads", "precision", "torch_version", "machine", "compile"}
    assert numerics.Numerics(**record).tf32 is None


@pytest.fixture
def shortened() -> Iterator[None]:
    """TF32 everywhere, and afterwards what was there before."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32"
    yield
    for place, precision in zip(places, before, strict=True):
        place.fp32_precision = precision


def test_float32_is_float32_on_a_gpu(monkeypatch, shortened):
    """Convolutions default to TF32, which keeps 10 bits of 23. pytest makes an error of a deprecated call."""
    with_gpu(monkeypatch)
    numerics.decide(ComputeSettings(threads=torch.get_num_threads())).use()
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(("allocator", "kept"), [("tuned", True), ("system", False)])
def test_freed_memory_is_kept_where_it_is_asked_for(allocator, kept):
    """64 MB, in a process of its own."""
    code = (
        "import torch; from padray.config import ComputeSettings; from padray.machine.numerics import decide\n"
        "held = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        f"decide(ComputeSettings(device='cpu')).use({allocator!r}); before = held()\n"
        "some = torch.ones(2**24); del some\n"
        "print(held() - before)"
    )
    line = [sys.executable, "-c", code]
    held = int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    assert (held > 60e6) is kept
