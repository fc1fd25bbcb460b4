"""Simulated time: events in their order, and bandwidth that all transfers share alike."""

import math

import pytest

from padray.planning.simulation.clock import Clock, Driver, Link


def arrivals(sizes: list[tuple[float, float]], total: float, each: float = math.inf) -> list[float]:
    """When transfers (start, bytes) arrive."""
    clock, found = Clock(), [math.nan] * len(sizes)
    link = Link(clock, total, each)

    def arrive(place: int) -> None:
        found[place] = clock.now

    for place, (start, size) in enumerate(sizes):
        clock.after(start, lambda k=place, z=size: link.move(z, lambda: arrive(k)))
    clock.run(lambda: False)
    return found


def test_one_moment_happens_in_the_order_of_asking_and_what_is_called_off_does_not():
    clock, heard = Clock(), []
    clock.after(2.0, lambda: heard.append("c"))
    clock.after(1.0, lambda: heard.append("a"))
    off = clock.after(1.0, lambda: heard.append("never"))
    clock.after(1.0, lambda: heard.append("b"))
    off.cancel()
    clock.run(lambda: False)
    assert (heard, clock.now) == (["a", "b", "c"], 2.0)


def test_transfers_share_the_bandwidth_alike():
    """Two of 100 bytes at 10 B/s: alone 10 s. The second begins at 5: 50 + 50 are left, then 50 alone."""
    assert arrivals([(0, 100), (5, 100)], 10) == pytest.approx([15, 20])
    assert arrivals([(0, 100), (0, 50), (0, 20)], 10) == pytest.approx([17, 12, 6])
    assert arrivals([(0, 100)] * 8, 10) == pytest.approx([80] * 8)


def test_no_transfer_is_faster_than_one_machine_and_none_is_slow_without_a_limit():
    assert arrivals([(0, 100), (0, 100)], 1000, 20) == pytest.approx([5, 5])
    assert arrivals([(0, 100), (3, 0)], math.inf) == [0, 3]


def test_what_is_stopped_leaves_its_share_to_the_others():
    clock, found = Clock(), []
    link = Link(clock, 10, math.inf)
    stopped = link.move(100, lambda: found.append(math.nan))
    link.move(100, lambda: found.append(clock.now))
    clock.after(4, lambda: link.stop(stopped))
    clock.run(lambda: False)
    assert found == pytest.approx([4 + 80 / 10])


def test_the_driver_sees_to_one_message_after_the_other():
    clock, heard = Clock(), []
    driver = Driver(clock, 0.5)
    for start in (0, 0, 0.25, 9):
        clock.after(start, lambda: driver.handle(lambda: heard.append(clock.now)))
    clock.run(lambda: False)
    assert heard == [0.5, 1.0, 1.5, 9.5]
