"""The simulation against what is known without it: closed forms, bounds, expected values, and that nothing is lost."""

import math
import statistics
from itertools import pairwise

import pytest

from padray.errors import InputError
from padray.planning.simulation.fleet import Fleet, life
from padray.planning.simulation.model import Outcome, Setting, drawn, limit, simulate
from padray.planning.simulation.workers import Actors, Group, Search, Start, Trial, Unit

NOTHING = Start()
SPREAD = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0)  # measured seconds of units that are not alike


def alike(count: int, seconds: float, size: float = 0.0) -> tuple[Unit, ...]:
    return (Unit(seconds, size),) * count


def free(nodes: int, workers: int = 1, **fleet: float) -> Setting:
    """Nodes that are there, and a driver that takes no time."""
    return Setting(Fleet(nodes, workers, **fleet), driver_s=0.0)


def many(units: tuple[Unit, ...], start: Start = NOTHING, name: str = "a") -> Actors:
    """A stage that asks for as many actors as it has units."""
    return Actors(name, units, 10_000, start)


def once(outcome: Outcome, count: int) -> bool:
    """Whether every unit was made, and none twice."""
    return len(outcome.counts) == count and set(outcome.counts.values()) == {1}


# -- closed forms


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64, 99, 100, 1000])
def test_equal_units_take_whole_rounds(workers):
    outcome = simulate([many(alike(100, 10.0))], free(workers))
    assert outcome.seconds == pytest.approx(math.ceil(100 / workers) * 10.0)
    assert outcome.useful == pytest.approx(1000.0)
    assert outcome.efficiency == pytest.approx(1000.0 / (workers * outcome.seconds))


def test_a_node_holds_several_workers_and_is_paid_as_one():
    outcome = simulate([many(alike(96, 5.0))], free(6, 4))
    assert (outcome.seconds, outcome.nodes_s, outcome.paid) == pytest.approx((20.0, 120.0, 480.0))


def test_no_more_actors_than_the_settings_allow():
    assert simulate([Actors("experts", alike(12, 5.0), 3)], free(50)).seconds == pytest.approx(20.0)


def test_an_actor_starts_once_for_every_stage():
    start, units = Start(process_s=3.0, prepare_s=1.0), alike(8, 10.0)
    outcome = simulate([many(units, start, "a"), many(units, start, "b")], free(2))
    assert outcome.seconds == pytest.approx(2 * (3 + 1 + 40))
    assert outcome.starting == pytest.approx(2 * 2 * 4)


@pytest.mark.parametrize("workers", [4, 16, 100])
def test_storage_bound_work_takes_bytes_by_bandwidth(workers):
    moving = simulate([many(alike(100, 0.0, 1e6))], Setting(Fleet(workers), 1e7, driver_s=0.0))
    assert moving.seconds == pytest.approx(100 * 1e6 / 1e7)
    start = Start(prepare_bytes=5e8)
    loading = simulate([many(alike(workers, 1.0), start)], Setting(Fleet(workers), 1e8, driver_s=0.0))
    assert loading.seconds == pytest.approx(workers * 5e8 / 1e8 + 1.0)


def test_a_driver_that_is_slower_than_the_workers_sets_the_time():
    """It hears of each actor once, and of each unit."""
    outcome = simulate([Actors("experts", alike(1000, 1.0), 500)], Setting(Fleet(500), driver_s=0.01))
    assert outcome.seconds == pytest.approx((500 + 1000) * 0.01)


def test_nodes_come_after_a_delay_and_go_when_idle():
    """From nothing: 30 s until both nodes are there, 20 s of work, 60 s until the nodes are given back."""
    fleet = Fleet(8, 1, delay_s=30.0, idle_s=60.0)
    outcome = simulate([many(alike(2, 20.0))], Setting(fleet, driver_s=0.0))
    assert (outcome.seconds, outcome.nodes_s) == pytest.approx((50.0, 2 * (30 + 20 + 60)))


def test_an_idle_node_goes_while_another_works():
    units = (Unit(10.0), Unit(1000.0))
    outcome = simulate([Actors("experts", units, 64)], Setting(Fleet(2, 1, 30.0, 60.0), driver_s=0.0))
    assert outcome.nodes_s == pytest.approx((30 + 10 + 60) + (30 + 1000 + 60))


def test_the_next_stage_uses_the_nodes_that_are_still_there():
    chain = [many(alike(4, 20.0)), many(alike(2, 100.0), name="b")]
    outcome = simulate(chain, Setting(Fleet(4, 1, 30.0, 50.0), driver_s=0.0))
    assert [span.seconds for span in outcome.spans] == pytest.approx([50.0, 100.0])
    assert outcome.nodes_s == pytest.approx(2 * (30 + 20 + 50) + 2 * (30 + 20 + 100 + 50))


