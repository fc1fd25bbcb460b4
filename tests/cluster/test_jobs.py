"""`ray job submit` as a user types it: logs stream, artefacts lie in the root, a failing job says why."""

from collections.abc import Iterator

import pytest

from padray.commandline import job
from padray.errors import InputError
from tests.cluster.conftest import command, objects
from tests.cluster.heads import Head, started
from tests.roots import different, stored, units
from tests.scan import files_with, objects_with
from tests.swift import OWNER


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


@pytest.mark.ray
def test_a_failing_job_says_why(head, settings):
    done = head.submit("pipeline", settings, "--storage", "runs")
    assert done.returncode != 0
    assert "--storage runs is relative, which means nothing in a job" in done.stdout
    assert "Traceback" not in done.stdout
    assert head.exit_codes()[-1] == 2


@pytest.mark.ray
@pytest.mark.s3
def test_the_pipeline_as_a_job_in_a_bucket_leaves_the_bytes_of_a_folder_and_no_secret(
    head, settings, chain, s3, tmp_path
):
    """The workers get the AWS settings with the job, but for the credentials, which lie in a file."""
    given, root, few = s3.by_file(tmp_path), s3.root(), "cluster.max_actors=1"
    done = head.submit("pipeline", settings, "--storage", root, "--set", few, variables=given)
    folder = tmp_path / "runs"
    digest = chain(folder, "inline", few)[1].set_digest
    assert done.returncode == 0, done.stdout
    assert "distill 12/12" in done.stdout and f"set: sha256 {digest}" in done.stdout, "logs stream"
    assert "Warning" not in done.stdout + done.stderr
    here, there = stored(root), objects(folder)
    assert {key.partition("/")[0] for key in here} - {key.partition("/")[0] for key in there} == {"reports"}
    assert different({key: here[key] for key in here if not key.startswith("reports/")}, there) == []
    made = units(root)
    assert len(made) == len(set(made))
    assert head.exit_codes()[-1] == 0
    assert files_with(given["AWS_ENDPOINT_URL_S3"], head.folder), "the scan sees what the workers were given"
    assert files_with(OWNER[1], head.folder) == [] and objects_with(OWNER[1], root) == []
    assert OWNER[1] not in done.stdout + done.stderr


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
    space = tmp_path / "space.yaml"
    space.write_text("distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n")
    options = ["--set", "search.trials=2", "--set", "search.epochs=10", "--storage", tmp_path / "runs"]
    done = head.submit("tune", settings, "--space", space, *options)
    assert done.returncode == 0, done.stdout
    assert "search 2/2" in done.stdout
    assert len(list((tmp_path / "runs").rglob("trial-*.json"))) == 2
    assert len(list((tmp_path / "runs").rglob("best.yaml"))) == 1
