"""What a run says of itself: each sentence where it is so, and only there."""

from dataclasses import replace
from typing import Any

import pytest

from padray.config import Config, ControlSettings, EvaluationSettings
from padray.configuration import loading
from padray.evaluation.ceiling import ceiling_of
from padray.evaluation.summary import CellResult
from padray.report import remarks
from tests.report.test_page import row, two


def history(losses: list[float], judged: dict[int, float]) -> list[dict[str, Any]]:
    return [{"iteration": i, "loss": loss, "validation_accuracy": judged.get(i)} for i, loss in enumerate(losses)]


FLAT, FALLING = [1.0 + 0.01 * (-1) ** i for i in range(40)], [2.0 - 0.04 * i for i in range(40)]
SLOW = [1.0 - 0.001 * i for i in range(40)]  # clear, and no longer worth a word
LUCKY = [1.0] * 20 + [1.0 + 0.9 * (-1) ** i for i in range(10)] + [0.9 + 0.9 * (-1) ** i for i in range(10)]
NOISY = [1.0 + 0.9 * (-1) ** (i // 3) - 0.01 * i for i in range(40)]


@pytest.mark.parametrize(
    "losses, judged, said",
    [
        (FLAT, {9: 0.5, 19: 0.6, 29: 0.55, 39: 0.6}, None),
        (FLAT, {9: 0.5, 39: 0.601}, "validation rose to the last iterate (50.0 to 60.1 %)"),
        (FLAT, {9: 0.38, 39: 0.387}, None),  # of a hundred samples that is none
        (FLAT, {39: 0.6}, None),
        (FALLING, {}, "the loss fell by 39 % from the third quarter to the last"),
        (FALLING, {9: 0.5, 39: 0.6}, "(50.0 to 60.0 %) and the loss fell"),
        (FALLING, {9: 0.38, 39: 0.387}, "(38.0 to 38.7 %) and the loss fell"),
        (FALLING, {9: 0.6, 39: 0.5}, None),
        (FALLING, {9: 0.6, 39: 0.6}, None),
        (NOISY, {}, None),
        (SLOW, {}, None),
        (LUCKY, {}, None),
        (FLAT[::-1], {}, None),
        ([None] * 40, {}, None),
        (FALLING[:10], {}, None),
    ],
)
def test_a_set_that_still_improves_is_told_how_to_go_on(losses, judged, said):
    found = remarks.still_improving(history(losses, judged), 1200, 100)
    if said is None:
        assert found is None
    else:
        assert found and said in found and found.endswith("raise distill.iterations (now 1,200)")


def controlled(lr: float, source: str = "random", name: str = "convnet2w32") -> Any:
    return replace(row(name, source, 0.5), lr=lr, lr_chosen_on="validation")


def tried(held: dict[float, list[float]], source: str = "random", name: str = "convnet2w32") -> list[CellResult]:
    """Networks that chose an lr of `held`, by their accuracies on held samples."""
    return [
        CellResult(source, name, seed, lr, "validation", accuracy, 0.0, 0.0, 0.0, 10, 300)
        for lr, accuracies in held.items()
        for seed, accuracy in enumerate(accuracies)
    ]


GRID = ControlSettings(lrs=(0.1, 0.01, 0.03))
UP, DOWN = {0.01: [0.3], 0.03: [0.5], 0.1: [0.7]}, {0.01: [0.7], 0.03: [0.5], 0.1: [0.5]}


def test_a_control_at_the_edge_of_its_grid_is_named_with_the_grid():
    own = row("convnet2w32", "distilled", 0.8)  # its lr was not chosen
    cells = tried(UP) + tried(UP, name="mlp") + tried(DOWN, "full")
    assert remarks.control_at_edge([own, controlled(0.03)], GRID, cells, 500) is None
    assert remarks.control_at_edge([controlled(0.01)], ControlSettings(lrs=(0.01,)), cells, 500) is None, (
        "there was nothing to choose"
    )
    rows = [own, controlled(0.1), controlled(0.1, name="mlp"), controlled(0.01, "full")]
    assert remarks.control_at_edge(rows, GRID, cells, 500) == (
        "the control sits at the largest lr of its grid, 0.1 of 0.01, 0.03, 0.1 (convnet2w32, mlp); the full data's "
        "control sits at the smallest lr of its grid, 0.01 of 0.01, 0.03, 0.1 (convnet2w32); widen "
        "evaluation.controls.lrs"
    )
    alone = GRID.model_copy(update={"full_lrs": (0.01,)})
    assert remarks.control_at_edge([controlled(0.01, "full")], alone, cells, 500) is None


@pytest.mark.parametrize(
    "held, count, said",
    [
        (UP, 500, True),
        (UP, 30, False),  # 0.7 and 0.5 of thirty samples may be one accuracy
        ({0.01: [0.5], 0.03: [0.5], 0.1: [0.5]}, 500, False),
        ({0.01: [0.3], 0.03: [0.65], 0.1: [0.7]}, 500, False),  # of the next it is no more than chance
        ({0.01: [0.3], 0.03: [0.65], 0.1: [0.7]}, 5000, True),
        ({0.03: [0.8, 0.2], 0.1: [0.8, 0.6]}, 500, True),  # by their means
        ({0.1: [0.7]}, 500, False),  # what older evaluations do not tell is not guessed
    ],
)
def test_an_edge_that_is_no_better_than_its_neighbour_beyond_chance_is_no_news(held, count, said):
    found = remarks.control_at_edge([controlled(0.1)], GRID, tried(held) + tried(DOWN, name="mlp"), count)
    assert (found is not None) == said


def test_experts_that_differ_are_told():
    assert remarks.experts_span([], 500) is None and remarks.experts_span([0.8, 0.89], 500) is None
    assert remarks.experts_span([0.83, 1.0, 0.92], 12) is None, "two of twelve samples are no difference"
    assert (remarks.experts_span([0.9, 0.75, 0.8], 500) or "").startswith("experts span 75 to 90 % on validation; ")


def test_a_validation_split_of_a_handful_is_told():
    assert remarks.few_validation(0, 0.0) is None and remarks.few_validation(100, 0.1) is None
    assert (remarks.few_validation(11, 0.1) or "").startswith("validation has 11 samples: one of them is 9.1 points")


def test_a_part_of_the_training_samples_is_told_with_what_made_it_one():
    limited = loading.load("digits-ipc1", ("data.limit_per_class=500", "data.imbalance=10")).config
    assert remarks.part_of_training(54_000, 6000, 60_000, Config(), "image") is None, "a validation split is no part"
    assert remarks.part_of_training(4500, 500, None, limited, "image") is None, "an old dataset does not say"
    said = remarks.part_of_training(4500, 500, 60_000, limited, "image")
    assert said == (
        "4,500 of 60,000 training images were used, and 500 held out to validate with: data.limit_per_class is 500 and "
        "data.imbalance is 10"
    )


def test_the_ceiling_is_the_full_data_on_test_or_else_the_experts_on_validation():
    rows = two(0.8, 0.6)
    experts = ceiling_of(rows, "convnet2w32", [0.9, 0.8])
    assert experts and experts.text == "2 experts on the whole training split: 85.0 ± 7.1 % on the validation split"
    full = ceiling_of([*rows, row("mlp", "full", 0.1), row("convnet2w32", "full", 0.95)], "convnet2w32", [0.9, 0.8])
    assert full and full.text == "convnet2w32 (n=4) on the whole training split: 95.0 ± 1.0 % on the test split"
    assert ceiling_of(rows, "convnet2w32", []) is None
    plain, taught = EvaluationSettings(), EvaluationSettings(protocol="rded-kd")
    assert "evaluation.controls.full=true" in (remarks.no_ceiling(None, plain) or "")
    assert remarks.no_ceiling(full, plain) is None
    assert remarks.no_ceiling(None, taught) is None, "where such a control is refused, nobody is told to ask for it"
