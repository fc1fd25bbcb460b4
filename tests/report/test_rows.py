"""The rows of the proof on the page and on the console: all sources, and balanced accuracy where it says more."""

import re

import pytest

from padray.commandline.console import Console
from padray.config import Config
from padray.configuration import loading
from padray.evaluation import summary
from padray.evaluation.ceiling import Ceiling, ceiling_of
from padray.evaluation.summary import CellResult, Row
from padray.report import figures, info, words
from padray.report.style import DARK, LIGHT
from padray.report.tables import as_csv
from padray.stages.summaries import RunResult, SetDigest
from tests.report.test_page import subject, undrawn

SOURCES = ("distilled", "random", "random_soft", "hard_labels", "full")


def cell(seed: int, test: float, balanced: float, diverged: bool = False) -> CellResult:
    return CellResult("x", "net", seed, 0.1, "validation", 0.5, 0.5, test, balanced, 10, 3, diverged)


def rows(balanced: float = 0.0, metric: str = "accuracy") -> list[Row]:
    """All sources, with balanced accuracies that are lower by `balanced`."""
    found = []
    for k, source in enumerate(SOURCES):
        cells = [cell(seed, 0.5 + 0.05 * k, 0.5 + 0.05 * k - balanced) for seed in range(2)]
        found.append(summary.row("net", source, cells, metric))
    return summary.with_recovery(found)


def text(made: list[Row]) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", undrawn(subject(made))))


def test_the_page_names_every_source_and_the_recovery():
    said = text(rows())
    for name in ("random real samples", "random, labelled by experts", "the set, hard labels", "full training split"):
        assert name in said
    assert "Full data minus hard labels (hard-label recovery), in points: net 5.0." in said
    assert "balanced" not in said.lower().split("the distilled images")[0]


def test_the_page_shows_balanced_accuracy_where_classes_differ_in_size():
    said = text(rows(balanced=0.2))
    assert "trained on test accuracy set − control balanced n lr" in said, "what a telephone shows without scrolling"
    assert "50.0 ± 0.0 % −5.0 ± 0.0 30.0 ± 0.0 % 2 0.1" in said and "55.0 ± 0.0 % 35.0 ± 0.0 % 2 0.1" in said
    decides = text(rows(balanced=0.2, metric="balanced_accuracy"))
    assert "trained on balanced accuracy set − control plain n lr" in decides, "what decides comes first"
    assert "30.0 ± 0.0 % −5.0 ± 0.0 50.0 ± 0.0 % 2 0.1" in decides and "35.0 ± 0.0 % 55.0 ± 0.0 % 2 0.1" in decides


def test_what_decides_is_what_the_page_claims_and_what_its_verdict_is_about():
    """X-rays of uneven classes: level in plain accuracy, clearly better in the balanced one, which decides."""
    plain = {"distilled": (0.573, 0.60, 0.54), "random": (0.529, 0.58, 0.47), "full": (0.69,)}
    balanced = {"distilled": (0.652, 0.68, 0.62), "random": (0.45, 0.48, 0.42), "full": (0.76,)}

    def made(metric: str) -> list[Row]:
        cells = {s: [cell(k, t, balanced[s][k]) for k, t in enumerate(plain[s])] for s in plain}
        return [summary.row("net", source, cells[source], metric) for source in plain]

    said = text(made("balanced_accuracy"))
    assert "a net reaches 65.1 ± 3.0 % balanced accuracy on the test split; on" in said
    assert "real images 45.0 ± 3.0 %; on the" in said and "training split 76.0 % by one network." in said
    assert "It beats its control by 20.1 points." in said
    assert "is one of means of balanced accuracy, in points, ±" in said
    assert "test balanced accuracy in %, seeds 0, 1, …" in said and "65.20, 68.00, 62.00" in said
    for metric, in_bold in (("accuracy", "57.1 ± 3.0 %"), ("balanced_accuracy", "65.1 ± 3.0 %")):
        html = undrawn(subject(made(metric)))
        assert re.findall(r'"number strong">([^<]* %)</td>', html) == [in_bold], metric
    shown = info.accuracy_info(made("balanced_accuracy"))
    assert (shown.measure, shown.points[0].values) == ("balanced accuracy", balanced["distilled"])
    assert as_csv(shown).splitlines()[0] == b"network,trained_on,seed,balanced_accuracy,mean,std"
    assert "It does not clearly" not in said and "does not clearly beat" in text(made("accuracy"))
    ceiling = ceiling_of(made("balanced_accuracy"), "net", [])
    assert (
        ceiling and ceiling.text == "net (n=1) on the whole training split: 76.0 % balanced accuracy on the test split"
    )


