"""One growing study answers as one that is made from the records for each question."""

import random
from dataclasses import replace

import optuna
import pytest

from padray.search import sampling
from padray.search.asking import Asker
from padray.search.trials import Rung, TrialRecord
from tests.search.test_trials import loaded


@pytest.mark.parametrize(
    "overrides",
    [
        ("search.startup_trials=2",),
        ("search.startup_trials=2", "search.start=[{distill.batch: 3}]", "search.stopping=median"),
        ("search.startup_trials=2", "search.objectives=[accuracy, bytes]"),
    ],
)
def test_it_answers_as_a_study_of_all_records_would(overrides: tuple[str, ...]) -> None:
    config, draw, records = loaded(*overrides), random.Random(1), list[TrialRecord]()
    asker, two = Asker(config), config.search.cost is not None
    for number in range(14):
        for place, record in enumerate(records):  # up to three run at a time, and end in any order
            if not record.ended and (draw.random() < 0.5 or len(records) - place > 3):
                records[place] = ended(record, draw.random(), draw.random() if two else None)
        asked = sampling.parameters_of(config, number, records)
        assert asker.parameters_of(number, list(reversed(records))) == asked
        records.append(TrialRecord(number, asked, "running"))
    assert {record.state for record in records} >= {"running", "finished", "failed"}


def ended(record: TrialRecord, value: float, cost: float | None) -> TrialRecord:
    if value < 0.2:
        return replace(record, state="failed", reason="the loss became nan")
    rungs = () if cost is not None else (Rung(3, value / 2),)
    return replace(record, state="finished", value=value, values=(value,), rungs=rungs, cost=cost)


def test_what_a_study_cannot_become_is_made_anew() -> None:
    config = loaded("search.startup_trials=2")
    asker, records = Asker(config), list[TrialRecord]()
    for number in range(6):
        chosen = asker.parameters_of(number, records)
        records.append(TrialRecord(number, chosen, "stopped", 0.1 * number, (0.1,), rungs=(Rung(3, 0.1 * number),)))
    goes_on = [replace(records[0], state="running"), *records[1:]]
    other = [replace(records[0], parameters=records[1].parameters), *records[1:]]
    for changed in (goes_on, other, records[:3], records):
        assert asker.parameters_of(9, changed) == sampling.parameters_of(config, 9, changed)


def test_records_are_added_once(monkeypatch: pytest.MonkeyPatch) -> None:
    added, add = [], optuna.Study.add_trial
    monkeypatch.setattr(optuna.Study, "add_trial", lambda self, trial: added.append(trial) or add(self, trial))
    config, records = loaded("search.startup_trials=2"), list[TrialRecord]()
    asker = Asker(config)
    for number in range(20):
        records.append(ended(TrialRecord(number, asker.parameters_of(number, records), "running"), 0.5, None))
    assert [trial.state.name for trial in added] == ["WAITING"], "the start; what it asked for is in its study already"
