"""`padray ls` and `show`: what was reached comes first, and is what the evaluation said."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from padray.commandline import commands, console_tables
from padray.commandline.results import Artifact
from padray.config import Config
from padray.evaluation.settings import EvaluationSettings
from padray.evaluation.summary import CellResult, Row
from padray.operations import reached
from padray.stages import pipeline
from padray.stages.progress import Progress
from tests.cluster.conftest import events
from tests.conftest import Run

SPACE = {"distill.lr_images": {"type": "float", "low": 1, "high": 2}}
MORE = ("evaluation.architectures=[mlp]", "evaluation.controls.full=true", "evaluation.controls.hard_labels=true")


class Made(NamedTuple):
    root: Path
    own: Row
    rows: list[Row]
    foreseen: int
    made: int


@pytest.fixture(scope="module")
def chain(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A root with a set that was evaluated on two networks, and what that said of the one that it was made with."""
    root, told = tmp_path_factory.mktemp("reached") / "runs", list[Progress]()
    context = commands.context(str(settings), commands.Request(MORE, str(root), "inline"))
    context.notify = told.append
    rows = pipeline.run(context, "evaluate").rows
    (own,) = [row for row in rows if (row.source, row.architecture) == ("distilled", "convnet2w4")]
    assert context.course is not None
    cells = max(each.total for each in told if each.stage == "evaluate")
    return Made(root, own, rows, context.course.work["evaluate"].units, cells)


def test_the_cells_that_are_foretold_are_those_that_are_made(chain: Made):
    assert chain.foreseen == chain.made


def test_accuracy_samples_and_time_come_first_and_are_those_that_were_measured(chain: Made, run: Run):
    root, own = chain.root, chain.own
    listed = run("ls", "--storage", root, "--json").json["artifacts"]
    lines = {line["stage"]: line for line in listed}
    (judged,) = [line for line in listed if line["artifact"].startswith("evaluations/distilled-")]
    for line in (lines["distill"], judged):
        assert (line["accuracy"], line["accuracy_std"], line["networks"]) == (own.mean, own.std, own.n)
        assert line["ipc"] == 1
    assert list(lines["distill"])[:5] == ["accuracy", "accuracy_std", "networks", "ipc", "seconds"]
    assert lines["experts"]["accuracy"] is None and lines["experts"]["ipc"] is None
    for stage in ("scores", "experts", "distill"):
        took = [float(each["seconds"]) for each in events(root, stage, "finished")]
        assert lines[stage]["seconds"] == pytest.approx(sum(took))
    assert lines["data"]["seconds"] is None, "nobody has measured it"
    text = run("ls", "--storage", root).out.splitlines()
    assert text[1].split("┃")[1].strip() == "accuracy in %"
    shown = f"{100 * own.mean:.1f} ± {100 * own.std:.1f} (n={own.n})"
    assert [line.split("│")[1].strip() for line in text if "distilled/" in line] == [shown]


def test_controls_have_the_accuracy_of_the_lr_that_was_chosen_for_them(chain: Made, run: Run):
    listed = run("ls", "--storage", chain.root, "--json").json["artifacts"]
    lines = {line["artifact"].split("/")[1].split("-")[0]: line for line in listed if line["stage"] == "evaluation"}
    for source in ("random", "full", "hard_labels"):
        (row,) = [row for row in chain.rows if (row.source, row.architecture) == (source, "convnet2w4")]
        assert (lines[source]["accuracy"], lines[source]["networks"]) == (row.mean, row.n), source
    assert lines["full"]["ipc"] is None and lines["random"]["ipc"] == 1, "all samples are no few of each class"
    assert {line["metric"] for line in lines.values()} == {"accuracy"}


def test_what_decides_is_what_is_listed(chain: Made, run: Run, settings: Path, tmp_path: Path):
    root, decides = tmp_path / "runs", ("evaluation.metric=balanced_accuracy", "evaluation.lr=chosen")
    for room in ("datasets", "scores", "experts"):
        shutil.copytree(chain.root / room, root / room)
    context = commands.context(str(settings), commands.Request(decides, str(root), "inline"))
    row = pipeline.run(context, "evaluate").rows[0]
    (line,) = [each for each in run("ls", "--storage", root, "--json").json["artifacts"] if each["stage"] == "distill"]
    assert (line["accuracy"], line["networks"]) == (row.balanced_mean, row.n), "of the lr that was chosen, no other"
    assert line["metric"] == "balanced_accuracy" and row.mean != row.balanced_mean
    assert f"(n={row.n}, balanced)" in run("ls", "--storage", root).out


def test_show_says_what_was_reached_then_all_settings(chain: Made, run: Run):
    told = run("show", "distilled/", "--storage", chain.root, "--json").json
    text = run("show", "distilled/", "--storage", chain.root).out
    assert text.index("accuracy in %") < text.index("inputs.data") < text.index("distill.student_steps")
    assert f"{100 * told['accuracy']:.1f} ±" in text and told["contents"][0]["sha256"] in text
    assert told["settings"]["distill"]["student_steps"] == 3


def test_show_leaves_out_what_took_no_part(chain: Made, run: Run):
    text = run("show", "distilled/", "--storage", chain.root).out
    assert "experts.epochs" in text and "evaluation.teacher.mix" not in text and "search.trials" not in text
    assert "evaluation.teacher, search took no part and are left out" in " ".join(text.split())
    assert "teacher" in run("show", "distilled/", "--storage", chain.root, "--json").json["settings"]["evaluation"]


@pytest.mark.parametrize(
    ("tree", "idle"),
    [
        ({}, {"scores", "search", "evaluation.teacher"}),
        ({"schedule": {"initial_ratio": 0.5, "addition_end_epoch": 3}}, {"search", "evaluation.teacher"}),
        (
            {"distill": {"family": "distribution"}, "evaluation": {"protocol": "rded-kd"}},
            {"scores", "experts", "search"},
        ),
        (
            {"search": {"space": {"distill.ipc": {"type": "int", "low": 1, "high": 2}}}},
            {"scores", "evaluation.teacher"},
        ),
    ],
)
def test_what_takes_no_part_is_known(tree: dict[str, Any], idle: set[str]):
    assert set(Config.model_validate(tree).idle) == idle


def test_an_artefact_s_own_settings_are_always_shown():
    line = (None, None, 0, None, None, "scores/x", "scores", "x", 1, 1, None)
    artifact = Artifact(*line, "0" * 64, {}, {}, {}, Config().model_dump(mode="json"), [])
    _, _, settings, _ = console_tables.of_artifact(artifact)
    shown = [str(name) for name in settings.columns[0].cells]
    assert "scores.networks" in shown and "search.trials" not in shown
    assert settings.caption == "evaluation.teacher, search took no part and are left out; --json has all settings"


@pytest.mark.parametrize("best", [0.01, 0.1])
def test_the_lr_that_did_best_where_it_was_chosen_counts(best: float):
    def cell(lr: float, seed: int) -> CellResult:
        held = 0.9 if lr == best else 0.5
        return CellResult("random", "net", seed, lr, "validation", held, held, lr, lr, 10, 5)

    settings = EvaluationSettings.model_validate_json(
        '{"seeds": 2, "controls": {"lrs": [0.01, 0.1], "tuning_seeds": 1}}'
    )
    cells = [cell(lr, seed) for lr in (0.01, 0.1) for seed in range(3)]
    assert [(each.lr, each.seed) for each in reached._counted(cells, settings)] == [(best, 0), (best, 1)]
