"""The search's section: what it decides to show, what it says of a search that paid off and of one that did not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from padray.configuration import loading, trees
from padray.evaluation.summary import Row
from padray.fingerprint import Identity
from padray.report import search, search_figures, search_view
from padray.report.choice import Choice, Finalist, Gain
from padray.report.search import SearchSummary, TrialLine
from padray.report.style import DARK, LIGHT, Theme
from tests.report.test_page import row as any_row
from tests.report.test_page import subject, undrawn

HOSTILE = "<script>alert(1)</script>"
SPACE = """
distill.lr_images: {type: float, low: 0.5, high: 20.0, log: true}
distill.selection.strategy: {type: choice, choices: [depth, none]}
distill.selection.alpha: {type: float, low: 0.0, high: 0.5, when: {distill.selection.strategy: [depth]}}
"""


CHOICE = Choice(
    trial=2,
    finalists=(
        Finalist(0, 0.6, 0.02, None),
        Finalist(2, 0.84, 0.01, Gain(24.0, 2.0, 19.5, 28.5)),
        Finalist(3, 0.7, 0.02, Gain(10.0, 2.0, 5.5, 14.5)),
    ),
    networks=10,
    samples=144,
    split_error=3.3,
    spread=10.0,
)


def row(architecture: str, mean: float, std: float = 0.01, n: int = 4, source: str = "distilled") -> Row:
    return any_row(architecture, source, mean, std, n)


def finished(number: int, *values: float, **parameters: Any) -> TrialLine:
    given = {"distill.lr_images": 2.0 + number, **{name.replace("__", "."): v for name, v in parameters.items()}}
    return TrialLine(number, given, "finished", sum(values) / len(values), values)


def failed(number: int, reason: str = "the loss became nan") -> TrialLine:
    return TrialLine(number, {"distill.lr_images": 9.0}, "failed", reason=reason)


def summary(*trials: TrialLine, space: str = SPACE, **parts: Any) -> SearchSummary:
    """A search of these trials that began from the preset `digits-ipc1`."""
    trials = trials or (finished(0, 0.5, 0.7), failed(1), finished(2, 0.8, 0.9), finished(3, 0.7, 0.7))
    tree = trees.parse(space, "space")
    config = loading.with_values(loading.load("digits-ipc1").config, {"search.space": tree}, "here")
    values = {trial.number: trial.value or 0.0 for trial in trials}
    given = {
        "identity": Identity("search", "digits", "a" * 64),
        "default_set": Identity("distill", "digits", "b" * 64),
        "config": config,
        "trials": trials,
        "choice": replace(CHOICE, trial=max(values, key=lambda number: (values[number], -number))),
        "importances": {"distill.selection.alpha": 0.25, "distill.lr_images": 0.75},
        "default": [row("net", 0.8)],
    }
    return SearchSummary(**{**given, **parts})


def stopped(number: int, *values: float) -> TrialLine:
    given = {"distill.lr_images": 2.0}
    return TrialLine(number, given, "stopped", sum(values) / len(values), values, iterations=40)


# -- the history


def test_what_was_stopped_is_shown_as_such_and_never_as_the_best() -> None:
    full = [replace(finished(number, 0.5, 0.7), iterations=400) for number in (0, 2)]
    told = summary(full[0], stopped(1, 0.9, 0.9), full[1], failed(3), choice=replace(CHOICE, trial=0))
    found = search.history_info(told)
    assert found.numbers == (0, 2) and found.stopped == ((1, 0.9),) and found.failed == (3,)
    assert max(found.best_so_far) == pytest.approx(0.6) and "Hollow dots" in found.caption
    sentence = search.describe(told)
    assert "2 finished, 1 stopped, 1 failed." in sentence
    assert "took 840 iterations, as many as 2.1 full ones" in sentence
    shown = search_view.view(told, [row("net", 0.8)], "digits-ipc1", ())
    assert [line.number for line in shown.top] == [0, 2, 1, 3], "after those that are finished"
    assert shown.top[2].value == "90.0 ± 0.0 % after 40 iterations"
    assert search_figures.draw_history(found)[:4] == b"\x89PNG"


def test_the_best_so_far_steps_over_failures_and_never_falls() -> None:
    found = search.history_info(summary())
    assert found.numbers == (0, 2, 3) and found.values == pytest.approx((0.6, 0.85, 0.7))
    assert found.steps == (0, 1, 2, 3) and found.best_so_far == pytest.approx((0.6, 0.6, 0.85, 0.85))
    assert found.failed == (1,) and found.best == 2
    assert found.spreads == pytest.approx((0.02**0.5, 0.005**0.5, 0.0))  # sample standard deviations


def test_the_best_so_far_begins_with_the_first_trial_that_finished() -> None:
    found = search.history_info(summary(failed(0), failed(1), finished(2, 0.5, 0.5)))
    assert found.steps == (2,) and found.best_so_far == (0.5,) and found.failed == (0, 1)


def test_trials_may_come_in_any_order() -> None:
    found = search.history_info(summary(finished(2, 0.2), finished(0, 0.1), finished(1, 0.4)))
    assert found.numbers == (0, 1, 2) and found.best_so_far == (0.1, 0.4, 0.4)


def test_failures_are_gathered_by_their_reason() -> None:
    trials = [failed(3, "nan."), failed(5, "nan."), failed(6, "no memory"), finished(7, 0.5)]
    assert search.failures(trials) == ["Trials 3 and 5 failed: nan.", "Trial 6 failed: no memory."]
    assert "No trial failed." in search.history_info(summary(finished(0, 0.5))).caption
    many = search.failures([failed(k, f"reason {k}") for k in range(6)])
    assert len(many) == 4 and many[-1].startswith("3 more failed for other reasons")


def test_reasons_are_short_and_tell_no_absolute_path() -> None:
    said = search.shareable(
        "data in /home/me/runs/x.yaml,\n or file:///home/me/a/b and ~/me/c or s3://bucket/me/d; 1/2"
    )
    assert said == "data in …/x.yaml, or …/b and …/c or s3://bucket/me/d; 1/2"
    assert len(search.shareable("long " * 200)) == 160


# -- importances


def test_importances_are_ranked_and_own_up_to_what_is_missing() -> None:
    found = search.importance_info(summary())
    assert found is not None and found.names == ("distill.lr_images", "distill.selection.alpha")
    assert found.shares == (0.75, 0.25) and "among 3 finished trials" in found.caption
    assert "Not every finished trial chose distill.selection.strategy" in found.caption
    assert "no more than a hint" in found.caption
    enough = search.importance_info(summary(*[finished(k, k / 100) for k in range(20)]))
    assert enough is not None and "hint" not in enough.caption


def test_without_importances_the_page_says_what_they_take() -> None:
    assert search.importance_info(summary(importances={})) is None
    html = rendered(summary(importances={}))
    assert "that takes 3 finished trials with different values" in text_of(html)
    assert "that takes 3 finished" not in text_of(rendered(summary()))


# -- the verdict


def verdict(best: list[dict[str, Any]], default: list[dict[str, Any]]) -> str:
    return search.verdict(search.comparisons(best, default), summary())


@pytest.mark.parametrize(
    ("best", "default", "said"),
    [
        ([0.841], [0.838], "the chosen settings reach 84.1 ± 1.0 %, the defaults 83.8 ± 1.0 %: no clear difference."),
        (
            [0.9],
            [0.8],
            "on net, the chosen settings reach 90.0 ± 1.0 %, the defaults 80.0 ± 1.0 %: better by 10.0 points.",
        ),
        (
            [0.7],
            [0.8],
            "on net, the chosen settings reach 70.0 ± 1.0 %, the defaults 80.0 ± 1.0 %: worse by 10.0 points.",
        ),
        ([0.8, 0.8], [0.8, 0.8], ": no clear difference. On mlp there is no clear difference either."),
        ([0.9, 0.8], [0.8, 0.8], ": better by 10.0 points. On mlp there is no clear difference."),
        ([0.8, 0.8, 0.8], [0.8] * 3, "On the 2 other networks there is no clear difference either."),
        (
            [0.9, 0.9, 0.7, 0.8],
            [0.8] * 4,
            "Elsewhere they are better on mlp (+10.0); worse on vgg11 (−10.0); not clearly different on lenet.",
        ),
    ],
)
def test_verdict_is_plain(best: list[float], default: list[float], said: str) -> None:
    names = ("net", "mlp", "vgg11", "lenet")
    assert verdict(
        [row(name, mean) for name, mean in zip(names, best, strict=False)],
        [row(name, mean) for name, mean in zip(names, default, strict=False)],
    ).endswith(said)


def test_one_network_tells_no_spread() -> None:
    said = verdict([row("net", 0.9, 0.0, 1)], [row("net", 0.8, 0.0, 1)])
    assert said.endswith(": 10.0 points more, but one network cannot tell the spread.")


def test_where_the_defaults_stay_test_accuracies_prove_nothing() -> None:
    same = summary(choice=replace(CHOICE, trial=0, finalists=(CHOICE.finalists[0],), split_error=12.0))
    found = search.comparisons([row("net", 0.9)], [row("net", 0.9)])
    said = search.verdict(found, same)
    assert said.startswith("The defaults stay: no other trial came to its end with another set. The validation split")
    assert "12.0 points" in said and "On test" not in said
    assert search_view.view(same, [row("net", 0.9)], "demo", ()).comparisons == []
    assert verdict([row("net", 0.9)], []).endswith(
        "(95 % interval +19.5 to +28.5; 10 networks each, 144 validation samples)."
    )


def test_comparisons_leave_the_controls_out() -> None:
    best, control = row("net", 0.9, std=0.03), row("net", 0.1, source="random")
    (found,) = search.comparisons([control, best], [row("net", 0.1, source="random"), row("net", 0.8, std=0.04)])
    assert (found.best.mean, found.default.mean) == (0.9, 0.8)
    assert found.difference.points == pytest.approx(10) and found.difference.error == pytest.approx(2.5)


# -- tables and commands


def test_what_was_searched_reads_as_it_was_written() -> None:
    specs = summary().config.search.space
    assert search_view.searched(specs["distill.lr_images"]) == "0.5 to 20, logarithmic"
    assert search_view.searched(specs["distill.selection.strategy"]) == "one of depth, none"
    assert search_view.searched(specs["distill.selection.alpha"]).endswith(
        "; where distill.selection.strategy is depth"
    )


def test_headings_are_short_but_stay_apart() -> None:
    found = search_view.short_names(["scores.lr", "experts.lr", "distill.labels.lr"])
    assert list(found.values()) == ["scores.lr", "experts.lr", "labels.lr"]


def test_a_space_that_is_the_presets_own_needs_no_file() -> None:
    own = loading.load("demo", ("distill.iterations=9",)).config
    said = search_view.command(summary(config=own), "demo", ("distill.iterations=9",))
    assert said == ("padray run demo \\\n    --set distill.iterations=9", False)


@pytest.mark.parametrize(("name", "file"), [("demo", "demo"), ("mine", "mine.yaml"), ("my own", "'my own.yaml'")])
def test_another_space_is_given_with_the_command(name: str, file: str, tmp_path: Path) -> None:
    made = summary()
    said = search_view.command(made, name, ("distill.ipc=2",))
    assert said == (f"padray tune {file} --space space.yaml \\\n    --set distill.ipc=2", True)
    (tmp_path / "space.yaml").write_text(search_view.space_yaml(made.config))
    assert loading.load("demo", (), str(tmp_path / "space.yaml")).config.search.space == made.config.search.space


def test_meaning_is_all_that_the_page_tells() -> None:
    base, other = summary(), failed(1, "another reason")
    trials = (base.trials[0], other, *base.trials[2:])
    changed = [
        summary(*trials),
        summary(choice=replace(CHOICE, trial=3)),
        summary(importances={}),
        summary(default=[row("net", 0.81)]),
        summary(identity=Identity("search", "digits", "c" * 64)),
        summary(space=SPACE.replace("20.0", "30.0")),
    ]
    assert summary().meaning() == base.meaning()
    assert all(one.meaning() != base.meaning() for one in changed)


# -- the page


def rendered(told: SearchSummary | None, **parts: Any) -> str:
    """The page's HTML with empty pictures: drawing takes most of the time and has tests of its own."""
    made = subject(rows=[row("net", 0.9), row("net", 0.5, source="random")], search=told, **parts)
    return undrawn(made)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace(" ,", ",")


