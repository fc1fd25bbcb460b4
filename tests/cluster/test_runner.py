"""The contract of the two runners: the same bytes, and units that fail by themselves fail once."""

import itertools
import os
import shutil
import signal
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from padray.config import Config
from padray.errors import InputError, WorkError
from padray.machine import activity
from padray.stages.base import Done, Lost, Make, Unit
from padray.stages.progress import Workers
from padray.store.artifacts import StoredObject
from padray.store.location import LocalLocation
from tests.cluster.conftest import events, finished_units, make_context, objects, wait_for

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def on_ray(local_ray, chain, tmp_path_factory):
    root = tmp_path_factory.mktemp("ray") / "runs"
    return root, chain(root, "ray")[1]


@pytest.mark.chaos  # `make test` has the same in a bucket (test_s3_chain.py)
def test_both_runners_leave_the_same_bytes(inline, on_ray):
    there, here = objects(inline[0]), objects(on_ray[0])
    assert {key.partition("/")[0] for key in here} == {"datasets", "scores", "experts", "distilled", "evaluations"}
    assert sorted(here) == sorted(there)
    assert [key for key in there if there[key] != here[key]] == []
    assert on_ray[1].rows == inline[1].rows
    for stage in ("scores", "experts", "evaluate"):
        assert sorted(finished_units(on_ray[0], stage)) == sorted(finished_units(inline[0], stage))
    for root in (inline[0], on_ray[0]):
        (distilled,) = events(root, "distill", "finished")
        assert 0 < distilled["waited_s"] < distilled["seconds"]


@pytest.mark.parametrize("workers", ["[1, 2]", *(pytest.param(count, marks=pytest.mark.chaos) for count in ("2", "4"))])
def test_any_number_of_train_workers_gives_the_same_set(local_ray, chain, inline, tmp_path, workers):
    root = tmp_path / "runs"
    shutil.copytree(inline[0], root, ignore=shutil.ignore_patterns("distilled", "evaluations"))
    context, outcome = chain(root, "ray", f"cluster.workers={workers}", until="distill")
    assert "experts" in context.reused and "distill" not in context.reused
    assert outcome.set_digest == inline[1].set_digest


def test_more_workers_than_trajectories_is_refused_before_any_work(settings, tmp_path):
    with pytest.raises(InputError, match=r"cluster\.workers is 5, but distill\.trajectories is 4"):
        make_context(settings, tmp_path, "ray", ("cluster.workers=5",))
    with pytest.raises(InputError, match=r"cluster\.workers is 5"):
        make_context(settings, tmp_path, "ray", ("cluster.workers=[2, 5]",))


@pytest.mark.parametrize(
    "override, told",
    [
        ("compute.threads=3", "an expert would take 3 CPUs, but Ray on this machine has 2; lower compute.threads"),
        ("cluster.workers=[3,4]", None),
        ("cluster.cpus_per_worker=2.5", "a Train worker would take 2.5 CPUs"),
        ("cluster.cpus_per_worker=0.9 cluster.workers=[3,4]", "3 Train workers would take 0.9 CPUs each"),
        ("cluster.gpus_per_cell=0.25", "a cell would take 0.25 GPUs, but Ray on this machine has 0"),
    ],
)
def test_what_would_wait_for_ever_is_refused(local_ray, settings, tmp_path, override, told):
    from padray.cluster import nodes, session

    config = make_context(settings, tmp_path, "ray", tuple(override.split())).config
    if told is None:
        session.check_room(config, nodes.here())
        return
    with pytest.raises(InputError) as caught:
        session.check_room(config, nodes.here())
    assert str(caught.value).startswith(told)


