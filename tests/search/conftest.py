"""What the tests of the search share: the tiny chain with a small space, run in this process."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from padray import fingerprint
from padray.configuration import loading
from padray.search import driver
from padray.search.driver import SearchOutcome
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import data
from padray.stages.base import Context, Inputs
from padray.stages.inline import InlineRunner
from padray.store.artifacts import Folder
from padray.store.opening import open_location
from tests.conftest import TINY

SEARCH = """
search:
  trials: 3
  seeds: 3
  epochs: 20
  startup_trials: 2
  finalists: 2
  final_seeds: 3
  seed: 1
  space:
    distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}
    distill.importance.enabled: {type: choice, choices: [true, false]}
    distill.importance.lr: {type: float, low: 0.1, high: 1.0, when: {distill.importance.enabled: [true]}}
"""


def settings_text() -> str:
    """The tiny chain's settings with a search, and with enough validation samples to tell its trials apart."""
    tiny = TINY
    changes = {"student_lr: 0.02": "student_lr: 0.1\n  max_loss: 100", "class: 25": "class: 25, validation: 0.4"}
    for old, new in changes.items():
        assert old in tiny, f"{old} is not in the tiny settings"
        tiny = tiny.replace(old, new)
    return tiny + SEARCH


@dataclass
class Search:
    """A settings file and a storage root, and the search in it."""

    settings: Path
    root: Path
    overrides: tuple[str, ...] = field(default=())

    def context(self) -> Context:
        loaded = loading.load(str(self.settings), self.overrides)
        return Context(loaded.name, loaded.config, open_location(str(self.root)), InlineRunner())

    def tune(self, until: str = "evaluate") -> tuple[Context, SearchOutcome]:
        context = self.context()
        return context, driver.tune(context, until)

    def folder(self, outcome: SearchOutcome) -> Folder:
        return self.context().folder(outcome.identity)

    def objects(self) -> dict[str, bytes]:
        """Everything below the root but the record of events, which holds times."""
        aside = {"events", "running", "tensorboard"}
        files = (path for path in self.root.rglob("*") if path.is_file() and not aside & {*path.parts})
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}


Make = Callable[..., Search]


@pytest.fixture
def search(tmp_path: Path) -> Make:
    """A search in an empty root, or in a given one."""

    def make(*overrides: str, root: Path | None = None) -> Search:
        path = tmp_path / "tiny.yaml"
        path.write_text(settings_text())
        return Search(path, root or tmp_path / "runs", overrides)

    return make


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, Context, SearchOutcome]:
    """A search with its report, undisturbed; not to be written to."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.yaml").write_text(settings_text())
    made = Search(folder / "tiny.yaml", folder / "runs")
    return (made, *made.tune("report"))


@pytest.fixture
def again(finished: tuple[Search, Context, SearchOutcome], tmp_path: Path, search: Make) -> Callable[..., Search]:
    """The finished search's root once more, without some of its folders."""

    def make(*overrides: str, without: tuple[str, ...] = ()) -> Search:
        shutil.copytree(finished[0].root, tmp_path / "runs")
        for name in without:
            shutil.rmtree(tmp_path / "runs" / name)
        return search(*overrides)

    return make


def ended(made: Iterator[TrialRecord]) -> list[TrialRecord]:
    return [record for record in made if record.ended]


def work_of(search: Search) -> SearchWork:
    context = search.context()
    found = data.make(context)
    identity = fingerprint.search_identity(context.config, found)
    return SearchWork(context.name, context.config, Inputs(context.location, found), identity)
