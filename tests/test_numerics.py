"""The machine's part in a result: recorded whole where there is a GPU, and float32 is float32 there."""

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from padray.config import ComputeSettings
from padray.errors import InputError
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


def precisions() -> list[str]:
    """Of matrix products and of convolutions."""
    return [place.fp32_precision for place in (torch.backends.cuda.matmul, torch.backends.cudnn.conv)]


def test_tf32_is_taken_where_it_is_asked_for_and_goes_on_as_it_began(monkeypatch, shortened):
    with_gpu(monkeypatch)
    threads = torch.get_num_threads()
    plain, short = (numerics.decide(ComputeSettings(threads=threads, tf32=on)) for on in (False, True))
    assert (plain.record()["tf32"], short.record()["tf32"]) == (False, True)
    for decided, precision in ((plain, "ieee"), (short, "tf32"), (plain, "ieee")):
        numerics.Numerics(**decided.record()).use()  # as a checkpoint gives it back, whatever the settings then say
        assert precisions() == [precision] * 2
    older = {name: value for name, value in short.record().items() if name != "tf32"}
    numerics.Numerics(**older).use()
    assert precisions() == ["ieee"] * 2


def test_on_a_cpu_tf32_is_nothing(shortened):
    decided = numerics.decide(ComputeSettings(device="cpu", threads=torch.get_num_threads(), tf32=True))
    decided.use()
    assert "tf32" not in decided.record() and precisions() == ["tf32"] * 2, "left as they are"


@pytest.fixture
def free(monkeypatch) -> Iterator[None]:
    """No switch is thrown, and afterwards what was there before."""
    cudnn, was = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    before = cudnn.deterministic, cudnn.benchmark
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    cudnn.benchmark = True
    yield
    torch.use_deterministic_algorithms(was)
    cudnn.deterministic, cudnn.benchmark = before


def switches() -> tuple[bool, bool, bool, str | None]:
    cudnn = torch.backends.cudnn
    asked = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, asked


def test_a_gpu_repeats_its_bytes_where_that_is_asked_for_and_goes_on_as_it_began(monkeypatch, free):
    with_gpu(monkeypatch)
    threads = torch.get_num_threads()
    plain, same = (numerics.decide(ComputeSettings(threads=threads, deterministic=on)) for on in (False, True))
    assert (plain.record()["deterministic"], same.record()["deterministic"]) == (False, True)
    numerics.Numerics(**plain.record()).use()
    assert switches() == (False, False, False, None)
    numerics.Numerics(**same.record()).use()
    assert switches() == (True, True, False, ":4096:8")
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    assert getenv(b"CUBLAS_WORKSPACE_CONFIG") == b":4096:8", "as cuBLAS reads it"
    older = {name: value for name, value in same.record().items() if name != "deterministic"}
    numerics.Numerics(**older).use()
    assert switches()[:3] == (False, False, False)


def test_a_workspace_that_the_user_chose_stays(monkeypatch, free):
    with_gpu(monkeypatch)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    numerics.decide(ComputeSettings(threads=torch.get_num_threads(), deterministic=True)).use()
    assert switches() == (True, True, False, ":16:8")


def test_on_a_cpu_nothing_is_switched(free):
    decided = numerics.decide(ComputeSettings(device="cpu", threads=torch.get_num_threads(), deterministic=True))
    decided.use()
    assert "deterministic" not in decided.record() and switches() == (False, False, True, None)


def test_what_has_no_deterministic_form_is_refused_in_a_sentence():
    said = "reflection_pad2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use_…"
    refused = r"^distilling: reflection_pad2d_backward_cuda has no deterministic form"
    with pytest.raises(InputError, match=refused), numerics.within_memory("distilling"):
        raise RuntimeError(said)


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
