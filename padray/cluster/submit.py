"""A command as a Ray job: sent to a cluster's dashboard, followed, and told how it ended.

What travels is in package.py. What Ray says on the way is not shown, its errors are told in one sentence.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from padray.cluster import session
from padray.cluster.package import Work, given_variables
from padray.cluster.waiting import InThread
from padray.configuration.paths import check_paths
from padray.errors import InfrastructureError, InputError, WorkError
from padray.operations.clusters import Ended, PreflightResult

_PROBE_S, _AGAIN_S, _LISTEN_S = 10.0, 1.0, 0.2
_MOST_FAILURES = 30  # questions in a row that the dashboard leaves unanswered before the job is out of sight
_OVERRULE = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # Ray puts these before the address that it is given
_SILENT = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
    "ray._private.authentication",
)
_OURS = frozenset({0, 2, 3, 130})
_SAYS = "padray: "  # how the sentence begins that says why
_TAIL_LINES, _TAIL_CHARS = 20, 10_000

Write = Callable[[str], None]
_PREFLIGHT = TypeAdapter(PreflightResult)


class Commands(NamedTuple):
    """What to type to follow a job and to stop it."""

    follow: str
    stop: str


class Cluster:
    """A cluster's dashboard, as far as jobs need it."""

    def __init__(self, address: str) -> None:
        """Find the dashboard. Raises InputError if there is none at the address, or if it wants another token."""
        self.address = _checked(address)
        session.settle_environment(self.address)
        import ray  # not before: Ray reads its environment when it is imported
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        for name in _SILENT:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            with _without(_OVERRULE):
                self.client = JobSubmissionClient(self.address)
        except AuthenticationError:
            raise InputError(
                f"the Ray cluster at {self.address} asks for a token, and this process has none or another one; set "
                f"RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH unless the token is in Ray's own file"
            ) from None
        except (OSError, RuntimeError, ValueError, KeyError):  # other servers answer in many ways
            raise _no_dashboard(self.address, "what answers there is none") from None
        theirs = getattr(self.client, "_server_ray_version", None) or ray.__version__  # get_version tells the API's
        self.note = f"note: the cluster has Ray {theirs}, and this is {ray.__version__}" * (theirs != ray.__version__)

    def submit(self, work: Work) -> str:
        """Send a job off; its submission id. Raises WorkError if the cluster does not take it."""
        with tempfile.TemporaryDirectory(prefix="padray-job-") as folder:
            for name, path in work.files.items():
                (Path(folder) / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, Path(folder) / name)
            runtime: dict[str, Any] = {"working_dir": folder} if work.files else {}
            if work.variables:
                runtime["env_vars"] = work.variables
            try:
                about = work.metadata
                return str(self.client.submit_job(entrypoint=work.entrypoint, runtime_env=runtime, metadata=about))
            except (OSError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:300]
                raise InfrastructureError(f"the cluster at {self.address} did not take the job: {reason}") from None

    def running(self, work: Work) -> str | None:
        """The submission id of a job that does this work now. Two would do no harm, but everything twice."""
        try:
            jobs = self.client.list_jobs()
        except (OSError, RuntimeError, ValueError):
            return None  # to send it is to see what is wrong
        same = (job for job in jobs if (job.metadata or {}).get("digest") == work.metadata["digest"])
        return next((job.submission_id for job in same if not job.status.is_terminal()), None)

    def follow(self, job: str, write: Write) -> Ended:
        """Write the job's log as it grows, until the job ends; a broken connection is made again.

        Raises:
            InfrastructureError: the dashboard does not answer any more; the job may go on.
        """
        log, failures = _Log(write), 0
        while True:
            self._tail(log, job)
            try:
                details, failures = self.client.get_job_info(job), 0
            except (OSError, RuntimeError, ValueError):
                failures += 1
                if failures >= _MOST_FAILURES:
                    raise InfrastructureError(
                        f"the cluster at {self.address} does not answer any more; job {job} may go on, and "
                        f"`{self.commands(job).follow}` follows it again"
                    ) from None
            else:
                if details.status.is_terminal():
                    self._rest(log, job)
                    return _ended(details, log)
            time.sleep(_AGAIN_S)

    def _tail(self, log: "_Log", job: str) -> None:
        """Until the stream ends or breaks. In a thread: in the main one Ray's client may swallow Control-C."""
        import aiohttp

        def run() -> None:
            with contextlib.suppress(RuntimeError, OSError, aiohttp.ClientError):  # the job itself says how it is
                asyncio.run(log.tail(self.client, job))

        listening = InThread(run)
        while not listening.wait(_LISTEN_S):
            pass

    def _rest(self, log: "_Log", job: str) -> None:
        """What the stream broke off before: the reason is the last that a job says."""
        if not log.complete:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                log.take_all(self.client.get_job_logs(job))

    def commands(self, job: str) -> Commands:
        """What to type to follow a job and to stop it."""
        there = shlex.join(["--address", self.address])
        return Commands(f"ray job logs {there} --follow {job}", f"ray job stop {there} {job}")