def test_every_source_has_a_name_and_a_colour():
    assert tuple(info.SOURCES) == SOURCES == tuple(LIGHT.sources) == tuple(DARK.sources)
    assert info.accuracy_info(rows()).sources == SOURCES
    assert figures.draw_accuracy(info.accuracy_info(rows())).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "made, shown", [(rows(), False), (rows(balanced=0.2), True), (rows(metric="balanced_accuracy"), True)]
)
def test_the_console_has_a_column_of_it_only_then(made, shown, capsys):
    Console(as_json=False).result(RunResult("x", {}, {}, [], SetDigest(), made, None))
    said = capsys.readouterr().out
    assert ("random, balanced" in said) == shown and "55.0 ± 0.0 (n=2)" in said
    assert ("35.0 ± 0.0 (n=2)" in said) == (made[1].balanced_mean < 0.4)


def test_the_protocol_says_how_a_teacher_was_used_and_what_chose():
    config = loading.load("digits-ipc1", ("evaluation.protocol=rded-kd", "evaluation.epochs=300")).config
    said = words.protocol(config, True)
    assert (
        "taught by RDED’s protocol (rded-kd), but for its augmentation: for 300 epochs by a convnet3w128-batch" in said
        and "mixed (cutmix)" in said
    )
    assert "was chosen on the validation split" in said and "out of" not in said.split("The control")[1]
    assert "The last epoch counts, for want of a validation split" in words.protocol(config, False)
    controls = Config.model_validate({"evaluation": {"controls": {"random_soft": True, "hard_labels": True}}})
    also = "The same holds for those samples labelled by the experts and for the set's images with hard labels."
    assert also in words.protocol(controls, True)
    metric = Config.model_validate({"evaluation": {"metric": "balanced_accuracy"}})
    assert "best by balanced accuracy on the validation split" in words.protocol(metric, True)


def test_a_network_that_diverged_is_told_on_the_page_and_on_the_console(capsys):
    """A mean of 53.7 is no weak set where one network of five did not train at all."""
    made = rows()
    values = [0.667, 0.675, 0.0, 0.671, 0.671]
    cells = [cell(seed, value, value, diverged=not value) for seed, value in enumerate(values)]
    made[0] = summary.row("net", "distilled", cells)
    said = text(made)
    assert said.count("53.7 ± 30.0 % (1 diverged; the others 67.1 ± 0.3)") == 2, "in the headline and in the table"
    assert "(one that diverges counts as 0 %)" in said
    Console(as_json=False).result(RunResult("x", {}, {}, [], SetDigest(), made, None))
    assert "53.7 ± 30.0 (n=5, 1 diverged; the others 67.1 ± 0.3)" in capsys.readouterr().out


def test_the_terminal_ends_with_the_ceiling_and_with_what_to_know(capsys):
    ceiling = Ceiling("experts", "convnet2w4", "validation", 0.9, 0.01, 6)
    result = RunResult("x", {}, {}, [], SetDigest(), [], None, ceiling, ("validation has 11 samples",))
    Console(as_json=False).result(result)
    said = capsys.readouterr().out
    assert "ceiling: 6 experts on the whole training split: 90.0 ± 1.0 % on the validation split" in said
    assert "note: validation has 11 samples" in said
