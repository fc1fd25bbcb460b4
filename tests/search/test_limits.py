"""Limits of a search: money is counted as machines come and go, and a search that has used it up ends in a sentence."""

import time
from pathlib import Path

import pytest

from padray.stages.limits import Limits

TABLE = """
as_of: today
source: made up
nodes:
  only: {cpus: 2, per_hour: 7200}
"""


def test_money_is_what_machines_cost_an_hour_times_the_hours(monkeypatch) -> None:
    now, rates = [100.0], iter([2.0, 2.0, 6.0, 6.0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limits = Limits(hours=3.0, money=5.0, per_hour=lambda: next(rates))
    assert limits.over() == ""
    now[0] += 3600  # two nodes
    assert limits.over() == "" and limits.spent == pytest.approx(2)
    now[0] += 1800  # six, as there are now
    limits.look()
    assert limits.spent == pytest.approx(5)
    now[0] += 1
    assert limits.over() == "5.002 of 5 are spent"


def test_hours_end_it_too_and_without_limits_nothing_does(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    hours, none = Limits(hours=0.5), Limits()
    now[0] = 1799.0
    assert hours.over() == ""
    now[0] = 1800.0
    assert hours.over() == "0.5 hours are over" and none.over() == ""


def test_a_search_that_has_spent_its_money_keeps_its_trials_and_says_so(again, run, tmp_path) -> None:
    search, table = again(), tmp_path / "prices.yaml"
    table.write_text(TABLE)
    line = ("tune", search.settings, "--storage", search.root, "--runner", "inline", "--set", "search.trials=5")
    said = run(*line, "--json", "--money", "1e-6", "--price", str(table)).json
    assert said["trials"]["finished"] == 3 and said["trials"]["missing"] == 2
    assert said["trials"]["limit"].endswith(" of 1e-06 are spent")
    assert Path(said["best"]["file"]).is_file(), "what there is, is chosen from"
    text = run(*line, "--set", "search.hours=1e-9").out
    assert "2 not begun: 1e-09 hours are over (the same command goes on)" in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--money", "5"), "--money and --price go together"),
        (("--price", "5"), "--money and --price go together"),
        (("--money", "-1", "--price", "5"), "--money is what may be spent, a number above 0 (got -1)"),
        (("--money", "nan", "--price", "5"), "--money is what may be spent, a number above 0 (got nan)"),
        (("--money", "5", "--price", "cheap"), "--price is what a device costs for an hour"),
        (("--money", "5", "--price", "prices.yaml"), "there is one node here, and the table has 4 types"),
        (("--set", "search.hours=0"), "search.hours: input should be greater than 0"),
    ],
)
def test_limits_that_are_none_are_refused(search, run, options, said) -> None:
    made = search()
    given = [str(Path(__file__).parents[2] / word) if word.endswith(".yaml") else word for word in options]
    result = run("tune", made.settings, "--storage", made.root, "--runner", "inline", *given)
    assert result.code == 2 and said in result.err and not made.root.exists()
