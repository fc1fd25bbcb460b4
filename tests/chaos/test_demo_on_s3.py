"""The whole demo as a Ray job with its storage in a bucket: the bytes of a run in a folder, and no secret anywhere."""

import json

import pytest

from padray.operations import upkeep
from padray.store.location import Location
from padray.store.opening import open_location
from tests.cluster.conftest import command
from tests.cluster.heads import started
from tests.scan import files_with, objects_with
from tests.swift import OWNER

pytestmark = [pytest.mark.s3, pytest.mark.chaos]
TIMED = ("events/", "running/", "tensorboard/", "searches/", "reports/", "studies/")  # hold seconds or dates


def compared(key: str, content: bytes) -> object:
    """An object's bytes; of a manifest all but the settings, those of whichever trial came first."""
    return {**json.loads(content), "settings": {}} if key.endswith("manifest.json") else content


def kept(location: Location) -> dict[str, object]:
    keys = [key for key in location.keys("") if not key.startswith(TIMED)]
    return {key: compared(key, location.get(key)) for key in keys}


def test_the_demo_as_a_job_in_a_bucket_equals_that_in_a_folder_and_leaves_no_secret(s3, tmp_path):
    run = command("run", "demo", "--storage", tmp_path / "runs", "--json")
    out, err = run.communicate(timeout=900)
    assert run.returncode == 0, err
    here = kept(open_location(str(tmp_path / "runs")))
    root = s3.root()
    with started(s3.server.environment()) as head:
        done = head.submit("pipeline", "demo", "--storage", root)
        assert done.returncode == 0, done.stdout
        assert files_with(root, head.folder), "the scan sees what the job was told"
        assert files_with(OWNER[1], head.folder) == []
    location = open_location(root)
    there = kept(location)
    assert sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key)) == []
    assert f"set: sha256 {json.loads(out)['set']['sha256']}" in done.stdout
    assert objects_with(OWNER[1], root) == [] and OWNER[1] not in done.stdout + done.stderr
    assert files_with(OWNER[1], tmp_path) == []
    assert upkeep.verify(location, None, None, lambda progress: None).lines == []
