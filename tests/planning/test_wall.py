"""`padray plan --nodes N`: the plan's hours spread over nodes, in order, and what that costs by a price table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from padray.errors import InputError
from padray.planning import measured, prices
from padray.planning.simulation.model import DRIVER_S
from padray.store.location import Location
from tests.conftest import Run
from tests.planning.conftest import line_of, plan

ROOT = Path(__file__).parents[2]
HEAD = 'as_of: "2026-11-21"\nsource: a test\ncurrency: EUR\n'
BARE = f"{HEAD}worker_start_seconds: 0\n"
MORE = ("experts.count=11", "distill.iterations=24")  # of the finished chain's: some of it is known from its events
SEARCH = "search={trials: 6, space: {distill.lr_images: {type: float, low: 1, high: 2}}}"
OTHER_EXPERTS = "search={trials: 6, space: {experts.lr: {type: choice, choices: [0.01, 0.02, 0.03]}}}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As little as can be measured."""
    monkeypatch.setattr("padray.planning.calibrate._LONG_S", 0.0)


def table(tmp_path: Path, nodes: str, head: str = BARE) -> str:
    path = tmp_path / "prices.yaml"
    path.write_text(f"{head}nodes:\n  {nodes}\n")
    return str(path)


def rows(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["node"]: row for row in told["cluster"]["types"]}


def stage(row: dict[str, Any], name: str) -> float:
    """Seconds of a stage."""
    return 3600 * sum(part["hours"] for part in row["stages"] if part["stage"] == name)


@pytest.mark.parametrize("overrides", [(), (SEARCH,), (OTHER_EXPERTS,), (SEARCH, "distill.trajectories=4")])
def test_one_worker_takes_the_hours_of_the_plan(settings, tmp_path, quick, overrides):
    """Every unit of every line, a search's among them, once: nothing is left out, and nothing comes twice."""
    file = table(tmp_path, "one: {cpus: 1, per_hour: 2}")
    told = plan(settings, tmp_path / "none", *overrides, calibrated=True, nodes=1, price=file)
    row, total = rows(told)["one"], told["total"]
    assert row["hours"] * 3600 == pytest.approx(total["hours"] * 3600, abs=3 * DRIVER_S * total["units"])
    assert row["efficiency"] * row["node_hours"] == pytest.approx(total["hours"]) and row["limit"] == "workers"
    assert row["money"] == pytest.approx(2 * row["hours"])


