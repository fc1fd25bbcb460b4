"""Iterations from state to state: who descends when, what is left out, and what the metrics say."""

import json
import math
from dataclasses import replace

import pytest
import torch

from padray.config import NetworkSettings
from padray.draws import generator
from padray.errors import DivergedError, WorkError
from padray.methods import loop, steps
from padray.methods import state as states
from padray.methods.loop import LoopHooks
from padray.methods.method import Contribution
from padray.methods.state import State
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.stages import stored
from padray.store.pieces import whole
from padray.synthetic.set import Learned
from tests.methods.given import Given, trajectory

SHAPE, CLASSES = (1, 8, 8), 3


def problem(**changes) -> TrajectoryMatching:
    given = {
        "ipc": 1,
        "student_steps": 2,
        "trajectories": 2,
        "batch": 3,
        "augment": "none",
        "max_loss": 1e9,
        "lr_images": 1.0,
        "validation": {"seeds": 0},
        **changes,
    }
    mlp = NetworkSettings(name="mlp", width=4, depth=1)
    module = factory.build(mlp, SHAPE, CLASSES, seed=1)
    settings = TrajectorySettings.model_validate(given)
    return trajectory(settings, Given(mlp, SHAPE, CLASSES), FlatNetwork(module.double().train()))


def first(made: TrajectoryMatching) -> State:
    draw = generator(0, "test")
    images, labels = torch.randn(3, *SHAPE, generator=draw).double(), torch.randn(3, 3, generator=draw).double()
    weights = made.importance.start(torch.float64) if made.importance else torch.zeros(0)
    own = {"weights": weights, "weights_momentum": torch.zeros_like(weights)} if made.importance else {}
    learned = Learned(images, labels, torch.tensor(0.05).double())
    return states.start(learned, own, averaged=made.settings.ema_decay > 0)


def iterate(
    made: TrajectoryMatching, state: State, until: int, judge=lambda learned: [0.0]
) -> tuple[list[State], list[dict]]:
    """All states and their metrics."""

    def rows():
        for position in range(1000):
            start = made.network.flatten()
            yield start, start + 0.1 * torch.randn(len(start), generator=generator(0, "row", position)).double()

    kept = []
    trajectories = range(made.settings.trajectories)
    hooks = LoopHooks(rows(), trajectories, lambda own: own, judge, lambda state, metrics: kept.append(state))
    metrics = list(loop.run(made, state, until, hooks))
    return kept, metrics


def test_in_turns_even_iterations_move_the_set_and_odd_ones_the_weights():
    made = problem(importance={"enabled": True, "order": "alternate", "lr": 5.0}, ema_decay=0.5)
    states_, _ = iterate(made, first(made), 4)
    for iteration, (before, after) in enumerate(zip([first(made), *states_], states_, strict=False)):
        set_moves = iteration % 2 == 0
        for name in ("images", "labels", "lr"):
            assert torch.equal(getattr(before.learned, name), getattr(after.learned, name)) != set_moves
            assert torch.equal(getattr(before.momentum, name), getattr(after.momentum, name)) != set_moves
        assert torch.equal(before.average, after.average) != set_moves
        assert all(torch.equal(before.own[name], after.own[name]) for name in before.own) == set_moves


def test_one_turn_of_the_weights_is_what_they_do_together_with_the_set():
    together = problem(importance={"enabled": True, "lr": 5.0})
    turns = problem(importance={"enabled": True, "lr": 5.0, "order": "alternate"})
    odd = State(1, *(getattr(first(together), n) for n in ("learned", "momentum", "own")))
    assert torch.equal(iterate(together, odd, 2)[0][0].own["weights"], iterate(turns, odd, 2)[0][0].own["weights"])


