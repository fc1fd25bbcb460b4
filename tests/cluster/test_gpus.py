"""GPUs that Ray gives out and PyTorch does not see; and on a Ray of such GPUs, who takes and sees what."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from padray.cluster import shares
from padray.config import ComputeSettings
from padray.errors import GpuFullError, InfrastructureError, InputError
from padray.machine.numerics import decide, within_memory
from padray.planning import footprint
from padray.search import trials
from padray.stages import data
from padray.stages.base import Inputs
from tests.cluster.conftest import make_context


@pytest.fixture(scope="module")
def seen(settings, tmp_path_factory) -> dict[str, Any]:
    """What tests/cluster/on_gpus.py saw."""
    line = [sys.executable, "-m", "tests.cluster.on_gpus", str(settings), str(tmp_path_factory.mktemp("gpus"))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.ray
def test_a_gpu_that_pytorch_cannot_use_is_refused_rather_than_left_for_the_cpu(seen):
    end = seen["chain"]
    assert re.match(r"InfrastructureError: Ray gave out GPU [01] of node \S+, but PyTorch \S+ sees none", end["error"])
    assert end["error"].endswith("or set compute.device=cpu") and "\n" not in end["error"]
    assert end["experts"] == 0 and not end["said"]


@pytest.mark.ray
def test_gpus_that_are_left_unused_are_mentioned_once(seen):
    assert seen["beside"]["error"] == "" and seen["beside"]["experts"] == 1
    (said,) = seen["beside"]["said"]
    assert "leaves the cluster's 2 GPUs unused" in said


@pytest.mark.ray
def test_what_took_no_gpu_sees_none(seen):
    assert seen["none"] == {"told": [["Done", "one"]], "error": "", "attempts": {"one": [[0.0, "", []]]}}


@pytest.mark.ray
def test_what_took_a_share_sees_that_gpu_alone(seen):
    for attempts in seen["shared"]["attempts"].values():
        assert all(visible == ",".join(held) and len(held) == 1 for _, visible, held in attempts)


@pytest.mark.ray
def test_what_finds_a_shared_gpu_full_is_made_again_alone_once(seen):
    told, attempts = seen["shared"]["told"], seen["shared"]["attempts"]
    assert {id: [share for share, *_ in tries] for id, tries in attempts.items()} == {
        "one": [0.25],
        "crowded": [0.25, 1.0],
        "huge": [0.25, 1.0],
    }
    assert sorted(told) == [["Done", "crowded"], ["Done", "one"], ["Lost", "crowded"], ["Lost", "huge"]]
    assert seen["shared"]["error"] == (
        "GpuFullError: evaluate huge does not fit into the GPU's memory: lower its batch or its network's width; it "
        "had a GPU to itself"
    )


@pytest.fixture
def given(monkeypatch):
    """A process to which Ray gave these GPUs, on a machine where PyTorch sees so many."""
    from padray.cluster import gpus

    def give(ids: list[str], count: int) -> Any:
        context = SimpleNamespace(get_accelerator_ids=lambda: {"GPU": ids})
        monkeypatch.setattr(gpus.ray, "get_runtime_context", lambda: context)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        return gpus.require

    return give


def test_a_gpu_is_required_only_where_one_was_given_and_is_meant(given):
    refusal = given(["3"], 0)("auto")
    assert isinstance(refusal, InfrastructureError) and "Ray gave out GPU 3 of node" in str(refusal)
    assert isinstance(given(["3"], 0)("cuda"), InfrastructureError)
    assert given(["3"], 0)("cpu") is None
    assert given([], 0)("auto") is None
    assert given(["3"], 1)("auto") is None


NODE_TYPES = """
max_workers: 5
head_node_type: head
available_node_types:
  head: {{resources: {{CPU: 0}}}}
  worker: {{resources: {{CPU: 8{gpus}}}, max_workers: 4}}
