"""The GPUs of a Ray cluster: what there is, what one holds, and whether PyTorch can use what Ray has given out."""

import shutil
import socket
import subprocess
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from padray.cluster import nodes
from padray.cluster.shares import Gpus
from padray.errors import InfrastructureError

UNKNOWN_BYTES = 16 * 2**30  # of a GPU where no node can be asked: a T4's, the least that clouds rent out
_PATIENCE_S = 20.0  # with a node that is asked


def require(device: str) -> InfrastructureError | None:
    """Why the GPU that Ray gave to this process cannot be used, if it is one to use.

    Args:
        device: the setting `compute.device`.
    """
    given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    if device == "cpu" or not given or (torch.cuda.is_available() and torch.cuda.device_count()):
        return None
    return InfrastructureError(
        f"Ray gave out GPU {','.join(given)} of node {socket.gethostname()}, but PyTorch {torch.__version__} sees none "
        f"there; give that node a driver and a PyTorch that fit each other, or set compute.device=cpu"
    )


class Census:
    """The cluster's GPUs as they are now; a node is asked for their memory once.

    Attributes:
        own: whether this Ray is of this machine alone, so that nothing comes to it.
    """

    def __init__(self, own: bool) -> None:
        self.own = own
        self.memory: dict[str, int] = {}  # bytes of the smallest GPU, by node

    def gpus(self) -> Gpus:
        """What there is, and whether more may come."""
        there = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
        return Gpus(there, False if self.own else nodes.here().may_have("GPU"))

    def smallest(self) -> int:
        """Bytes of the smallest GPU of all nodes that are up."""
        having = {node["NodeID"] for node in nodes.listed() if node["Alive"] and node["Resources"].get("GPU")}
        asked = {_ask(node): node for node in having - self.memory.keys()}
        answered = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE_S)[0] if asked else []
        for reference in answered:
            try:
                self.memory[asked[reference]] = ray.get(reference)
            except RayError:  # the node went away meanwhile
                continue
        return min((self.memory[node] for node in having if node in self.memory), default=UNKNOWN_BYTES)


def of_this_node() -> float:
    """GPUs of this process's node, as Ray was told."""
    here = ray.get_runtime_context().get_node_id()
    return float(sum(node["Resources"].get("GPU", 0.0) for node in nodes.listed() if node["NodeID"] == here))


def _ask(node: str) -> Any:
    return _smallest_here.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()


@ray.remote(num_cpus=0, max_retries=0)
def _smallest_here() -> int:
    """Bytes of this node's smallest GPU, as its driver says it: PyTorch would take some of them to answer."""
    line = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    if shutil.which(line[0]) is None:
        return UNKNOWN_BYTES
    try:
        said = subprocess.run(line, capture_output=True, text=True, timeout=_PATIENCE_S / 2, check=True).stdout
        return min(int(mebibytes) for mebibytes in said.split()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return UNKNOWN_BYTES
