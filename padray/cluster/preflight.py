"""What a cluster's nodes can do, asked on every node that is up before any work is sent there.

Every node gets an actor that takes no CPU, so a busy node answers too. It tests all devices of its node, also those
that others work on: a small product on each.
"""

import os
import platform
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from padray import __version__
from padray.cluster import nodes
from padray.cluster.probe import PREFIX, Probe, probing
from padray.errors import InputError, WorkError
from padray.machine.memory import free_memory
from padray.operations.clusters import AnsweredLine, NodeLine, PreflightResult, WorkingLine
from padray.store.location import Location
from padray.store.opening import open_location

_PATIENCE_S = 180.0  # with all nodes: a first worker loads PyTorch, and a storage that does not answer is asked again
_LEAST_MEMORY = 1 << 30  # bytes: a worker with PyTorch and a small dataset
_MOST_CLOCK_S = 30.0  # what others take for a sign of life would be old, or of tomorrow
_SIZE, _SIDE, _PINGS = 8 << 20, 64, 3


@dataclass(frozen=True)
class Storage:
    """A try at the storage: MB/s; `problem` says what did not go, and is empty if all did."""

    write: float = 0.0
    read: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself.

    Attributes:
        devices: by their names why they cannot be used, empty if they can.
        memory: free bytes, None where the system does not say.
    """

    versions: dict[str, str]
    devices: dict[str, str]
    gpus: int
    storage: Storage
    memory: int | None


@dataclass(frozen=True)
class Node:
    """A node that is up, and what is wrong with it, a sentence each.

    Attributes:
        clock: seconds that its clock is ahead of this machine's, as exactly as `within` says.
    """

    name: str
    kind: str
    report: NodeReport | None = None
    clock: float = 0.0
    within: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Preflight:
    """All nodes that are up, and the types of nodes that may be started and are not."""

    nodes: tuple[Node, ...]
    not_up: tuple[str, ...]


def summary(checked: Preflight, location: Location) -> PreflightResult:
    """What `--json` prints."""
    problems = [problem for node in checked.nodes for problem in node.problems]
    lines = [_line(node) for node in checked.nodes]
    return PreflightResult(location.uri, versions(), lines, list(checked.not_up), problems)


def _line(node: Node) -> NodeLine:
    report, line = node.report, NodeLine(node.name, node.kind, node.problems)
    if report is None:
        return line
    answered = AnsweredLine(
        **vars(line),
        versions=report.versions,
        devices=report.devices,
        memory_bytes=report.memory,
        clock_s=node.clock,
        within_s=node.within,
    )
    storage = report.storage
    if storage.problem:
        return answered
    return WorkingLine(**vars(answered), write_mb_s=storage.write, read_mb_s=storage.read)


def versions() -> dict[str, str]:
    """Of what must be the same everywhere."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
        "padray": __version__,
    }


@ray.remote(num_cpus=0, max_restarts=0)
class Inspector:
    """Looks at the node that it is on."""

    def __init__(self) -> None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # what takes no GPU sees none, and here all are to be seen

    def now(self) -> float:
        return time.time()

    def look(self, probe: Probe) -> NodeReport:
        devices = {"cpu": _tried(torch.device("cpu"))}
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for index in range(gpus):
            name = f"cuda:{index} {torch.cuda.get_device_name(index)}"
            devices[name] = _tried(torch.device("cuda", index))
        return NodeReport(versions(), devices, gpus, _try_storage(probe), free_memory())


def _tried(device: torch.device) -> str:
    """Why a device cannot multiply matrices; empty if it can."""
    try:
        ones = torch.ones(_SIDE, _SIDE, device=device)
        total = float((ones @ ones).sum())
    except RuntimeError as error:  # also a GPU whose memory is full, or that others have to themselves
        return " ".join(str(error).split())[:200]
    return "" if total == _SIDE**3 else f"a product of ones came out as {total:g}, not {_SIDE**3}"


