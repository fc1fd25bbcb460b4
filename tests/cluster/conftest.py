"""One local Ray for all tests of the cluster, and runs on it: in this process, or as commands that join it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from padray.cluster import session
from padray.configuration import loading
from padray.stages import pipeline
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.stages.pipeline import Outcome
from padray.store.opening import open_location
from tests.conftest import TINY

session.settle_environment()  # Ray reads its environment when it is imported, by whichever test comes first

WEIGHTS = "momentum: 0.5, granularity: channel, order: alternate"
CLI = "padray.commandline.cli"
CLUSTER = "cluster: {workers: 1, cpus_per_worker: 0.4}\n"
HERE = Path(__file__).parent
ASIDE = {"events", "running", "tensorboard"}
OF_RAY = ("ignore::DeprecationWarning:ray\\..*", "ignore::FutureWarning:ray\\..*", "ignore::ResourceWarning:ray\\..*")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors here too, but for those that Ray's own modules raise in the process that uses them."""
    for item in items:
        if HERE in item.path.parents:
            for rule in OF_RAY:
                item.add_marker(pytest.mark.filterwarnings(rule))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[dict[str, str]]:
    """A Ray of two CPUs in this process; the environment with which a command joins it."""
    import ray

    quiet = {"logging_level": "WARNING", "log_to_driver": False, "ignore_reinit_error": True}  # two folders share it
    ray.init(address="local", num_cpus=2, object_store_memory=200_000_000, **quiet)
    yield {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    ray.shutdown()


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chain's settings, with as many trajectories as the largest number of workers, and more to share."""
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    text = TINY.replace("trajectories: 2", "trajectories: 4\n  ema_decay: 0.9")
    text = text.replace("{enabled: true, lr: 0.5}", f"{{enabled: true, lr: 0.5, {WEIGHTS}}}")
    assert "ema_decay" in text and WEIGHTS in text
    path.write_text(text + CLUSTER)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A settings file in a folder with something that is nobody's business."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/private.txt").write_text("secret")
    path = tmp_path / "mine/tiny.yaml"
    path.write_text(TINY)
    return path


Run = Callable[..., tuple[Context, Outcome]]


@pytest.fixture(scope="session")
def chain(settings: Path) -> Run:
    """Run the chain in this process."""

    def run(root: Path, runner: str, *overrides: str, until: str = "evaluate") -> tuple[Context, Outcome]:
        context = make_context(settings, root, runner, overrides)
        return context, pipeline.run(context, until)

    return run


def make_context(settings: Path, root: Path, runner: str, overrides: tuple[str, ...]) -> Context:
    config = loading.load(str(settings), overrides).config
    location = open_location(str(root))
    if runner == "inline":
        return Context("tiny", config, location, InlineRunner())
    from padray.cluster.runner import RayRunner

    return Context("tiny", config, location, RayRunner(config, location, str(root).split("/")[-2]))


@pytest.fixture(scope="session")
def inline(chain: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The undisturbed chain in one process: its root and its outcome."""
    root = tmp_path_factory.mktemp("inline") / "runs"
    return root, chain(root, "inline")[1]


def objects(root: Path, below: str = "") -> dict[str, bytes]:
    """Everything below a root but what holds times: the records of what runs did and do, and their pictures.

    And but what a kill in the middle of a write leaves, which is no object.
    """
    files = (path for path in (root / below).rglob("*") if path.is_file() and not ASIDE & {*path.parts})
    whole = (path for path in files if not path.name.startswith(".put-"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in whole}


def events(root: Path, stage: str, kind: str) -> list[dict[str, str]]:
    """What happened to the units of a stage: started, finished or lost."""
    lines = [line for path in sorted((root / "events").glob("*.jsonl")) for line in path.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return [event for event in found if event["stage"] == stage and event["event"] == kind]


def finished_units(root: Path, stage: str) -> list[str]:
    """The units of a stage that were finished, as fingerprint/unit, as often as the events tell it."""
    return [f"{event['fingerprint'][:12]}/{event['unit']}" for event in events(root, stage, "finished")]


_commands: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_command_outlives_its_test() -> Iterator[None]:
    """What a failed test leaves running would keep the CPUs that the next ones wait for."""
    yield
    while _commands:
        with _commands.pop() as left:
            if left.poll() is None:
                left.kill()


def command(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A padray command in a process of its own, which ends with the test."""
    _commands.append(begun := _popen(arguments, environment))
    return begun


def _popen(arguments: tuple[object, ...], environment: dict[str, str] | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error::DeprecationWarning:padray", "-m", CLI, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(what: str, found: Callable[[], object], timeout: float = 60.0, pause: float = 0.05) -> object:
    """Ask until there is an answer; `pause`: seconds between two questions, longer where asking is work."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if answer := found():
            return answer
        time.sleep(pause)
    raise AssertionError(f"{what}: not seen in {timeout:.0f} s")


def ray_processes(title: str, environment: Mapping[str, str] = os.environ) -> list[int]:
    """The processes of this test run's Ray that bear a title, e.g. `ray::Worker`; others may run a Ray beside us.

    Args:
        environment: with the cluster's token, where it is not the one of this process.
    """
    token = environment["RAY_AUTH_TOKEN"].encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if title in (folder / "cmdline").read_text() and token in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return sorted(found)
