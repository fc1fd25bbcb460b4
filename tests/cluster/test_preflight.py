"""`padray preflight` on a cluster of a head and two nodes, one of which does not see the storage; and as a job."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from padray.errors import InfrastructureError
from tests.cluster.conftest import command, wait_for
from tests.cluster.heads import RAY, Head, free_port, started
from tests.conftest import Run

pytestmark = pytest.mark.ray


def joined(head: Head, kind: str, hide: Path | None) -> subprocess.Popen:
    """A node of a type in the cluster; with `hide` it sees an empty folder in the place of that one."""
    line = [RAY, "start", f"--address={head.address}", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
    line += [f"--dashboard-agent-listen-port={free_port()}"]  # the default one may be another node's
    if hide is not None:
        shell = f'mount -t tmpfs none {hide} && exec "$@"'
        line = ["unshare", "--mount", "sh", "-c", shell, "sh", *line]
    environment = head.environment | {"RAY_NODE_TYPE_NAME": kind, "RAY_worker_niceness": "0"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(list(map(str, line)), env=environment, start_new_session=True, **quiet)


def can_hide(folder: Path) -> bool:
    """Whether this machine lets us give a process an own view of a folder."""
    if shutil.which("unshare") is None:
        return False
    line = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(folder)]
    return subprocess.run(line, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def head(hidden: Path) -> Iterator[Head]:
    """A head, and a node each of the types `sees` and `sees-not`; the latter sees another folder called `hidden`."""
    if not can_hide(hidden):
        pytest.skip("this machine lets nobody hide a folder from a process (unshare --mount)")
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}  # where a job's `python` is one that has padray
    with started(path, ("--num-cpus=0",)) as head:
        nodes = []
        try:
            for kind, hides in (("sees", None), ("sees-not", hidden)):  # of two at once, one may not come up
                nodes.append(joined(head, kind, hides))
                wait_for(f"the node that {kind}", lambda: up(head) == 1 + len(nodes), 120, pause=1)
            yield head
        finally:
            for node in nodes:
                node.kill()
                node.wait(timeout=30)


_ASK = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()))
"""


