"""The whole chain in object storage: the same bytes as in a folder, also after a kill (as a job: test_jobs.py)."""

import json
import os
import signal
from types import SimpleNamespace
from typing import cast

import pytest

from padray.config import Config
from padray.errors import InfrastructureError
from padray.stages import pipeline
from padray.stages.base import Unit, Work
from padray.store.opening import open_location
from tests.cluster.conftest import command, make_context, objects
from tests.roots import different, stored
from tests.swift import OWNER

pytestmark = pytest.mark.s3


def test_a_chain_in_a_bucket_leaves_the_same_bytes_as_in_a_folder(s3, settings, inline):
    root = s3.root()
    outcome = pipeline.run(make_context(settings, root, "inline", ()), "evaluate")
    assert outcome.rows == inline[1].rows and outcome.set_digest == inline[1].set_digest
    assert different(stored(root), objects(inline[0])) == []
    again = make_context(settings, root, "inline", ())
    pipeline.run(again, "evaluate")
    assert set(again.reused) == {"data", "scores", "experts", "distill", "evaluation"}


@pytest.mark.chaos
def test_a_chain_that_is_killed_in_a_bucket_goes_on_and_leaves_the_same_bytes(s3, settings, inline):
    root = s3.root()
    for crash in ("experts:after-put:2", "distill:checkpoint:8"):
        environment = {**s3.environment, "PADRAY_CRASH_AT": crash}
        killed = command("distill", settings, "--storage", root, "--runner", "inline", environment=environment)
        _, err = killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL, f"{crash} was not reached: {err}"
    for key, content in stored(root).items():
        assert not key.startswith("experts/") or content == (inline[0] / key).read_bytes(), "nothing is torn"
    pipeline.run(make_context(settings, root, "inline", ()), "evaluate")
    assert different(stored(root), objects(inline[0])) == []


@pytest.mark.ray
def test_a_job_that_was_given_secrets_is_refused(s3, settings, local_ray):
    """Ray has written them to its logs by then; the sentence says so."""
    root, job = s3.root(), {"runtime_env": {"env_vars": s3.server.environment()}}
    environment = {**local_ray, **s3.server.environment(), "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}
    run = command("experts", settings, "--storage", root, environment=environment)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 2 and "the job's runtime_env holds AWS_SECRET_ACCESS_KEY, which Ray writes" in err
    assert OWNER[1] not in out + err and "Traceback" not in err and open_location(root).keys("experts") == []


@pytest.mark.ray
def test_a_worker_that_lacks_the_aws_settings_is_named_where_it_runs(s3, local_ray):
    from padray.cluster import pool
    from padray.cluster.probe import probing

    assert "AWS_ACCESS_KEY_ID" not in local_ray or os.environ["AWS_ACCESS_KEY_ID"] != local_ray["AWS_ACCESS_KEY_ID"]
    location, work = s3.location(), cast(Work, SimpleNamespace(config=Config()))  # no unit gets as far as being made
    told = r"the node \S+ does not see the storage s3://\S+; its workers need the same AWS settings as this process \("
    with pytest.raises(InfrastructureError, match=told), probing(location) as probe:
        list(pool.run(work, [Unit("experts", "one", "f")], pool.Demand(1, 0, 1, 10, probe)))
    assert location.keys("") == [], "the probe is taken away"
