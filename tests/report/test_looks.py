"""What was mended when the pages were looked at in a browser, wide and narrow, light and dark; each a thing seen."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from padray.config import Config
from padray.experts.scorers import SCORES
from padray.report import code, difficulty, figures, info, style, templates, words
from padray.report.difficulty_figures import draw_agreement
from padray.report.front import short
from padray.report.nearest import NearestInfo
from padray.report.style import DARK, LIGHT, Theme
from padray.studies import drawing, table
from padray.studies.significance import Ranking
from tests.report.test_drawn import drawings as drawings
from tests.report.test_drawn import labels
from tests.report.test_page import row, subject, two, undrawn

THEMES = (LIGHT, DARK)


def test_code_says_that_its_lines_go_on_as_tables_do() -> None:
    html = undrawn(subject())
    assert html.count("<pre") == html.count("The lines go on to the right") > 2
    assert html.count("<pre") == html.count('<pre class="scroll" tabindex="0">')


def test_the_program_fits_a_laptop_s_page() -> None:
    tree = {"evaluation": {"augment": "color_crop_cutout_flip_scale_rotate+reflectcrop"}}
    told = subject()
    program = code.training_code("images = labels = LR = None", Config.model_validate(tree), told.synthetic)
    assert "F.affine_grid" in program and "if one == 'cutout'" in program
    assert max(map(len, program.splitlines())) <= 97


def test_settings_of_a_file_are_not_those_of_a_preset() -> None:
    assert "whatever becomes of the preset" in undrawn(subject(name="digits-ipc1"))
    assert "whatever becomes of mine.yaml" in undrawn(subject(name="mine"))


def test_only_a_difference_that_is_clear_is_bold() -> None:
    clear, unclear = two(0.9, 0.6, "a"), two(0.7, 0.5, "b", std=0.3)
    html = undrawn(subject([*clear, *unclear]))
    assert '<span class="strong">+30.0</span>' in html and '<span class="">+20.0</span>' in html
    assert "bold where it is more than two of these" in html


def test_a_split_is_not_said_to_be_all_that_there_is() -> None:
    rows = [*two(0.9, 0.6), row("convnet2w32", "full", 0.95)]
    html = undrawn(subject(rows))
    assert "on the 1,000 images of the training split 95.0" in html and "of the 1,000 images of the training" in html
    assert "all 1,000" not in html


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "trained by trajectory matching’s protocol (tm1001): 1,001 epochs"),
        ({"epochs": 300, "augment": "none"}, "(tm1001), but for its number of epochs and augmentation: 300 epochs"),
        (
            {"protocol": "dc300", "momentum": 0.5, "lr": 0.1, "batch": 8},
            "but for its batches, momentum and lr: 301",
        ),
        ({"protocol": "idc", "epochs": 1000}, "trained by IDC’s protocol (idc): 1,000 epochs"),
    ],
)
def test_whose_protocol_it_is_and_in_what_it_is_another(settings: dict[str, object], said: str) -> None:
    assert said in words.protocol(Config.model_validate({"evaluation": settings}), True)


def test_apostrophes_are_those_of_print() -> None:
    assert templates.unbroken("the set's 3 % of 'all'") == "the set’s 3\N{NO-BREAK SPACE}% of 'all’"


def contrast(one: str, other: tuple[float, ...]) -> float:
    light, dark = sorted((style._luminance(to_rgb(one)), style._luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_a_number_can_be_read_on_any_cell(theme: Theme) -> None:
    for colours in (theme.ramp, theme.balance):
        for share in np.linspace(0, 1, 21):
            assert contrast(style.readable_on(colours(share), theme), colours(share)) > 3.9


@pytest.mark.parametrize(("most", "last", "ticks"), [(8, 600, 100), (4, 600, 200), (10, 20, 2), (8, 3, 1)])
def test_iterations_are_counted_in_round_numbers(most: int, last: int, ticks: int) -> None:
    found = style.whole_numbers(most).tick_values(0, last)
    assert set(np.diff(found)) == {ticks}


def loss(judged: list[float]) -> info.LossInfo:
    places = range(1, len(judged) + 1)
    history = [{"iteration": i - 1, "loss": 0.5, "skipped": 0, "validation_accuracy": judged[i - 1]} for i in places]
    return info.loss_info(history, len(judged), max(judged), "a trajectory left out")


def test_validation_has_no_tick_beyond_all_of_it_and_its_ring_is_whole(drawings: list[Figure]) -> None:
    figures.draw_loss(loss([1.0, 1.0, 1.0]), LIGHT.narrow)
    judged = drawings[0].axes[1]
    assert labels(judged.yaxis)[-1] == "100 %" and max(judged.get_yticks()) <= 1
    assert not judged.lines[1].get_clip_on()


def test_bars_below_a_map_are_named_beside_their_numbers(drawings: list[Figure]) -> None:
    agreement = np.array([0.34, 0.35, 0.34, 0.32, 0.32, 0.33, 0.37, -0.02])
    shown = difficulty.AgreementInfo(tuple(SCORES), "el2n", np.eye(8), agreement, 2, 139, 24)
    draw_agreement(shown, LIGHT.narrow)
    figure = drawings[0]
    bars = figure.axes[1]
    assert labels(bars.yaxis)[:2] == ["EL2N", "GraNd"] and "used EL2N." in shown.caption
    extent = bars.xaxis.label.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= LIGHT.narrow.width * figure.dpi and extent.y0 >= 0
    names = max(label.get_window_extent().x1 for label in bars.get_yticklabels())
    assert min(text.get_window_extent().x0 for text in bars.texts) > names


@pytest.mark.parametrize(
    ("cost", "text"),
    [(2560, "2,560"), (367_490, "367,490"), (9_999_999, "9,999,999"), (1.25e7, "12.5 million"), (4e13, "40 trillion")],
)
def test_costs_are_numbers_that_one_reads(cost: float, text: str) -> None:
    assert short(cost) == text


def test_ranks_are_named_in_full_on_a_telephone(drawings: list[Figure]) -> None:
    rows = ("DM", "Random, the experts' labels", "PAD")
    for theme in (LIGHT, LIGHT.narrow):
        drawing.draw_ranks(Ranking(rows, (1.0, 2.0, 3.0), 4.5, 0.002, 4), "", theme)
        figure = drawings[-1]
        axis = figure.axes[0]
        assert " ".join(labels(axis.yaxis)[1].split()) == rows[1]
        extent = axis.xaxis.label.get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= theme.width * figure.dpi


def test_values_of_settings_are_numbers_that_one_reads() -> None:
    assert table.pairs([(1000000000.0, 1.0), (100, 10), (None, 0.05)]) == "1e+09 → 1; 100 → 10; none → 0.05"


def test_where_all_come_near_all_are_said_to() -> None:
    near, far = np.full(3, 0.01), np.full(3, 0.1)
    told = NearestInfo(np.arange(3), np.arange(3), near, far, "distilled images", "in pixels", 3, ("a", "b", "c"))
    assert "all of the distilled images come nearer" in told.caption


def test_a_setting_that_was_searched_has_as_many_digits_as_one_reads() -> None:
    config = Config.model_validate({"distill": {"lr_images": 18.243710159824847}})
    assert ("distill.lr_images", "18.24371", "100.0") in words.settings(config)
    assert "lr_images: 18.243710159824847" in words.as_yaml(config), "what runs has them all"
