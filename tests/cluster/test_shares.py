"""What everything takes of a GPU follows from the settings and the cluster, in one place, without Ray."""

import pytest

from padray.cluster import shares
from padray.cluster.shares import Gpus
from padray.config import Config
from padray.configuration import loading
from padray.errors import DivergedError, GpuFullError, InputError

NONE, SOME, COMING, UNKNOWN = Gpus(), Gpus(8.0), Gpus(0.0, True), Gpus(0.0, None)
GIB = 2**30


def config(*overrides: str) -> Config:
    return loading.load("digits-ipc1", overrides).config


def taken(settings: Config, gpus: Gpus) -> tuple[float, float]:
    """By a worker, and by a cell of which four fit."""
    return shares.of_worker(settings, gpus), shares.of_cell(settings, gpus, lambda: 0.25)


@pytest.mark.parametrize(
    "device, gpus, expected",
    [
        ("auto", NONE, (0, 0)),
        ("auto", SOME, (1, 0.25)),
        ("auto", COMING, (1, 0.25)),
        ("auto", UNKNOWN, (0, 0)),
        ("cpu", NONE, (0, 0)),
        ("cpu", SOME, (0, 0)),
        ("cpu", COMING, (0, 0)),
        ("cuda", NONE, (1, 0.25)),
        ("cuda", SOME, (1, 0.25)),
        ("cuda", UNKNOWN, (1, 0.25)),
    ],
)
def test_auto_asks_for_gpus_where_there_are_some_or_may_be(device, gpus, expected):
    assert taken(config(f"compute.device={device}"), gpus) == expected


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("gpus", [NONE, SOME])
def test_numbers_win_over_what_the_cluster_has(device, gpus):
    asked = config(f"compute.device={device}", "cluster.gpus_per_worker=0.5", "cluster.gpus_per_cell=0.125")
    assert taken(asked, gpus) == (0.5, 0.125)
    assert taken(config("cluster.gpus_per_worker=0", "cluster.gpus_per_cell=0"), SOME) == (0, 0)


def test_a_cell_s_size_is_asked_for_only_where_it_counts():
    def asked() -> float:
        raise AssertionError("nobody needs to know")

    assert shares.of_cell(config(), NONE, asked) == 0
    assert shares.of_cell(config("cluster.gpus_per_cell=0.5"), SOME, asked) == 0.5


@pytest.mark.parametrize(
    "needed, expected",
    [(1, 1 / 16), (GIB, 1 / 14), (3 * GIB, 1 / 4), (5 * GIB, 1 / 2), (8 * GIB, 1), (16 * GIB, 1), (99 * GIB, 1)],
)
def test_as_many_cells_share_a_gpu_as_fit_into_its_memory(needed, expected):
    assert shares.fitting(needed, 16 * GIB) == pytest.approx(expected, abs=1e-4)


def test_cells_that_fit_beside_each_other_are_not_more_than_a_gpu_as_ray_counts():
    for beside in range(1, 17):
        share = shares.fitting(int(0.9 * 16 * GIB / beside) - 1, 16 * GIB)
        in_steps = round(share * 10_000)
        assert share == in_steps / 10_000 and beside * in_steps <= 10_000 < (beside + 1) * in_steps


@pytest.mark.parametrize("name", ["gpus_per_worker", "gpus_per_cell"])
def test_a_gpu_that_is_asked_for_and_not_taken_is_refused(name, tmp_path):
    from padray.cluster.runner import RayRunner
    from padray.store.location import LocalLocation

    asked = config("compute.device=cuda", f"cluster.{name}=0")
    with pytest.raises(InputError, match=rf"cluster\.{name} is 0, but compute\.device is cuda"):
        RayRunner(asked, LocalLocation(tmp_path))
    for device in ("auto", "cpu"):
        shares.check(config(f"compute.device={device}", f"cluster.{name}=0"))


def test_what_is_wrong_as_a_share_names_its_key():
    for wrong in ("2", "-1", "0.00001", "many", "true", "null", "[1]"):
        with pytest.raises(InputError, match=r"cluster\.gpus_per_cell: must be auto, 0, or a share of one GPU"):
            config(f"cluster.gpus_per_cell={wrong}")


def test_gpus_that_nobody_uses_are_mentioned_and_no_others():
    unused = config("cluster.gpus_per_worker=0", "cluster.gpus_per_cell=0")
    (said,) = shares.remarks(unused, SOME, known=8, seen=8)
    assert said.startswith("cluster.gpus_per_worker=0 and cluster.gpus_per_cell=0 leaves the cluster's 8 GPUs unused")
    (said,) = shares.remarks(config("cluster.gpus_per_cell=0"), SOME, known=8, seen=0)
    assert said.startswith("cluster.gpus_per_cell=0 leaves")
    (said,) = shares.remarks(config(), NONE, known=0, seen=2)
    assert said.startswith("PyTorch sees 2 GPUs on this machine, but Ray was told of 0")
    (said,) = shares.remarks(config(), UNKNOWN, known=0, seen=0)
    assert "whether an autoscaler may start some cannot be read" in said and "compute.device=cuda" in said
    quiet = [
        (config(), SOME),
        (config(), NONE),
        (config(), COMING),
        (unused, NONE),
        (unused, UNKNOWN),
        (config("compute.device=cuda"), UNKNOWN),
        (config("compute.device=cpu", "cluster.gpus_per_cell=0"), SOME),
    ]
    assert [shares.remarks(settings, gpus, known=8, seen=8) for settings, gpus in quiet] == [[]] * len(quiet)
    assert not shares.remarks(config("compute.device=cpu"), NONE, known=0, seen=2)


def test_only_a_full_gpu_is_told_to_have_been_its_own():
    error = shares.alone(GpuFullError("it does not fit"))
    assert type(error) is GpuFullError and str(error) == "it does not fit; it had a GPU to itself"
    diverged = DivergedError("lower experts.lr")
    assert shares.alone(diverged) is diverged