def test_seconds_come_from_finished_units_and_only_what_never_ran_is_measured(settings, finished, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("padray.planning.calibrate._Calibrator.pace", lambda self, task: asked.append(task.kind) or 1.0)
    told = plan(settings, finished, *MORE, calibrated=True, nodes=1)
    assert line_of(told, "experts")["measured"] == "3 finished, on 1 host"
    assert line_of(told, "distill")["measured"] == "calibrated", "other experts, another distillation"
    assert "iteration" in asked and "experts" not in asked
    known = plan(settings, finished, "distill.iterations=24", nodes=1)
    assert known["device"] is None and rows(known)["one device"]["hours"] > 0


def test_units_are_as_different_as_those_that_were_measured(settings, finished, tmp_path, quick, monkeypatch):
    """Of experts that took 1, 10 and 100 s: 20 on as many nodes end with a slow one, and on one node take their sum."""
    read = measured.read

    def spread(location: Location) -> list[measured.Event]:
        lengths = iter((1.0, 10.0, 100.0))
        return [replace(event, seconds=next(lengths)) if "expert" in event.unit else event for event in read(location)]

    monkeypatch.setattr(measured, "read", spread)
    file, asked = table(tmp_path, "one: {cpus: 1, per_hour: 1}"), ("experts.count=23",)
    many = plan(settings, finished, *asked, calibrated=True, nodes=64, price=file)
    alone = plan(settings, finished, *asked, calibrated=True, nodes=1, price=file)
    assert line_of(many, "experts")["seconds"] == 10.0
    assert stage(rows(many)["one"], "experts") == pytest.approx(100.0, abs=44 * DRIVER_S)
    whole = stage(rows(alone)["one"], "experts")
    assert whole > 300 and round(whole) % 9 == 20 % 9, "20 of 1, 10 or 100 s, each of which is 1 more than nines"


def test_nodes_are_paid_and_so_is_the_drivers_machine(settings, tmp_path, quick):
    file = table(tmp_path, "four: {cpus: 4, per_hour: 2}", f"{BARE}head_per_hour: 3\n")
    row = rows(plan(settings, tmp_path / "none", calibrated=True, nodes=5, price=file))["four"]
    assert row["workers"] == 4 and row["node_hours"] == pytest.approx(5 * row["hours"])
    assert row["money"] == pytest.approx((5 * 2 + 3) * row["hours"])
    coming = table(tmp_path, "four: {cpus: 4, per_hour: 2, start_minutes: 6, idle_minutes: 60}")
    later = rows(plan(settings, tmp_path / "none", calibrated=True, nodes=5, price=coming))["four"]
    assert later["hours"] > 0.1 and later["limit"] == "starting" and later["node_hours"] > 1.1


def test_a_node_may_be_faster_and_its_workers_follow_cpus_and_gpus(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("padray.planning.calibrate._Calibrator.pace", lambda self, task: 1.0)
    nodes = (
        "slow: {cpus: 2, per_hour: 1}\n  fast: {cpus: 2, per_hour: 1, speed: 4}\n  gpu: {cpus: 8, gpus: 2, per_hour: 1}"
    )
    file = table(tmp_path, nodes)
    found = rows(plan(settings, tmp_path / "none", calibrated=True, nodes=3, price=file))
    assert found["slow"]["hours"] == pytest.approx(4 * found["fast"]["hours"], rel=1e-3)
    assert [found[name]["workers"] for name in ("slow", "fast", "gpu")] == [2, 2, 2]
    halves = plan(settings, tmp_path / "none", "cluster.gpus_per_worker=0.5", nodes=3, price=file)
    assert rows(halves)["gpu"]["workers"] == 4
    on_cpus = plan(settings, tmp_path / "none", "compute.device=cpu", "compute.threads=2", nodes=3, price=file)
    assert [rows(on_cpus)[name]["workers"] for name in ("slow", "gpu")] == [1, 4]


def test_types_that_cannot_run_it_are_named_or_refused(settings, tmp_path):
    both = table(tmp_path, "cpu: {cpus: 8, per_hour: 1}\n  gpu: {cpus: 8, gpus: 1, per_hour: 1}")
    told = plan(settings, tmp_path / "none", "compute.device=cuda", nodes=2, price=both)
    assert list(rows(told)) == ["gpu"] and "has no GPU" in told["cluster"]["unfit"]["cpu"]
    small = table(tmp_path, "cpu: {cpus: 8, per_hour: 1}")
    with pytest.raises(InputError, match="none of the types of nodes can run this: cpu has fewer CPUs"):
        plan(settings, tmp_path / "none", "compute.threads=16", nodes=2, price=small)


def test_trajectories_are_shared_by_the_workers_of_a_distillation(settings, tmp_path, monkeypatch):
    """4 trajectories on 1, 2, 3, 4 workers: 4, 2, 2, 1 after the other. An elastic group takes what there is."""
    monkeypatch.setattr("padray.planning.calibrate._Calibrator.pace", lambda self, task: 1.0)
    file, four = table(tmp_path, "one: {cpus: 1, per_hour: 1}"), "distill.trajectories=4"
    took = {
        asked: stage(
            rows(
                plan(
                    settings, tmp_path / "none", four, f"cluster.workers={asked}", calibrated=True, nodes=4, price=file
                )
            )["one"],
            "distill",
        )
        for asked in ("1", "2", "3", "4", "[1, 4]")
    }
    shares = [took[asked] / took["1"] for asked in took]
    assert shares == pytest.approx([1, 1 / 2, 1 / 2, 1 / 4, 1 / 4], rel=1e-3)
    with pytest.raises(InputError, match="starts 4 workers together, but 2 nodes have room for 2"):
        plan(settings, tmp_path / "none", four, "cluster.workers=4", calibrated=True, nodes=2, price=file)


def test_trials_go_side_by_side_and_the_experts_that_they_share_come_first(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("padray.planning.calibrate._Calibrator.pace", lambda self, task: 1.0)
    file = table(tmp_path, "one: {cpus: 1, per_hour: 1}")
    found = {}
    for concurrency in (1, 3, "auto"):
        asked = SEARCH.replace("trials: 6", f"trials: 6, concurrency: {concurrency}")
        told = plan(settings, tmp_path / "none", asked, calibrated=True, nodes=3, price=file)
        found[concurrency] = rows(told)["one"]
        trial, expert, score = (line_of(told, name)["seconds"] for name in ("search", "experts", "scores"))
    assert [part["stage"] for part in found[1]["stages"]] == ["search", "finals", "evaluate"], (
        "neither the experts nor the defaults' set twice"
    )
    assert found.pop("auto") == found[3], "as many as there is room for"
    for concurrency, row in found.items():
        assert stage(row, "search") == pytest.approx(6 / concurrency * trial + expert + score, rel=1e-3)


def test_no_more_actors_than_the_settings_allow(settings, tmp_path, monkeypatch):
    """With two actors, experts and cells take on eight nodes what they take on two."""
    monkeypatch.setattr("padray.planning.calibrate._Calibrator.pace", lambda self, task: 1.0)
    file = table(tmp_path, "one: {cpus: 1, per_hour: 1}")
    few, many = (
        rows(plan(settings, tmp_path / "none", "cluster.max_actors=2", calibrated=True, nodes=nodes, price=file))["one"]
        for nodes in (2, 8)
    )
    assert many["hours"] == pytest.approx(few["hours"]) and many["limit"] == "settings"
    free = rows(plan(settings, tmp_path / "none", calibrated=True, nodes=8, price=file))["one"]
    assert all(stage(free, name) < stage(many, name) for name in ("experts", "evaluate"))


def test_spot_nodes_that_are_taken_away_cost_time(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("padray.planning.calibrate._Calibrator.pace", lambda self, task: 1.0)
    same = "cpus: 1, per_hour: 1, start_minutes: 1"
    kinds = f"steady: {{{same}}}\n  spot: {{{same}, spot: true, hours_to_loss: 0.3}}\n  told: {{{same}, spot: true}}"
    file = table(tmp_path, kinds)
    found = rows(plan(settings, tmp_path / "none", calibrated=True, nodes=4, price=file))
    assert found["spot"]["nodes_lost"] and found["spot"]["hours"] > found["steady"]["hours"] == found["told"]["hours"]
    again = rows(plan(settings, tmp_path / "none", calibrated=True, nodes=4, price=file))
    assert again == found, "the same question has one answer"


def test_what_nobody_has_measured_is_unknown(settings, tmp_path, run: Run):
    file = table(tmp_path, "own: {cpus: 4, per_hour: 1}")
    row = rows(plan(settings, tmp_path / "none", nodes=2, price=file))["own"]
    assert row["hours"] is None and row["money"] is None
    said = run("plan", settings, "--storage", tmp_path / "none", "--nodes", "2", "--prices", file)
    assert said.code == 0 and "on at most 2 nodes" in said.out and "prices: a test, as of 2026-11-21" in said.out


def test_without_prices_there_is_time_and_no_money(settings, finished, run: Run):
    options = ("plan", settings, "--storage", finished, "--set", "distill.iterations=24", "--nodes", "2")
    (row,) = run(*options, "--json").json["cluster"]["types"]
    assert row["hours"] > 0 and row["money"] is None
    priced = run(*options, "--price", "1.5", "--json").json
    (row,) = priced["cluster"]["types"]
    assert row["money"] == pytest.approx(1.5 * row["node_hours"]) and priced["total"]["price_per_hour"] == 1.5
    assert "wall time is simulated" in run(*options).out
    assert run("plan", settings, "--storage", finished, "--json").json["cluster"] is None


def test_the_price_table_that_is_shipped_is_an_example_and_says_so(settings, tmp_path):
    shipped = prices.table(str(ROOT / "prices.yaml"))
    assert "example" in shipped.source and shipped.as_of
    told = plan(settings, tmp_path / "none", nodes=2, price=str(ROOT / "prices.yaml"))
    assert set(rows(told)) == set(shipped.nodes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{BARE}nodes: {{}}", "nodes: dictionary should have at least 1 item"),
        (
            f"{BARE}nodes: {{a: {{cpus: 0, per_hour: 1}}}}",
            r"nodes\.a\.cpus: input should be greater than or equal to 1",
        ),
        (f"{BARE}nodes: {{a: {{cpus: 1, per_hour: -1}}}}", r"nodes\.a\.per_hour: input should be greater"),
        (f"{BARE}nodes: {{a: {{cpus: 1, per_hour: .inf}}}}", r"nodes\.a\.per_hour: input should be a finite number"),
        (f"{BARE}nodes: {{a: {{cpus: 1, per_hour: 1, gpu: 1}}}}", r"nodes\.a\.gpu: extra inputs are not permitted"),
        (
            f"{BARE}nodes: {{a: {{cpus: 1, per_hour: 1, hours_to_loss: 3}}}}",
            r"nodes\.a: hours_to_loss is for spot nodes",
        ),
        ("nodes: {a: {cpus: 1, per_hour: 1}}", "as_of: field required"),
        (BARE.replace('"', "") + "nodes: {a: {cpus: 1, per_hour: 1}}", "a text needs quotes"),
        ("- 1", "must hold sections"),
        ("{", "prices.yaml"),
        ("\0", "prices.yaml"),
    ],
)
def test_a_table_that_is_none_is_refused_in_a_sentence(settings, tmp_path, text, sentence, run: Run):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        prices.table(str(path))
    said = run("plan", settings, "--nodes", "2", "--price", path)
    assert said.code == 2 and said.err.startswith("padray: ") and said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--price", str(ROOT / "prices.yaml")), "a price table is for a number of nodes: add --nodes N"),
        (("--nodes", "0"), "--nodes is how many nodes there may be"),
        (("--nodes", "10001"), "(got 10001)"),
        (("--price", "dear"), "--price is what a device costs"),
        (("--price", "nan"), "--price is what a device costs"),
        (("--nodes", "2", "--price", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, tmp_path, run: Run, options, sentence):
    said = run("plan", settings, "--storage", tmp_path / "none", *options)
    assert said.code == 2 and sentence in said.err and "Traceback" not in said.err
