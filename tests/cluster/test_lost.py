"""What counts as a loss: nodes, not units; and what is finished forgives."""

import pytest
from ray.exceptions import ActorDiedError

from padray.cluster.lost import WAITING, Losses, TooManyLostError

DIED = ActorDiedError()


def test_a_node_that_goes_is_one_loss_however_many_units_it_took_along():
    losses = Losses(2)
    for unit in range(8):
        losses.add(f"unit-{unit}", DIED, "first")
        losses.add(f"unit-{unit + 8}", DIED, "second")
    with pytest.raises(TooManyLostError, match=r"3 nodes lost work and nothing was finished \(last unit-20: Actor"):
        losses.add("unit-20", DIED, "third")


def test_what_is_finished_forgives_the_nodes_before_it():
    losses = Losses(2)
    for node in range(20):
        losses.add(f"unit-{node}", DIED, f"node {node}")
        if node % 2:
            losses.forgive("another")
    losses.add(WAITING, DIED)
    losses.add(WAITING, DIED)
    losses.forgive("another")
    losses.add(WAITING, DIED)


def test_a_unit_that_kills_whatever_makes_it_ends_the_stage_though_others_are_finished():
    losses = Losses(2)
    for done in range(2):
        losses.add("poison", DIED, "node")
        losses.forgive(f"unit-{done}")
    with pytest.raises(TooManyLostError, match=r"3 times the same work was lost \(last poison: .*max_losses \(2\)"):
        losses.add("poison", DIED, "node")
    patient = Losses(1)
    patient.add("slow", DIED, "node")
    patient.forgive("slow")
    patient.add("slow", DIED, "node")


def test_losses_whose_node_was_never_known_count_each():
    losses = Losses(2)
    for unit in ("one", "two"):
        losses.add(unit, DIED)
    with pytest.raises(TooManyLostError, match="3 nodes lost work"):
        losses.add("three", DIED)
