"""cluster.yaml, checked without credentials by Ray's own reader and by what that does not notice."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster.manifests import (
    GONE,
    ROOT,
    STORAGE,
    broken,
    check_cluster,
    launched,
    pinned,
    prepared,
    read,
    unbroken,
)

TYPES = "available_node_types"
NODES = ("head", "gpu_spot", "gpu_on_demand")
WORKERS = NODES[1:]
DISK = ("node_config", "BlockDeviceMappings", 0)
CUDA_11 = "ami-0a2b85e15b7c0ac34"  # what Ray takes in us-west-2 where nothing is said

BREAKS = [
    (("cluster_name",), "other"),
    (("max_workers",), 2),
    (("upscaling_speed",), 1.0),
    (("idle_timeout_minutes",), 0.1),
    (("provider", "type"), "gcp"),
    (("provider", "region"), "us-east-1"),
    (("provider", "availability_zone"), "us-west-2a"),
    (("provider", "cache_stopped_nodes"), True),
    (("provider", "security_group"), GONE),
    (("auth", "ssh_user"), "ec2-user"),
    (("docker", "image"), "rayproject/ray:2.60.0-py311-gpu"),
    (("docker", "image"), "REGISTRY/padray:latest"),
    (("docker", "head_image"), "rayproject/ray:2.60.0-py311-cpu"),
    (("docker", "container_name"), ""),
    (("docker", "pull_before_run"), False),
    *[(("docker", "run_options", place), GONE) for place in range(3)],
    (("docker", "worker_run_options"), []),
    *[(("initialization_commands", place), GONE) for place in range(6)],
    (("initialization_commands", 4), f"sudo mount -t nfs4 -o hard X.efs.us-west-2.amazonaws.com:/ {STORAGE}"),
    (("initialization_commands", 5), f"sudo chown 0:0 {STORAGE}"),
    (("head_node_type",), "gpu_spot"),
    *[((TYPES, name, "resources"), {}) for name in NODES],
    *[((TYPES, name, "node_config", "ImageId"), GONE) for name in NODES],
    *[((TYPES, name, "node_config", "ImageId"), CUDA_11) for name in NODES],
    *[((TYPES, name, "node_config", "InstanceType"), "large") for name in NODES],
    *[((TYPES, name, "node_config", "IamInstanceProfile"), {"Name": "admin"}) for name in NODES],
    *[((TYPES, name, "node_config", "KeyName"), "mine") for name in NODES],
    *[((TYPES, name, *DISK, "DeviceName"), "/dev/xvda") for name in NODES],
    *[((TYPES, name, *DISK, "Ebs", "VolumeSize"), 20) for name in NODES],
    *[((TYPES, name, *DISK, "Ebs", "VolumeType"), "gp2") for name in NODES],
    *[((TYPES, name, "min_workers"), 1) for name in WORKERS],
    *[((TYPES, name, "max_workers"), 0) for name in WORKERS],
    *[((TYPES, name, "max_workers"), 8) for name in WORKERS],
    ((TYPES, "gpu_spot", "priority"), 0),
    ((TYPES, "gpu_on_demand", "priority"), 10),
    ((TYPES, "gpu_spot", "node_config", "InstanceMarketOptions"), GONE),
    ((TYPES, "gpu_on_demand", "node_config", "InstanceMarketOptions"), {"MarketType": "spot"}),
    ((TYPES, "head", "node_config", "InstanceMarketOptions"), {"MarketType": "spot"}),
    ((TYPES, "gpu_on_demand"), GONE),
    (("file_mounts", "/home/ray/.ray/auth_token"), GONE),
    (("file_mounts", "/home/ray/padray"), "."),
    *[((name,), ["pip install torch"]) for name in ("setup_commands", "head_setup_commands", "worker_setup_commands")],
    *[((f"{kind}_start_ray_commands", place), "true") for kind in ("head", "worker") for place in (0, 1)],
    (("head_start_ray_commands", 1), "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start --head --port=6379"),
]


@pytest.fixture(scope="module")
def described() -> dict:
    return read("cluster.yaml")


def test_ray_accepts_it_and_so_do_we(described):
    config = prepared(described)
    check_cluster(described)
    assert config["head_node_type"] in config[TYPES]
    commands = [line for key, lines in config.items() if key.endswith("_commands") for line in lines]
    assert not [line for line in commands if "pip" in line or "conda" in line], "nothing that Ray fills in installs"


def test_a_setting_that_ray_does_not_know_would_be_noticed(described):
    for changed in ({**described, "worker_nodes_max": 3}, broken(described, (TYPES, "gpu_spot", "prority"), 3)):
        with pytest.raises(Exception, match=r"worker_nodes_max|prority"):
            prepared(changed)


@pytest.mark.parametrize("place, value", BREAKS, ids=str)
def test_a_wrong_field_is_refused(described, place, value):
    with pytest.raises((AssertionError, LookupError, StopIteration, ValueError)):
        check_cluster(broken(described, place, value))


def test_every_field_is_one_that_is_checked(described):
    assert not unbroken(described, {place for place, _ in BREAKS}, free=set())


# -- what Ray and a shell make of it


def test_spot_comes_first_and_what_is_bought_where_there_is_no_spot(described):
    assert launched(described, {}, 3) == {"gpu_spot": 3}
    assert launched(described, {}, 20) == {"gpu_spot": 6, "gpu_on_demand": 2}, "all that may be"
    assert launched(described, {"gpu_spot": 0.0}, 1) == {"gpu_on_demand": 1}
    assert launched(described, {}, 0) == {}, "from zero, and to zero"


TOOLS = {
    "sudo": 'exec "$@"',
    "apt-get": 'case "$*" in *docker.io) d=docker;; *nfs-common) d=mount.nfs4;; *) exit 0;; esac; cp $BIN/true $BIN/$d',
    "mountpoint": 'test -e "$STATE/mounted"',
    "mount": '! test -e "$STATE/mounted" && echo "$@" > "$STATE/mounted"',
    "usermod": "true",
    "true": "true",
    "mkdir": "true",
    "chmod": "true",
    "docker": "true",
    "chown": 'echo "$@" >> "$STATE/owners"; case "$*" in *docker.sock) ;; *) test -e "$STATE/mounted";; esac',
}


@pytest.mark.parametrize("there", [("docker",), ()], ids=["docker is there", "a bare Ubuntu"])
def test_a_node_may_be_initialised_again_and_again(described, tmp_path, there):
    (tmp_path / "bin").mkdir()
    for name, text in TOOLS.items():
        if name != "docker" or name in there:
            (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "$STATE/log"\n{text}\n')
            (tmp_path / "bin" / name).chmod(0o755)
    for tool in ("cp", "test"):
        (tmp_path / "bin" / tool).symlink_to(f"/usr/bin/{tool}")
    environment = {"PATH": str(tmp_path / "bin"), "STATE": str(tmp_path), "BIN": str(tmp_path / "bin")}
    for _ in range(3):
        for line in described["initialization_commands"]:
            done = subprocess.run(["/bin/bash", "-c", line], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, (line, done.stderr)
    log = (tmp_path / "log").read_text().splitlines()
    assert len([line for line in log if line.startswith("mount ")]) == 1
    assert len([line for line in log if "install -y docker.io" in line and line.startswith("apt-get")]) == 1 - len(
        there
    )
    assert (tmp_path / "mounted").read_text().split()[-2:] == ["FILE-SYSTEM.efs.us-west-2.amazonaws.com:/", STORAGE]
    assert (tmp_path / "owners").read_text().splitlines()[-1] == f"1000:100 {STORAGE}"


# -- the image


def test_the_image_is_built_by_one_command_from_what_is_pinned():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("FROM ")] == [f"FROM rayproject/ray:{pinned('ray')}-py311-cpu"]
    assert any("pip install" in line and "--constraint /home/ray/source/constraints.txt" in line for line in lines)
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[2:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    wanted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert wanted == {name.split("/")[0] for name in copied}, "all that is copied is sent to the builder, and no more"
    assert all(line.split()[1] == "--chown=1000:100" for line in lines if line.startswith("COPY "))
    made = subprocess.run(
        ["make", "-n", "image", "IMAGE=r.example/padray:1"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "docker build --platform linux/amd64 --tag r.example/padray:1 ." in made.stdout
    assert "docker push r.example/padray:1" in made.stdout
    nameless = {key: value for key, value in os.environ.items() if key != "IMAGE"}
    refused = subprocess.run(["make", "image"], cwd=ROOT, env=nameless, capture_output=True, text=True)
    assert refused.returncode == 2 and "make image IMAGE=" in refused.stdout and "docker" not in refused.stdout


@pytest.mark.parametrize("name", ["cluster.yaml", "jobs/kuberay.yaml", "Dockerfile"])
def test_no_credentials_are_written_down(name):
    if (path := Path(ROOT / name)).exists():
        assert not re.search(r"AKIA|aws_secret|AWS_SECRET|auth_token:\s*['\"]?[0-9a-f]{16}", path.read_text())


def test_commands_on_a_cluster_from_zero_ask_for_gpus():
    text = "\n".join((ROOT / name).read_text() for name in ("cluster.yaml", "docs/cluster.md", "README.md"))
    lines = [
        line
        for line in text.replace("\\\n", "").splitlines()
        if re.search(r"^[#\s`]*(padray|ray job) submit .*--storage", line)
    ]
    assert len(lines) >= 3 and all("compute.device=cuda" in line for line in lines), lines
