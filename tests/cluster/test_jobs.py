"""`ray job submit` as a user types it: logs stream, artefacts lie in the root, a failing job says why."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from padray.commandline import job
from padray.errors import InputError
from tests.cluster.conftest import command
from tests.cluster.heads import Head, started
from tests.conftest import TINY


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["demo"], "a job needs --storage"),
        (["demo", "--storage", "runs"], "--storage runs is relative"),
        (["demo", "--storage=./runs"], "--storage ./runs is relative"),
        (["demo", "--storage", "/s", "--set", "data.path=images"], "--set data.path images is relative"),
        (["demo", "--storage", "s3://b/p", "--set=data.path=a/b"], "--set data.path a/b is relative"),
        (["demo", "--storage", "s3://b/p", "--set", "storage.cache=cache"], "--set storage.cache cache is relative"),
        (["demo", "--storage", "/s", "--set", "storage.tensorboard=tb"], "--set storage.tensorboard tb is relative"),
        (["demo", "--storage", "/s", "--space", "spaces/mine.yaml"], None),  # travels with the working directory
    ],
)
def test_relative_paths_are_refused_with_a_sentence(arguments, told):
    if told is None:
        job.check("tune" if "--space" in arguments else "run", arguments)
        return
    with pytest.raises(InputError) as caught:
        job.check("tune" if "--space" in arguments else "run", arguments)
    assert str(caught.value).startswith(told)


def test_absolute_paths_pass():
    job.check("run", ["demo", "--storage", "/mnt/runs", "--set", "data.path=/mnt/images", "--set", "experts.count=3"])
    job.check("run", ["demo", "--storage=s3://bucket/prefix"])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started({}) as running:
        yield running


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.mark.ray
def test_a_failing_job_says_why(head, settings):
    done = head.submit("pipeline", settings, "--storage", "runs")
    assert done.returncode != 0
    assert "--storage runs is relative, which means nothing in a job" in done.stdout
    assert "Traceback" not in done.stdout
    assert head.exit_codes()[-1] == 2


@pytest.mark.ray
def test_the_pipeline_as_a_job(head, settings, tmp_path):
    done = head.submit("pipeline", settings, "--storage", tmp_path / "runs", "--set", "cluster.max_actors=1")
    assert done.returncode == 0, done.stdout
    assert "distill 12/12" in done.stdout and "set: sha256" in done.stdout, "the logs stream"
    assert "Warning" not in done.stdout + done.stderr
    stages = {json.loads(path.read_text())["stage"] for path in (tmp_path / "runs").rglob("manifest.json")}
    assert stages == {"data", "scores", "experts", "distill", "evaluation", "report"}
    assert head.exit_codes()[-1] == 0


@pytest.mark.chaos
def test_a_command_joins_with_the_token_alone(head, settings, tmp_path):
    client = {**head.environment, "RAY_ADDRESS": head.address}
    del client["RAY_AUTH_MODE"]  # the token alone says that one is wanted
    shown = command("experts", settings, "--storage", tmp_path / "runs", environment=client)
    out, err = shown.communicate(timeout=120)
    assert shown.returncode == 0, err
    assert "experts 3/3" in err + out and "Warning" not in err + out


@pytest.mark.chaos
def test_the_search_as_a_job(head, settings, tmp_path):
    space = settings.with_name("space.yaml")
    space.write_text("distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n")
    options = ["--set", "search.trials=2", "--set", "search.epochs=10", "--storage", tmp_path / "runs"]
    done = head.submit("tune", settings, "--space", space, *options)
    assert done.returncode == 0, done.stdout
    assert "search 2/2" in done.stdout
    assert len(list((tmp_path / "runs").rglob("trial-*.json"))) == 2
    assert len(list((tmp_path / "runs").rglob("best.yaml"))) == 1
