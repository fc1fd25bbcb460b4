"""Storage that fails while work goes on: the work waits, ends in a sentence, or names what is damaged; nothing is lost.

The server is real. Each test ends with all objects equal to those of an undisturbed run, and `padray verify` content.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from padray.errors import WorkError
from padray.store.artifacts import Folder
from padray.store.opening import open_location
from padray.store.roots import all_manifests
from padray.store.s3 import Patience, S3Location
from padray.store.shards import read_row
from tests.cluster.conftest import OF_RAY, command, wait_for
from tests.conftest import Run, Said
from tests.roots import chain as make
from tests.roots import different, inspect, stored, units
from tests.swift import BUCKET, OWNER, STRANGER, Store, Swift, point, problem

pytestmark = [pytest.mark.s3, *(pytest.mark.filterwarnings(rule) for rule in OF_RAY)]
LONGER = ("experts.count=6", "experts.epochs=30", "distill.iterations=240", "distill.checkpoint_seconds=0.5")


def sets(*overrides: str) -> list[str]:
    return [item for override in overrides for item in ("--set", override)]


@pytest.fixture(scope="module")
def longer(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The longer chain's objects, made undisturbed in a folder."""
    root = str(tmp_path_factory.mktemp("longer") / "runs")
    make(settings, root, *LONGER)
    return stored(root)


def sound(root: str, undisturbed: dict[str, bytes]) -> None:
    """Nothing is lost, nothing was made twice, nothing is left over."""
    assert different(stored(root), undisturbed) == []
    made = units(root)
    assert len(made) == len(set(made))
    assert inspect(root) == {}


# -- the server is gone for a while


@pytest.mark.chaos
@pytest.mark.ray
@pytest.mark.parametrize("name", ["/expert-", "/checkpoint-"], ids=["experts are written", "the trainer streams"])
def test_a_server_killed_while_work_goes_on_costs_nothing_but_time(s3, settings, longer, local_ray, tmp_path, name):
    location = s3.location()
    with joined("evaluate", settings, s3, local_ray, tmp_path, "--storage", location.uri, *sets(*LONGER)) as run:
        wait_for(name, lambda: run.poll() is not None or any(name in key for key in location.keys("")), 120)
        s3.server.kill()
        assert run.poll() is None, "it was killed while work went on"
        time.sleep(3)
        s3.server.start()
        out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert "Traceback" not in out + err
    sound(location.uri, longer)


@pytest.mark.chaos
@pytest.mark.ray
def test_a_server_frozen_for_20_s_costs_nothing_but_time(s3, settings, longer, local_ray, tmp_path):
    location = s3.location()
    with joined("evaluate", settings, s3, local_ray, tmp_path, "--storage", location.uri, *sets(*LONGER)) as run:
        wait_for(
            "an expert", lambda: run.poll() is not None or any("/expert-" in key for key in location.keys("")), 120
        )
        s3.server.freeze()
        try:
            assert run.poll() is None, "it was frozen while work went on"
            time.sleep(20)
        finally:
            s3.server.thaw()
        _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    sound(location.uri, longer)


@contextmanager
def joined(name: str, settings: Path, s3: Store, local_ray: dict[str, str], folder: Path, *rest: str) -> Iterator[Any]:
    """A command that joins the local Ray, whose workers find the server as it does; it does not outlive its test."""
    given = s3.by_file(folder)
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": given}})}
    run = command(name, settings, *rest, environment={**local_ray, **given, **job})
    try:
        yield run
    finally:
        run.kill()
        run.communicate()


# -- the server refuses


def told(said: Said, code: int, sentence: str) -> None:
    """One sentence and an exit code; no traceback, no secret."""
    assert said.code == code and sentence in said.err, said
    errors = [
        line
        for line in said.err.splitlines()
        if not line.startswith(("run ", "data ", "scores ", "experts ", "distill "))
    ]
    assert len(errors) == 1 and "Traceback" not in said.err
    assert not any(secret in said.out + said.err for secret in (OWNER[1], STRANGER[1], "not-to-be-told"))