@pytest.fixture(scope="module")
def html() -> str:
    trials = [*summary().trials, failed(4, f"{HOSTILE} in /home/me/secret/set")]
    return rendered(summary(*trials), overrides=("distill.ipc=1",))


def test_page_tells_the_search(html: str) -> None:
    text = text_of(html)
    assert "on net, the chosen settings reach 90.0 ± 1.0 %, the defaults 80.0 ± 1.0 %: better by 10.0 points." in text
    assert "net 90.0 ± 1.0 % 80.0 ± 1.0 % 4 +10.0 ± 0.7" in text
    assert "The settings are chosen from 5 trials: 3 finished, 2 failed." in text
    assert "Trial 2 was highest with 85.0 ± 7.1 %" in text and "chosen from 5 trials" in text
    assert "2 85.0 ± 7.1 % 4 – – finished, chosen 3" in text  # ranked: 3 is the next best
    assert "1 9 – – failed : the loss became nan" in text
    assert "padray tune" in text and "--space space.yaml" in text
    assert "searches/digits-aaaaaaaaaaaa/best.yaml" in text
    assert html.count("<picture>") == 6


def test_where_the_defaults_stay_no_setting_was_found(html: str) -> None:
    stay = replace(CHOICE, trial=0, finalists=(CHOICE.finalists[0],))
    assert "the search’s" in html and ">found</small>" in html
    assert "the search’s" not in (kept := rendered(summary(choice=stay))) and ">found</small>" not in kept


