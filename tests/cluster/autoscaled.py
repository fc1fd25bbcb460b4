"""A cluster that scales from zero on this machine: a head without CPUs, and Ray's own fake provider of nodes.

The nodes are real raylets that the autoscaler starts and ends; only the machines are not there.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.heads import Head, free_port, started

_HEAD_ID, _HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"  # the names that the fake provider knows
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
_NO_CLOUD = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)
_ASK = """
import json, ray
from ray.util.state import list_actors
ray.init(logging_level="ERROR", log_to_driver=False)
head = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"]]
alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
actors = [[actor.class_name, actor.node_id, actor.state] for actor in list_actors(limit=1000, timeout=30)]
print(json.dumps({"head": head[0], "alive": alive, "ever": len(ray.nodes()), "actors": actors}))
"""


_ADDRESS = "from ray._private.services import get_node_ip_address as told; print(told())"


@dataclass(frozen=True)
class Autoscaled:
    """The cluster: its head, and the environment of a command on it."""

    head: Head
    environment: dict[str, str]

    def seen(self) -> dict[str, Any]:
        """The head's node, the nodes that are alive, and every actor's class, node and state, dead ones included."""
        line = [sys.executable, "-c", _ASK]
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@contextmanager
def autoscaled(home: Path, nodes: int = 3, cpus: int = 1) -> Iterator[Autoscaled]:
    """At most `nodes` nodes of `cpus` logical CPUs each, none of them up; idle for 12 s they go again.

    Args:
        home: becomes the head's home folder; `ray up` leaves the cluster's settings there.
    """
    port = free_port()
    here = subprocess.run([sys.executable, "-c", _ADDRESS], capture_output=True, text=True, check=True).stdout.strip()
    address = f"{here}:{port}"
    provider = {"type": "external", "module": _PROVIDER, "gcs_address": address, "head_node_id": _HEAD_ID}
    kinds = {
        _HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "spot": {
            "resources": {"CPU": cpus, "object_store_memory": 100_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": nodes,
        },
    }
    content = {
        "cluster_name": "fake",
        "max_workers": nodes,
        "upscaling_speed": 9.0,
        "idle_timeout_minutes": 0.2,
        "provider": {**provider, "launch_multiple": True},
        "available_node_types": kinds,
        "head_node_type": _HEAD_TYPE,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in _NO_CLOUD},
    }
    config = home / "ray_bootstrap_config.yaml"
    config.write_text(json.dumps(content))
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_NODE_TYPE_NAME": _HEAD_TYPE,
        "HOME": str(home),
    }
    with started(variables, ("--num-cpus=0", f"--autoscaling-config={config}"), port) as head:
        yield Autoscaled(head, {**head.environment, "RAY_ADDRESS": address, "HOME": str(home)})
