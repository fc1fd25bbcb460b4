"""Counted peaks beside measured ones: those of the benchmark of the adjoint, and their growth."""

import json
from pathlib import Path

import pytest
import torch

from padray.methods.trajectory.costs import student_peak
from padray.networks import peak
from padray.networks.settings import NetworkSettings

MEASURED = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "adjoint_memory.json").read_text())
SHAPE = (3, 32, 32)


def network(width: int = 64):
    return peak.shaped(NetworkSettings(width=width), SHAPE, 10, torch.float32)


@pytest.mark.parametrize("variant", list(MEASURED["peak_MB_median"]))
def test_a_student_s_peak_is_that_which_was_measured(variant):
    name, steps = variant.split(" N=")
    peak = student_peak(network(), SHAPE, 10, MEASURED["batch"], int(steps), int(steps) if name == "unroll" else 0)
    assert 0.8 < peak / 2**20 / MEASURED["peak_MB_median"][variant] < 1.1


def test_every_student_step_adds_one_vector_of_parameters():
    once, many = (student_peak(network(), SHAPE, 10, 64, steps) for steps in (1, 81))
    assert many - once == 80 * 4 * network().size == 80 * 4 * MEASURED["parameters"]


def test_peaks_grow_with_batch_and_precision():
    def step(batch: int, dtype: torch.dtype = torch.float32) -> int:
        return peak.training_peak(peak.shaped(NetworkSettings(width=16), SHAPE, 10, dtype), SHAPE, 10, batch, dtype)

    assert 1.8 < step(64) / step(32) < 2.0 and 1.9 < step(32, torch.float64) / step(32) < 2.1
    sixteen = 16 * 32 * 32 * 4 * 1000  # a first layer's map of a thousand samples
    assert 2 * sixteen < peak.look_peak(network(16), SHAPE, 5000, torch.float32) < 4 * sixteen