def test_the_guard_stops_set_weights_and_average_alike():
    made = problem(importance={"enabled": True}, ema_decay=0.5, max_loss=1e-6)
    kept, metrics = iterate(made, first(made), 1)
    assert (metrics[0]["skipped"], metrics[0]["not_finite"]) == (2, 0)
    assert kept[0].iteration == 1
    before = first(made)
    assert torch.equal(kept[0].learned.images, before.learned.images)
    assert torch.equal(kept[0].own["weights"], before.own["weights"])
    assert torch.equal(kept[0].average, before.average)


def test_the_averaged_images_are_judged_and_are_the_result():
    judged: list[Learned] = []

    def judge(learned: Learned) -> list[float | None]:
        judged.append(learned)
        return [float(len(judged) == 1)]

    made = problem(ema_decay=0.5, validation={"seeds": 1, "every": 2})
    kept, _ = iterate(made, first(made), 4, judge)
    assert torch.equal(judged[0].images, kept[1].average)
    iteration, learned = loop.result(kept[-1])
    assert iteration == 2
    assert torch.equal(learned.images, kept[1].average)
    assert torch.equal(learned.labels, kept[1].learned.labels)
    unjudged = problem(ema_decay=0.5)
    last = iterate(unjudged, first(unjudged), 2)[0][-1]
    assert torch.equal(loop.result(last)[1].images, last.average)


# -- what is not finite


def said(made: TrajectoryMatching, state: State) -> Contribution:
    """What a trajectory says, all of it finite."""
    draw = generator(0, "said")
    learned = state.learned
    images, labels = (torch.rand(part.shape, generator=draw).double() for part in (learned.images, learned.labels))
    return {
        "loss": torch.tensor(0.5).double(),
        "grad_images": images,
        "grad_labels": labels,
        "grad_lr": torch.tensor(1e-3).double(),
        "grad_weights": torch.rand(state.own["weights"].shape).double(),
        "layers": torch.ones(2, 4),
    }


def spoilt(good: Contribution, part: str, value: float) -> Contribution:
    """The same, with one number of one part that is not finite."""
    wrong = good[part].clone()
    wrong.view(-1)[-1] = value
    return {**good, part: wrong, "layers": torch.full((2, 4), value)}


def alike(left: State, right: State) -> bool:
    return whole(states.encode(left, {})) == whole(states.encode(right, {}))


