"""What a search adds to a plan: its trials, at most so many other experts, and the proof of its best."""

from pathlib import Path

import pytest

from padray.commandline import commands
from padray.commandline.console import Console
from padray.errors import InputError
from tests.conftest import TINY
from tests.planning.conftest import counted, line_of, made, plan

SPACE = """
search:
  trials: 2
  seeds: 3
  epochs: 3
  final_seeds: 3
  startup_trials: 2
  space:
    schedule.initial_ratio: {type: choice, choices: [0.5, 0.75]}
    distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}
"""
QUICK = ("evaluation.architectures=[]", "evaluation.seeds=1", "distill.validation.seeds=0", "distill.max_loss=1000")


@pytest.fixture
def searching(tmp_path: Path) -> Path:
    path = tmp_path / "searching.yaml"
    path.write_text(TINY + SPACE)
    return path


def experts_of_trials(told: dict) -> dict:
    return next(line for line in told["stages"] if line["unit"].endswith("of the trials"))


def test_a_search_is_planned_made_and_then_there(searching, tmp_path):
    root = tmp_path / "runs"
    told = plan(searching, root, *QUICK)
    assert line_of(told, "search")["units"] == 2 and experts_of_trials(told)["to_do"] == 3
    request = commands.Request(QUICK, str(root), "inline")
    commands.tune(commands.context(str(searching), request), Console(True))
    most, found = counted(told), made(root)
    assert found["experts"] <= most["experts"] == 6 and found["scores"] == most["scores"] == 2
    assert found["distill"] == most["search"] == 2 and not most["distill"], "trial 0 makes the set of the defaults"
    assert found["evaluate"] <= most["evaluate"]
    assert found["finals"] == most["finals"] == 2 * 3, "the defaults and the other trial, three networks each"
    again = plan(searching, root, *QUICK)
    assert counted(again) == {} and again["total"]["units"] > 3
    more = plan(searching, root, *QUICK, "search.trials=4")
    assert line_of(more, "search")["to_do"] == 2 and experts_of_trials(more)["to_do"] <= 3


@pytest.mark.parametrize(
    ("space", "others"),
    [
        ("{distill.lr_images: {type: float, low: 1, high: 2}}", None),
        ("{experts.lr: {type: float, low: 0.01, high: 0.1}}", 3),
        ("{experts.lr: {type: choice, choices: [0.1, 0.2]}, distill.ema_decay: {type: float, low: 0, high: 0.5}}", 1),
        ("{experts.epochs: {type: int, low: 5, high: 6}, experts.lr: {type: choice, choices: [0.1, 0.2]}}", 3),
        ("{experts.epochs: {type: int, low: 2, high: 6}}", 2),
        ("{experts.lr: {type: float, low: 0.1, high: 0.3, step: 0.1}}", 2),
    ],
)
def test_experts_are_counted_once_for_each_meaning(searching, tmp_path, space, others):
    told = plan(searching, tmp_path, f"search.space={space}", "search.trials=3")
    found = [line["units"] for line in told["stages"] if line["unit"] == "expert convnet2w4, of the trials"]
    assert found == ([] if others is None else [3 * others])


def test_a_space_that_cannot_be_searched_is_refused(searching, tmp_path):
    with pytest.raises(InputError, match=r"distill\.ipc cannot be searched"):
        plan(searching, tmp_path, "search.space={distill.ipc: {type: int, low: 1, high: 2}}")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("{distill.lr_images: {type: float, low: 1, high: 2}}", "can ask for 1 set of experts, which 3 trials share"),
        ("{experts.lr: {type: float, low: 0.01, high: 0.1}}", "each of 3 trials may need experts of its own"),
        ("{experts.lr: {type: float, low: 0.1, high: 0.3, step: 0.1}}", "can ask for 3 sets of experts"),
        ("{experts.lr: {type: choice, choices: [0.2, 0.3]}}", "can ask for 3 sets of experts"),
    ],
)
def test_a_plan_says_how_many_sets_of_experts_a_space_can_ask_for(searching, tmp_path, space, said):
    assert said in plan(searching, tmp_path, f"search.space={space}", "search.trials=3")["notes"][-1]


def test_with_early_stopping_a_plan_is_an_upper_bound_that_counts_every_judgement(searching, tmp_path):
    full, stopped = (
        line_of(plan(searching, tmp_path, *more), "search")
        for more in ((), ("search.stopping=asha", "search.rungs=2", "search.reduction=2"))
    )
    assert not full["at_most"] and stopped["at_most"]
    judged = [line["samples_trained"] for line in (full, stopped)]
    assert judged[1] - judged[0] == 3 * 3 * 10 * 2, "seeds, epochs, samples of the set, rungs"
