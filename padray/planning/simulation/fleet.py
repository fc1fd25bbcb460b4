"""The nodes: they come some time after they are asked for, go when they are idle, and may be taken away any time."""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import torch

from padray.draws import generator
from padray.planning.simulation.clock import Clock, Event


@dataclass(frozen=True)
class Fleet:
    """What nodes there may be.

    Attributes:
        nodes: at most so many at a time.
        workers: that find room on one node.
        delay_s: from asking for a node to its being there; None: all nodes are there from the start and stay.
        idle_s: after which a node without work is given back.
        life_s: mean of the exponential time until a node is taken away; infinite: never.
    """

    nodes: int
    workers: int = 1
    delay_s: float | None = None
    idle_s: float = 0.0
    life_s: float = math.inf

    @property
    def most_workers(self) -> int:
        return self.nodes * self.workers


class Tenant(Protocol):
    """Whoever asks for room: so many slots at once."""

    width: int

    def placed(self, slots: list["Slot"]) -> None:
        """There is room: here."""

    def evicted(self) -> None:
        """One of the slots is gone with its node; the others were taken back."""


@dataclass(eq=False)
class Slot:
    """Room for one worker on a node."""

    place: tuple[int, int]
    node: "Node"
    tenant: Tenant | None = None

    def __lt__(self, other: "Slot") -> bool:
        return self.place < other.place


@dataclass(eq=False)
class Node:
    """One machine while it is there."""

    slots: list[Slot] = field(default_factory=list)
    busy: int = 0
    is_gone: bool = False
    leaving: Event | None = None


class Cluster:
    """Hands out the slots of the nodes that are there, and asks for more nodes while anybody waits.

    The node that came first is filled first. Paid is from asking for a node to its end.
    """

    def __init__(self, clock: Clock, fleet: Fleet, seed: int) -> None:
        self.clock, self.fleet, self.seed = clock, fleet, seed
        self.lost = 0
        self._singles: deque[Tenant] = deque()
        self._groups: deque[Tenant] = deque()
        self._withdrawn: set[Tenant] = set()
        self._free: list[Slot] = []
        self._idle = 0  # slots that are free on nodes that are there
        self._held: dict[Tenant, list[Slot]] = {}
        self._up = self._coming = self._born = self._waiting = 0
        self._paid = self._since = 0.0
        if fleet.delay_s is None:
            for _ in range(fleet.nodes):
                self._start(None)

    # -- for tenants

    def ask(self, tenant: Tenant) -> None:
        """Wait for room; `placed` is called when there is some."""
        (self._singles if tenant.width == 1 else self._groups).append(tenant)
        self._waiting += tenant.width
        self._settle()

    def leave(self, tenant: Tenant) -> None:
        """Give the room back, or wait no longer."""
        slots = self._held.pop(tenant, None)
        if slots is None:
            self._withdrawn.add(tenant)
            self._waiting -= tenant.width
        else:
            for slot in slots:
                self._release(slot)
        self._settle()

    @property
    def paid_s(self) -> float:
        """Seconds of nodes so far, those that are on their way among them."""
        return self._paid + (self._up + self._coming) * (self.clock.now - self._since)

    @property
    def is_empty(self) -> bool:
        """Whether all nodes were given back."""
        return not self._up + self._coming

    # -- nodes

    def _settle(self) -> None:
        """Place whom there is room for, and ask for nodes for the others."""
        for queue in (self._groups, self._singles):
            while queue and (queue[0] in self._withdrawn or queue[0].width <= self._idle):
                tenant = queue.popleft()
                if tenant in self._withdrawn:
                    self._withdrawn.remove(tenant)
                else:
                    self._place(tenant)
        if self.fleet.delay_s is not None:
            wanted = math.ceil((self._waiting - self._idle) / self.fleet.workers) - self._coming
            for _ in range(min(wanted, self.fleet.nodes - self._up - self._coming)):
                self._start(self.fleet.delay_s)

    def _place(self, tenant: Tenant) -> None:
        slots: list[Slot] = []
        while len(slots) < tenant.width:
            slot = heapq.heappop(self._free)
            if slot.node.is_gone:
                continue
            slot.tenant = tenant
            slot.node.busy += 1
            if slot.node.leaving is not None:
                slot.node.leaving.cancel()
            slots.append(slot)
        self._idle -= tenant.width
        self._waiting -= tenant.width
        self._held[tenant] = slots
        self.clock.after(0.0, lambda: tenant.placed(slots) if self._held.get(tenant) is slots else None)

    def _release(self, slot: Slot) -> None:
        slot.tenant = None
        if slot.node.is_gone:
            return
        slot.node.busy -= 1
        heapq.heappush(self._free, slot)
        self._idle += 1
        self._watch(slot.node)

    def _watch(self, node: Node) -> None:
        """Give the node back if it stays without work."""
        if self.fleet.delay_s is not None and not node.busy:
            node.leaving = self.clock.after(self.fleet.idle_s, lambda: self._end(node))

    def _start(self, delay_s: float | None) -> None:
        self._count(coming=1)
        number, self._born = self._born, self._born + 1
        if delay_s is None:
            self._arrive(number)
        else:
            self.clock.after(delay_s, lambda: self._arrive(number))

    def _arrive(self, number: int) -> None:
        self._count(up=1, coming=-1)
        node = Node()
        node.slots = [Slot((number, k), node) for k in range(self.fleet.workers)]
        for slot in node.slots:
            heapq.heappush(self._free, slot)
        self._idle += self.fleet.workers
        if math.isfinite(self.fleet.life_s):
            self.clock.after(life(self.fleet.life_s, self.seed, number), lambda: self._lose(node))
        self._watch(node)
        self._settle()

    def _lose(self, node: Node) -> None:
        if node.is_gone:
            return
        self.lost += 1
        tenants = dict.fromkeys(slot.tenant for slot in node.slots if slot.tenant is not None)
        self._end(node)
        for tenant in tenants:
            for slot in self._held.pop(tenant, []):
                self._release(slot)
            tenant.evicted()
        if self.fleet.delay_s is None:
            self._start(None)  # those that are always there are replaced at once
        self._settle()

    def _end(self, node: Node) -> None:
        if node.is_gone:
            return
        self._count(up=-1)
        node.is_gone = True
        self._idle -= self.fleet.workers - node.busy

    def _count(self, up: int = 0, coming: int = 0) -> None:
        self._paid, self._since = self.paid_s, self.clock.now
        self._up += up
        self._coming += coming


def life(mean_s: float, seed: int, number: int) -> float:
    """Seconds until the node with this number is taken away, drawn for it alone."""
    draw = generator(seed, "simulation", "node", number)
    return mean_s * float(torch.empty((), dtype=torch.float64).exponential_(generator=draw))