def test_a_diverging_expert_names_its_setting(local_ray, chain, inline, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(inline[0], root, ignore=shutil.ignore_patterns("experts", "distilled", "evaluations"))
    with pytest.raises(WorkError, match=r"experts expert-000\d became nan in epoch \d: lower experts\.lr") as caught:
        chain(root, "ray", "experts.lr=1e30", until="experts")
    assert caught.value.exit_code == 3
    assert not list(root.rglob("expert-*"))


def test_one_train_worker_s_own_error_ends_all_workers_once(local_ray, chain, inline, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(inline[0], root, ignore=shutil.ignore_patterns("distilled", "evaluations"))
    shard = next(root.rglob("expert-0001-*.safetensors"))  # read row by row, so only by workers that come to it
    content = bytearray(shard.read_bytes())
    for place in range(2000, len(content), 100):
        content[place] ^= 1
    shard.write_bytes(content)
    with pytest.raises((InputError, WorkError), match="expert-0001"):
        chain(root, "ray", "cluster.workers=2", "distill.init=real", "distill.labels.kind=hard", until="distill")


# Units that fail on purpose. The classes are made inside a function, so that they travel with the task.


def failing_work(notes: Path, fails: str, kind: str) -> object:
    """Units that note every attempt; the one called `fails` fails each time (`refuse`, `bug`, `die`) or `once`.

    With `wait` it fails at nothing, and waits for a file called `go`; `all` is what all units are called.
    """

    @dataclass(frozen=True)
    class Failing:
        config: Config

        def prepare(self) -> Make:
            def make(unit: Unit) -> StoredObject:
                with (notes / unit.id).open("a") as file:
                    file.write("x")
                if unit.id == fails or fails == "all":
                    with activity.step("epoch", 50, done=12.5):
                        while kind == "wait" and not (notes / "go").exists():
                            time.sleep(0.05)
                    if kind == "refuse":
                        raise WorkError("lower that setting")
                    if kind == "bug":
                        raise ZeroDivisionError("nobody thought of this")
                    if kind == "die" or (kind == "once" and (notes / unit.id).read_text() == "x"):
                        os.kill(os.getpid(), signal.SIGKILL)
                return StoredObject(f"a/{unit.id}-000000000000.bin", 1, "0")

            return make

    return Failing(Config())


def attempts(notes: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in notes.iterdir()}


@pytest.fixture
def spread(local_ray, tmp_path_factory):
    """Units made on actors, up to `max_losses` losses."""
    from padray.cluster import pool, unit_progress
    from padray.cluster.probe import probing

    names = itertools.count()
    with probing(LocalLocation(tmp_path_factory.mktemp("probed"))) as probe:

        def run(work, units, losses=10, pools=None):
            reporting = unit_progress.Reporting(f"progress-{next(names)}", long_s=0.1, every_s=0.1)
            demand = pool.Demand(1, 0, 64, losses, probe, unit_progress.UnitProgress(reporting))
            return pool.run(work, units, demand, pools)

        yield run


UNITS = [Unit("evaluate", f"unit-{k}", "f") for k in range(4)]


def test_a_unit_that_padray_gives_up_is_tried_once_and_the_others_are_made(spread, tmp_path):
    made = []
    with pytest.raises(WorkError, match="lower that setting"):
        for done in spread(failing_work(tmp_path, "unit-1", "refuse"), UNITS):
            made.append(done.unit.id)
    assert sorted(made) == ["unit-0", "unit-2", "unit-3"]
    assert attempts(tmp_path) == dict.fromkeys(("unit-0", "unit-1", "unit-2", "unit-3"), 1)


def test_an_error_that_nobody_thought_of_is_not_tried_again(spread, tmp_path):
    with pytest.raises(ZeroDivisionError):
        list(spread(failing_work(tmp_path, "unit-0", "bug"), UNITS))
    assert attempts(tmp_path)["unit-0"] == 1


def test_a_unit_whose_process_dies_goes_to_another(spread, tmp_path):
    told = list(spread(failing_work(tmp_path, "unit-1", "once"), UNITS))
    assert [item.unit.id for item in told if isinstance(item, Lost)] == ["unit-1"]
    done = [item for item in told if isinstance(item, Done)]
    assert sorted(item.unit.id for item in done) == ["unit-0", "unit-1", "unit-2", "unit-3"]
    assert attempts(tmp_path)["unit-1"] == 2
    assert all(item.numerics["threads"] == 1 for item in done)


def test_processes_that_always_die_end_the_stage(spread, tmp_path):
    work = failing_work(tmp_path, "unit-0", "die")
    with pytest.raises(WorkError, match=r"2 times the same work was lost \(last unit-0: .*cluster\.max_losses \(1\)"):
        list(spread(work, UNITS[:1], 1))
    assert attempts(tmp_path) == {"unit-0": 2}


def test_others_are_told_who_works_on_what_and_how_many_wait(spread, tmp_path):
    from padray.cluster import nodes

    pools, made = [], []
    thread = threading.Thread(
        target=lambda: made.extend(spread(failing_work(tmp_path, "all", "wait"), UNITS, 10, pools)), daemon=True
    )

    def two_at_work() -> Workers | None:  # there are two CPUs
        told = pools[0].workers() if pools else Workers()
        begun = {path.name for path in tmp_path.iterdir()}
        return told if len(begun) == 2 and {each.unit for each in told.running} == begun else None

    def told_of_steps() -> list[str]:
        return [each.unit for each in pools[0].workers().running if list(map(str, each.steps)) == ["epoch 13 of 50"]]

    thread.start()
    try:
        told = wait_for("two at work", two_at_work)
        assert told.summary() == "2 running, 2 pending, 1 node, 0 lost" and len(made) == 0
        assert {each.node for each in told.running} == set(nodes.names().values())
        wait_for("how far they are", lambda: sorted(told_of_steps()) == sorted(each.unit for each in told.running))
    finally:  # or whoever comes next waits for its CPUs
        (tmp_path / "go").touch()
        thread.join(60)
    assert len(made) == 4 and pools == []


def test_lost_units_are_told_too(spread, tmp_path):
    pools, lost = [], []
    for outcome in spread(failing_work(tmp_path, "unit-1", "once"), UNITS, 10, pools):
        if isinstance(outcome, Lost):
            lost.append(pools[0].workers().lost)
    assert lost == [1]


def scraped(name: str, stage: str, run: str) -> dict[str, float]:
    """What this node's Prometheus endpoint says of a metric of ours, by sample."""
    import ray
    from prometheus_client.parser import text_string_to_metric_families

    (node,) = ray.nodes()
    with urllib.request.urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [
        sample for family in families for sample in family.samples if sample.name.startswith(f"ray_padray_{name}")
    ]
    ours = [each for each in samples if (each.labels.get("stage"), each.labels.get("run")) == (stage, run)]
    return {sample.name.removeprefix("ray_padray_") + sample.labels.get("le", ""): sample.value for sample in ours}


def reaches(name: str, stage: str, run: str, count: int) -> None:
    """Ray passes counters on every few seconds: wait until one says so much."""
    wait_for(f"{count} {name} of {stage}", lambda: scraped(name, stage, run).get(f"{name}_total") == count, 60)


@pytest.mark.chaos  # the next two have what becomes of one stage
def test_ray_s_metrics_say_what_the_events_say(on_ray):
    root, run = on_ray[0], on_ray[0].parent.name
    for stage in ("scores", "experts", "evaluate"):
        finished = events(root, stage, "finished")
        reaches("units_done", stage, run, len(finished))
        reaches("bytes_written", stage, run, sum(each["bytes"] for each in finished))
        seconds = scraped("unit_seconds", stage, run)
        assert seconds["unit_seconds_count"] == seconds["unit_seconds_bucket+Inf"] == len(finished)
        short = sum(each["seconds"] <= 1.0 for each in finished)
        assert seconds["unit_seconds_bucket1.0"] == short, "Ray tells sums from the middles of the buckets"
    reaches("iterations", "distill", run, 12)


def test_ray_s_metrics_show_the_last_loss_and_accuracy(local_ray, tmp_path):
    from padray.cluster import metrics

    def iterations():
        yield {"loss": 4.0}
        yield {"loss": 2.0, "validation_accuracy": 0.5}
        yield {"loss": None}  # where no trajectory was finite

    def shown(name: str) -> dict[str, float]:
        list(metrics.of_iterations(iterations(), tmp_path.name))  # again, for Ray shows it only for a while
        return scraped(name, "distill", tmp_path.name)

    for name, value in (("loss", 2.0), ("validation_accuracy", 0.5)):
        assert wait_for(name, lambda name=name: shown(name), 60) == {name: value}


def test_ray_s_metrics_say_what_was_lost(spread, tmp_path):
    from padray.cluster import metrics

    list(metrics.of_units(spread(failing_work(tmp_path, "unit-1", "once"), UNITS), tmp_path.name))
    assert wait_for("it", lambda: scraped("units_lost", "evaluate", tmp_path.name), 60) == {"units_lost_total": 1}
