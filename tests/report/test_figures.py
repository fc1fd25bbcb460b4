"""What the figures decide to show, on data small enough to check by hand; and that drawing them is deterministic."""

import numpy as np
import pytest
import torch

from padray.data.whitening import Preprocessing
from padray.methods import figure_data as family
from padray.methods.trajectory import report as trajectory
from padray.methods.trajectory.matching import TrajectoryMatching
from padray.methods.trajectory.settings import (
    ImportanceSettings,
    PruningSettings,
    SelectionSettings,
    TrajectorySettings,
)
from padray.networks.flat import Span
from padray.report import figures, info, sample_figures
from padray.report.style import DARK, LIGHT
from padray.synthetic.set import Learned, SyntheticSet
from tests.report.test_page import row as any_row

GUARD = TrajectoryMatching.left_out(TrajectorySettings())
LOW_GUARD = TrajectoryMatching.left_out(TrajectorySettings(max_loss=0.3))
SEVEN = SelectionSettings(alpha=0.35)  # of 20 parameters
SPANS = (Span("first", (4,), 0, 4), Span("second", (2, 3), 4, 10), Span("third", (10,), 10, 20))


def history(count: int, **columns: list[object]) -> list[dict[str, object]]:
    rows = [{"iteration": i, "loss": 1.0, "skipped": 0, "student_lr": 0.01, "layers": [1.0] * 3} for i in range(count)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def make_set(
    classes: int, ipc: int, channels: int = 1, soft: bool = True, names: list[str] | None = None
) -> SyntheticSet:
    images = torch.linspace(-2, 2, classes * ipc * channels * 6).view(classes * ipc, channels, 2, 3)
    labels = torch.zeros(classes * ipc, classes) if soft else torch.arange(classes).repeat_interleave(ipc)
    values = {"mean": torch.full((channels,), 0.5), "std": torch.full((channels,), 0.5)}
    facts = {"class_names": names or [f"class {k}" for k in range(classes)]}
    return SyntheticSet(Learned(images, labels, torch.tensor(0.01)), Preprocessing("normalize", values), facts)


def test_images_are_rows_of_classes_turned_back_and_clipped() -> None:
    found = info.images_info(make_set(3, 2))
    assert found.images.shape == (3, 2, 2, 3, 3) and found.names == ("class 0", "class 1", "class 2")
    assert found.images.min() == 0 and found.images.max() == 1
    assert 0.4 < found.at_bounds < 0.6  # linspace(-2, 2) / 2 + 1/2: half of it lies outside
    assert "All 3 classes, 2 images each" in found.caption and "clipped to [0, 1]" in found.caption


def test_images_are_limited_and_say_so() -> None:
    found = info.images_info(make_set(25, 12, channels=3))
    assert found.images.shape[:2] == (20, 10) and found.classes == 25
    labels = info.labels_info(make_set(25, 12, channels=3))
    assert labels is not None and labels.probabilities.shape == (20, 25)
    assert "The first 20 of 25 classes, 10 of 12 images each" in found.caption


def test_labels_are_the_mean_probabilities_of_each_class() -> None:
    synthetic = make_set(2, 2)
    synthetic.learned.labels[:] = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.1, 0.9]]).log()
    labels = info.labels_info(synthetic)
    assert labels is not None and labels.probabilities == pytest.approx(np.array([[0.5, 0.5], [0.3, 0.7]]))
    assert info.labels_info(make_set(2, 2, soft=False)) is None


def test_running_median_uses_what_is_there_at_the_ends() -> None:
    assert info.running_median(np.array([1.0, 9.0, 2.0, 3.0]), 3).tolist() == [5.0, 2.0, 3.0, 2.5]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 400])
def test_loss_of_any_length_has_a_median_at_every_iteration(count: int) -> None:
    found = info.loss_info(history(count), count, None, GUARD)
    assert found.window % 2 == 1 and found.median.tolist() == [1.0] * count
    assert "none was judged" in found.caption and "In no iteration" in found.caption


