"""A Ray cluster of one node as `ray start --head` makes it, and jobs for it as `ray job submit` gives them."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.conftest import ray_processes, wait_for

REPOSITORY = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    """A cluster of one node that asks for a token."""

    environment: dict[str, str]
    dashboard: str
    address: str
    folder: Path  # Ray's session: logs, sockets, packages

    def submit(
        self, module: str, *arguments: object, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As in the README; `variables`: the job's own environment."""
        line = [RAY, "job", "submit", "--address", self.dashboard, "--working-dir", "."]
        line += ["--runtime-env-json", json.dumps({"env_vars": variables})] if variables else []
        line += ["--", sys.executable, "-m", f"jobs.{module}", *arguments]
        return subprocess.run(
            list(map(str, line)), cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=900
        )

    def exit_codes(self) -> list[int | None]:
        """The exit codes of all jobs' drivers, oldest first."""
        return self._of_jobs("driver_exit_code")

    def metadata(self) -> list[dict[str, str]]:
        """What every job was sent with, oldest first."""
        return self._of_jobs("metadata")

    def _of_jobs(self, field: str) -> list:
        ask = f"""
import json
from ray.job_submission import JobSubmissionClient
jobs = sorted(JobSubmissionClient("{self.dashboard}").list_jobs(), key=lambda job: job.start_time)
print(json.dumps([job.{field} for job in jobs if job.submission_id]))
"""
        line = [sys.executable, "-c", ask]
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(more: dict[str, str], options: tuple[str, ...] = ("--num-cpus=2",), port: int = 0) -> Iterator[Head]:
    """`ray start --head`, ended by its process ids: `ray stop` would end every Ray on this machine.

    Args:
        more: environment variables of the node, which those that submit jobs to it do not have.
        options: of `ray start`.
        port: where the cluster is reached; 0 for any that is free.
    """
    temporary = Path("/tmp") / f"padray-{secrets.token_hex(4)}"  # short: Ray's sockets lie below it
    port, dashboard = port or free_port(), free_port()
    prompt = {"RAY_worker_niceness": "0"}  # 15 would leave them waiting for whatever else this machine does
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "RAY_"))} | quiet
    line = [RAY, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", *options]
    line += ["--object-store-memory=200000000", f"--temp-dir={temporary}"]
    line += [f"--dashboard-agent-listen-port={free_port()}"]  # the default one may be another Ray's
    process = subprocess.Popen(
        list(map(str, line)),
        env=environment | prompt | more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for("the dashboard", lambda: connects(dashboard), 60)
        yield Head(environment, address, f"127.0.0.1:{port}", temporary)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # asked politely, it may take its time; an agent alone would spin
        process.wait(timeout=30)
        end_leftovers(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


class Nodes:
    """Nodes of one logical CPU that join a head, and that can be killed like machines that a cloud takes back."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.environment = {**head.environment, "RAY_ADDRESS": head.address}
        self.alive: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, *_: object) -> None:
        while self.alive:
            self.kill()

    def join(self) -> None:
        """One more; back when the cluster knows it."""
        before = self.known()
        line = [RAY, "start", f"--address={self.head.address}", "--num-cpus=1", "--block"]
        line += ["--object-store-memory=100000000", f"--dashboard-agent-listen-port={free_port()}"]
        environment = self.head.environment | {"RAY_worker_niceness": "0"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.alive.append(subprocess.Popen(list(map(str, line)), env=environment, start_new_session=True, **quiet))
        wait_for("the node", lambda: self.known() - before, 60)

    def kill(self, working: str = "") -> None:
        """The oldest one, or the oldest on which a process of that title runs, with everything on it."""
        process = wait_for(f"a node with {working or 'nothing'}", lambda: self._working(working), 60)
        assert isinstance(process, subprocess.Popen)
        self.alive.remove(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)

    def _working(self, title: str) -> "subprocess.Popen[bytes] | None":
        busy = {os.getsid(pid) for pid in ray_processes(title, self.environment)} if title else set()
        return next((one for one in self.alive if one.pid in busy or not title), None)

    def known(self) -> set[str]:
        """The ids of the nodes that the cluster takes to be alive; one that was just killed may be among them."""
        ask = "import ray; ray.init(log_to_driver=False, logging_level='ERROR'); "
        ask += "print('alive:', *(node['NodeID'] for node in ray.nodes() if node['Alive']))"
        done = subprocess.run(
            [sys.executable, "-c", ask], env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        (said,) = (line for line in done.stdout.splitlines() if line.startswith("alive: "))  # Ray may say more
        return set(said.split()[1:])


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
