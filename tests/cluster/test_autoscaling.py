"""From zero nodes: every stage brings nodes up, what waits stays with the driver, and idle nodes go."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.autoscaled import Autoscaled, autoscaled
from tests.cluster.conftest import command, finished_units, objects, wait_for
from tests.conftest import TINY

pytestmark = pytest.mark.ray
SPACE = """
schedule.initial_ratio: {type: choice, choices: [0.5, 1.0]}
distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}
"""
FEW = ("search.trials=2", "search.epochs=10", "evaluation.seeds=1", "search.final_seeds=3")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autoscaled]:
    with autoscaled(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(TINY)
    path.with_name("space.yaml").write_text(SPACE)
    return path


def test_a_search_from_zero_nodes_brings_them_up_and_what_waits_stays_with_the_driver(cluster, settings, tmp_path):
    root, before = tmp_path / "runs", cluster.seen()
    assert before["alive"] == [before["head"]], "there is none at the beginning"
    arguments = ["tune", settings, "--space", settings.with_name("space.yaml"), "--storage", root, "--json"]
    run = command(*arguments, *(part for text in FEW for part in ("--set", text)), environment=cluster.environment)
    out, err = run.communicate(timeout=500)
    assert run.returncode == 0, err
    result = json.loads(out)  # stdout is that object alone, whatever Ray says of what cannot be placed yet
    assert result["trials"]["finished"] == 2 and len(list(root.rglob("trial-*.json"))) == 2
    assert "2 trials at a time: all nodes that may be started have room for 3" in err
    assert "Traceback" not in err and "Warning" not in err
    after = cluster.seen()
    places: dict[str, set[str]] = {}
    for kind, node, _ in after["actors"]:
        if node:  # one that was ended before there was a place for it has none
            places.setdefault(kind.rpartition(".")[2], set()).add(node)
    for waits in ("Trials", "ImplicitFunc"):
        assert places[waits] == {after["head"]}, f"{waits} must not sit on a node that comes and goes"
    for works in ("Worker", "TrialWorker"):
        assert places[works] and after["head"] not in places[works]
    units = finished_units(root, "experts")
    assert len(units) == len(set(units)), "experts that trials share were made once"
    alive = [kind for kind, _, state in after["actors"] if state == "ALIVE"]
    assert not [kind for kind in alive if not kind.startswith("_")], "of ours; Ray keeps one of its own"
    wait_for("the nodes to go", lambda: cluster.seen()["alive"] == [after["head"]], 60, pause=3)


@pytest.mark.chaos  # five times from zero nodes
def test_every_command_from_zero_nodes_brings_some_up_and_leaves_the_bytes_of_one_process(cluster, settings, tmp_path):
    root, straight = tmp_path / "runs", tmp_path / "straight"
    for name in ("scores", "experts", "distill", "evaluate"):
        before = cluster.seen()
        wait_for("the nodes to go", lambda: len(cluster.seen()["alive"]) == 1, 60, pause=3)
        run = command(name, settings, "--storage", root, "--json", environment=cluster.environment)
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0 and json.loads(out), err
        after = cluster.seen()
        assert after["ever"] > before["ever"], f"{name} brought a node up"
        buffers = {node for kind, node, _ in after["actors"] if kind.endswith("MetricsBuffer")}
        assert buffers <= {after["head"]} and (buffers or name != "distill")
    alone = command("evaluate", settings, "--storage", straight, "--runner", "inline")
    assert alone.wait(300) == 0, alone.communicate()[1]
    alone.communicate()
    assert objects(root) == objects(straight)


@pytest.mark.chaos  # an expert of a minute
def test_a_node_without_work_goes_while_another_still_trains(cluster, settings, tmp_path):
    wait_for("the nodes to go", lambda: len(cluster.seen()["alive"]) == 1, 60, pause=3)
    root = tmp_path / "runs"
    size = ("--set", "experts.count=4", "--set", "experts.epochs=3000")
    run = command("experts", settings, "--storage", root, *size, environment=cluster.environment)
    wait_for("three nodes", lambda: len(cluster.seen()["alive"]) == 4, 120, pause=3)
    wait_for("three experts", lambda: len(list(root.rglob("expert-*.safetensors"))) >= 3, 400)
    wait_for("two nodes to go", lambda: len(cluster.seen()["alive"]) == 2, 60, pause=3)
    assert run.poll() is None, "the last expert is still being trained"
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