@pytest.mark.parametrize(
    "who, bucket, sentence",
    [
        ((OWNER[0], "not-to-be-told"), BUCKET, "the credentials are refused (SignatureDoesNotMatch); check AWS_ACCESS"),
        (
            STRANGER,
            BUCKET,
            "it is denied; these credentials need the rights to list, read, write and delete objects the",
        ),
        (OWNER, "no-such-bucket", "there is no bucket no-such-bucket; create it, or correct its name"),
    ],
    ids=["secret", "stranger", "bucket"],
)
def test_a_command_that_may_not_write_ends_at_once_and_leaves_nothing(
    s3, tiny, run: Run, monkeypatch, who, bucket, sentence
):
    root = f"s3://{bucket}/{secrets.token_hex(8)}"
    with monkeypatch.context() as patched:
        point(patched, s3.server.environment(who))
        said = run("run", tiny, "--storage", root, "--runner", "inline")
    told(said, 2, f"cannot write to the storage {root}: {sentence}")
    assert bucket != BUCKET or open_location(root).keys("") == []


def test_who_may_read_but_not_write_is_told_at_once(s3, tiny, run: Run, monkeypatch):
    bucket = f"readable-{secrets.token_hex(4)}"
    s3.location().client().create_bucket(Bucket=bucket, ACL="public-read")
    S3Location(f"s3://{bucket}").put("a", b"x")
    with monkeypatch.context() as patched:
        point(patched, s3.server.environment(STRANGER))
        assert S3Location(f"s3://{bucket}").get("a") == b"x"
        told(run("run", tiny, "--storage", f"s3://{bucket}/p", "--runner", "inline"), 2, "it is denied; these cred")
    assert S3Location(f"s3://{bucket}").keys("") == ["a"]


@pytest.mark.chaos
@pytest.mark.ray
def test_workers_with_a_wrong_secret_are_told_before_any_work(s3, settings, local_ray, tmp_path):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for folder in (right, wrong):
        folder.mkdir()
    found = s3.by_file(right)
    bad = s3.by_file(wrong)
    path = Path(bad["AWS_SHARED_CREDENTIALS_FILE"])
    path.write_text(path.read_text().replace(OWNER[1], "not-to-be-told"))
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": bad}})}
    root = s3.root()
    run = command("experts", settings, "--storage", root, environment={**local_ray, **found, **job})
    out, err = run.communicate(timeout=120)
    told(Said(run.returncode, out, err), 2, "1 of 1 Ray nodes do not see the storage")
    assert "the credentials are refused (SignatureDoesNotMatch)" in err
    assert all(key.startswith("datasets/") for key in stored(root))


# -- the server is full


def test_a_quota_that_is_reached_is_told_and_with_more_room_the_same_command_goes_on(s3, tiny, run: Run, tmp_path):
    bucket = f"limited-{secrets.token_hex(4)}"
    root = f"s3://{bucket}/p"
    s3.location().client().create_bucket(Bucket=bucket)
    s3.server.limit(bucket, 60_000)
    arguments = ("scores", tiny, "--storage", root, "--runner", "inline")
    said = run(*arguments)
    told(said, 3, "it is full or over its quota (EntityTooLarge); make room there, or take another storage")
    assert f"cannot write to the storage {root}" in said.err
    kept = stored(root)
    assert kept and "damaged" not in inspect(root).values()
    s3.server.limit(bucket, None)
    assert run(*arguments).code == 0
    make(tiny, str(tmp_path / "runs"), until="scores")
    after = stored(root)
    assert different(after, stored(str(tmp_path / "runs"))) == [] and inspect(root) == {}
    assert all(after[key] == content for key, content in kept.items())


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swift]:
    """A server of its own whose disk holds 12 MB."""
    disk = tmp_path / "devices"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        if reason := problem(disk):
            pytest.skip(reason)
        server = Swift(tmp_path)
        try:
            server.start()
            point(monkeypatch, server.environment())
            S3Location(f"s3://{BUCKET}").client().create_bucket(Bucket=BUCKET)
            yield server
        finally:
            server.kill()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.chaos
