"""What a description of a cluster must say beyond its schema, and how to say anything else in its place."""

import copy
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from padray import __version__
from padray.cluster.session import AWS_SECRETS
from padray.commandline import job
from padray.configuration import loading

ROOT = Path(__file__).parents[2]
IMAGE = f"REGISTRY/padray:{__version__}"  # a name that no registry takes until it is filled in
STORAGE = "/mnt/padray"
USER, GROUP = 1000, 100  # of Ray's image
COMMANDS = frozenset({"run", "experts", "distill", "evaluate", "tune", "study"})


class Gone(Enum):
    """In the place of a value: there is none. An enum, so that the tests' names are the same in every process."""

    GONE = "gone"


GONE = Gone.GONE
Place = tuple[str | int, ...]


def pinned(name: str) -> str:
    """The version of a package in constraints.txt."""
    found = re.search(rf"^{name}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, name
    return found[1]


def read(path: str) -> dict:
    """A description, with a copy wherever it says something again by an anchor."""
    return json.loads(json.dumps(YAML(typ="safe").load((ROOT / path).read_text())))


def broken(described: dict, place: Place, value: Any) -> dict:
    """A copy that says `value` at a place, or nothing where it is GONE."""
    changed = copy.deepcopy(described)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    assert isinstance(inner, list) or place[-1] in inner or value is not GONE, f"{place} is not there"
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


def places(described: Any, above: Place = ()) -> Iterator[Place]:
    """Where a description says something."""
    inner = described.items() if isinstance(described, dict) else enumerate(described)
    for key, value in inner:
        if isinstance(value, dict | list) and value:
            yield from places(value, (*above, key))
        else:
            yield (*above, key)


def unbroken(described: dict, tried: set[Place], free: set[Place]) -> list[Place]:
    """The places that nobody breaks and nobody calls a matter of taste."""
    known = tried | free
    return [place for place in places(described) if not any(place[: len(end)] == end for end in known)]


def prepared(described: dict) -> dict:
    """As Ray fills it in; its reader refuses what does not fit its schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(copy.deepcopy(described))
    validate_config(config)
    return config


def launched(described: dict, available: dict[str, float], gpus: int) -> Counter[str]:
    """The nodes that Ray's autoscaler starts for tasks of one GPU, when some node types were not to be had lately."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = AutoscalingConfig(prepared(described), skip_content_hash=True)
    types = {name: node for name, node in config.get_node_type_configs().items() if name != "head"}
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=types,
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({"GPU": 1, "CPU": 1})] * gpus),
        recoverable_resource_availabilities=available,
    )
    reply = ResourceDemandScheduler(None).schedule(request)
    return Counter({launch.instance_type: launch.count for launch in reply.to_launch})


# -- cluster.yaml


def check_cluster(described: dict) -> None:
    """Refuse a cluster.yaml that Ray would take and that would not work, cost too much or let others in."""
    types = described["available_node_types"]
    head = types[described["head_node_type"]]
    workers = {name: node for name, node in types.items() if node is not head}
    _check_provider(described)
    _check_docker(described["docker"])
    _check_initialization(described)
    _check_commands(described)
    assert head["resources"] == {"CPU": 0}, "the head does no work"
    assert "InstanceMarketOptions" not in head["node_config"], "to lose the head is to lose the drivers"
    ubuntu = "/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    assert head["node_config"]["ImageId"].endswith(ubuntu), "which init brings Docker to"
    for node in types.values():
        _check_node(node["node_config"])
    for node in workers.values():
        assert node["resources"] == {"CPU": 8, "GPU": 1} and node["min_workers"] == 0, "from zero nodes"
        assert node["node_config"]["InstanceType"] == "g6.2xlarge", "what the resources are those of"
        assert "/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/" in node["node_config"]["ImageId"], "it has no driver"
        assert node["node_config"]["IamInstanceProfile"] == {"Name": "padray-worker"}
        assert 0 < node["max_workers"] <= described["max_workers"]
    assert head["node_config"]["IamInstanceProfile"] == {"Name": "padray-head"}
    assert sum(node["max_workers"] for node in workers.values()) <= described["max_workers"]
    spot = [node for node in workers.values() if "InstanceMarketOptions" in node["node_config"]]
    bought = [node for node in workers.values() if node not in spot]
    assert all(node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for node in spot)
    assert spot and bought, "spot, and something to fall back to"
    assert min(node["priority"] for node in spot) > max(node["priority"] for node in bought), "spot comes first"


def _check_provider(described: dict) -> None:
    provider = described["provider"]
    assert provider["type"] == "aws" and provider["cache_stopped_nodes"] is False
    zones = provider["availability_zone"].split(",")
    assert len(zones) > 1 and all(zone[:-1] == provider["region"] for zone in zones)
    assert provider["security_group"] == {"GroupName": described["cluster_name"]}, "Ray's own is open to the world"
    assert described["auth"] == {"ssh_user": "ubuntu"}
    assert described["upscaling_speed"] >= 10 and described["idle_timeout_minutes"] >= 2


def _check_docker(docker: dict) -> None:
    assert docker["image"] == IMAGE and not {"head_image", "worker_image"} & docker.keys(), "one image, this version's"
    assert docker["pull_before_run"] is True and docker["container_name"]
    assert f"-v {STORAGE}:{STORAGE}" in docker["run_options"]
    assert any(option.startswith("--shm-size=") for option in docker["run_options"])
    assert any(option.startswith("--ulimit nofile=65536") for option in docker["run_options"])
    assert docker["worker_run_options"] == ["--gpus all"], "or a worker without a driver works on its CPUs"


