"""The simulation against real local runs on Ray, and the efficiency curves that it gives for 1 to 1,000 workers.

python -m tests.benchmarks.simulation              # both: some 10 minutes, of which Ray waits most
python -m tests.benchmarks.simulation --curves     # the curves alone
python -m tests.benchmarks.simulation --validate   # the runs on Ray alone

What a machine with few cores can validate: who works when, what a worker's start takes, what the driver adds. So the
units of the validation wait instead of computing, for as many seconds as was drawn for each, on 1, 2 and 4 of Ray's
CPUs; they are made by padray's own actors (cluster/pool.py): few long ones, as experts are, and many short ones, as
cells of an evaluation are, of which the driver has more to do.
The start of a worker depends on how busy the cores are, so it is taken from the same run: units say when they began.
Losses, autoscaling and storage bandwidth are held against closed forms in tests/planning/simulation, not against Ray.
"""

import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from padray.config import ClusterSettings, Config
from padray.configuration import loading
from padray.planning.plan import Asked, plan
from padray.planning.prices import WORKER_START_S
from padray.planning.simulation.fleet import Fleet
from padray.planning.simulation.model import DRIVER_S, Setting, drawn, limit, simulate
from padray.planning.simulation.workers import Actors, Group, Search, Stage, Start, Trial, Unit
from padray.stages import base
from padray.stages.inline import InlineRunner
from padray.store.artifacts import StoredObject
from padray.store.opening import open_location
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine

RECIPE = "cifar10-narrow-ipc1"
FILE = RESULTS / "simulation.json"
WORKERS = (1, 2, 4)
LENGTHS_S = {"experts": (0.5, 1.0, 1.5, 2.0, 3.0), "evaluate": (0.05, 0.1, 0.15, 0.2, 0.3)}
UNITS = {"experts": 16, "evaluate": 96}
MOST = 1000  # actors of the curves: cluster.max_actors
REPEATS = 3
CURVE = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
GOAL = 0.1


@dataclass(frozen=True)
class Waiting:
    """Work whose units wait for the seconds that their names say."""

    config: Config

    def prepare(self) -> base.Make:
        def make(unit: base.Unit) -> StoredObject:
            facts = {"began": time.time(), "process": os.getpid()}
            time.sleep(float(unit.id.split("-")[-1]))
            return StoredObject(f"{unit.id}.json", 0, "0" * 64, facts)

        return make


class Run(NamedTuple):
    """Seconds of a stage, of them those until a worker's first unit began (the workers' median), and how busy the
    machine was when it began (processes that ran or waited to, over the last minute)."""

    seconds: float
    start_s: float
    load: float


def took(kind: str, seconds: Sequence[float]) -> Run:
    """What padray's own stage takes for units of these lengths, on the Ray that is there."""
    from padray.cluster import pool
    from padray.cluster.probe import probing

    config, settings = loading.load("demo").config, ClusterSettings()
    units = [base.Unit(kind, f"unit-{place}-{each}", "") for place, each in enumerate(seconds)]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="padray-simulation-") as folder, probing(open_location(folder)) as probe:
        demand = pool.Demand(1, 0, settings.max_actors, settings.max_losses, probe)
        began = time.time()
        outcomes = list(pool.run(Waiting(config), units, demand))
        ended = time.time()
    made = [outcome.object for outcome in outcomes if isinstance(outcome, base.Done)]
    assert len(made) == len(units)
    firsts: dict[int, float] = {}
    for item in sorted(made, key=lambda item: float(item.extra["began"])):
        firsts.setdefault(item.extra["process"], item.extra["began"])
    return Run(ended - began, statistics.median(first - began for first in firsts.values()), load)


def simulated(kind: str, seconds: Sequence[float], workers: int, start_s: float) -> float:
    units = tuple(Unit(each) for each in seconds)
    return simulate([Actors(kind, units, MOST, Start(start_s))], Setting(Fleet(workers))).seconds


def on_ray() -> Iterator[list[dict[str, Any]]]:
    """What was measured so far and simulated, after each time on a Ray of its own."""
    from padray.cluster import session

    session.settle_environment()
    # Workers are no nicer than the driver: on a busy machine they would start in minutes.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    import ray

    runs: dict[tuple[str, int], list[Run]] = {(kind, workers): [] for workers in WORKERS for kind in UNITS}
    for repeat, workers in itertools.product(range(REPEATS), WORKERS):
        ray.init(address="local", num_cpus=workers, log_to_driver=False, logging_level="ERROR")
        try:
            for kind in UNITS:
                runs[kind, workers].append(took(kind, lengths(kind, repeat)))
        finally:
            ray.shutdown()
        yield [compared(*of, found) for of, found in runs.items() if found]


def lengths(kind: str, repeat: int) -> list[float]:
    return [unit.seconds for unit in drawn(LENGTHS_S[kind], UNITS[kind], seed=repeat)]


