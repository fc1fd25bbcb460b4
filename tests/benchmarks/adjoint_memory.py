"""Peak memory of the adjoint gradient at N student steps against keeping all graphs, each in a fresh process.

    python -m tests.benchmarks.adjoint_memory          # writes results/adjoint_memory.json

The claim: one step's graph + N * P parameters. Peak resident memory above that of the loaded network is shown.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import torch

RESULT = Path(__file__).parent / "results" / "adjoint_memory.json"
STEPS = {"adjoint": (1, 2, 10, 20, 40), "unroll": (1, 2, 4, 8)}
REPEATS = 3
# Blocks of 128 KiB and more are given back when they are freed, so that the peak is that of live memory and not of
# glibc's heap, whose holes add 20 to 50 % here.
ENVIRONMENT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
WIDTH, BATCH = 64, 64
AUGMENTATION = "rotate"  # one operation, so that all steps are alike


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(variant: str, steps: int) -> dict[str, int]:
    """Run one gradient in this process."""
    from padray.draws import generator
    from padray.methods.trajectory import gradients, student
    from padray.networks import factory
    from padray.networks.derivatives import Derivatives
    from padray.networks.flat import FlatNetwork
    from padray.networks.settings import NetworkSettings

    torch.set_num_threads(1)
    network = FlatNetwork(factory.build(NetworkSettings(width=WIDTH), (3, 32, 32), 10, 0).train())
    draw = generator(0, "benchmark")
    images, labels = torch.rand(BATCH, 3, 32, 32, generator=draw), torch.randn(BATCH, 10, generator=draw)
    learned = student.Learned(images, labels, torch.tensor(0.01))
    plan = student.draw_steps(BATCH, steps, BATCH, AUGMENTATION, (3, 32, 32), draw)
    start, end = network.flatten(), torch.randn(network.size, generator=draw)
    before = peak_bytes()
    if variant == "adjoint":
        gradients.exact(Derivatives(network), start, learned, plan).back(end)
    else:
        unroll(network, start, learned, plan, end)
    return {"peak": peak_bytes() - before, "parameters": network.size}


def unroll(network, start, learned, plan, end) -> None:
    """The whole graph kept: what the adjoint spares."""
    from padray.methods.trajectory import student
    from padray.networks.derivatives import Derivatives

    learned = student.Learned(
        learned.images.requires_grad_(), learned.labels.requires_grad_(), learned.lr.requires_grad_()
    )
    theta = start.requires_grad_()
    for step in plan:
        batch = student.batch_of(learned.images[step.indices], learned.labels[step.indices], step)
        loss = Derivatives(network).loss(theta, *batch)
        theta = theta - learned.lr * torch.autograd.grad(loss, theta, create_graph=True)[0]
    torch.autograd.grad(theta @ end, (learned.images, learned.labels, learned.lr))


def main() -> None:
    runs: dict[tuple[str, int], list[int]] = {}
    parameters = 0
    for _ in range(REPEATS):  # interleaved, so that a change of the machine meets all variants
        for variant, counts in STEPS.items():
            for steps in counts:
                command = [sys.executable, "-m", "tests.benchmarks.adjoint_memory", variant, str(steps)]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
                found = json.loads(done.stdout)
                runs.setdefault((variant, steps), []).append(found["peak"])
                parameters = found["parameters"]
    megabytes = {f"{v} N={n}": round(statistics.median(peaks) / 2**20, 1) for (v, n), peaks in runs.items()}
    one_step = megabytes["adjoint N=1"]
    claim = {f"N={n}": round(one_step + (n - 1) * parameters * 4 / 2**20, 1) for n in STEPS["adjoint"]}
    result = {
        "command": "python -m tests.benchmarks.adjoint_memory",
        "network": f"convnet3w{WIDTH} at 3x32x32",
        "batch": BATCH,
        "parameters": parameters,
        "repeats": REPEATS,
        "torch": torch.__version__,
        "peak_MB_median": megabytes,
        "claim_one_step_plus_N_P_MB": claim,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
