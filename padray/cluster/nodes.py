"""The nodes of a Ray cluster: those that are up, and those that its autoscaler may start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

_SETTINGS = "ray_bootstrap_config.yaml"  # in the home of a head: what `ray up` made the cluster of
_HEAD = "node:__internal_head__"
_GROUP = "ray.io/node-group"  # the label that says it
Resources = Mapping[str, float]
Node = Mapping[str, Any]  # as Ray describes it


@dataclass(frozen=True)
class NodeType:
    """A kind of node that the autoscaler may start, `most` of them at a time."""

    resources: Resources
    most: int
    name: str = ""


@dataclass(frozen=True)
class Autoscaler:
    """What may be started: `most` nodes in all."""

    types: tuple[NodeType, ...]
    most: int


@dataclass(frozen=True)
class Cluster:
    """A cluster as it is and as it may become.

    Attributes:
        up: the resources of the nodes that are up; the head is first.
        autoscaler: None where nothing is known of one: there is none, or its settings are not on this machine.
    """

    up: tuple[Resources, ...]
    autoscaler: Autoscaler | None = None

    def slots(self, takes: Resources) -> int:
        """How many actors that take so much each may run at a time, once all nodes are up that may be."""
        if self.autoscaler is None:
            return sum(fitting(node, takes) for node in self.up)
        heads = [node for node in self.up if _HEAD in node]
        beside = sum(fitting(head, takes) for head in heads)
        kinds = sorted(((fitting(kind.resources, takes), kind.most) for kind in self.autoscaler.types), reverse=True)
        left = self.autoscaler.most
        for each, most in kinds:
            started = min(most, left)
            left -= started
            beside += each * started
        return beside

    def largest(self, kind: str) -> float:
        """The most of a resource that one node has, or may have."""
        started = self.autoscaler.types if self.autoscaler else ()
        return max((float(of.get(kind, 0.0)) for of in (*self.up, *(one.resources for one in started))), default=0.0)

    def may_have(self, kind: str) -> bool | None:
        """Whether a node that may be started has some of a resource; None where that cannot be read."""
        if self.autoscaler is None:
            return None
        return any(one.resources.get(kind, 0) > 0 and one.most > 0 for one in self.autoscaler.types)


def fitting(node: Resources, takes: Resources) -> int:
    """How many that take so much each fit on a node."""
    return int(min((node.get(kind, 0.0) + 1e-9) // amount for kind, amount in takes.items() if amount))


def here() -> Cluster:
    """The cluster that this process has joined."""
    return Cluster(up(), _autoscaler())


def listed() -> list[Node]:
    """All nodes that the cluster has or had, as Ray describes them."""
    nodes: list[Node] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def up() -> tuple[Resources, ...]:
    """The resources of the nodes that are up, the head's first."""
    alive = [node["Resources"] for node in listed() if node["Alive"]]
    return tuple(sorted(alive, key=lambda node: _HEAD not in node))


def names() -> dict[str, str]:
    """What to call each node, by its id."""
    return {node["NodeID"]: name_of(node) for node in listed()}


def name_of(node: Node) -> str:
    """A node's machine, and the start of its id, for a machine may have several."""
    return f"{node['NodeManagerHostname']}/{node['NodeID'][:6]}"


def kind_of(node: Node) -> str:
    """The type of which the autoscaler made a node; `head`, or empty, where it was not made by one."""
    made_of = str((node.get("Labels") or {}).get(_GROUP, ""))
    return made_of or ("head" if _HEAD in node["Resources"] else "")


def _autoscaler() -> Autoscaler | None:
    try:
        settings = YAML(typ="safe", pure=True).load((Path.home() / _SETTINGS).read_text(encoding="utf-8"))
        most = int(settings.get("max_workers", 2))  # Ray's own default
        kinds = [
            NodeType({each: float(amount) for each, amount in kind["resources"].items()}, _most(kind, most), str(name))
            for name, kind in settings["available_node_types"].items()
            if name != settings["head_node_type"]
        ]
        return Autoscaler(tuple(kinds), most)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, YAMLError):
        return None  # RuntimeError: a user whom this machine does not know, as containers have, has no home


def _most(kind: Mapping[str, Any], all_types: int) -> int:
    return min(all_types, int(kind.get("max_workers", all_types)))
