"""Nodes that go in the middle of every stage, and come back: nothing is lost but time, and the bytes are the same."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.conftest import command, events, finished_units, objects, ray_processes, wait_for
from tests.cluster.heads import Nodes, started

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
SIZE = (
    "experts.count=9",
    "experts.epochs=400",
    "distill.iterations=300",
    "evaluation.seeds=3",
    "evaluation.epochs=3000",
)
SPACE = "distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started({}, ("--num-cpus=0",)) as head, Nodes(head) as joined:
        for _ in range(3):
            joined.join()
        yield joined


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("alone") / "runs"
    carry_out("evaluate", settings, root, "--runner", "inline", set_=SIZE)
    return root


def carry_out(name: str, settings: Path, root: Path, *more: object, set_=(), environment=None, meanwhile=None) -> dict:
    """A command's result; `meanwhile` is done while it runs."""
    overrides = [part for text in set_ for part in ("--set", text)]
    run = command(name, settings, "--storage", root, "--json", *more, *overrides, environment=environment)
    if meanwhile:
        meanwhile()
    out, err = run.communicate(timeout=500)
    assert run.returncode == 0 and "Traceback" not in err, err
    return json.loads(out)


def made(root: Path, below: str = "") -> dict[str, bytes]:
    """All objects; not the manifests, whose settings say how many workers were asked for."""
    return {name: content for name, content in objects(root, below).items() if not name.endswith("manifest.json")}


def reached(root: Path, pattern: str) -> bool:
    return any(root.rglob(pattern))


def replace_one(nodes: Nodes, seen: Callable[[], object], working: str) -> Callable[[], None]:
    """Once `seen`, kill a node on which a process of that title runs, and join another one."""

    def work() -> None:
        wait_for("what to kill after", seen, 120)
        nodes.kill(working)
        nodes.join()

    return work


def test_a_node_is_killed_in_every_stage_and_the_bytes_are_those_of_one_process(nodes, settings, alone, tmp_path):
    root = tmp_path / "runs"
    workers = ("cluster.workers=3", "cluster.cpus_per_worker=1", "distill.checkpoint_seconds=0")
    stages = {
        "experts": ("expert-*.safetensors", "ray::Worker.make"),
        "distill": ("checkpoint-*", "RayTrainWorker"),
        "evaluate": ("cell-*.json", "ray::Worker.make"),
    }
    for name, (pattern, working) in stages.items():
        meanwhile = replace_one(nodes, partial(reached, root, pattern), working)
        carry_out(name, settings, root, set_=SIZE + workers, environment=nodes.environment, meanwhile=meanwhile)
    for stage in ("experts", "evaluate"):
        units = finished_units(root, stage)
        assert len(units) == len(set(units)) and events(root, stage, "lost")
    assert made(root) == made(alone)


def test_a_node_killed_in_a_search_costs_its_trial_alone(nodes, settings, tmp_path):
    root, space = tmp_path / "runs", tmp_path / "space.yaml"
    space.write_text(SPACE)
    few = ("search.trials=4", "search.epochs=10", "distill.iterations=300", "search.final_seeds=3")
    meanwhile = replace_one(nodes, partial(reached, root, "trial-*.json"), "ray::TrialWorker.")
    more = ("--space", space)
    done = carry_out("tune", settings, root, *more, set_=few, environment=nodes.environment, meanwhile=meanwhile)
    assert done["trials"]["finished"] == 4
    for record in map(json.loads, (path.read_text() for path in root.rglob("trial-*.json"))):
        (lr,) = record["parameters"].values()
        again = tmp_path / f"again-{record['number']}"
        values = (*few[1:], f"distill.lr_images={lr!r}")
        carry_out("distill", settings, again, "--runner", "inline", set_=values)
        sets = [content for name, content in objects(again, "distilled").items() if "/set-" in name]
        assert len(sets) == 1 and sets[0] in objects(root, "distilled").values()


def test_workers_go_on_with_fewer_and_take_a_node_that_joins(nodes, settings, alone, tmp_path):
    root, sizes = tmp_path / "runs", []

    def group(size: int) -> Callable[[], bool]:
        return lambda: len(ray_processes("RayTrainWorker", nodes.environment)) == size

    def meanwhile() -> None:
        wait_for("three workers", group(3), 60)
        wait_for("a checkpoint", lambda: list(root.rglob("checkpoint-*")), 60)
        nodes.kill()
        wait_for("two workers", group(2), 60)
        sizes.append(2)
        nodes.join()
        wait_for("three workers again", group(3), 120)
        sizes.append(3)

    workers = ("cluster.workers=[1, 3]", "cluster.cpus_per_worker=1", "distill.checkpoint_seconds=0")
    size = (*SIZE[:2], "distill.iterations=6000", *SIZE[3:])
    carry_out("distill", settings, root, set_=size + workers, environment=nodes.environment, meanwhile=meanwhile)
    straight = tmp_path / "straight"
    carry_out("distill", settings, straight, "--runner", "inline", set_=size)
    assert sizes == [2, 3] and made(root, "distilled") == made(straight, "distilled")
