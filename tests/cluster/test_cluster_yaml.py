"""cluster.yaml, checked without credentials by Ray's own reader and by what that does not notice."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def described() -> dict:
    return YAML(typ="safe").load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_it(described):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(described)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]


def test_a_setting_that_ray_does_not_know_would_be_noticed(described):
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(Exception, match="worker_nodes_max"):
        validate_config(prepare_config({**described, "worker_nodes_max": 3}))


def test_the_limits_fit_each_other(described):
    workers = [t for name, t in described["available_node_types"].items() if name != described["head_node_type"]]
    assert all(0 <= t["min_workers"] <= t["max_workers"] <= described["max_workers"] for t in workers)
    assert sum(t["max_workers"] for t in workers) <= described["max_workers"]


def test_every_node_type_says_what_it_has_and_the_head_does_no_work(described):
    types = described["available_node_types"]
    assert all("resources" in t for t in types.values())
    assert types[described["head_node_type"]]["resources"] == {"CPU": 0}
    assert all(t["resources"]["GPU"] >= 1 for name, t in types.items() if name != described["head_node_type"])
    assert "--num-cpus=0" in " ".join(described["head_start_ray_commands"])


def test_all_nodes_run_the_pinned_ray_and_ask_for_the_token(described):
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    for image in (described["docker"]["image"], described["docker"]["head_image"]):
        assert image.startswith(f"rayproject/ray:{pinned[1]}-py311-")
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in described[commands][-1]
    assert "/home/ray/.ray/auth_token" in described["file_mounts"]


def test_no_credentials_are_written_down():
    text = (ROOT / "cluster.yaml").read_text()
    assert not re.search(r"AKIA|aws_secret|AWS_SECRET|KeyName", text)