# -- bounds


@pytest.mark.parametrize("workers", [2, 3, 8, 31])
def test_work_of_any_lengths_stays_within_the_bounds_of_list_scheduling(workers):
    """Graham: at least the mean load and the longest unit, at most the load without the longest, and the longest."""
    units = drawn(SPREAD, 200, seed=workers)
    work, longest = sum(unit.seconds for unit in units), max(unit.seconds for unit in units)
    seconds = simulate([many(units)], free(workers)).seconds
    assert max(work / workers, longest) <= seconds + 1e-9
    assert seconds <= work / workers + (1 - 1 / workers) * longest + 1e-9


def test_more_workers_are_never_slower_and_never_more_efficient():
    stage = many(alike(720, 10.0), Start(3.0))
    outcomes = [simulate([stage], free(workers)) for workers in (1, 2, 3, 4, 6, 8, 12, 24, 48, 1000)]
    assert all(a.seconds >= b.seconds for a, b in pairwise(outcomes))
    assert all(a.efficiency >= b.efficiency for a, b in pairwise(outcomes))


# -- losses


def test_the_extra_work_of_losses_is_what_is_expected():
    """A unit of s seconds on nodes that last mean m takes m (e^(s/m) - 1) in all, begun anew after every loss."""
    length, mean, runs = 300.0, 400.0, 400
    took = []
    for seed in range(runs):
        setting = Setting(Fleet(1, life_s=mean), driver_s=0.0, seed=seed)
        outcome = simulate([Actors("experts", alike(1, length), 1)], setting)
        assert outcome.seconds == pytest.approx(outcome.useful + outcome.lost) and outcome.useful == pytest.approx(
            length
        )
        took.append(outcome.seconds)
    expected, error = mean * math.expm1(length / mean), statistics.stdev(took) / math.sqrt(runs)
    assert abs(statistics.mean(took) - expected) < 4 * error < 0.2 * expected


def test_a_checkpoint_keeps_what_came_before_it():
    """With checkpoints every c seconds each piece of c is a unit of its own."""
    length, mean, every, runs = 600.0, 400.0, 60.0, 400
    took = []
    for seed in range(runs):
        setting = Setting(Fleet(1, life_s=mean), driver_s=0.0, seed=seed)
        outcome = simulate([Group("distill", Unit(length), 1, every)], setting)
        assert outcome.useful == pytest.approx(length)
        took.append(outcome.seconds)
    expected, error = length / every * mean * math.expm1(every / mean), statistics.stdev(took) / math.sqrt(runs)
    assert abs(statistics.mean(took) - expected) < 4 * error < 0.1 * expected


def test_the_life_of_nodes_is_exponential_and_each_has_its_own():
    lives = [life(100.0, 0, number) for number in range(2000)]
    assert statistics.mean(lives) == pytest.approx(100.0, rel=4 / math.sqrt(2000))
    assert statistics.mean(seconds > 100.0 for seconds in lives) == pytest.approx(math.exp(-1), abs=0.05)
    assert len(set(lives)) == 2000 and life(100.0, 1, 0) != life(100.0, 0, 0)


SPOT = Setting(Fleet(40, 2, delay_s=120.0, idle_s=60.0, life_s=500.0), bandwidth=1e8, seed=3)
START = Start(3.0, 1.0, 1e7)


@pytest.mark.parametrize("seed", range(8))
def test_every_unit_is_made_once_whatever_is_lost(seed):
    units = drawn([40.0, 60.0, 100.0], 300, 1e6)
    setting = Setting(SPOT.fleet, SPOT.bandwidth, seed=seed)
    outcome = simulate([many(units, START)], setting)
    assert once(outcome, 300) and min(outcome.nodes_lost, outcome.units_lost) > 10
    assert outcome.useful == pytest.approx(sum(unit.seconds for unit in units))
    assert outcome.useful + outcome.starting + outcome.storage + outcome.lost <= outcome.paid + 1e-6


def test_a_lost_unit_goes_next():
    """One node is taken from two workers while it makes its second unit."""
    seed = next(s for s in range(1000) if 11 < life(50.0, s, 0) < 19 and min(life(50.0, s, k) for k in (1, 2)) > 90)
    setting = Setting(Fleet(2, 1, delay_s=0.0, idle_s=1e9, life_s=50.0), driver_s=0.0, seed=seed)
    order = [place for _, place in simulate([many(alike(8, 10.0))], setting).counts]
    assert order.index(2) < 5


# -- searches and groups


def search(trials: int, concurrency: int | None, sets: int, workers: int = 1) -> Search:
    group = Group("search", Unit(100.0), workers, 60.0)
    made = tuple((Actors(f"experts {k}", alike(4, 25.0), 64),) for k in range(sets))
    return Search("search", tuple(Trial(group, k % sets) for k in range(trials)), concurrency, made)