def _try_storage(probe: Probe) -> Storage:
    """See what the driver has stored, then write, read and delete an object."""
    unseen = probe.problem()
    if unseen is not None:
        return Storage(problem=f"it {str(unseen).removeprefix(f'the node {socket.gethostname()} ')}")
    key, content = f"{PREFIX}{secrets.token_hex(8)}", os.urandom(_SIZE)
    try:
        location = open_location(probe.uri)
        began = time.perf_counter()
        location.put(key, content)
        written = time.perf_counter()
        same = location.get(key) == content
        read = time.perf_counter()
        location.delete(key)
        gone = location.size(key) is None
    except (InputError, WorkError) as error:
        return Storage(problem=str(error))
    problem = "" if same and gone else "what was written is read otherwise" if gone else "what was deleted is there"
    return Storage(_SIZE / 1e6 / (written - began), _SIZE / 1e6 / (read - written), problem)


def check(location: Location) -> Preflight:
    """Ask all nodes that are up. Raises InputError or InfrastructureError if this machine cannot use the storage."""
    cluster = nodes.here()
    up = [node for node in nodes.listed() if node["Alive"]]
    with probing(location) as probe:
        asked, until = [(node, *_ask(node["NodeID"], probe)) for node in up], time.monotonic() + _PATIENCE_S
        checked = tuple(_judged(node, _answer(actor, reference, until)) for node, actor, reference in asked)
    kinds = {node.kind for node in checked}
    may = cluster.autoscaler.types if cluster.autoscaler else ()
    return Preflight(checked, tuple(kind.name for kind in may if kind.most and kind.name not in kinds))


def _ask(node: str, probe: Probe) -> tuple[Any, Any]:
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    actor = Inspector.options(scheduling_strategy=place).remote()  # type: ignore[attr-defined]
    return actor, actor.look.remote(probe)


@dataclass(frozen=True)
class _Answer:
    report: NodeReport | None = None
    clock: float = 0.0
    within: float = 0.0
    silence: str = ""


def _answer(actor: Any, reference: Any, until: float) -> _Answer:
    try:
        report = ray.get(reference, timeout=max(0.1, until - time.monotonic()))
        clock, within = min((_ping(actor) for _ in range(_PINGS)), key=lambda each: each[1])
        return _Answer(report, clock, within)
    except GetTimeoutError:
        return _Answer(silence=f"it did not answer in {_PATIENCE_S:.0f} s")
    except RayError as error:
        words = " ".join(str(error).split())[:300]
        return _Answer(silence=f"no worker could begin there ({words}); is the same padray installed on it?")
    finally:
        ray.kill(actor)


def _ping(actor: Any) -> tuple[float, float]:
    """How far a node's clock is ahead, and within what."""
    before = time.time()
    there = float(ray.get(actor.now.remote(), timeout=_PATIENCE_S))
    after = time.time()
    return there - (before + after) / 2, (after - before) / 2


def _judged(node: nodes.Node, answer: _Answer) -> Node:
    name, kind = nodes.name_of(node), nodes.kind_of(node)
    problems = list(_problems(node, answer))
    sentences = [f"the node {name}: {problem}" for problem in problems]
    return Node(name, kind, answer.report, answer.clock, answer.within, sentences)


def _problems(node: nodes.Node, answer: _Answer) -> Iterator[str]:
    """What is wrong with a node, and what to do about it."""
    report = answer.report
    if report is None:
        yield answer.silence
        return
    for what, here in versions().items():
        if report.versions[what] != here:
            yield f"it has {what} {report.versions[what]}, and the driver {here}; give all nodes one image"
    for device, problem in report.devices.items():
        if problem:
            yield f"PyTorch cannot use {device} ({problem}); mend its driver, or set compute.device=cpu"
    gpus = node["Resources"].get("GPU", 0.0)
    if gpus > report.gpus:
        yield (
            f"Ray was told of {gpus:g} GPUs, but PyTorch sees {report.gpus}; give it a driver and a PyTorch that fit "
            f"each other, or set compute.device=cpu"
        )
    if report.storage.problem:
        yield report.storage.problem
    if report.memory is not None and report.memory < _LEAST_MEMORY:
        yield f"{report.memory / 2**30:.1f} GiB of memory are free, and a worker takes 1; end what else runs there"
    if abs(answer.clock) > _MOST_CLOCK_S + answer.within:
        side = "ahead of" if answer.clock > 0 else "behind"
        yield f"its clock is {abs(answer.clock):.0f} s {side} the driver's; have both follow a time server"
