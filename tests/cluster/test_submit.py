"""`padray submit`: a dashboard that is none, one that fails as dashboards do, and on a real head jobs, followed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from padray.cluster import submit
from padray.errors import WorkError
from padray.operations.clusters import AnsweredLine, NodeLine, PreflightResult, WorkingLine
from tests.cluster.conftest import command, finished_units, wait_for
from tests.cluster.heads import Head, started
from tests.cluster.sending import NOWHERE, SPACE, sent
from tests.conftest import TINY, Run

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


def test_a_preflight_comes_out_of_a_job_s_log_as_it_was_printed():
    node = NodeLine("b/1", "worker", ["the node b/1: it did not answer"])
    answered = AnsweredLine("c/2", "", ["the storage is full"], {"ray": "2"}, {"cpu": ""}, None, 0.5, 0.1)
    working = WorkingLine(**vars(replace(answered, problems=[])), write_mb_s=100.0, read_mb_s=200.5)
    result = PreflightResult("s3://b/p", {"ray": "2"}, [working, answered, node], ["gpu"], node.problems)
    assert submit._PREFLIGHT.validate_json(json.dumps(asdict(result))) == result


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379", "ray://127.0.0.1:10001"])
def test_an_address_that_is_no_dashboard_s_is_told(run: Run, address):
    said = run("submit", "demo", "--address", address, "--storage", "/s")
    assert said.code == 2 and f"--address {address} is no URL of a dashboard" in said.err


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


# -- following, with a dashboard that fails as dashboards do


class Details:
    """What Ray tells of a job."""

    def __init__(self, status: str, code: int | None = None, message: str = "") -> None:
        from ray.job_submission import JobStatus

        self.status, self.driver_exit_code, self.message = JobStatus(status), code, message


class Dashboard:
    """Cuts the log off after each part, and answers from a list."""

    def __init__(self, logs: list[str], answers: list[Details | Exception], whole: str | None = None) -> None:
        self.logs, self.answers, self.whole = logs, answers, whole

    async def tail_job_logs(self, job):
        log = self.logs.pop(0) if self.logs else ""
        for place in range(0, len(log), 4):
            yield log[place : place + 4]
        raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_logs(self, job):
        if self.whole is None:
            raise RuntimeError("no log")
        return self.whole

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

    def call(logs, answers, whole=None):
        cluster = object.__new__(submit.Cluster)
        cluster.address, cluster.client = NOWHERE, Dashboard(logs, answers, whole)
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


def test_a_failure_is_told_by_the_last_that_the_job_said(follow):
    log = "".join(f"line {number}\n" for number in range(39)) + "padray: tried again\n"
    ended, written = follow([log], [Details("FAILED", 3, "exit code 3")], f"{log}padray: the disk is full\n")
    assert written == f"{log}padray: the disk is full\n", "what the stream broke off before, and nothing twice"
    assert (ended.code, ended.message) == (3, "the disk is full")
    assert len(ended.tail) == 20 and ended.tail[0] == "line 21" and ended.tail[-1] == "padray: the disk is full"
    ended, written = follow([log], [Details("FAILED", 1)], None)
    assert written == log and ended.code == 1 and ended.tail[-1] == "padray: tried again"


def test_a_cluster_that_is_gone_is_told_with_how_to_follow_again(follow):
    with pytest.raises(WorkError, match=r"does not answer any more; job job_1 may go on, and `ray job logs"):
        follow([], [ConnectionError("gone")])


# -- the whole command, with a cluster that is not there


class Jobs(Dashboard):
    """A job client that takes jobs down, and ends each as it is told."""

    def __init__(self, log: str, end: Details, before: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__([log], [end], log)
        self.sent: list[dict] = []
        self.before = [(Details(status), digest) for status, digest in before]

    def list_jobs(self):
        for number, (details, digest) in enumerate(self.before):
            details.metadata, details.submission_id = {"digest": digest}, f"raysubmit_{number}"
        return [details for details, _ in self.before]

    def submit_job(self, **given):
        folder = Path(given["runtime_env"].get("working_dir", "/nowhere"))
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        self.sent.append({**given, "files": files})
        return "raysubmit_new"


@pytest.fixture
def clustered(monkeypatch):
    """`padray submit` meets this client."""

    def put(client: Jobs) -> Jobs:
        def connect(cluster, address):
            cluster.address, cluster.client, cluster.note = address, client, ""

        monkeypatch.setattr(submit.Cluster, "__init__", connect)
        return client

    return put


def test_a_job_is_sent_with_its_files_and_metadata_and_its_size_is_printed(run: Run, clustered, mine, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    jobs = clustered(Jobs("search 2/2\n", Details("SUCCEEDED", 0)))
    said = run("submit", "tune", mine, "--space", space, "--address", NOWHERE, "--storage=/s", "--env", "A=b")
    assert said.code == 0 and "search 2/2" in said.out
    assert said.out.splitlines()[0] == f"job raysubmit_new at {NOWHERE}: sent with 2 files, {len(TINY + SPACE):,} bytes"
    (given,) = jobs.sent
    assert given["files"] == ["settings/tiny.yaml", "space/space.yaml"]
    assert given["runtime_env"]["env_vars"] == {"A": "b"}
    assert given["metadata"] == sent("tune", mine, "--space", space, "--storage=/s", variables=("A=b",)).metadata


def test_a_job_that_failed_ends_with_its_code_and_the_tail_of_its_log(run: Run, clustered):
    clustered(Jobs("distill 3/12\npadray: the storage is full\n", Details("FAILED", 3)))
    said = run("submit", "distill", "demo", "--address", NOWHERE, "--storage=/s", "--json")
    told = said.json
    assert said.code == 3 and told["exit_code"] == 3 and told["status"] == "FAILED"
    assert told["message"] == "the storage is full" and told["log_tail"][-1] == "padray: the storage is full"
    assert told["uploaded_bytes"] == 0 and told["metadata"]["command"] == "distill"
    clustered(Jobs("distill 3/12\npadray: the storage is full\n", Details("FAILED", 3)))
    said = run("submit", "distill", "demo", "--address", NOWHERE, "--storage=/s")
    assert said.code == 3 and said.out.splitlines()[-1] == "job raysubmit_new: FAILED (the storage is full)"


def test_submitted_again_it_is_followed_while_it_runs_and_goes_on_when_it_has_ended(run: Run, clustered):
    digest = sent("run", "demo", "--storage=/s").metadata["digest"]
    line = ("submit", "demo", "--address", NOWHERE, "--storage=/s")
    before = (("FAILED", digest), ("RUNNING", "another"), ("RUNNING", digest))
    jobs = clustered(Jobs("distill 4/12\n", Details("SUCCEEDED", 0), before))
    said = run(*line)
    assert said.code == 0 and not jobs.sent
    assert said.out.splitlines()[0] == f"job raysubmit_2 at {NOWHERE}: runs already"
    told = run(*line, "--no-wait", "--json").json
    assert (told["job"], told["status"], told["exit_code"]) == ("raysubmit_2", "RUNNING", None)
    jobs = clustered(Jobs("distill 12/12\n", Details("SUCCEEDED", 0), before[:2]))
    assert run(*line).code == 0 and len(jobs.sent) == 1, (
        "what has ended is no reason: the storage knows how far it came"
    )


def test_a_cluster_that_cannot_list_its_jobs_may_take_one_all_the_same(run: Run, clustered, monkeypatch):
    jobs = clustered(Jobs("", Details("SUCCEEDED", 0)))
    monkeypatch.setattr(jobs, "list_jobs", lambda: jobs._fail())
    jobs.answers.insert(0, RuntimeError("no list"))
    assert run("submit", "demo", "--address", NOWHERE, "--storage=/s").code == 0 and len(jobs.sent) == 1


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
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()  # it may have been given up
    return process.returncode, out, err


@pytest.mark.ray
def test_a_job_that_is_refused_says_why_and_so_does_a_wrong_token(head, mine, tmp_path):
    options = ("--set", "data.dataset=own", "--set", f"data.path={tmp_path}/nowhere", "--storage", tmp_path / "runs")
    code, out, err = ended(submitted(head, mine, *options))
    assert code == 2 and err == "", err
    assert f"padray: data.path '{tmp_path}/nowhere' does not exist" in out, "the log came through"
    assert "settings/tiny.yaml" in out and out.startswith("job raysubmit_")
    assert f"sent with 1 file, {mine.stat().st_size:,} bytes" in out.splitlines()[0]
    assert f"FAILED (data.path '{tmp_path}/nowhere' does not exist" in out.splitlines()[-1]
    assert head.metadata() == [sent(mine, *options).metadata]
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
    longer = ("--storage", tmp_path / "runs", "--set", "distill.iterations=300")
    process = submitted(head, mine, *longer)
    assert process.stdout
    first = process.stdout.readline()
    job = first.split()[1]
    wait_for("the job's first stage", lambda: list((tmp_path / "runs").rglob("manifest.json")), 120)
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130 and "Traceback" not in err, err
    assert f"ray job logs --address {head.dashboard} --follow {job}" in out
    assert f"ray job stop --address {head.dashboard} {job}" in out
    again = submitted(head, mine, *longer)
    code, out, err = ended(again)
    assert code == 0 and out.startswith(f"job {job} at {head.dashboard}: runs already"), out + err
    assert list((tmp_path / "runs").rglob("report.html")), "the job went on, and was followed to its end"
    code, out, err = ended(submitted(head, "experts", mine, "--storage", tmp_path / "runs", "--json"))
    told = json.loads(out)
    assert code == 0 and told["job"] != job and told["metadata"]["command"] == "experts", err
    assert len(finished_units(tmp_path / "runs", "experts")) == 3, "what is there is not made again"


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