def test_trials_go_side_by_side_and_share_their_experts():
    """4 experts of 25 s, then 8 trials of 100 s: one after the other, by twos, and all at once on 8 workers."""
    for concurrency, seconds in ((1, 25 + 800), (2, 25 + 400), (8, 25 + 100)):
        outcome = simulate([search(8, concurrency, 1)], free(8))
        assert outcome.seconds == pytest.approx(seconds)
        assert once(outcome, 8 + 4)
    assert simulate([search(8, 8, 2)], free(8)).seconds == pytest.approx(125), "two sets are made side by side"
    assert simulate([search(8, 1, 2)], free(8)).seconds == pytest.approx(2 * 25 + 800), "each once, when asked for"


@pytest.mark.parametrize(
    ("nodes", "width", "trials"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (3, 2, 1), (4, 2, 2), (9, 1, 4)]
)
def test_as_many_trials_go_side_by_side_as_there_is_room_for(nodes, width, trials):
    """Each of 4 trials asks for experts of its own: those of so many are made before the first of them is over."""
    outcome = simulate([search(4, None, 4, width)], free(nodes))
    names = [name for name, _ in outcome.counts]
    assert len(set(names[: names.index("search")])) == trials
    assert outcome == simulate([search(4, trials, 4, width)], free(nodes))


def test_nodes_that_are_yet_to_come_are_room():
    """4 experts bring 2 of 4 nodes; of 8 trials all are begun, so those that find no room there bring the others."""
    coming = Setting(Fleet(4, 2, delay_s=30.0, idle_s=600.0), driver_s=0.0)
    assert simulate([search(8, None, 1)], coming).seconds == pytest.approx(30 + 25 + 30 + 100)


def test_a_search_is_whole_on_nodes_that_are_taken_away():
    outcome = simulate([search(40, 6, 5, workers=2)], SPOT)
    assert once(outcome, 40 + 5 * 4) and outcome.units_lost
    assert outcome.useful == pytest.approx(40 * 100.0 * 2 + 5 * 4 * 25.0)


def test_a_groups_workers_start_together():
    """Two groups of 2 on 3 workers: one after the other; a single unit takes the third worker meanwhile."""
    group = Group("search", Unit(100.0), 2)
    trials = Search("search", (Trial(group), Trial(group)), 2)
    assert simulate([trials], free(3)).seconds == pytest.approx(200.0)
    assert simulate([trials], free(2, 2)).seconds == pytest.approx(100.0)
    with pytest.raises(InputError, match="starts 4 workers together, but 3 nodes have room for 3"):
        simulate([Group("distill", Unit(1.0), 4)], free(3))


# -- what limits, and that it is the same every time


@pytest.mark.parametrize(
    ("stage", "setting", "what"),
    [
        (many(alike(1000, 10.0)), free(10), "workers"),
        (many(alike(1000, 1.0, 1e8)), Setting(Fleet(100), 1e8), "storage"),
        (many(alike(1000, 0.1)), Setting(Fleet(1000), driver_s=0.1), "driver"),
        (many(alike(10, 5.0)), Setting(Fleet(10, 1, 300.0, 60.0)), "starting"),
        (Actors("a", alike(4, 600.0), 64), free(4, life_s=600.0), "losses"),
        (Actors("a", alike(1000, 10.0), 8), free(100), "settings"),
        (search(40, 2, 1), free(100), "settings"),
        (search(40, 4, 1), free(4), "workers and settings"),
        (search(40, None, 1), free(4), "workers"),
        (many((*alike(1000, 1.0), Unit(500.0))), free(1000), "longest unit"),
    ],
)
def test_what_limits_is_what_would_shorten_it(stage, setting, what):
    assert limit([stage], setting) == what


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    chain = [Actors("experts", drawn(SPREAD, 200, 1e6), 64, START), search(20, 4, 3)]
    assert simulate(chain, SPOT) == simulate(chain, SPOT)
    other = Setting(SPOT.fleet, SPOT.bandwidth, seed=4)
    assert simulate(chain, other).seconds != simulate(chain, SPOT).seconds
    assert drawn(SPREAD, 50) == drawn(SPREAD, 50) != drawn(SPREAD, 50, seed=1)


def test_nodes_that_go_too_soon_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr("padray.planning.simulation.model.MOST_LOST", 50)
    with pytest.raises(InputError, match=r"50 nodes were taken away .* last 10 s on average"):
        simulate([Actors("experts", alike(1, 1000.0), 1)], free(1, life_s=10.0))


def test_nothing_to_do_takes_no_time():
    outcome = simulate([Actors("experts", (), 64), many(()), Search("search", (), 2)], free(3))
    assert (outcome.seconds, outcome.efficiency) == (0.0, 1.0)