def test_loss_marks_the_best_iterate_and_counts_what_was_skipped() -> None:
    rows = history(4, skipped=[0, 2, 1, 0], validation_accuracy=[None, 0.5, None, 0.75])
    found = info.loss_info(rows, 4, 0.75, LOW_GUARD)
    assert found.judged_at.tolist() == [2, 4] and found.judged.tolist() == [0.5, 0.75]
    assert found.skipped == 2 and "In 2 of 4 iterations" in found.caption and "(0.3)" in found.caption
    assert "4, with 75.0 %" in found.caption


def test_loss_counts_what_was_not_finite_and_leaves_gaps_where_nothing_was() -> None:
    rows = history(
        8,
        loss=[1.0, None, None, None, 1.0, 3.0, 1.0, 1.0],
        layers=[[1.0, 2.0, None]] * 8,
        skipped=[0, 2, 2, 2, 1, 0, 0, 0],
        not_finite=[0, 2, 2, 2, 0, 0, 0, 0],
        validation_accuracy=[None] * 7 + [0.5],
        validation_diverged=[None] * 7 + [2],
    )
    found = info.loss_info(rows, 8, 0.5, GUARD)
    assert np.isnan(found.loss[1:4]).all() and np.isnan(found.median[2]) and not np.isnan(found.median[[0, 4, 7]]).any()
    assert "In 4 of 8 iterations was a trajectory left out" in found.caption
    assert "above distill.max_loss (1); in 3 of these, because it was not finite." in found.caption
    assert "Of the networks that judged iterates, 2 diverged, which counts as 0 %." in found.caption
    assert np.isnan(trajectory.layers_info(rows, SPANS, SelectionSettings()).values[2]).all()
    assert figures.draw_loss(found).startswith(b"\x89PNG")


@pytest.mark.parametrize(("cut", "position"), [(0, None), (4, 1.0), (7, 1.5), (10, 2.0), (15, 2.5), (20, 3.0)])
def test_cut_lies_proportionally_inside_a_tensor(cut: int, position: float | None) -> None:
    assert trajectory.cut_position(SPANS, cut) == position


def test_cut_sentence_names_what_is_left_out() -> None:
    assert "first, second wholly; third by its first 20.0 %" in trajectory.cut_sentence(SPANS, 12)
    assert trajectory.cut_sentence(SPANS, 12).startswith(
        "FIEM, PAD’s filter, leaves the first 12 of 20 parameters (60.0 %)"
    )
    assert trajectory.cut_sentence(SPANS, 1).endswith("loss: first by its first 25.0 %.")
    many = [Span(f"t{k}", (1,), k, k + 1) for k in range(9)]
    assert "8 tensors from t0 to t7 wholly" in trajectory.cut_sentence(many, 8)
    assert "none of the 20 parameters" in trajectory.cut_sentence(SPANS, 0)


def test_layers_are_binned_over_iterations() -> None:
    found = trajectory.layers_info(history(1000, layers=[[float(i), 2.0, 1.0] for i in range(1000)]), SPANS, SEVEN)
    assert found.values.shape == (3, family.MAX_BINS) and found.edges[0] == 0 and found.edges[-1] == 1000
    assert found.values[0, 1] == 7.0  # iterations 5 to 9
    few = trajectory.layers_info(history(3), SPANS, SEVEN)
    assert few.values.shape == (3, 3) and few.sizes == (4, 6, 10)


def test_iterations_in_which_the_expert_did_not_move_say_nothing() -> None:
    rows = history(400, layers=[[0.0, float(i % 2), 1.0] for i in range(400)])
    values = trajectory.layers_info(rows, SPANS, SelectionSettings()).values
    assert np.isnan(values[0]).all() and (values[1] == 1).all()


