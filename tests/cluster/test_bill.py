"""What the nodes of a cluster cost just now, by an autoscaler's types and by a number. Starts no Ray."""

import pytest

from padray.planning.prices import PriceTable

TABLE = PriceTable.model_validate(
    {
        "as_of": "today",
        "source": "made up",
        "head_per_hour": 0.5,
        "nodes": {"gpu": {"cpus": 8, "gpus": 1, "per_hour": 2.0}, "cpu": {"cpus": 8, "per_hour": 0.25}},
    }
)


def node(kind: str, alive: bool = True) -> dict:
    head = {"node:__internal_head__": 1.0} if kind == "head" else {}
    labels = {"ray.io/node-group": kind} if kind != "head" else {}
    return {"Alive": alive, "Labels": labels, "Resources": head}


@pytest.mark.parametrize(
    ("kinds", "price", "per_hour"),
    [
        (("head", "gpu", "gpu", "cpu"), TABLE, 0.5 + 2 * 2.0 + 0.25),
        (("head", "unheard"), TABLE, 0.5 + 2.0),  # a type that has no price: the dearest
        (("head", "gpu", "cpu"), 0.1, 0.3),
    ],
)
def test_nodes_that_are_up_are_paid_for_by_their_type(monkeypatch, kinds, price, per_hour) -> None:
    from padray.cluster import bill

    listed = [*map(node, kinds), node("gpu", alive=False)]
    monkeypatch.setattr(bill.nodes, "listed", lambda: listed)
    monkeypatch.setattr(bill.session, "is_own", lambda: False)
    assert bill.per_hour(price) == pytest.approx(per_hour)
