"""Spaces and trials without any training: what may be searched, what is stored, and the study rebuilt from it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from padray import fingerprint
from padray.config import Config
from padray.configuration import loading
from padray.errors import InputError
from padray.search import sampling, trials
from padray.search.trials import Rung, TrialRecord
from padray.settings.space import ParameterSpec, SearchSettings
from padray.store.artifacts import Folder
from padray.store.opening import open_location

SPACE: dict[str, dict[str, Any]] = {
    "distill.lr_images": {"type": "float", "low": 0.3, "high": 3.0, "log": True},
    "distill.batch": {"type": "int", "low": 2, "high": 6},
    "distill.importance.enabled": {"type": "choice", "choices": [True, False]},
    "distill.importance.lr": {
        "type": "float",
        "low": 0.1,
        "high": 1.0,
        "when": {"distill.importance.enabled": [True]},
    },
}


def settings(space: dict[str, Any] | None = None, **parts: Any) -> SearchSettings:
    config = loading.with_values(loading.load("digits-ipc1").config, {"search.space": space or SPACE}, "x")
    return config.search.model_copy(update=parts)


def record(number: int, value: float | None, **parameters: Any) -> TrialRecord:
    given = {"distill.lr_images": 1.0 + number / 10, "distill.batch": 2 + number % 5} | parameters
    given.setdefault("distill.importance.enabled", False)
    if value is None:
        return TrialRecord(number, given, "failed", reason="the loss became nan")
    return TrialRecord(number, given, "finished", value, (value,) * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(open_location(str(tmp_path)), "searches/x-000000000000", "0" * 64)


# -- spaces


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"type": "float", "low": 3.0, "high": 0.3}, "needs low <= high"),
        ({"type": "int", "low": 3}, "needs low <= high"),
        ({"type": "float", "low": 0.0, "high": 1.0, "log": True}, "must begin above 0"),
        ({"type": "float", "low": -1.0, "high": 1.0, "log": True}, "must begin above 0"),
        ({"type": "int", "low": 0.5, "high": 2.0}, "whole numbers"),
        ({"type": "int", "low": 0, "high": 1e300}, "within -1e+15 and 1e+15"),
        ({"type": "float", "low": -1e300, "high": 1.0}, "within -1e+15 and 1e+15"),
        ({"type": "choice"}, "a choice needs choices"),
        ({"type": "choice", "choices": []}, "a choice needs choices"),
        ({"type": "choice", "choices": [1], "low": 1.0}, "no low, high or log"),
        ({"type": "float", "low": 0.1, "high": 1.0, "choices": [1]}, "no choices"),
        ({"type": "float", "low": 0.1, "hihg": 1.0}, "distill.lr_images.hihg is not a setting"),
        ({"type": "gaussian"}, "'float', 'int' or 'choice'"),
    ],
)
def test_a_space_that_cannot_be_is_refused(spec: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"distill.lr_images: {json.dumps(spec)}\n")
    with pytest.raises(InputError, match=r"distill\.lr_images") as caught:
        loading.load("digits-ipc1", (), str(path))
    assert said in str(caught.value)


@pytest.mark.parametrize("condition", ["distill.importance.enabled", "distill.importance.lr", "distill.student_lr"])
def test_a_condition_on_what_is_not_chosen_before_is_refused(condition: str) -> None:
    late = {"distill.importance.lr": {**SPACE["distill.importance.lr"], "when": {condition: [True]}}}
    with pytest.raises(InputError, match=f"so {condition} must come before it"):
        settings({**late, "distill.importance.enabled": SPACE["distill.importance.enabled"]})


@pytest.mark.parametrize("name", ["space.txt", "pad_filters"])
def test_a_space_is_a_yaml_file(name: str) -> None:
    with pytest.raises(InputError, match=r"must be a \.yaml file"):
        loading.load("digits-ipc1", (), name)


def test_types_of_a_space_become_optunas() -> None:
    given = settings().space
    assert sampling.distribution(given["distill.lr_images"]) == optuna.distributions.FloatDistribution(
        0.3, 3.0, log=True
    )
    assert sampling.distribution(given["distill.batch"]) == optuna.distributions.IntDistribution(2, 6)
    assert sampling.distribution(given["distill.importance.enabled"]).choices == (True, False)  # type: ignore[attr-defined]
    zero = ParameterSpec(type="float", low=0.0, high=0.0)
    assert sampling.distribution(zero) == optuna.distributions.FloatDistribution(0.0, 0.0)


def test_conditional_parameters_are_chosen_only_where_they_apply() -> None:
    given = settings()
    made = [
        sampling.suggest(sampling.study(given, [record(k, 0.5) for k in range(n)], 0).ask(), given.space)
        for n in range(9)
    ]
    assert {chosen["distill.importance.enabled"] for chosen in made} == {True, False}
    for chosen in made:
        assert ("distill.importance.lr" in chosen) == chosen["distill.importance.enabled"]
        assert 0.3 <= chosen["distill.lr_images"] <= 3 and chosen["distill.batch"] in range(2, 7)
        assert isinstance(chosen["distill.batch"], int) and isinstance(chosen["distill.importance.enabled"], bool)


# -- storage


def stored(folder: Folder) -> dict[int, TrialRecord]:
    return trials.read(folder, lambda record: sampling.check(record, settings()))


def test_records_come_back_as_they_were(folder: Folder) -> None:
    made = [record(11, 0.5), record(0, None), record(2, 1 / 3, **{"distill.importance.enabled": True})]
    for one in made:
        trials.write(folder, one)
    assert stored(folder) == {0: made[1], 2: made[2], 11: made[0]}
    assert list(stored(folder)) == [0, 2, 11]
    assert trials.missing(stored(folder), 5) == [1, 3, 4]


def test_a_torn_record_is_a_trial_that_was_never_finished(folder: Folder, tmp_path: Path) -> None:
    trials.write(folder, record(0, 0.5))
    trials.begin(folder, 0, {"distill.lr_images": 0.1 + 0.2})
    (path,) = tmp_path.rglob("trial-*")
    path.write_bytes(path.read_bytes()[:-3])
    assert stored(folder) == {0: TrialRecord(0, {"distill.lr_images": 0.1 + 0.2}, "running")}


HOSTILE = [
    b"[]",
    b"{}",
    b"null",
    b'"x"',
    b"nonsense",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"number": 0}',
    b'{"number": "0; rm", "parameters": {}, "state": "failed"}',
    b'{"number": 0, "parameters": [], "state": "failed"}',
    b'{"number": 0, "parameters": {}, "state": "odd"}',
    b'{"number": 0, "parameters": {}, "state": "finished", "value": "x"}',
    b'{"number": 0, "parameters": {}, "state": "finished", "value": null}',
    b'{"number": 1, "parameters": {}, "state": "failed"}',
    b'{"number": 0, "parameters": {"storage.root": "/"}, "state": "failed"}',
    b'{"number": 0, "parameters": {"distill.lr_images": 1e9}, "state": "failed"}',
    b'{"number": 0, "parameters": {"distill.lr_images": "x"}, "state": "failed"}',
    b'{"number": 0, "parameters": {"distill.lr_images": [1]}, "state": "failed"}',
    b'{"number": 0, "parameters": {}, "state": "stopped", "value": 0.5}',
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_what_anybody_may_have_put_there_is_refused_in_a_sentence(folder: Folder, content: bytes) -> None:
    item = folder.put("trial-0000", "json", content)
    with pytest.raises(InputError, match=rf"{item.key} in .* is not what padray writes there: delete it, then"):
        stored(folder)
    if not any(state in content for state in (b"finished", b"odd", b"stopped")):
        folder.location.delete(item.key)
        folder.put("begun-0000", "json", content)
        with pytest.raises(InputError, match=r"begun-0000-.* is not what padray writes there"):
            stored(folder)


def test_the_study_that_is_rebuilt_holds_the_same_trials() -> None:
    given = settings()
    with_lr = {"distill.importance.enabled": True, "distill.importance.lr": 0.3}
    made = [record(2, None), record(0, 0.4), record(1, 0.6, **with_lr)]
    found = sampling.study(given, made, 0).trials
    assert [trial.params for trial in found] == [made[1].parameters, made[2].parameters, made[0].parameters]
    assert [trial.value for trial in found] == [0.4, 0.6, None]
    assert [trial.state for trial in found] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert "distill.importance.lr" in found[1].distributions and "distill.importance.lr" not in found[0].distributions
    assert sampling.study(given, made, 0).direction == optuna.study.StudyDirection.MAXIMIZE


def test_of_a_trials_records_the_last_one_counts(folder: Folder) -> None:
    rungs = (Rung(10, 0.4), Rung(30, 0.5))
    running = replace(record(3, 0.4), state="running", iterations=10, rungs=rungs[:1])
    stopped = replace(running, state="stopped", value=0.5, iterations=30, rungs=rungs)
    made = [running, stopped, replace(stopped, state="finished", value=0.6, iterations=90)]
    for place, one in enumerate(made):
        assert trials.write(folder, one).key == folder.keys("trial-")[0], "what was known before is gone"
        for earlier in made[:place]:  # or was left by a kill
            folder.put("trial-0003", "json", earlier.to_json())
        assert stored(folder) == {3: one}


def test_a_record_that_is_replaced_while_it_is_read_is_not_missed(folder: Folder, monkeypatch) -> None:
    first = replace(record(3, 0.4), state="running", iterations=10, rungs=(Rung(10, 0.4),))
    last, take = replace(first, state="finished", iterations=30), Folder.take
    trials.write(folder, first)

    def late(self: Folder, key: str, most: int | None = None) -> Any:
        monkeypatch.setattr(Folder, "take", take)
        trials.write(folder, last)
        return take(self, key, most)

    monkeypatch.setattr(Folder, "take", late)
    assert stored(folder) == {3: last}


# -- what is suggested


def next_one(given: SearchSettings, made: list[TrialRecord], seed: int = 0) -> dict[str, Any]:
    return sampling.suggest(sampling.study(given, made, seed).ask(), given.space)


@pytest.mark.parametrize("startup", [2, 10])
def test_a_continued_study_does_not_repeat_its_suggestions(startup: int) -> None:
    given, made = settings(startup_trials=startup), [record(k, 0.5) for k in range(8)]
    found = [next_one(given, made[:n]) for n in range(8)]
    assert len({one["distill.lr_images"] for one in found}) == 8


def test_a_suggestion_depends_on_the_trials_and_the_seed_alone() -> None:
    given, made = settings(startup_trials=2), [record(k, k / 10) for k in range(5)]
    assert next_one(given, made) == next_one(given, made[::-1])
    assert next_one(given, made) != next_one(given, made, seed=1)


def start_of(*overrides: str, space: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return sampling.starts(loaded(*overrides, space=space))


def loaded(*overrides: str, space: dict[str, Any] | None = None) -> Config:
    return loading.load("digits-ipc1", (f"search.space={json.dumps(space or SPACE)}", *overrides)).config


def test_trial_0_is_the_configuration_as_far_as_the_space_holds_it() -> None:
    inside = ("distill.lr_images=1.5", "distill.batch=3")
    given = {"distill.lr_images": 1.5, "distill.batch": 3, "distill.importance.enabled": False}
    assert start_of(*inside) == [given]
    assert start_of(inside[0]) == [{key: given[key] for key in given if key != "distill.batch"}], "its batch is 10"
    enabled = given | {"distill.importance.enabled": True, "distill.importance.lr": 1.0}
    assert start_of(*inside, "distill.importance.enabled=true") == [enabled]
    only = {"distill.batch": SPACE["distill.batch"]}
    assert start_of(space=only) == [{}]
    config = loaded(space=only)
    made = sampling.parameters_of(config, 0, [])
    assert made == {} and loading.with_values(config, made, "x") == config, "nothing is drawn for it"


def test_grids_and_kinds_of_numbers_hold_what_lies_on_them() -> None:
    spec = ParameterSpec(type="float", low=0.1, high=0.7, step=0.2)
    assert [value for value in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, "0.3", True) if spec.holds(value)] == [0.1, 0.3, 0.5, 0.7]
    whole = ParameterSpec(type="int", low=0, high=4, step=2)
    assert [value for value in (0, 1, 2, 4.0, 4, True) if whole.holds(value)] == [0, 2, 4]
    choice = ParameterSpec(type="choice", choices=(1, "x", False))
    assert [value for value in (1, 1.0, True, "x", 0, False) if choice.holds(value)] == [1, 1.0, "x", False]
    space = {"distill.lr_images": {"type": "float", "low": 0.1, "high": 0.7, "step": 0.2}}
    given = settings(space)
    drawn = {next_one(given, made=[], seed=seed)["distill.lr_images"] for seed in range(30)}
    assert {round(value, 6) for value in drawn} == {0.1, 0.3, 0.5, 0.7}


def test_what_a_search_starts_from_comes_first_and_then_optunas_own(tmp_path: Path) -> None:
    best = tmp_path / "best.yaml"
    best.write_text(
        "distill: {lr_images: 2.5, batch: 99, importance: {enabled: true, lr: 0.25}}\nsearch: {trials: 3}\n"
    )
    named = f"search.start=[{best}, {{distill.batch: 4}}, digits-ipc10, {{distill.batch: 4}}]"
    own, earlier, given, preset = start_of(named)
    assert own == {"distill.lr_images": 3.0, "distill.importance.enabled": False}
    assert earlier == {
        "distill.lr_images": 2.5,
        "distill.importance.enabled": True,
        "distill.importance.lr": 0.25,
    }
    assert given == {"distill.batch": 4} and preset == {"distill.importance.enabled": False}, "twice is once"
    config, made = loaded(named), []
    for number in range(5):
        made.append(TrialRecord(number, sampling.parameters_of(config, number, made), "running"))
    assert [one.parameters for one in made[:4]] == [own, earlier, given, preset]
    assert made[4].parameters.keys() >= {"distill.lr_images", "distill.batch"}, "drawn"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("[nowhere]", "'nowhere' is neither a preset"),
        ("[nowhere.yaml]", "nowhere.yaml"),
        ("[{distill.ipc: 1}]", "start gives distill.ipc, which search.space does not hold"),
        ("[{distill.batch: 7}]", "start gives distill.batch=7, which search.space does not hold"),
        ("[digits-ipc10, {distill.batch: true}]", "start gives distill.batch=True"),
    ],
)
def test_a_start_that_cannot_be_is_refused(start: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(f"search.start={start}")
    assert said in str(caught.value)


def test_a_preset_without_a_value_in_the_space_is_no_start() -> None:
    only = {"distill.batch": {"type": "int", "low": 2, "high": 6}}
    with pytest.raises(InputError, match=r"digits-ipc10 has no value that lies in search\.space"):
        loaded("search.start=[digits-ipc10]", space=only)


def test_what_a_search_starts_from_is_part_of_what_it_means() -> None:
    data = fingerprint.Identity("data", "digits", "0" * 64)
    found = {
        fingerprint.search_identity(loaded(f"search.start={start}"), data).fingerprint
        for start in ("[]", "[{distill.batch: 4}]", "[{distill.batch: 5}]")
    }
    assert len(found) == 3


# -- the best, and what mattered


def test_the_best_has_the_highest_value_and_of_equals_the_first() -> None:
    made = [record(0, None), record(3, 0.7), record(1, 0.7), record(2, 0.6)]
    found = trials.best(made)
    assert found is not None and found.number == 1
    zero = trials.best([record(0, None), record(1, 0.0)])
    assert zero is not None and zero.number == 1
    assert trials.best([record(0, None)]) is None and trials.best([]) is None


def test_importances_take_three_finished_trials_with_different_values() -> None:
    given = settings()
    assert sampling.importances(given, [record(0, 0.1), record(1, 0.2), record(2, None)], 0) == {}
    assert sampling.importances(given, [record(k, 0.5) for k in range(5)], 0) == {}
    made = [record(k, (k % 5) / 10) for k in range(12)]  # the value is that of distill.batch
    found = sampling.importances(given, made, 0)
    assert sum(found.values()) == pytest.approx(1) and max(found, key=lambda name: found[name]) == "distill.batch"
    assert found == sampling.importances(given, made, 0)