def test_accuracy_keeps_the_order_of_networks_and_sources() -> None:
    rows = [any_row(name, source, 0.5, 0.1, 2) for name in ("own", "another") for source in ("random", "distilled")]
    found = info.accuracy_info(rows)
    assert found.architectures == ("own", "another") and found.sources == ("distilled", "random")


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        ("depth", "FIEM, PAD’s filter, leaves the first 7 of 20"),
        ("layer", "begin within the first 35 %"),
        ("deep", "The last 35 % of the parameters"),
        ("loss", "In every iteration the 35 %"),
    ],
)
def test_every_selection_says_what_it_leaves_out(strategy: str, sentence: str) -> None:
    found = trajectory.layers_info(history(3), SPANS, SelectionSettings(strategy=strategy, alpha=0.35))
    assert sentence in found.caption and (found.cut is not None) == (strategy == "depth")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("magnitude_ratio", "smaller over larger, have a ratio below 0.1 are left out"),
        ("abs_error_quantile", "the 10 % with the largest errors are left out"),
    ],
)
def test_pruning_says_what_it_leaves_out_besides(rule: str, sentence: str) -> None:
    caption = trajectory.layers_info(history(3), SPANS, SelectionSettings(), PruningSettings(rule=rule)).caption
    assert caption.startswith("FIEM, PAD’s filter, leaves none") and sentence in caption
    assert "runing" not in trajectory.layers_info(history(3), SPANS, SelectionSettings(), PruningSettings()).caption


def test_iterates_judged_by_balanced_accuracy_are_told_so() -> None:
    assert "with 75.0 % balanced accuracy." in info.loss_info(history(5), 4, 0.75, GUARD, "balanced_accuracy").caption
    assert "with 75.0 % accuracy." in info.loss_info(history(5), 4, 0.75, GUARD).caption


def weighted(**columns: list) -> family.History:
    names = ("weight_min", "weight_median", "weight_max", "weight_effective_fraction")
    counts = [[0] * 16 + [20] + [0] * 8, [4] + [0] * 15 + [12, 4] + [0] * 7]
    return history(2, **{name: [1.0, 0.5] for name in names}, weight_histogram=counts, **columns)


def test_weights_only_where_they_were_learned() -> None:
    assert trajectory.weights_info(history(2), ImportanceSettings()) is None
    found = trajectory.weights_info(weighted(), ImportanceSettings(granularity="tensor", constraint="l2"))
    assert found is not None and found.low.tolist() == [1.0, 0.5] and "50.0 %" in found.caption
    assert "A weight per tensor, the constraint l2" in found.caption
    assert found.counts.shape == (2, 25) and len(found.edges) == 26


def test_collapsed_weights_are_told() -> None:
    found = trajectory.weights_info(weighted(warning=[None, "the weights have collapsed"]), ImportanceSettings())
    assert found is not None and "50.0 %. the weights have collapsed." in found.caption


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_drawings_are_png_and_the_same_bytes_again(theme: figures.Theme) -> None:
    rows = history(30, layers=[[0.0, 1.0, 3.0]] * 30, validation_accuracy=[None] * 29 + [0.5])
    hostile = make_set(2, 3, channels=3, names=["$\\frac{", "<b>\n猫"])
    point = info.Point("net", "distilled", 0.5, 0.1, (0.4, 0.6))
    weights = trajectory.weights_info(weighted(), ImportanceSettings())
    assert weights is not None
    drawn = [
        lambda: sample_figures.draw_images(info.images_info(hostile), theme),
        lambda: sample_figures.draw_images(info.images_info(make_set(25, 1, soft=False)), theme),
        lambda: figures.draw_loss(info.loss_info(rows, 30, 0.5, GUARD), theme),
        lambda: figures.draw_rows(trajectory.layers_info(rows, SPANS, SEVEN), theme),
        lambda: figures.draw_accuracy(info.AccuracyInfo(("net",), ("distilled",), (point,)), theme),
        lambda: figures.draw_weights(weights, theme),
    ]
    for draw in drawn:
        content = draw()
        assert content.startswith(b"\x89PNG") and content == draw()
        assert b"Software" not in content and b"tIME" not in content
