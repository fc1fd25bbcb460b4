"""What the nodes of a cluster cost just now."""

from padray.cluster import nodes, session
from padray.planning import prices
from padray.planning.prices import Price


def per_hour(price: Price) -> float:
    """The sum over all nodes that are up; `price`: of any node, or a table by the autoscaler's types of nodes.

    A node of a type that the table does not have is taken for the dearest. Raises InputError as `of_one_machine` does.
    """
    if session.is_own():
        return prices.of_one_machine(price)
    kinds = [nodes.kind_of(node) for node in nodes.listed() if node["Alive"]]
    return sum(_of(kind, price) for kind in kinds)


def _of(kind: str, price: Price) -> float:
    if isinstance(price, float):
        return price
    if kind in price.nodes:
        return price.nodes[kind].per_hour
    return price.head_per_hour if kind == "head" else max(one.per_hour for one in price.nodes.values())
