"""`padray submit`: what is refused before anything is sent, and on a real head the chain as a job, followed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from padray.cluster import submit
from padray.errors import InputError, WorkError
from tests.cluster.conftest import command, wait_for
from tests.cluster.heads import Head, started
from tests.conftest import TINY, Run

NOWHERE = "http://127.0.0.1:9"
SPACE = "distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A settings file in a folder with something that is nobody's business."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/private.txt").write_text("secret")
    path = tmp_path / "mine/tiny.yaml"
    path.write_text(TINY)
    return path


# -- refused before anything is sent


@pytest.mark.parametrize(
    "options, told",
    [
        ((), "a job needs --storage: an absolute folder that all nodes see, or s3://bucket/prefix"),
        (("--storage", "runs"), "--storage runs is relative, which means nothing in a job; give an absolute path"),
        (("--storage=s3://b/p", "--set", "data.path=images"), "--set data.path images is relative"),
        (("--storage=s3://b/p", "--set", "distill.ipk=1"), "distill.ipk is not a setting"),
        (("--storage=s3://b/p", "--space", "nowhere.yaml"), "cannot read the search space nowhere.yaml"),
        (("--storage=s3://b/p", "--env", "AWS_SECRET_ACCESS_KEY=x"), "--env holds AWS_SECRET_ACCESS_KEY"),
        (("--storage=s3://b/p", "--env", "NOT_SET_HERE"), "--env NOT_SET_HERE: write it as NAME=VALUE"),
        (("--storage=s3://b/p",), f"there is no Ray dashboard at {NOWHERE} ([Errno 111] Connection refused)"),
    ],
)
def test_what_cannot_work_is_told_in_one_sentence_and_nothing_is_sent(run: Run, mine, options, told):
    said = run("submit", mine, "--address", NOWHERE, *options)
    assert said.code == 2 and told in said.err and len(said.err.splitlines()) == 1, said
    assert not said.out


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379", "ray://127.0.0.1:10001"])
def test_an_address_that_is_no_dashboard_s_is_told(run: Run, address):
    said = run("submit", "demo", "--address", address, "--storage", "/s")
    assert said.code == 2 and f"--address {address} is no URL of a dashboard" in said.err


@pytest.mark.parametrize("key", ["data: {dataset: own, path: here}", "storage: {cache: here}"])
def test_relative_paths_in_a_settings_file_are_refused_too(tmp_path, key):
    (tmp_path / "mine.yaml").write_text(key)
    with pytest.raises(InputError, match=r"(data\.path|storage\.cache) here is relative"):
        submit.work(str(tmp_path / "mine.yaml"), "s3://b/p", (), None, ())


@pytest.fixture
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is no dashboard: it answers everything in one way."""
    status, body = request.param

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "stranger, told",
    [
        ((404, b"not here"), "there is no Ray dashboard at"),
        ((200, b"<html>welcome</html>"), "there is no Ray dashboard at"),
        ((200, b"{}"), "there is no Ray dashboard at"),
        ((500, b"oh"), "there is no Ray dashboard at"),
        ((401, b"who"), "asks for a token"),
        ((403, b"no"), "asks for a token"),
    ],
    indirect=["stranger"],
)
def test_what_answers_but_takes_no_job_is_told_in_one_sentence(run: Run, monkeypatch, stranger, told):
    monkeypatch.setenv("RAY_ADDRESS", NOWHERE)  # Ray itself would go there instead
    said = run("submit", "demo", "--address", f"{stranger}/", "--storage", "/s")
    assert said.code == 2 and told in said.err and stranger in said.err and len(said.err.splitlines()) == 1, said


@pytest.mark.parametrize("stranger", [(200, b'{"ray_version": "2.9.0", "version": "4"}')], indirect=True)
def test_another_version_of_ray_is_noted(stranger):
    assert submit.Cluster(stranger).note.startswith("note: the cluster has Ray 2.9.0, and this is ")


# -- what travels


