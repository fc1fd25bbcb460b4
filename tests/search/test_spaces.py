"""Every search space that comes with padray names real settings, and its suggestions fit together."""

from pathlib import Path

import pytest

from padray import loading
from padray.search import study, trials

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
SPACES = [path for path in FILES if not path.name.startswith("study_")]  # the others are the papers' tables


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_its_suggestions_are_settings(path):
    config = loading.load("digits-ipc1", space=str(path)).config
    study.check(config)
    asked = trials.study(config.search, [], seed=0)
    given = [trials.suggest(asked.ask(), config.search.space) for _ in range(20)]
    assert all(loading.with_values(config, values, "this trial") != config for values in given)
    assert set().union(*given) == set(config.search.space), "every parameter is asked for under some choice"