def test_a_full_disk_ends_the_work_and_with_more_room_the_same_command_goes_on(small, tiny, run: Run, tmp_path):
    """Swift hides a full disk behind 503, and for the next minute answers nothing else from that disk."""
    root, disk = f"s3://{BUCKET}/p", small.folder / "devices"
    arguments = ("experts", tiny, "--storage", root, "--runner", "inline", *sets("network.width=24"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(S3Location.__init__, "__defaults__", (Patience(5.0, 8.0), False))
        assert run("scores", *arguments[1:]).code == 0
        fill(disk, 60_000)
        said = run(*arguments)
    told(said, 3, "no longer works (ServiceUnavailable; it may be full, or too busy); what is finished is kept")
    (disk / "filler").unlink()
    assert run(*arguments).code == 0
    make(tiny, str(tmp_path / "runs"), "network.width=24", until="experts")
    assert different(stored(root), stored(str(tmp_path / "runs"))) == [] and inspect(root) == {}


def fill(disk: Path, left: int) -> None:
    """Take the disk's room but for some bytes."""
    room = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)


# -- a writer dies in the middle

UPLOAD = """
import os, signal, sys
from padray.store import s3
s3.SINGLE_PUT, s3.PART = 1, 5 << 20
location = s3.S3Location(sys.argv[1])
location.client().meta.events.register("after-call.s3.UploadPart", lambda **_: os.kill(os.getpid(), signal.SIGKILL))
location.put(sys.argv[2], bytes(11 << 20))
"""


def test_a_writer_killed_after_the_first_part_publishes_nothing(s3):
    location = s3.location()
    location.put("a", b"old")
    for key in ("a", "b"):
        writer = subprocess.run([sys.executable, "-c", UPLOAD, location.uri, key], env=s3.environment, timeout=60)
        assert writer.returncode == -signal.SIGKILL
    assert location.keys("") == ["a"] and location.get("a") == b"old" and location.size("b") is None
    begun = location.client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{location.prefix}/")["Uploads"]
    assert sorted(upload["Key"] for upload in begun) == [f"{location.prefix}/{key}" for key in ("a", "b")]


# -- the bytes are not what they were


def test_damage_in_a_bucket_is_met_by_the_reader_named_and_mended(s3, tiny, run: Run, tmp_path):
    make(tiny, str(tmp_path / "runs"), until="distill")
    before, location = stored(str(tmp_path / "runs")), s3.location()
    shards = sorted(key for key in before if "/expert-" in key)
    flipped, cut, foreign = (before[shard] for shard in shards)
    damaged = (flipped[:-1] + bytes([flipped[-1] ^ 1]), cut[:-1], flipped)
    for key, content in {**before, **dict(zip(shards, damaged, strict=True))}.items():
        if not key.startswith("distilled/"):
            location.put(key, content)
    ((path, manifest),) = [(path, made) for path, made in all_manifests(location) if path.startswith("experts/")]
    for item in manifest.objects:
        with pytest.raises(WorkError, match=rf"row 6 of {item.key} is damaged"):
            read_row(Folder(location, path, manifest.fingerprint), item, -1)
    arguments = ("distill", tiny, "--storage", location.uri, "--runner", "inline")
    told(run(*arguments), 3, f"row 6 of {shards[0]}")
    said = run("verify", "--storage", location.uri, "--json")
    left = [shards[0], shards[2]]  # what has another size than the manifest says is made again without a word
    assert said.code == 3 and [line["key"] for line in said.json["findings"]] == left
    parts = ["rows 6 of 7", "rows 0, 1, 2, 3, 4 … of 7"]
    assert all(part in line["problem"] for part, line in zip(parts, said.json["findings"], strict=True))
    assert foreign != flipped and run("verify", "--repair", "--storage", location.uri).code == 0
    assert run(*arguments).code == 0
    assert different(stored(location.uri), before) == [] and inspect(location.uri) == {}
