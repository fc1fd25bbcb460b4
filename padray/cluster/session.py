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
from typing import TYPE_CHECKING, Any

from padray.cluster import shares
from padray.config import Config
from padray.errors import InputError

if TYPE_CHECKING:
    from padray.cluster import nodes  # which imports Ray

_HIDING = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # of 2: until it looks, a run of Train that has ended is not over
    _HIDING: "1",  # what takes no GPU sees none
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
NODE_LABEL = "ray.io/node-id"
AWS_SECRETS = frozenset({"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"})


def connect(given: str | None = None) -> float:
    """Join the cluster at RAY_ADDRESS, or start Ray on this machine; the seconds that it took.

    Args:
        given: the cluster that is meant, where it is not that at RAY_ADDRESS.

    Raises:
        InputError: there is no cluster at RAY_ADDRESS, it wants a token that this process does not have, or the job
            was given secrets.
    """
    settle_environment(given)
    _check_job()
    import ray  # not before: Ray reads its environment when it is imported

    if ray.is_initialized():
        return 0.0
    began = time.monotonic()
    address = given or os.environ.get("RAY_ADDRESS", "local")
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
    """Where an actor dies only with its driver: on the driver's own node, not on one that comes and goes.

    Not a soft affinity: with that, Ray places an actor that takes no CPU on any node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(this_node()[NODE_LABEL], soft=False)


def this_node() -> dict[str, str]:
    """The label that this process's node alone bears."""
    import ray

    return {NODE_LABEL: ray.get_runtime_context().get_node_id()}


def is_own() -> bool:
    """Whether this Ray is one that this process started for itself, which never grows."""
    return "RAY_ADDRESS" not in os.environ and is_driver()


def is_driver() -> bool:
    """Whether this process is a command's or a job's own, and no worker of Ray."""
    import ray

    return bool(ray.get_runtime_context().worker.mode != ray.WORKER_MODE)


def check_room(config: Config, cluster: "nodes.Cluster") -> None:
    """Refuse what the cluster has no room for, and never will have: it would wait for ever. Asked by the driver alone.

    A cluster that others started, and that may grow in ways that cannot be read here, is taken to have room.

    Raises:
        InputError: an actor, a worker group or a cell needs more than there may be.
    """
    if cluster.autoscaler is None and not is_own():
        return
    gpus = shares.Gpus(sum(node.get("GPU", 0.0) for node in cluster.up), cluster.may_have("GPU"))
    worker, cell = shares.of_worker(config, gpus), shares.of_cell(config, gpus, lambda: shares.WHOLE)
    settings, threads = config.cluster, config.compute.threads
    each = settings.cpus_per_worker or threads
    needs = (
        ("an expert", "CPU", threads, "compute.threads"),
        ("a Train worker", "CPU", each, "cluster.cpus_per_worker"),
        ("an expert", "GPU", worker, "cluster.gpus_per_worker or set compute.device=cpu"),
        ("a cell", "GPU", cell, "cluster.gpus_per_cell or set compute.device=cpu"),
    )
    where = "Ray on this machine has" if is_own() else "no node of this cluster has, or may have, more than"
    for what, kind, needed, setting in needs:
        has = cluster.largest(kind)
        if needed > has + 1e-9:
            raise InputError(f"{what} would take {needed:g} {kind}s, but {where} {has:g}; lower {setting}")
    fewest = settings.workers if isinstance(settings.workers, int) else settings.workers[0]
    room = cluster.slots({"CPU": each, "GPU": worker})
    if fewest > room:
        takes = f"{each:g} CPUs" + (f" and {worker:g} GPUs" if worker else "")
        raise InputError(
            f"{fewest} Train workers would take {takes} each, but there is room for {room}; lower cluster.workers"
        )
