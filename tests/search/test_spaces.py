"""Every search space that comes with padray names real settings, and its suggestions fit together."""

from pathlib import Path

import pytest

from padray.configuration import loading
from padray.errors import InputError
from padray.search import driver, fit, sampling, spaces

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
SPACES = [path for path in FILES if not path.name.startswith("study_")]  # the others are the papers' tables


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_its_suggestions_are_settings(path):
    config = loading.load("digits-ipc1", space=str(path)).config
    driver.check(config)
    asked = sampling.study(config.search, [], seed=0)
    given = [sampling.suggest(asked.ask(), config.search.space) for _ in range(20)]
    assert all(loading.with_values(config, values, "this trial") != config for values in given)
    assert set().union(*given) == set(config.search.space), "every parameter is asked for under some choice"


def refused(space: str, *parts: str) -> None:
    config = loading.load("digits-ipc1", (f"search.space={space}",)).config
    with pytest.raises(InputError) as caught:
        driver.check(config)
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
    driver.check(loading.load("digits-ipc1", (f"search.space={space}",)).config)


# -- a space for settings that somebody has


@pytest.mark.parametrize(
    ("preset", "overrides", "names"),
    [
        (
            "digits-ipc1",
            (),
            {"lr_images", "labels.lr", "student_lr", "selection.alpha", "windows.max_start"},
        ),
        ("digits-ipc1", ("distill.labels={kind: hard}",), {"lr_images", "student_lr", "selection.alpha"}),
        ("dm-digits-ipc1", (), {"lr_images", "momentum_images"}),
        ("dsa-digits-ipc1", (), {"lr_images", "momentum_images"}),
        ("pad-cifar10-ipc10", (), {"lr_images", "labels.lr", "student_lr", "windows.max_start"}),
    ],
)
def test_a_space_around_settings_holds_them_and_makes_no_other_experts(preset, overrides, names) -> None:
    config = loading.load(preset, overrides).config
    lines = spaces.around(config)
    assert {f"distill.{name}" for name in names} <= lines.keys()
    space = "{" + ", ".join(f"{name}: {spec}" for name, spec in lines.items()) + "}"
    searching = loading.load(preset, (*overrides, f"search.space={space}", "data.validation=0.1")).config
    driver.check(searching)
    (first,) = sampling.starts(searching)
    assert first.keys() == lines.keys(), "trial 0, the settings themselves, lies inside"
    assert {name.split(".")[0] for name in lines} == {"distill"}


def test_a_method_that_has_nothing_to_search_gets_no_space(tmp_path) -> None:
    assert spaces.around(loading.load("coreset-digits-ipc10").config) == {}
    path = tmp_path / "mine.yaml"
    path.write_text("data: {dataset: digits}\ndistill: {family: coreset, ipc: 1}\n")
    assert spaces.write(str(path)) == "" and [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_space_lies_beside_its_settings_and_one_that_is_there_stays(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(loading.as_yaml(loading.load("digits-ipc1").config))
    written = spaces.write(str(path))
    assert written == str(tmp_path / "mine-space.yaml")
    assert set(loading.load(str(path), (), written).config.search.space) == set(
        spaces.around(loading.load("digits-ipc1").config)
    )
    Path(written).write_text("distill.lr_images: {type: float, low: 1, high: 2}\n")
    assert spaces.write(str(path)) == written and "low: 1, high: 2" in Path(written).read_text()


# -- what a space asks of scoring networks


FILTERS = str(Path(__file__).parents[2] / "search_spaces" / "pad_filters.yaml")


def test_where_only_the_space_asks_for_scores_their_networks_are_the_runs_own(tmp_path) -> None:
    own = loading.load("digits-ipc1", (), FILTERS)
    assert own.config.scores.network == own.config.network and own.config.network.width == 32
    assert own.origins["scores.network"] == "network, as the space asks for scores"
    changed = loading.load("digits-ipc1", ("network.width=8",), FILTERS).config
    assert changed.scores.network.width == 8, "as it is overridden"
    inside = loading.load("digits-ipc1", ("search.space={schedule.initial_ratio: {type: float, low: 0.5, high: 1}}",))
    assert inside.config.scores.network.width == 32, "wherever the space stands"


@pytest.mark.parametrize(
    ("overrides", "space", "width"),
    [
        (("scores.network={name: convnet, width: 4, depth: 2}",), FILTERS, 4),  # named
        ((), None, 128),  # no search
        (("search.space={distill.lr_images: {type: float, low: 1, high: 9}}",), None, 128),  # that needs no scores
    ],
)
def test_otherwise_scoring_networks_are_what_they_were(overrides, space, width) -> None:
    assert loading.load("digits-ipc1", overrides, space).config.scores.network.width == width
