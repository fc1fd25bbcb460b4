"""A scorer, a network and a layout of one's own: each is one function and one entry in a table, and shows everywhere.

A family of methods: tests/stages/test_families.py.
"""

import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from padray.commandline import cli, commands
from padray.configuration import loading
from padray.errors import InputError
from padray.exchange import targets
from padray.experts import scorers
from padray.networks import factory, families
from padray.networks.families import NetworkFamily
from padray.networks.layers import Network, Stack
from padray.planning import plan
from padray.report.difficulty import Difficulty
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from tests.conftest import TINY


def context(settings: Path, root: Path, *overrides: str) -> Context:
    loaded = loading.load(str(settings), overrides)
    return Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner())


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_a_scorer(tiny, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"scores\.method: must be one of el2n, .*random or file \(got 'label'\)"):
        loading.load(str(tiny), ("scores.method=label",))
    monkeypatch.setitem(scorers.SCORES, "label", lambda seen: seen.labels_N.double())
    made = context(tiny, tmp_path / "runs", "scores.method=label")
    outcome = pipeline.run(made)
    _, found = stored.load_scores(made.folder(outcome.identities["scores"]), made.config.scores)
    dataset = stored.load_dataset(made.folder(outcome.identities["data"]))
    assert found.tolist() == dataset.labels[dataset.splits["train"]].tolist()
    page = Path(outcome.report.removeprefix("file://")).read_text()
    assert "Agreement of the difficulty scores" in page and "scores.<wbr>method" in page and "label" in page
    tables = stored.score_tables(made.folder(outcome.identities["scores"]), made.config.scores)
    shown = Difficulty(made.config.scores, made.config.schedule, tables, [23] * 10, 6)
    assert shown.methods[-1] == "label", "the figure has it as a line of its own"
    assert any(line.stage == "scores" for line in plan.plan(made, plan.Asked()).stages)


def small(settings, shape, classes):
    """One linear layer of `width` units and a ReLU."""
    stack = Stack(shape)
    stack.flatten()
    stack.hidden(0, settings.width)
    return Network(stack, classes)


def test_a_network(tiny, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"must be one of convnet, .*convnet1d"):
        loading.load(str(tiny), ("network=small",))
    monkeypatch.setitem(sys.modules, "own_networks", types.ModuleType("own_networks"))
    monkeypatch.setattr("own_networks.small", small, raising=False)
    monkeypatch.setitem(families.FAMILIES, "small", NetworkFamily("own_networks", width=12, reads="anything"))
    made = context(tiny, tmp_path / "runs", "network=small", "evaluation.architectures=[{name: small, width: 7}]")
    assert made.config.network.label == "small" and made.config.evaluation.architectures[0].label == "smallw7"
    assert (
        sum(p.numel() for p in factory.build(made.config.network, (1, 8, 8), 10, 0).parameters()) == 64 * 12 + 12 + 130
    )
    outcome = pipeline.run(made)
    assert {row.architecture for row in outcome.rows} == {"small", "smallw7"}
    assert "smallw7" in Path(outcome.report.removeprefix("file://")).read_text()
    units = [line.unit for line in plan.plan(made, plan.Asked()).stages]
    assert any("small" in unit for unit in units) and any("smallw7" in unit for unit in units)
    for override in ("network={name: small, depth: 2}", "network={name: small, norm: batch}"):
        with pytest.raises(InputError, match=r"small has no (depth|norm) to choose"):
            wrong = context(tiny, tmp_path / "other", override)
            factory.check(wrong.config.network, (1, 8, 8))


def test_a_layout(tiny, tmp_path, monkeypatch):
    outcome = pipeline.run(context(tiny, tmp_path / "runs"), "distill")
    name = outcome.identities["distill"].folder.split("/")[1]
    with pytest.raises(
        InputError, match=r"--to names is not known; there are pt, ddranking, imagefolder, hf, csv, parquet$"
    ):
        commands.export(name, "names", str(tmp_path / "out"), str(tmp_path / "runs"))
    monkeypatch.setitem(
        targets.LAYOUTS,
        "names",
        lambda: lambda out: {"names.txt": "\n".join(map(str, out.synthetic.facts["class_names"])).encode()},
    )
    commands.export(name, "names", str(tmp_path / "out"), str(tmp_path / "runs"))
    assert (tmp_path / "out" / "names.txt").read_text().split() == [str(digit) for digit in range(10)]


def test_the_help_lists_every_layout():
    said = CliRunner().invoke(cli.app, ["export", "--help"], env={"COLUMNS": "200"}).output
    assert all(name in said for name in targets.LAYOUTS)
