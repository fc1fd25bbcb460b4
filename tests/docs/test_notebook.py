"""docs/first-steps.ipynb: a notebook by its format, whose cells run from the first to the last. What else pages say to
do with a set is done with the one that it makes."""

import ast
import json
from typing import Any

import pytest

from tests.benchmarks import picture
from tests.docs.pages import ROOT, blocks

NOTEBOOK = json.loads((ROOT / "docs/first-steps.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_notebook_without_outputs():
    """Of the format's version 4.5: these keys and no others, and cells that have names of their own."""
    assert NOTEBOOK.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(names)) == len(names)
    for cell in NOTEBOOK["cells"]:
        of_code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | of_code
        assert not cell.get("outputs") and cell.get("execution_count") is None


def shown(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, as a notebook would show it."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, Any]]:
    """What the cells show, one after the other, and the names that they leave."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        values = [shown(code, names) for code in CODE]
    return values, names


def test_its_cells_run_and_show_what_they_say(run):
    values, names = run
    assert values[0] == (1, 40) and values[1].endswith(".safetensors")
    class_names, label = values[3]
    assert class_names == tuple("0123456789") and float(label.sum()) == pytest.approx(1, abs=0.05)
    assert len(values[4].axes) == 10 and values[4].axes[7].get_title() == "7"
    assert {(network, source) for network, source, _ in values[5]} == {
        (network, source) for network in ("convnet2w8", "mlp2w32") for source in ("distilled", "random")
    }
    assert values[6] < 2.31 and {row.source for row in names["outcome"].rows} == {"distilled", "random"}


def test_the_ten_lines_without_padray_train_on_the_set(run):
    """To the classes that its labels name, and with what it brings."""
    (program,) = [block for block in blocks(ROOT / "docs/formats.md", "python") if "set.safetensors" in block]
    names: dict[str, Any] = {}
    exec(program.replace("set.safetensors", run[1]["made"].uri.removeprefix("file://")), names)
    right = names["network"](names["images"]).argmax(dim=1) == names["labels"].argmax(dim=1)
    assert right.float().mean() >= 0.9 and names["sgd"].param_groups[0]["lr"] == pytest.approx(run[1]["made"].lr)


def test_readmes_picture_is_drawn_from_a_set(run, tmp_path):
    figure = picture.draw(run[1]["made"])
    assert [axes.get_title() for axes in figure.axes] == list("0123456789")
    figure.savefig(tmp_path / "set.png")
    assert 0 < (tmp_path / "set.png").stat().st_size < 200_000
