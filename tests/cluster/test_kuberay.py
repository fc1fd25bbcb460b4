"""jobs/kuberay.yaml, checked without a cluster: by KubeRay's names, by Ray's own reader, by what neither notices."""

import copy
import re

import pytest
from jsonschema import Draft202012Validator

from padray.errors import InputError
from tests.cluster.manifests import GONE, ROOT, broken, check_rayjob, launched, read, unbroken

SPEC = ("spec",)
CLUSTER = ("spec", "rayClusterSpec")
PODS = {
    "head": (*CLUSTER, "headGroupSpec", "template", "spec"),
    "gpu": (*CLUSTER, "workerGroupSpecs", 0, "template", "spec"),
}
GROUP = (*CLUSTER, "workerGroupSpecs", 0)
RUN = "python -m padray.commandline.job run"
AT = "--storage s3://BUCKET/padray --set compute.device=cuda"


def pods(*inner: str | int) -> list[tuple[str | int, ...]]:
    return [(*pod, *inner) for pod in PODS.values()]


BREAKS = [
    (("apiVersion",), "ray.io/v1alpha1"),
    (("kind",), "RayCluster"),
    (("metadata", "generateName"), GONE),
    (("metadata", "name"), "padray"),
    *[
        ((*SPEC, "entrypoint"), line)
        for line in (
            f"python -m jobs.pipeline digits-ipc10 {AT}",
            f"{RUN} no-such-preset {AT}",
            f"python -m padray.commandline.job walk digits-ipc10 {AT}",
            f"{RUN} digits-ipc10 --storage runs --set compute.device=cuda",
            f"{RUN} digits-ipc10 --storage /mnt/padray --set compute.device=cuda",
            f"{RUN} digits-ipc10 --storage s3://BUCKET/padray",
            f"{RUN} digits-ipc10 {AT} --set distill.ipk=1",
        )
    ],
    ((*SPEC, "submissionMode"), "InteractiveMode"),
    ((*SPEC, "backoffLimit"), 0),
    ((*SPEC, "shutdownAfterJobFinishes"), False),
    ((*SPEC, "ttlSecondsAfterFinished"), 0),
    ((*SPEC, "runtimeEnvYAML"), "env_vars: {AWS_SECRET_ACCESS_KEY: x}"),
    ((*CLUSTER, "rayVersion"), "2.9.0"),
    ((*CLUSTER, "authOptions", "mode"), "disabled"),
    ((*CLUSTER, "authOptions", "secretName"), GONE),
    ((*CLUSTER, "enableInTreeAutoscaling"), False),
    ((*CLUSTER, "autoscalerOptions", "version"), "v1"),
    ((*CLUSTER, "autoscalerOptions", "upscalingMode"), "Conservative"),
    ((*CLUSTER, "autoscalerOptions", "idleTimeoutSeconds"), 1),
    ((*CLUSTER, "headGroupSpec", "rayStartParams"), {}),
    ((*GROUP, "groupName"), "cpu"),
    ((*GROUP, "replicas"), 1),
    ((*GROUP, "minReplicas"), 1),
    ((*GROUP, "maxReplicas"), 0),
    ((*GROUP, "rayStartParams"), {"num-gpus": "0"}),
    ((*PODS["gpu"], "tolerations"), []),
    *[(place, 0) for user in ("runAsUser", "runAsGroup", "fsGroup") for place in pods("securityContext", user)],
    *[(place, "rayproject/ray:2.60.0") for place in pods("containers", 0, "image")],
    *[(place, "main") for place in pods("containers", 0, "name")],
    *[(place, GONE) for number in range(3) for place in pods("containers", 0, "env", number)],
    *[(place, "AWS_SECRET_ACCESS_KEY") for place in pods("containers", 0, "env", 0, "name")],
    *[((*PODS["head"], "containers", 0, "ports", number), GONE) for number in range(3)],
    *[
        (place, "1")
        for kind in ("requests", "limits")
        for name in ("cpu", "memory")
        for place in pods("containers", 0, "resources", kind, name)
    ],
    *[((*PODS["gpu"], "containers", 0, "resources", kind, "nvidia.com/gpu"), GONE) for kind in ("requests", "limits")],
    *[(place, False) for place in pods("containers", 0, "volumeMounts", 0, "readOnly")],
    *[(place, "/etc") for place in pods("containers", 0, "volumeMounts", 0, "mountPath")],
    *[(place, "other") for place in pods("containers", 0, "volumeMounts", 0, "name")],
    *[(place, "other") for place in pods("volumes", 0, "name")],
    *[(place, "other") for place in pods("volumes", 0, "secret", "secretName")],
    *[(place, 0o777) for place in pods("volumes", 0, "secret", "defaultMode")],
]


@pytest.fixture(scope="module")
def manifest() -> dict:
    return read("jobs/kuberay.yaml")


def check(manifest: dict) -> None:
    problems = Draft202012Validator(read("tests/cluster/rayjob_schema.yaml")).iter_errors(manifest)
    assert not [f"{problem.json_path}: {problem.message}" for problem in problems]
    check_rayjob(manifest)


def test_it_is_accepted(manifest):
    check(manifest)


@pytest.mark.parametrize("place, value", BREAKS, ids=str)
def test_a_wrong_field_is_refused(manifest, place, value):
    with pytest.raises((AssertionError, LookupError, ValueError, InputError)):
        check(broken(manifest, place, value))


def test_every_field_is_one_that_is_checked(manifest):
    assert not unbroken(manifest, {place for place, _ in BREAKS}, free=set())


@pytest.mark.parametrize(
    "place",
    [(*SPEC, "retries"), (*CLUSTER, "autoscaling"), (*GROUP, "minWorkers"), *pods("containers", 0, "resource")],
    ids=str,
)
def test_a_name_that_kuberay_does_not_know_is_noticed(manifest, place):
    with pytest.raises(AssertionError, match=str(place[-1])):
        check(broken(manifest, place, 1))


def test_ray_s_autoscaler_reads_workers_with_a_gpu_that_come_from_zero(manifest):
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {"metadata": {"name": "padray", "namespace": "default"}, "spec": copy.deepcopy(manifest["spec"])}
    cluster["spec"] = cluster["spec"]["rayClusterSpec"]
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    head, gpu = config["available_node_types"][config["head_node_type"]], config["available_node_types"]["gpu"]
    assert head["resources"]["CPU"] == 0 and "GPU" not in head["resources"]
    assert {"CPU": 8, "GPU": 1, "memory": 28 * 2**30}.items() <= gpu["resources"].items()
    assert (gpu["min_workers"], gpu["max_workers"], config["idle_timeout_minutes"]) == (0, 8, 5.0)
    assert launched(config, {}, 3) == {"gpu": 3} and launched(config, {}, 0) == {}


def test_its_comments_name_the_secrets_that_it_refers_to(manifest):
    told = (ROOT / "jobs/kuberay.yaml").read_text()
    made = dict(re.findall(r"kubectl create secret generic (\S+) --from-file=(\w+)=", told))
    assert made == {"padray-token": "auth_token", "padray-aws": "credentials"}
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["secretName"] in made
    assert {
        volume["secret"]["secretName"] for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]
    } <= set(made)
