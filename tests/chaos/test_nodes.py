"""A Ray of several nodes on this machine, one of which is killed while it works."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import command, finished_units, objects, wait_for
from tests.conftest import TINY

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray\\..*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the pipes of nodes that Ray's own test cluster ends
]
LONGER = (
    "experts.count=8",
    "experts.epochs=40",
    "distill.iterations=12",
    "evaluation.seeds=4",
    "evaluation.epochs=200",
)


@pytest.fixture
def nodes(monkeypatch) -> Iterator[tuple[object, list[object], dict[str, str]]]:
    """A head that does no work and two nodes of two logical CPUs; and the environment that joins them."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000})
    workers = [cluster.add_node(num_cpus=2, object_store_memory=100_000_000) for _ in range(2)]
    try:
        yield cluster, workers, {**os.environ, "RAY_ADDRESS": cluster.address}
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    inline = command(*arguments(settings, folder / "runs"), "--runner", "inline")
    assert inline.wait(300) == 0, inline.communicate()[1]
    inline.communicate()
    return settings, folder / "runs"


def arguments(settings: Path, root: Path) -> list[object]:
    overrides = [item for setting in LONGER for item in ("--set", setting)]
    return ["evaluate", settings, "--storage", root, "--json", *overrides]


def busy_node(title: str, workers: list) -> object:
    """A node one of whose processes bears this title just now: its parent is the node's raylet."""
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in workers}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "cmdline").read_text().startswith(title):
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent in raylets:
                    return raylets[parent]
        except OSError:
            continue
    return None


@pytest.mark.parametrize(
    "stage, title, pattern, keep",
    [
        ("experts", "ray::Worker.make", "expert-*.safetensors", ("experts", "distilled", "evaluations", "events")),
        ("evaluate", "ray::Worker.make", "cell-*.json", ("evaluations", "events")),
    ],
)
def test_a_node_killed_at_work_costs_its_units_alone(nodes, undisturbed, tmp_path, stage, title, pattern, keep):
    _, workers, environment = nodes
    settings, straight = undisturbed
    root = tmp_path / "runs"
    shutil.copytree(straight, root, ignore=shutil.ignore_patterns(*keep))
    run = command(*arguments(settings, root), environment=environment)
    wait_for("the first finished unit", lambda: list(root.rglob(pattern)) or run.poll() is not None, 120)
    node = wait_for("a node at work", lambda: busy_node(title, workers), 20)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob(pattern)}
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    assert run.poll() is None, "it was killed at work"
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    units = finished_units(root, stage)
    assert len(units) == len(set(units))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "finished units are not made again"
    assert objects(root) == objects(straight)