def test_only_a_difference_that_is_clear_is_bold() -> None:
    assert '<span class="strong">+10.0</span>' in rendered(summary())
    assert '<span class="quiet">+10.0</span>' in rendered(summary(default=[row("net", 0.8, std=0.5)]))


def test_hostile_reasons_are_text_and_tell_no_path(html: str) -> None:
    assert "<script" not in html and "&lt;script&gt;" in html and "/home/me" not in html


def test_a_page_without_a_search_says_nothing_of_one(html: str) -> None:
    plain = text_of(rendered(None))
    for said in ("What the search was worth", "chosen from 5 trials", "best.yaml"):
        assert said in text_of(html) and said not in plain
    assert "padray run" in plain


def test_settings_of_the_best_do_not_search_again(html: str) -> None:
    own = summary()
    made = text_of(rendered(own, config=own.config))
    file = made.split("best.yaml")[-1].split("artefact fingerprint")[0]
    assert "distill:" in file and "search:" not in file and "space:" not in file


def test_a_long_search_shows_the_best_and_folds_the_rest_away() -> None:
    html = rendered(summary(*[finished(k, k / 100, k / 100) for k in range(40)]))
    text = text_of(html)
    assert "The 12 best of 40 trials." in text and "All 40 trials, in their order" in text
    ranked = re.findall(r"<tr(?: class=\"best\")?><td class=\"number\">(\d+)</td>", html)
    assert list(map(int, ranked)) == [*range(39, 27, -1), *range(40)]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_drawings_are_png_and_the_same_bytes_again(theme: Theme) -> None:
    long = summary(failed(0), *[finished(k, k / 100, k / 90) for k in range(1, 80)])
    infos = [search.history_info(one) for one in (summary(), summary(finished(0, 0.5)), long)]
    shares = [
        search.importance_info(summary(importances=given)) for given in ({"a": 1.0}, {"$\\frac{": 0.0, "猫": 0.0})
    ]
    drawings = [lambda info=info: search_figures.draw_history(info, theme) for info in infos]
    drawings += [lambda info=info: search_figures.draw_importances(info, theme) for info in shares if info]
    assert len(drawings) == 5
    for draw in drawings:
        content = draw()
        assert content.startswith(b"\x89PNG") and content == draw()
