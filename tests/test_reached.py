"""`padray ls` and `show`: what was reached comes first, and is what the evaluation said."""

from pathlib import Path
from typing import NamedTuple

import pytest

from padray.commandline import commands
from padray.evaluation.summary import Row
from padray.stages import pipeline
from padray.stages.progress import Progress
from tests.cluster.conftest import events
from tests.conftest import Run

MORE = ("evaluation.architectures=[mlp]", "evaluation.controls.full=true", "evaluation.controls.hard_labels=true")


class Made(NamedTuple):
    root: Path
    own: Row
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
    return Made(root, own, context.course.work["evaluate"].units, cells)


def test_the_cells_that_are_foretold_are_those_that_are_made(chain: Made):
    assert chain.foreseen == chain.made


def test_accuracy_samples_and_time_come_first_and_are_those_that_were_measured(chain: Made, run: Run):
    root, own = chain.root, chain.own
    listed = run("ls", "--storage", root, "--json").json["artifacts"]
    lines = {line["stage"]: line for line in listed}
    (judged,) = [line for line in listed if line["stage"] == "evaluation" and line["accuracy"] is not None]
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


def test_show_says_what_was_reached_then_all_settings(chain: Made, run: Run):
    told = run("show", "distilled/", "--storage", chain.root, "--json").json
    text = run("show", "distilled/", "--storage", chain.root).out
    assert text.index("accuracy in %") < text.index("inputs.data") < text.index("distill.student_steps")
    assert f"{100 * told['accuracy']:.1f} ±" in text and told["contents"][0]["sha256"] in text
    assert told["settings"]["distill"]["student_steps"] == 3
