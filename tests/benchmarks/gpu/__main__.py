"""The GPU programme: is it right, how fast is it, and how far does a real run come, in nine minutes.

    python -m tests.benchmarks.gpu                              # on the GPU, on made data
    python -m tests.benchmarks.gpu --data cifar10.npz           # real samples for the run
    python -m tests.benchmarks.gpu --device cpu --quick         # toy sizes, to see that all of it runs

An .npz file has the arrays train_images, train_labels, test_images and test_labels; images are uint8 and lie as
(N, H, W, C) or (N, C, H, W).

Needs Python 3.11 or later, torch 2.11 or later, numpy, safetensors, Pillow (which torchvision brings), pydantic and
filelock; the last part, a run of padray's chain, also ruamel.yaml and PyArrow. Ray, scikit-learn, optuna and boto3 are
never imported. Each part is a process of its own with a share of the time, so that one that hangs or dies takes no
other with it; what is found is written after every piece, to tests/benchmarks/results/gpu.json unless --output says
otherwise.
"""

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path

RESULT = Path(__file__).parents[1] / "results" / "gpu.json"
# Of the whole time what each part may use; the last has what is left.
PARTS = {"paths": 0.22, "speed": 0.38, "chain": 1.0}
GRACE_S = 20.0  # that a part may take over its time, to end what it has begun


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", action="append", choices=tuple(PARTS), default=[], help="only this, in this process")
    asked = parser.parse_args(words)
    if asked.data is not None and not asked.data.is_file():
        parser.error(f"--data {asked.data} is no file; it is an .npz of images and labels")
    asked.output = asked.output or RESULT.with_name("gpu-quick.json" if asked.quick else "gpu.json")
    until = time.monotonic() + 60 * asked.minutes
    if asked.part:
        return here(asked, until)
    asked.output.unlink(missing_ok=True)
    shares = list(PARTS.items())
    for place, (part, share) in enumerate(shares):
        left = until - time.monotonic()
        seconds = left if place == len(shares) - 1 else min(left, share * 60 * asked.minutes)
        code = started(asked, part, seconds)
        if code:
            print(f"{part}: ended with {code}", flush=True)
    print(f"written: {asked.output}")
    return 0


def started(asked: argparse.Namespace, part: str, seconds: float) -> int | str:
    """Run one part in a process of its own; its exit code, or what was done about it."""
    line = [sys.executable, "-m", "tests.benchmarks.gpu", "--part", part, "--minutes", str(max(0.0, seconds) / 60)]
    line += ["--device", asked.device, "--output", str(asked.output)] + ["--quick"] * asked.quick
    line += ["--data", str(asked.data)] if asked.data else []
    try:
        return subprocess.run(line, timeout=max(0.0, seconds) + GRACE_S).returncode
    except subprocess.TimeoutExpired:
        return f"a kill, {GRACE_S:.0f} s after its time was over"


def here(asked: argparse.Namespace, until: float) -> int:
    """The parts that were asked for, one after the other, in this process."""
    import torch

    from tests.benchmarks.gpu.record import Programme, Results, about

    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU here; --device cpu --quick runs all of this at toy size")
    results = Results(asked.output)
    if "about" not in results.found:
        results.put("about", "machine", about(torch.device(asked.device)))
    for number, part in enumerate(asked.part, start=1):
        end = time.monotonic() + (until - time.monotonic()) * number / len(asked.part)
        programme = Programme(asked.device, asked.quick, end, results, asked.data)
        results.attempt(part, "whole", lambda part=part, programme=programme: run(part, programme))
    return 0


def run(part: str, programme: object) -> dict[str, str]:
    """One part, from its module."""
    importlib.import_module(f"tests.benchmarks.gpu.{part}").run(programme)
    return {"state": "done"}


if __name__ == "__main__":
    sys.exit(main())
