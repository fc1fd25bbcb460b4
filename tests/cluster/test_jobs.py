"""`ray job submit` as a user types it: logs stream, artefacts lie in the root, a failing job says why."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from padray import job
from padray.errors import InputError
from tests.cluster.conftest import command, wait_for
from tests.conftest import TINY

REPOSITORY = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["demo"], "a job needs --storage"),
        (["demo", "--storage", "runs"], "--storage runs is relative"),
        (["demo", "--storage=./runs"], "--storage ./runs is relative"),
        (["demo", "--storage", "/s", "--set", "data.path=images"], "--set data.path images is relative"),
        (["demo", "--storage", "s3://b/p", "--set=data.path=a/b"], "--set data.path a/b is relative"),
        (["demo", "--storage", "/s", "--space", "spaces/mine.yaml"], None),  # travels with the working directory
    ],
)
def test_relative_paths_are_refused_with_a_sentence(arguments, told):
    if told is None:
        job.check_paths(arguments)
        return
    with pytest.raises(InputError) as caught:
        job.check_paths(arguments)
    assert str(caught.value).startswith(told)


def test_absolute_paths_pass():
    job.check_paths(["demo", "--storage", "/mnt/runs", "--set", "data.path=/mnt/images", "--set", "experts.count=3"])
    job.check_paths(["demo", "--storage=s3://bucket/prefix"])


@dataclass(frozen=True)
class Head:
    """A cluster of one node that asks for a token."""

    environment: dict[str, str]
    dashboard: str
    address: str

    def submit(self, module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """As in the README."""
        line = [RAY, "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--"]
        line += [sys.executable, "-m", f"jobs.{module}", *arguments]
        return subprocess.run(
            list(map(str, line)), cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=300
        )

    def exit_codes(self) -> list[int | None]:
        """The exit codes of all jobs' drivers, oldest first."""
        ask = f"""
import json
from ray.job_submission import JobSubmissionClient
jobs = sorted(JobSubmissionClient("{self.dashboard}").list_jobs(), key=lambda job: job.start_time)
print(json.dumps([job.driver_exit_code for job in jobs if job.submission_id]))
"""
        line = [sys.executable, "-c", ask]
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """`ray start --head`, ended by its process ids: `ray stop` would end every Ray on this machine."""
    temporary = Path("/tmp") / f"padray-{secrets.token_hex(4)}"  # short: Ray's sockets lie below it
    port, dashboard = free_port(), free_port()
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | quiet
    line = [RAY, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    line += ["--object-store-memory=200000000", f"--temp-dir={temporary}"]
    line += [f"--dashboard-agent-listen-port={free_port()}"]  # the default one may be another Ray's
    process = subprocess.Popen(
        list(map(str, line)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        started = Head(environment, address, f"127.0.0.1:{port}")
        wait_for("the dashboard", lambda: connects(dashboard), 60)
        yield started
    finally:
        process.kill()  # asked politely, it may take its time
        process.wait(timeout=30)
        end_leftovers(temporary)


def connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_leftovers(temporary: Path) -> None:
    """What still runs of the cluster whose files lie in this folder."""
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and str(temporary) in (folder / "cmdline").read_text():
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue
    time.sleep(0.2)


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
    done = head.submit("pipeline", settings, "--storage", tmp_path / "runs")
    assert done.returncode == 0, done.stdout
    assert "distill 12/12" in done.stdout and "set: sha256" in done.stdout, "the logs stream"
    assert "Warning" not in done.stdout + done.stderr
    stages = {json.loads(path.read_text())["stage"] for path in (tmp_path / "runs").rglob("manifest.json")}
    assert stages == {"data", "scores", "experts", "distill", "evaluation", "report"}
    assert head.exit_codes()[-1] == 0
    client = {**head.environment, "RAY_ADDRESS": head.address}
    del client["RAY_AUTH_MODE"]  # the token alone says that one is wanted
    shown = command("experts", settings, "--storage", tmp_path / "more", environment=client)
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
