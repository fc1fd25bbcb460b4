"""Connecting to Ray, local or on a cluster, so that neither a newcomer nor a job meets a riddle.

A normal run prints nothing of Ray's. These lines of Ray itself may be seen, and mean no more than they say:
- "(raylet) A worker died or was killed while executing a task …": a process was lost; padray gives its unit to another.
- "gcs_client.cc … Unauthenticated: … InvalidAuthToken", for some 20 s, then padray's own sentence: the cluster at
  RAY_ADDRESS asks for a token; set RAY_AUTH_MODE=token.
- `ray job submit`: "Ignoring upload to cluster …", "Creating a file package …", and where to find the job.
"""

import json
import logging
import os
import secrets
import time
from typing import Any

from padray.cluster import shares
from padray.config import Config
from padray.errors import InputError, WorkError
from padray.store.location import LocalLocation, Location, open_location

_HIDING = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    _HIDING: "1",  # what takes no GPU sees none
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
AWS_SECRETS = frozenset({"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"})


def connect() -> float:
    """Join the cluster at RAY_ADDRESS, or start Ray on this machine; the seconds that it took.

    Raises:
        InputError: there is no cluster at RAY_ADDRESS, it wants a token that this process does not have, or the job
            was given secrets.
    """
    settle_environment()
    _check_job()
    import ray  # not before: Ray reads its environment when it is imported

    if ray.is_initialized():
        return 0.0
    began = time.monotonic()
    address = os.environ.get("RAY_ADDRESS", "local")
    hiding = {"env_vars": {_HIDING: os.environ[_HIDING]}}  # the nodes of a cluster have not our environment
    environment: dict[str, Any] = {} if address == "local" else {"runtime_env": hiding}
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False, **environment)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot join the Ray cluster at {address}: {reason}; check RAY_ADDRESS, and where the cluster asks for a "
            f"token set RAY_AUTH_MODE=token (its token: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or Ray's own token file)"
        ) from None
    return time.monotonic() - began


def settle_environment(address: str | None = None) -> None:
    """Ray's environment, before Ray is imported; what the user has set stays.

    Args:
        address: the cluster that is meant, where it is not that at RAY_ADDRESS.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" in os.environ:
        return
    if not (address or "RAY_ADDRESS" in os.environ):  # our own Ray: its token stays in this process and its children
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"


def _check_job() -> None:
    """Refuse secrets among a job's environment variables: Ray writes those to its logs on every node."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    given = (job.get("runtime_env") or {}).get("env_vars") or {}
    refuse_secrets(given, "the job's runtime_env")


def refuse_secrets(given: dict[str, str], where: str) -> None:
    """Refuse environment variables for a job that are secrets. Raises InputError."""
    if named := sorted(AWS_SECRETS & given.keys()):
        raise InputError(
            f"{where} holds {named[0]}, which Ray writes to its logs: take it out and renew it; give the "
            f"nodes a role, or the job the path of a file that they share (AWS_SHARED_CREDENTIALS_FILE)"
        )


def beside_driver() -> Any:
    """Where an actor dies only with its driver: on the driver's own node, not on one that comes and goes."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


def _nodes() -> list[dict[str, Any]]:
    import ray

    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def is_own() -> bool:
    """Whether this Ray is one that this process started for itself, which never grows."""
    import ray

    return "RAY_ADDRESS" not in os.environ and ray.get_runtime_context().worker.mode != ray.WORKER_MODE


def check_room(config: Config) -> None:
    """Refuse what Ray on this machine has no room for: it would wait for ever. For a Ray of our own; others may grow.

    Raises:
        InputError: an actor, a worker group or a cell needs more than there is.
    """
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = shares.Gpus(there.get("GPU", 0.0))
    worker, cell = shares.of_worker(config, gpus), shares.of_cell(config, gpus, lambda: shares.WHOLE)
    cluster, threads = config.cluster, config.compute.threads
    fewest = cluster.workers if isinstance(cluster.workers, int) else cluster.workers[0]
    each = cluster.cpus_per_worker or threads
    needs = (
        ("an expert", "CPU", threads, "compute.threads"),
        (f"{fewest} Train workers", "CPU", fewest * each, "cluster.workers or cluster.cpus_per_worker"),
        ("an expert", "GPU", worker, "cluster.gpus_per_worker or set compute.device=cpu"),
        (f"{fewest} Train workers", "GPU", fewest * worker, "cluster.workers"),
        ("a cell", "GPU", cell, "cluster.gpus_per_cell or set compute.device=cpu"),
    )
    for what, kind, needed, setting in needs:
        has = there.get(kind, 0.0)
        if needed > has + 1e-9:
            raise InputError(
                f"{what} would take {needed:g} {kind}s, but Ray on this machine has {has:g}; lower {setting}"
            )


def check_storage(location: Location) -> None:
    """Refuse a storage that not all nodes see: a local folder, or a bucket that some of them may not read.

    Raises:
        InputError: how many do not see it, and what would be right.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["NodeID"] for node in _nodes() if node["Alive"] and node["Resources"].get("CPU")]
    is_local = isinstance(location, LocalLocation)
    if len(nodes) < 2 and is_local:
        return
    key, text = f".padray-probe-{secrets.token_hex(8)}", secrets.token_hex(16)
    location.put(key, text.encode())

    @ray.remote(num_cpus=0)
    def problem(uri: str) -> str:
        try:
            return "" if open_location(uri).get(key) == text.encode() else "it holds something else"
        except (InputError, WorkError) as error:
            return str(error)

    try:
        asked = [
            problem.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(location.uri)
            for node in nodes
        ]
        problems = [found for found in ray.get(asked) if found]
    finally:
        location.delete(key)
    if problems:
        right = "use a network folder that all nodes share" if is_local else "the workers need the same AWS settings"
        raise InputError(
            f"{len(problems)} of {len(nodes)} Ray nodes do not see the storage {location.uri}; {right} ({problems[0]})"
        )
