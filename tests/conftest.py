"""What the tests share: a chain so small that it runs in a second or two, with every mechanism switched on."""

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from padray.report import style
from tests.interpreted import programs_asked  # noqa: F401  # a fixture
from tests.roots import new_root  # noqa: F401  # a fixture
from tests.swift import s3, s3_server  # noqa: F401  # fixtures

RAY = "tests/cluster/"
DRAWN = style.drawn
TINY = """
data: {dataset: digits, limit_per_class: 25}
network: {name: convnet, width: 4, depth: 2}
scores: {networks: 2, network: {name: convnet, width: 4, depth: 2}, epochs: 1, lr: 0.05, batch: 64, augment: crop}
schedule: {initial_ratio: 0.75, addition_end_epoch: 2, easy_removal: [[4, 0.1]]}
experts: {count: 3, epochs: 6, lr: 0.1, batch: 64, augment: crop}
distill:
  ipc: 1
  iterations: 12
  student_steps: 3
  expert_epochs: 1
  batch: 6
  trajectories: 2
  lr_images: 1
  student_lr: 0.02
  augment: crop_flip
  checkpoint_seconds: 0
  windows: {min_start: 0, start: 2, max_start: 4, interval: 3}
  selection: {strategy: depth, alpha: 0.25}
  importance: {enabled: true, lr: 0.5}
  labels: {lr: 0.5}
  validation: {every: 5, seeds: 1, epochs: 5}
evaluation:
  architectures: [{name: mlp, width: 8}]
  seeds: 2
  epochs: 6
  augment: crop
  controls: {lrs: [0.01, 0.1], tuning_seeds: 1}
"""


class Together(LoadScopeScheduling):
    """What goes to one process where tests run side by side: all that share a Ray, and otherwise a file's tests."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return RAY if path.startswith(RAY) else path

    def remove_node(self, node: Any) -> str | None:
        """A test that ended its process, for one by waiting too long, is not given to the next process too."""
        for tests in self.assigned_work[node].values():
            if running := next((test for test, is_over in tests.items() if not is_over), None):
                tests[running] = True
                super().remove_node(node)
                return running
        return super().remove_node(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def ray_token() -> Iterator[None]:
    """One token for every Ray of these tests: Ray reads how to authenticate once, when it is imported."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    for name in before:
        del os.environ[name]
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ |= {"RAY_worker_niceness": "0"}  # 15 would leave workers waiting for whatever else is done here
    os.environ |= {"RAY_metrics_report_interval_ms": "2000"}  # of 10,000: tests wait for what is reported
    seldom = {"REPORTER_UPDATE_INTERVAL_MS": "600000"}  # of 5,000: nobody looks at what a node's processes take
    os.environ |= seldom
    yield
    for name in [name for name in os.environ if name.startswith("RAY_") or name in seldom]:
        del os.environ[name]
    os.environ |= before


@pytest.fixture(autouse=True)
def equal_draws() -> None:
    """What a test draws without a generator of its own is the same every time, whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of their own for these tests, not that of whoever runs them."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        yield place / "padray"


@pytest.fixture(scope="session", autouse=True)
def blank_figures() -> Iterator[None]:
    """Reports' figures are laid out, but are empty sheets: drawing them would take half of a tiny chain's time.

    The tests of what is seen have theirs drawn (`figures_drawn`).
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "drawn", lambda figure: np.full((1, 1, 4), 255, np.uint8))
        yield


@pytest.fixture(scope="module")
def figures_drawn() -> Iterator[None]:
    """For a module's tests figures are drawn as users see them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "drawn", DRAWN)
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny chain's settings file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for chains that several tests share."""
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(TINY)
    return path


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`padray …` in this process, from its entry point to its exit code."""
    from padray.commandline import cli

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["padray", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call