class _Log:
    """A log that is read from its beginning each time, and written once."""

    def __init__(self, write: Write) -> None:
        self.write, self.written, self.complete, self.end = write, 0, False, ""

    async def tail(self, client: Any, job: str) -> None:
        skip, self.complete = self.written, False
        async for text in client.tail_job_logs(job):
            fresh, skip = text[skip:], max(0, skip - len(text))
            self._take(fresh)
        self.complete = True

    def take_all(self, text: str) -> None:
        self._take(text[self.written :])

    def _take(self, fresh: str) -> None:
        self.written += len(fresh)
        self.end = (self.end + fresh)[-_TAIL_CHARS:]
        self.write(fresh)

    def tail_lines(self) -> tuple[str, ...]:
        return tuple(self.end.splitlines()[-_TAIL_LINES:])


def _checked(address: str) -> str:
    """The address without its last slash, if something answers there. Raises InputError."""
    address = address.rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise InputError(f"--address {address} is no URL of a dashboard, such as http://HOST:8265")
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=_PROBE_S).close()
    except urllib.error.HTTPError:
        pass  # it answers: whether it is a dashboard, and what it asks for, Ray's client finds out
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise _no_dashboard(address, " ".join(str(reason).split())) from None
    return address


def _no_dashboard(address: str, reason: str) -> InputError:
    return InputError(
        f"there is no Ray dashboard at {address} ({reason}); give --address as for `ray job submit`, e.g. "
        f"http://HOST:8265"
    )


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """This process's environment without some variables."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _ended(details: Any, log: _Log) -> Ended:
    status, code, message = str(details.status.value), details.driver_exit_code, str(details.message or "")
    if status == "SUCCEEDED":
        return Ended(status, 0, "")
    tail = log.tail_lines()
    if code is None:  # stopped, or it never began
        return Ended(status, WorkError.exit_code, message, tail)
    if code in _OURS:
        said = [line for line in tail if line.startswith(_SAYS)]
        return Ended(status, code, said[-1].removeprefix(_SAYS) if said else "", tail)
    reason = f"its driver ended with exit code {code}, which is none of padray's; is padray installed on the nodes?"
    return Ended(status, code if code > 0 else 128 - code, reason, tail)


def preflight(address: str, storage: str | None, variables: tuple[str, ...]) -> PreflightResult:
    """Have a job look at the cluster; what it found. Raises InputError or InfrastructureError if it could not."""
    arguments = ["--json"] + ([f"--storage={storage}"] if storage is not None else [])
    check_paths(storage, ())
    cluster, log = Cluster(address), list[str]()
    work = Work("preflight", "", tuple(arguments), {}, given_variables(variables))
    ended = cluster.follow(cluster.submit(work), log.append)
    for line in reversed("".join(log).splitlines()):
        with contextlib.suppress(ValueError):
            return _PREFLIGHT.validate_json(line)
    kind = InputError if ended.code == InputError.exit_code else InfrastructureError
    raise kind(ended.message or f"the job ended as {ended.status} and told nothing")