def up(head: Head) -> int:
    """How many nodes the cluster has."""
    environment = head.environment | {"RAY_ADDRESS": head.address}
    done = subprocess.run([sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def preflight(head: Head, *arguments: object) -> tuple[int, str, str]:
    ran = command("preflight", *arguments, environment=head.environment)
    out, err = ran.communicate(timeout=300)
    return ran.returncode, out, err


def whole(head: Head, storage: Path) -> tuple[int, dict]:
    """The exit code, and what all three nodes say."""
    code, out, err = preflight(head, "--address", head.address, "--storage", storage, "--json")
    assert code in (0, 3), err
    told = json.loads(out)
    assert len(told["nodes"]) == 3
    return code, told


def test_every_node_is_asked_and_the_one_that_does_not_see_the_storage_is_named(head: Head, hidden: Path, tmp_path):
    code, good = whole(head, tmp_path / "seen")
    assert code == 0 and good["problems"] == []
    assert sorted(line["type"] for line in good["nodes"]) == ["head", "sees", "sees-not"]
    for line in good["nodes"]:
        assert line["versions"] == good["driver"] and line["devices"] == {"cpu": ""}
        assert line["write_mb_s"] > 0 and line["read_mb_s"] > 0 and line["memory_bytes"] > 0
        assert abs(line["clock_s"]) <= line["within_s"] + 1
    assert not list((tmp_path / "seen").rglob("*.*")), "what was stored for it is gone"
    code, bad = whole(head, hidden)
    assert code == 3
    (problem,) = bad["problems"]
    (line,) = [line for line in bad["nodes"] if line["problems"]]
    assert line["type"] == "sees-not" and "write_mb_s" not in line
    told = f"the node {line['node']}: it does not see the storage {hidden}; use a network folder that all nodes share"
    assert problem.startswith(told)


@pytest.mark.chaos
def test_the_table_and_the_job_say_the_same(head: Head, hidden: Path):
    for address in (head.address, head.dashboard):
        code, out, err = preflight(head, "--address", address, "--storage", hidden)
        assert code == 3 and out, err
        assert "sees-not" in out and "1 wrong" in out and "the driver's" in out and "MB/s" in out
        assert "it does not see the storage" in out and "3 nodes asked, 1 with something wrong" in out
        assert "Traceback" not in err


def test_a_relative_storage_means_nothing_in_a_job(run: Run):
    said = run("preflight", "--address", "http://127.0.0.1:1", "--storage", "runs")
    assert said.code == 2 and "--storage runs is relative" in said.err
    said = run("preflight", "--address", "127.0.0.1:1", "--env", "A=1")
    assert said.code == 2 and "--env goes with a dashboard's address" in said.err


# -- what is a problem


def found(**changes: object):
    from padray.cluster import preflight as flight

    good = flight.NodeReport(flight.versions(), {"cpu": ""}, 0, flight.Storage(1.0, 1.0), 4 << 30)
    return replace(good, **changes)


NODE = {"NodeID": "ab" * 28, "NodeManagerHostname": "box", "Resources": {"CPU": 2.0, "GPU": 1.0}}


@pytest.mark.parametrize(
    "changes, clock, told",
    [
        ({"gpus": 1}, 0.0, None),
        ({"gpus": 1}, -25.0, None),
        ({"gpus": 0}, 0.0, "Ray was told of 1 GPUs, but PyTorch sees 0; give it a driver"),
        ({"gpus": 1}, -40.0, "its clock is 40 s behind the driver's"),
        ({"gpus": 1, "memory": 1 << 29}, 0.0, "0.5 GiB of memory are free"),
        ({"gpus": 1, "devices": {"cpu": "", "cuda:0 X": "no kernel"}}, 0.0, "PyTorch cannot use cuda:0 X (no kernel)"),
        ({"gpus": 1, "versions": {"python": "3.11.1", "torch": "1", "ray": "2", "padray": "0"}}, 0.0, "it has python"),
    ],
)
def test_what_is_wrong_with_a_node_is_said(changes, clock, told):
    from padray.cluster import preflight as flight

    node = flight._judged(NODE, flight._Answer(found(**changes), clock, 0.5))
    if told is None:
        assert node.problems == []
        return
    assert node.problems[0].startswith(f"the node box/ababab: {told}")
    silent = flight._judged(NODE, flight._Answer(silence="it did not answer in 180 s"))
    assert silent.problems == ["the node box/ababab: it did not answer in 180 s"]


def test_types_that_are_not_up_are_named(local_ray, tmp_path, monkeypatch):
    from padray.cluster import nodes
    from padray.cluster import preflight as flight
    from padray.store.location import LocalLocation

    types = (nodes.NodeType({"CPU": 4.0}, 3, "spot"), nodes.NodeType({"CPU": 4.0}, 0, "never"))
    monkeypatch.setattr(nodes, "_autoscaler", lambda: nodes.Autoscaler(types, 3))
    told = flight.check(LocalLocation(tmp_path))
    assert told.not_up == ("spot",) and [node.problems for node in told.nodes] == [[]]


def test_every_worker_asks_for_the_driver_s_version(tmp_path):
    from padray.cluster.probe import probing
    from padray.store.location import LocalLocation

    with probing(LocalLocation(tmp_path)) as probe:
        assert probe.problem() is None
        other = replace(probe, padray="0.0.1").problem()
    assert isinstance(other, InfrastructureError) and "and the driver 0.0.1; give all nodes one image" in str(other)


@pytest.mark.chaos
def test_on_this_machine_alone_it_starts_its_own_ray(tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    line = [sys.executable, "-m", "padray.commandline.cli", "preflight", "--storage", tmp_path / "runs"]
    ran = subprocess.run(list(map(str, line)), env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "1 node asked, 0 with something wrong" in ran.stdout and "good" in ran.stdout