"""


@pytest.mark.parametrize(
    "text, expected",
    [
        (NODE_TYPES.format(gpus=", GPU: 1"), True),
        (NODE_TYPES.format(gpus=""), False),
        (None, None),
        ("available_node_types: [1]", None),
        ("{", None),
        ("nothing", None),
    ],
)
def test_what_an_autoscaler_may_start_is_read_where_ray_up_leaves_it(monkeypatch, tmp_path, text, expected):
    from padray.cluster import gpus, nodes

    path = tmp_path / "ray_bootstrap_config.yaml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(nodes, "_SETTINGS", path)
    monkeypatch.setattr(nodes, "up", lambda: ({"CPU": 2.0},))
    monkeypatch.setattr(gpus.ray, "cluster_resources", lambda: {"CPU": 2.0})
    assert gpus.Census(own=False).gpus() == shares.Gpus(0.0, expected)
    assert gpus.Census(own=True).gpus() == shares.Gpus(0.0, False)


def test_a_user_without_a_home_knows_no_autoscaler(monkeypatch):
    """As in a container that runs under a number which its image has no name for."""
    from padray.cluster import nodes

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(nodes.Path, "home", nobody)
    monkeypatch.setattr(nodes, "up", lambda: ({"CPU": 2.0},))
    assert nodes.here() == nodes.Cluster(({"CPU": 2.0},))


HEAD = {"node:__internal_head__": 1.0, "CPU": 2.0}


@pytest.mark.parametrize(
    "types, most, takes, slots",
    [
        ([], 9, {"CPU": 1}, 2),  # the head alone
        ([({"CPU": 4}, 3)], 9, {"CPU": 1}, 14),
        ([({"CPU": 4}, 3)], 2, {"CPU": 1}, 10),  # two nodes in all
        ([({"CPU": 4}, 3), ({"CPU": 16}, 1)], 2, {"CPU": 1}, 22),  # the larger ones first
        ([({"CPU": 8, "GPU": 2}, 4)], 9, {"CPU": 1, "GPU": 1}, 8),
        ([({"CPU": 8, "GPU": 2}, 4)], 9, {"CPU": 1, "GPU": 0.25}, 32),
        ([({"CPU": 1, "GPU": 8}, 4)], 9, {"CPU": 1, "GPU": 0}, 6),
        ([({"CPU": 4}, 3)], 9, {"CPU": 8}, 0),
    ],
)
def test_a_cluster_s_room_is_that_of_all_nodes_that_may_be_started(types, most, takes, slots):
    from padray.cluster.nodes import Autoscaler, Cluster, NodeType

    up = (HEAD, {"CPU": 4.0})  # a node that was started already counts once
    kinds = tuple(NodeType(resources, count) for resources, count in types)
    assert Cluster(up, Autoscaler(kinds, most)).slots(takes) == slots
    assert Cluster(up).slots({"CPU": 1}) == 6, "without an autoscaler, what is up"


@pytest.mark.parametrize(
    "overrides, told",
    [
        ((), None),
        (("compute.threads=5",), "an expert would take 5 CPUs, but no node of this cluster has, or may have, more"),
        (("compute.device=cuda",), "an expert would take 1 GPUs, but no node of this cluster has, or may have, more"),
        (("distill.trajectories=99", "cluster.workers=13"), "13 Train workers would take 1 CPUs each, but there is"),
    ],
)
def test_what_no_node_will_ever_hold_is_refused_by_the_driver(monkeypatch, overrides, told):
    from padray.cluster import session
    from padray.cluster.nodes import Autoscaler, Cluster, NodeType
    from padray.configuration import loading

    monkeypatch.setattr(session, "is_own", lambda: False)
    config, head = loading.load("digits-ipc1", overrides).config, {"node:__internal_head__": 1.0, "CPU": 0.0}
    session.check_room(config, Cluster((head,)))  # nothing is known of what may be started
    cluster = Cluster((head,), Autoscaler((NodeType({"CPU": 4.0}, 3),), 3))
    if told is None:
        return session.check_room(config, cluster)
    with pytest.raises(InputError) as caught:
        session.check_room(config, cluster)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "said, expected", [("echo 81920; echo 24576", 24576 * 2**20), ("exit 9", None), ("echo '[N/A]'", None)]
)
def test_a_node_s_driver_says_how_much_its_gpus_hold(monkeypatch, tmp_path, said, expected):
    from padray.cluster import gpus

    monkeypatch.setenv("PATH", str(tmp_path))  # where the real one, if there is any, is not found
    ask = gpus._smallest_here._function
    assert ask() == gpus.UNKNOWN_BYTES
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{said}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert ask() == (expected or gpus.UNKNOWN_BYTES)


@pytest.mark.parametrize("share, shares_taken", [(0.5, [0.5, 1.0]), (1.0, [1.0])])
def test_a_distillation_that_finds_a_shared_gpu_full_goes_on_with_a_whole_one(monkeypatch, share, shares_taken):
    from padray.cluster import trainer

    taken = []

    def full(task):
        taken.append(task.share)
        yield {"iteration": len(taken)}
        raise GpuFullError("distilling does not fit")

    monkeypatch.setattr(trainer, "_distil", full)
    told = []
    with pytest.raises(GpuFullError, match="it had a GPU to itself"):
        for metrics in trainer.run(None, None, share):
            told.append(metrics["iteration"])
    assert taken == shares_taken and told == list(range(1, len(taken) + 1))


def test_a_trial_that_finds_a_shared_gpu_full_is_made_again_with_a_whole_one(monkeypatch, settings):
    from padray.cluster.owner import Owner
    from padray.cluster.unit_progress import Reporting
    from padray.configuration import loading

    config, taken = loading.load(str(settings)).config, []

    def attempt(config, share, trial):
        taken.append(share)
        return replace(trial, state="finished", value=0.5) if share == 1 else GpuFullError("too large")

    made = Owner(SimpleNamespace(config=config), None, 0.5, lambda *_: None, Reporting("nowhere"))
    monkeypatch.setattr(made, "_attempt", attempt)
    made._distilled(config, trials.TrialRecord(0, {}, "running"))
    assert taken == [0.5, 1.0]


@pytest.mark.parametrize(
    "error, kind",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), GpuFullError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), GpuFullError),
        (RuntimeError("CUDA error: out of memory"), GpuFullError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), InfrastructureError),
        (MemoryError(), InfrastructureError),
        (RuntimeError("shapes differ"), RuntimeError),
    ],
)
def test_a_full_gpu_is_told_apart_from_a_full_machine(error, kind):
    with pytest.raises(Exception) as caught, within_memory("expert-0000"):
        raise error
    assert type(caught.value) is kind
    if kind is GpuFullError:
        told = "expert-0000 does not fit into the GPU's memory: lower its batch or its network's width"
        assert str(caught.value) == told


def test_of_several_gpus_the_process_s_own_is_used(monkeypatch):
    """A Train worker sees those of all workers on its node, and Ray Train makes its own the current one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    numerics = decide(ComputeSettings(device="cpu"))
    assert replace(numerics, device="cuda").use() == torch.device("cuda:2")
    assert numerics.use() == torch.device("cpu")