@pytest.mark.parametrize("part", ["loss", "grad_images", "grad_labels", "grad_lr", "grad_weights"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trajectory_that_is_not_finite_is_left_out_and_counted(part, value):
    made = problem(importance={"enabled": True}, max_loss=1.0)
    state = replace(first(made), barren=3)
    good = said(made, state)
    without, expected = made.step(state, [good])
    loud = {**good, "loss": torch.tensor(5.0).double()}
    stepped, metrics = made.step(state, [spoilt(good, part, value), good, loud])
    assert alike(stepped, without) and stepped.barren == 0
    assert (metrics["skipped"], metrics["not_finite"], expected["skipped"]) == (2, 1, 0)
    assert metrics["loss"] == (0.5 + 5) / 2, "the guard's are in the mean loss"
    assert metrics["layers"] == expected["layers"]


def test_only_several_iterations_in_a_row_without_a_finite_trajectory_end_the_work_also_after_a_resumption():
    made = problem(importance={"enabled": True})
    state = start = first(made)
    bad, metrics = spoilt(said(made, state), "loss", math.inf), []
    for _ in range(steps.BARREN - 1):
        state, told = made.step(state, [bad, bad])
        metrics.append(told)
    assert alike(replace(state, iteration=0, barren=0), start)
    assert {(row["loss"], row["skipped"], row["not_finite"]) for row in metrics} == {(None, 2, 2)}
    assert metrics[0]["layers"] == [None] * 4 and json.dumps(metrics, allow_nan=False)
    columns = {key: [row[key] for row in metrics] for key in metrics[0]}
    assert stored.read_table(stored.encode_table(columns)) == columns
    assert "no trajectory was finite in the last 9 iterations" in made.warning(state)
    assert loop.describe(metrics[0]).startswith("no finite loss, student lr 0.05, 2 left out (2 not finite)")
    for each in (state, states.decode(whole(states.encode(state, {})))[0]):
        told = r"no trajectory was finite in 10 iterations in a row, up to iteration 9 \(student lr 0.05\)"
        with pytest.raises(DivergedError, match=told):
            made.step(each, [bad])
        assert made.step(each, [bad, said(made, state)])[0].barren == 0
    assert made.warning(start) is None


def test_relative_errors_that_are_not_finite_are_told_as_none():
    made = problem(importance={"enabled": True})
    state = first(made)
    half = {**said(made, state), "layers": torch.tensor([[1.0, math.inf, math.nan, 2.0]] * 2)}
    assert loop.finite_or_none(made.step(state, [half])[1]["layers"]) == [1.0, None, None, 2.0]


def test_a_network_that_diverges_judges_an_iterate_as_the_worst():
    judgements = iter([[None, None], [None, 0.5], [None, None]])
    made = problem(validation={"seeds": 2, "every": 1})
    kept, metrics = iterate(made, first(made), 3, lambda learned: next(judgements))
    assert [(row["validation_accuracy"], row["validation_diverged"]) for row in metrics] == [(0, 2), (0.25, 1), (0, 2)]
    assert loop.result(kept[-1])[0] == 2
    assert "validation 25.0 % (1 diverged)" in loop.describe(metrics[1])


def sloping(state: State, slope: float) -> Contribution:
    """A trajectory that moves the lr alone."""
    still, lr = torch.zeros_like(state.learned.images), torch.tensor(slope).double()
    return {"loss": torch.tensor(0.5), "grad_images": still, "grad_lr": lr, "layers": torch.zeros(2, 4)}


@pytest.mark.parametrize("way", ["no", "clamp", "log"])
def test_an_lr_that_would_leave_the_positive_stops_the_work_unless_it_is_kept(way):
    made = problem(lr_student_lr=10.0, keep_lr_positive=way)
    state = first(made)
    contribution = sloping(state, 1.0)
    if way == "no":
        with pytest.raises(WorkError, match=r"distill\.lr_student_lr \(10\) or set distill\.keep_lr_positive"):
            made.step(state, [contribution])
    else:
        assert 0 < float(made.step(state, [contribution])[0].learned.lr) < 0.05


@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (1.0, "the student's lr became 0 in iteration 3: lower distill.lr_student_lr (1e+300)"),
        (-1.0, "iteration 3 left values that are not finite: lower distill.lr_student_lr"),
    ],
)
def test_a_step_that_fails_names_its_iteration_and_only_what_would_help(slope, said):
    made = problem(lr_student_lr=1e300, keep_lr_positive="log")
    state = replace(first(made), iteration=3)
    with pytest.raises(WorkError) as caught:
        made.step(state, [sloping(state, slope)])
    assert str(caught.value) == said


def test_a_collapse_of_the_weights_is_told_and_the_metrics_can_be_stored():
    made = problem(lr_images=0.0, importance={"enabled": True, "constraint": "none", "lr": 35.0})
    kept, metrics = iterate(made, first(made), 40)
    assert sum(metrics[0]["weight_histogram"]) == made.network.size
    assert metrics[0]["weight_effective_fraction"] == pytest.approx(1.0)
    assert "warning" not in metrics[0] and "collapsed" in metrics[-1]["warning"]
    assert "collapsed" in made.warning(kept[-1])
    columns = {key: [row.get(key) for row in metrics] for key in sorted({key for row in metrics for key in row})}
    assert stored.read_table(stored.encode_table(columns)) == columns
    steady = problem(lr_images=0.0, importance={"enabled": True, "lr": 35.0})
    kept, metrics = iterate(steady, first(steady), 40)
    assert not any("warning" in row for row in metrics)
    assert steady.warning(kept[-1]) is None