def _check_initialization(described: dict) -> None:
    commands = described["initialization_commands"]
    mount = next(command for command in commands if "mount -t nfs4" in command)
    assert mount.startswith(f"mountpoint -q {STORAGE} || "), "to mount again hides or fails"
    assert "hard" in re.split("[ ,]", mount) and "noresvport" in mount and mount.endswith(f":/ {STORAGE}")
    assert f".efs.{described['provider']['region']}.amazonaws.com" in mount
    owner = commands.index(f"sudo chown {USER}:{GROUP} {STORAGE} && sudo chmod 2775 {STORAGE}")
    assert commands.index(f"sudo mkdir -p {STORAGE}") < commands.index(mount) < owner, "the mounted folder's owner"
    assert any(c.startswith("command -v docker || ") and c.endswith("docker.io)") for c in commands)
    assert any(c.startswith("command -v mount.nfs4 || ") and c.endswith("nfs-common)") for c in commands)
    assert any("usermod -aG docker ubuntu" in c and "chown ubuntu:docker" in c for c in commands)
    assert not any(c.startswith("docker") for c in commands), "Ray runs these before it has a container"


def _check_commands(described: dict) -> None:
    for name in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert described[name] == [], "everything is in the image"
    assert described["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}, "the token, no checkout"
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        stop, start = described[name]
        assert stop == "ray stop" and start.startswith("RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start ")
    start = described["head_start_ray_commands"][1].split()
    wanted = {"--head", "--port=6379", "--num-cpus=0", "--autoscaling-config=~/ray_bootstrap_config.yaml"}
    assert wanted | {"--dashboard-host=127.0.0.1"} <= set(start)
    assert described["worker_start_ray_commands"][1].endswith("--address=$RAY_HEAD_IP:6379")


def _check_node(node: dict) -> None:
    assert node["ImageId"].startswith("resolve:ssm:/aws/service/"), "or Ray takes an image of long ago"
    disk = node["BlockDeviceMappings"][0]
    assert disk["DeviceName"] == "/dev/sda1" and disk["Ebs"]["VolumeType"] == "gp3"
    assert disk["Ebs"]["VolumeSize"] >= 100, "room for the image, as it comes and unpacked"
    assert set(node["IamInstanceProfile"]) == {"Name"} and "KeyName" not in node
    assert re.fullmatch(r"[a-z][a-z0-9]*\.\d*x?large", node["InstanceType"])


# -- jobs/kuberay.yaml


def check_rayjob(manifest: dict) -> None:
    """Refuse a RayJob that KubeRay would take and that would not work, cost too much or tell a secret."""
    spec, cluster = manifest["spec"], manifest["spec"]["rayClusterSpec"]
    assert set(manifest["metadata"]) == {"generateName"}, "one name can be submitted once"
    assert spec["submissionMode"] == "K8sJobMode" and spec["backoffLimit"] >= 1
    assert spec["shutdownAfterJobFinishes"] is True and 0 < spec["ttlSecondsAfterFinished"] <= 3600
    assert "runtimeEnvYAML" not in spec, "Ray writes what it holds to its logs"
    _check_entrypoint(spec["entrypoint"])
    assert cluster["rayVersion"] == pinned("ray")
    assert cluster["authOptions"] == {"mode": "token", "secretName": "padray-token"}
    assert cluster["enableInTreeAutoscaling"] is True
    scaling = cluster["autoscalerOptions"]
    assert scaling["version"] == "v2" and scaling["upscalingMode"] != "Conservative"
    assert scaling["idleTimeoutSeconds"] >= 120
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0"}, "the head does no work"
    assert worker["minReplicas"] == worker["replicas"] == 0 < worker["maxReplicas"], "from zero workers"
    assert worker["groupName"] == "gpu" and worker["rayStartParams"] == {}
    ports = {port["name"]: port["containerPort"] for port in head["template"]["spec"]["containers"][0]["ports"]}
    assert ports == {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
    for group, name, gpus in ((head, "ray-head", None), (worker, "ray-worker", "1")):
        _check_pod(group["template"]["spec"], name, gpus)
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert worker["template"]["spec"]["tolerations"] == [toleration]


def _check_entrypoint(line: str) -> None:
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "padray.commandline.job"], "what is installed, no checkout"
    command, config, *options = words[3:]
    assert command in COMMANDS and config in loading.preset_names()
    job.check(command, [config, *options])
    assert options[options.index("--storage") + 1].startswith("s3://"), "no folder is shared here"
    loading.load(config, tuple(options[place + 1] for place, word in enumerate(options) if word == "--set"))
    assert "compute.device=cuda" in options


def _check_pod(pod: dict, name: str, gpus: str | None) -> None:
    (container,) = pod["containers"]
    assert container["name"] == name and container["image"] == IMAGE
    assert pod["securityContext"] == {"runAsUser": USER, "runAsGroup": GROUP, "fsGroup": GROUP}
    resources = container["resources"]
    assert resources["requests"] == resources["limits"], "Ray counts limits, Kubernetes requests"
    assert {"cpu", "memory"} <= set(resources["limits"]) and resources["limits"].get("nvidia.com/gpu") == gpus
    assert int(resources["limits"]["memory"].removesuffix("Gi")) >= 16 and int(resources["limits"]["cpu"]) >= 2
    wanted = {"AWS_SHARED_CREDENTIALS_FILE": "/etc/padray/credentials", "RAY_USAGE_STATS_ENABLED": "0"}
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    assert wanted.items() <= given.items() and not AWS_SECRETS & given.keys(), "secrets by reference"
    assert set(given) == {*wanted, "AWS_REGION"} and re.fullmatch(r"[a-z]+-[a-z]+-\d", given["AWS_REGION"])
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount == {"name": volume["name"], "mountPath": "/etc/padray", "readOnly": True}
    assert volume["secret"] == {"secretName": "padray-aws", "defaultMode": 0o440}