def test_a_cell_s_share_follows_its_network_and_the_dataset(settings, tmp_path, monkeypatch):
    def needed(*overrides: str) -> int:
        context = make_context(settings, tmp_path / "runs", "inline", overrides)
        return footprint.of_cell(context.config, Inputs(context.location, data.make(context)))

    small, limit = needed(), "data.limit_per_class=50"
    wide = needed("evaluation.architectures=[{name: convnet, width: 256, depth: 3}]")
    assert wide > needed("evaluation.architectures=[{name: convnet, width: 64, depth: 3}]") > small
    assert needed(limit) > small
    assert needed("evaluation.controls.full=true", "evaluation.batch=64") > small
    assert needed("evaluation.protocol=rded-kd", "evaluation.teacher.network=resnet18") > small
    monkeypatch.setattr(footprint, "_BORROWED", 0.0)
    assert needed(limit) > needed() > footprint._LIBRARIES, "the samples themselves"


@pytest.mark.parametrize(
    "overrides, trials_at_a_time, room",
    [
        ((), 12, 12),
        (("compute.threads=2",), 6, 6),
        (("distill.trajectories=4", "cluster.workers=4", "cluster.cpus_per_worker=0.5"), 6, 6),
        (("distill.trajectories=4", "cluster.workers=[1, 4]"), 12, 12),  # one worker is enough to begin with
        (("search.trials=5",), 5, 12),
        (("search.concurrency=3",), 3, None),
    ],
)
def test_as_many_trials_run_at_a_time_as_the_grown_cluster_has_room_for(
    monkeypatch, tmp_path, overrides, trials_at_a_time, room
):
    from padray.cluster import nodes, session
    from padray.cluster.runner import RayRunner
    from padray.configuration import loading
    from padray.store.location import LocalLocation

    cluster = nodes.Cluster((), nodes.Autoscaler((nodes.NodeType({"CPU": 4.0}, 3),), 3))
    monkeypatch.setattr(nodes, "here", lambda: cluster)
    monkeypatch.setattr(session, "is_own", lambda: False)
    config = loading.load("digits-ipc1", overrides).config
    runner = RayRunner(config, LocalLocation(tmp_path))
    assert runner._concurrency(config, 0.0) == trials_at_a_time
    said = runner.remarks()
    assert said == [] if room is None else f"all nodes that may be started have room for {room};" in said[0]
    monkeypatch.setattr(nodes, "here", lambda: nodes.Cluster(()))  # nothing is up, and nothing known of what may come
    if room is not None:
        assert runner._concurrency(config, 0.0) == 2