def test_only_the_named_files_and_variables_travel(mine, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9000")
    space = tmp_path / "my space.yaml"
    space.write_text(SPACE)
    plain = submit.work("demo", "/s", ("experts.count=3",), None, ())
    assert plain.entrypoint == "python -m padray.job run demo --storage=/s --set=experts.count=3"
    assert not plain.files and not plain.variables
    work = submit.work(str(mine), "s3://b/p", (), str(space), ("AWS_ENDPOINT_URL_S3", "A=b=c"))
    assert work.entrypoint == (
        "python -m padray.job tune settings/tiny.yaml --space 'space/my space.yaml' --storage=s3://b/p"
    )
    assert work.files == {"settings/tiny.yaml": mine, "space/my space.yaml": space}
    assert work.variables == {"AWS_ENDPOINT_URL_S3": "http://store:9000", "A": "b=c"}


def test_a_ranking_on_the_cluster_need_not_be_here():
    ranked = ("scores.method=file", "scores.path=/shared/order.npy")
    assert submit.work("digits-ipc1", "/s", ranked, None, ()).command == "run"


# -- following, with a dashboard that fails as dashboards do


class Details:
    """What Ray tells of a job."""

    def __init__(self, status: str, code: int | None = None, message: str = "") -> None:
        from ray.job_submission import JobStatus

        self.status, self.driver_exit_code, self.message = JobStatus(status), code, message


class Dashboard:
    """Cuts the log off after each part, and answers from a list."""

    def __init__(self, logs: list[str], answers: list[Details | Exception]) -> None:
        self.logs, self.answers = logs, answers

    async def tail_job_logs(self, job):
        log = self.logs.pop(0) if self.logs else ""
        for place in range(0, len(log), 4):
            yield log[place : place + 4]
        raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_info(self, job):
        return self.answers.pop(0) if isinstance(self.answers[0], Details) else self._fail()

    def _fail(self):
        raise self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def listening() -> Iterator[None]:
    """Control-C is heard here, and by what is started here, also where a shell runs these tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def follow(monkeypatch):
    monkeypatch.setattr(submit, "_AGAIN_S", 0.0)

    def call(logs, answers):
        cluster = object.__new__(submit.Cluster)
        cluster.address, cluster.client = NOWHERE, Dashboard(logs, answers)
        written: list[str] = []
        return cluster.follow("job_1", written.append), "".join(written)

    return call


class Deaf:
    """A dashboard's client whose log does not hear when it is cancelled."""

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield "begun"
        for _ in range(20):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)

    def get_job_info(self, job: str) -> Details:
        return Details("SUCCEEDED", 0)


def test_control_c_is_heard_whatever_the_stream_does_with_it(listening):
    cluster = object.__new__(submit.Cluster)
    cluster.address, cluster.client = NOWHERE, Deaf()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        cluster.follow("job_1", lambda text: None)


def test_a_broken_stream_is_read_again_and_nothing_is_written_twice(follow):
    answers = [Details("RUNNING"), ConnectionError("gone"), Details("RUNNING"), Details("SUCCEEDED", 0)]
    ended, written = follow(["one two", "one two three", "", "one two three four"], answers)
    assert written == "one two three four" and ended == submit.Ended("SUCCEEDED", 0, "")


@pytest.mark.parametrize(
    "details, code, part",
    [
        (("FAILED", 2, "exit code 2"), 2, ""),
        (("FAILED", 3, "exit code 3"), 3, ""),
        (("FAILED", 1, "exit code 1"), 1, "is padray installed on the nodes"),
        (("FAILED", -9, "killed"), 137, "is padray installed on the nodes"),
        (("FAILED", None, "runtime_env setup failed"), 3, "runtime_env setup failed"),
        (("STOPPED", None, "Job was intentionally stopped."), 3, "intentionally stopped"),
    ],
)
def test_the_driver_s_exit_code_is_ours(follow, details, code, part):
    ended, _ = follow([], [Details(*details)])
    assert (ended.status, ended.code) == (details[0], code) and part in ended.message