def compared(kind: str, workers: int, runs: list[Run]) -> dict[str, Any]:
    """One line of the validation: the whole stage, and what of it comes after the start."""
    modelled = [simulated(kind, lengths(kind, repeat), workers, run.start_s) for repeat, run in enumerate(runs)]
    pairs = list(zip(modelled, runs, strict=True))
    ratio = statistics.median(model / run.seconds for model, run in pairs)
    after = statistics.median((model - run.start_s) / (run.seconds - run.start_s) for model, run in pairs)
    line = {
        "stage": kind,
        "workers": workers,
        "start_s": [round(run.start_s, 2) for run in runs],
        "real_s": [round(run.seconds, 2) for run in runs],
        "simulated_s": [round(s, 2) for s in modelled],
        "ratio_median": round(ratio, 3),
        "ratio_without_start": round(after, 3),
        "load": [round(run.load, 1) for run in runs],
        "within_goal": max(abs(ratio - 1), abs(after - 1)) <= GOAL,
    }
    return line


# -- curves


def constants() -> dict[str, Any]:
    """Seconds and bytes of units as they were measured on this machine, and what is assumed beside them."""
    recorded = json.loads((RESULTS / f"{RECIPE}.json").read_text())["seconds"]
    context = base.Context(RECIPE, loading.load(RECIPE).config, open_location("./runs"), InlineRunner())
    lines = {line.stage: line for line in plan(context, Asked()).stages}
    experts, cells = lines["experts"], lines["evaluate"]
    return {
        "from": f"results/{RECIPE}.json: seconds of a stage by its units; units and bytes as `padray plan` counts them",
        "expert_s": recorded["experts"] / experts.units,
        "expert_bytes": experts.bytes / experts.to_do,
        "cell_s": recorded["evaluation"] / cells.units,
        "trial_s": recorded["distill"],
        "dataset_bytes": lines["data"].bytes,
        "worker_start_s": WORKER_START_S,
        "driver_s": DRIVER_S,
        "assumed": {
            "bandwidth": "500 MB/s",
            "node": "one worker, 240 s to come, idle for 300 s, spot lasts 10 h on average",
            "settings": f"cluster.max_actors={MOST}, search.concurrency=auto",
            "spread": "each unit 0.8 to 1.25 times these seconds",
        },
    }


def stages(known: dict[str, Any], size: int) -> dict[str, Stage]:
    """Experts, a sweep and a search of `size` units; a search needs 4 sets of 6 experts."""
    start = Start(known["worker_start_s"], 0.0, known["dataset_bytes"])

    def units(seconds: float, count: int, bytes_: float, seed: int) -> tuple[Unit, ...]:
        return drawn([seconds * share for share in (0.8, 0.9, 1.0, 1.1, 1.25)], count, bytes_, seed)

    sets = tuple(
        (Actors(f"experts {k}", units(known["expert_s"], 6, known["expert_bytes"], k), MOST, start),) for k in range(4)
    )
    numbered = enumerate(units(known["trial_s"], size, 0, 9))
    trials = tuple(Trial(Group("search", unit, 1, 60.0, start), place % 4) for place, unit in numbered)
    return {
        "experts": Actors("experts", units(known["expert_s"], size, known["expert_bytes"], 0), MOST, start),
        "evaluate": Actors("evaluate", units(known["cell_s"], size, 450, 1), MOST, start),
        "search": Search("search", trials, None, sets),
    }


def curves(known: dict[str, Any]) -> list[dict[str, Any]]:
    """For every kind, size and number of workers: time, efficiency, what limits; on nodes that stay, and on spot."""
    found = []
    fleets = {"always up": {}, "spot, from zero": {"delay_s": 240.0, "idle_s": 300.0, "life_s": 36_000.0}}
    for size in (100, 1_000, 10_000):
        for kind, stage in stages(known, size).items():
            for name, given in fleets.items():
                points = []
                for workers in CURVE:
                    setting = Setting(Fleet(workers, 1, **given), 500e6)
                    outcome = simulate([stage], setting)
                    points.append(
                        {
                            "workers": workers,
                            "hours": round(outcome.seconds / 3600, 4),
                            "efficiency": round(outcome.efficiency, 3),
                            "limit": limit([stage], setting, outcome),
                            "nodes_lost": outcome.nodes_lost,
                        }
                    )
                found.append({"stage": kind, "units": size, "nodes": name, "points": points})
                print(size, kind, name, [point["efficiency"] for point in points], file=sys.stderr, flush=True)
    return found


def write(**found: Any) -> None:
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(
        json.dumps({**before, "command": "python -m tests.benchmarks.simulation", **found}, indent=1) + "\n"
    )


def main() -> None:
    if "--curves" not in sys.argv:
        for lines in on_ray():
            print(*map(json.dumps, lines), "", sep="\n", file=sys.stderr, flush=True)
            write(machine=machine(), validation=lines)
    if "--validate" not in sys.argv:
        known = constants()
        write(constants=known, curves=curves(known))


if __name__ == "__main__":
    main()
