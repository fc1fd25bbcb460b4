"""Every search space that comes with padray names real settings, and its suggestions fit together."""

from pathlib import Path

import pytest

from padray.configuration import loading
from padray.errors import InputError
from padray.search import fit, sampling, study

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
SPACES = [path for path in FILES if not path.name.startswith("study_")]  # the others are the papers' tables


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_its_suggestions_are_settings(path):
    config = loading.load("digits-ipc1", space=str(path)).config
    study.check(config)
    asked = sampling.study(config.search, [], seed=0)
    given = [sampling.suggest(asked.ask(), config.search.space) for _ in range(20)]
    assert all(loading.with_values(config, values, "this trial") != config for values in given)
    assert set().union(*given) == set(config.search.space), "every parameter is asked for under some choice"


def refused(space: str, *parts: str) -> None:
    config = loading.load("digits-ipc1", (f"search.space={space}",)).config
    with pytest.raises(InputError) as caught:
        study.check(config)
    assert str(caught.value).startswith("search.space: ") and all(part in str(caught.value) for part in parts), caught


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        ("{distill.lr_images: {type: float, low: -5, high: 3}}", ("distill.lr_images: ", "got -5")),
        ("{distill.momentum_images: {type: float, low: 0, high: 1}}", ("distill.momentum_images: ", "got 1")),
        ("{distill.batch: {type: float, low: 1, high: 3}}", ("distill.batch: ", "valid integer")),
        ("{distill.batch: {type: choice, choices: [4, 5, five]}}", ("distill.batch: ", "got 'five'")),
        ("{distill.augment: {type: choice, choices: [crop, spin]}}", ("distill.augment: 'spin'",)),
        ("{schedule.easy_removal: {type: choice, choices: [paper, scrip]}}", ("schedule.easy_removal: ", "'scrip'")),
        ("{distill.labels.kind: {type: choice, choices: [hard, 3]}}", ("distill.labels.kind: ", "got 3")),
    ],
)
def test_a_value_that_its_setting_never_takes_is_refused(space: str, parts: tuple[str, ...]) -> None:
    refused(space, *parts)


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        ("{distill.windows.max_start: {type: int, low: 50, high: 100}}", ("windows.max_start=", "is 50; lower")),
        ("{scores.method: {type: choice, choices: [file]}}", ("scores.method=file", "method: file and path")),
        (
            "{distill.importance.constraint: {type: choice, choices: [softmax]}, distill.importance.init: {type: float,"
            " low: 2, high: 3, when: {distill.importance.constraint: [softmax]}}}",
            ("distill.importance.constraint=softmax, distill.importance.init=", "leave init out"),
        ),
    ],
)
def test_a_space_of_which_nothing_fits_together_is_refused(space: str, parts: tuple[str, ...]) -> None:
    refused(space, f"none of {fit.MOST_TRIED} combinations", *parts)


@pytest.mark.parametrize(
    "space",
    [
        "{experts.epochs: {type: int, low: 2, high: 99}}",  # too few for the windows: those trials do not fit
        "{distill.windows.max_start: {type: int, low: 1, high: 100}}",
        "{distill.importance.constraint: {type: choice, choices: [clamp, softmax]}, distill.importance.init: {type: "
        "float, low: 2, high: 3, when: {distill.importance.constraint: [clamp]}}}",
        "{distill.lr_images: {type: float, low: 0, high: 1.0e+15}}",
    ],
)
def test_a_space_of_which_something_fits_is_searched(space: str) -> None:
    study.check(loading.load("digits-ipc1", (f"search.space={space}",)).config)