def test_a_cluster_that_is_gone_is_told_with_how_to_follow_again(follow):
    with pytest.raises(WorkError, match=r"does not answer any more; job job_1 may go on, and `ray job logs"):
        follow([], [ConnectionError("gone")])


# -- on a real head


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head on whose PATH `python` is one that has padray."""
    place = tmp_path_factory.mktemp("bin")
    (place / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (place / "python").chmod(0o755)
    with started({"PATH": f"{place}:/usr/bin:/bin"}) as running:
        yield running


def submitted(head: Head, *arguments: object, **more: str) -> subprocess.Popen[str]:
    environment = {**head.environment, "RAY_ADDRESS": NOWHERE, **more}  # --address is what counts
    return command("submit", *arguments, "--address", head.dashboard, environment=environment)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.ray
def test_a_job_that_is_refused_says_why_and_so_does_a_wrong_token(head, mine, tmp_path):
    options = ("--set", "data.dataset=own", "--set", f"data.path={tmp_path}/nowhere", "--storage", tmp_path / "runs")
    code, out, err = ended(submitted(head, mine, *options))
    assert code == 2 and err == "", err
    assert f"padray: data.path '{tmp_path}/nowhere' does not exist" in out, "the log came through"
    assert "settings/tiny.yaml" in out and "FAILED" in out.splitlines()[-1] and out.startswith("job raysubmit_")
    code, out, err = ended(submitted(head, mine, *options, RAY_AUTH_TOKEN="0" * 64))
    assert code == 2 and not out and "asks for a token, and this process has none or another one" in err
    assert len(err.splitlines()) == 1, err


@pytest.mark.chaos
def test_the_whole_chain_as_a_job(head, mine, tmp_path):
    code, out, err = ended(submitted(head, mine, "--storage", tmp_path / "runs", "--json"))
    told = json.loads(out)
    assert code == 0 and told["status"] == "SUCCEEDED" and told["exit_code"] == 0, err
    assert "distill 12/12" in err and "set: sha256" in err and "Warning" not in err, "with --json the log is on stderr"
    stages = {json.loads(path.read_text())["stage"] for path in (tmp_path / "runs").rglob("manifest.json")}
    assert stages == {"data", "scores", "experts", "distill", "evaluation", "report"}
    packages = [path for path in head.folder.rglob("working_dir_files/*/*") if path.is_dir()]
    assert packages and not list(head.folder.rglob("private.txt"))


@pytest.mark.chaos
def test_a_search_as_a_job(head, mine, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    options = ("--space", space, "--set", "search.trials=2", "--set", "search.epochs=10")
    code, out, err = ended(submitted(head, mine, *options, "--storage", tmp_path / "runs"))
    assert code == 0 and "search 2/2" in out, out + err
    assert len(list((tmp_path / "runs").rglob("best.yaml"))) == 1


@pytest.mark.chaos
def test_control_c_ends_the_following_and_not_the_job(head, mine, tmp_path, listening):
    process = submitted(head, mine, "--storage", tmp_path / "runs")
    assert process.stdout
    first = process.stdout.readline()
    job = first.split()[1]
    wait_for("the job's first stage", lambda: list((tmp_path / "runs").rglob("manifest.json")), 120)
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130 and "Traceback" not in err, err
    assert f"ray job logs --address {head.dashboard} --follow {job}" in out
    assert f"ray job stop --address {head.dashboard} {job}" in out
    wait_for("the end of the job", lambda: list((tmp_path / "runs").rglob("report.html")), 200)


@pytest.mark.chaos
def test_without_waiting_there_is_the_id(head, mine, tmp_path):
    process = submitted(head, mine, "--storage", tmp_path / "runs", "--no-wait", "--json", "--env", "A=b")
    code, out, err = ended(process)
    told = json.loads(out)
    assert code == 0 and told["status"] == "SUBMITTED" and told["job"].startswith("raysubmit_"), err
    stopped = subprocess.run(
        [Path(sys.executable).with_name("ray"), *told["stop"].split()[1:]], env=head.environment, capture_output=True
    )
    assert stopped.returncode == 0
