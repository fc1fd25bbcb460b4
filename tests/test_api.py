"""padray from Python: README's example at a size for tests, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import padray
from padray.errors import InputError

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALL = (
    "experts.count=2",
    "experts.epochs=4",
    "distill.windows.start=2",
    "distill.windows.max_start=2",
    "distill.student_steps=2",
    "distill.validation.every=3",
    "distill.validation.epochs=2",
    "evaluation.epochs=3",
    "evaluation.seeds=2",
    "evaluation.controls.lrs=[0.01]",
    "evaluation.controls.tuning_seeds=1",
    "network.width=4",
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What README's example leaves behind, made small."""
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "padray.load_config" in block]
    code = code.replace('"distill.iterations=100"', '"distill.iterations=6", *SMALL').replace('"runs"', "ROOT")
    names = {"SMALL": SMALL, "ROOT": str(tmp_path_factory.mktemp("api"))}
    exec(code.replace("evaluation.seeds=3", "evaluation.seeds=1"), names)
    return names


def test_the_example_runs_and_a_set_is_a_dataset(names):
    made, outcome = names["made"], names["outcome"]
    assert made.images.shape == (10, 1, 8, 8) and made.labels.shape == (10, 10) and 0 < made.lr < 1
    assert torch.allclose(made.labels.sum(dim=1), torch.ones(10)) and made.class_names == tuple("0123456789")
    images, labels = next(iter(DataLoader(made, batch_size=4)))
    assert torch.equal(images, made.images[:4]) and torch.equal(labels, made.labels[:4]) and len(made) == 10
    assert made.facts["iterations"] == 6 and Path(outcome.report.removeprefix("file://")).is_file()
    assert made.preprocessing.kind == "normalize"


def test_an_evaluation_has_the_rows_of_the_run_for_the_seeds_that_it_asks_for(names):
    by_source = {row.source: row for row in names["rows"]}
    whole = {row.source: row for row in names["outcome"].rows}
    assert by_source["distilled"].values == whole["distilled"].values[:1] and by_source["distilled"].n == 1


def test_of_several_sets_in_a_folder_the_one_that_is_named_is_evaluated(names, tmp_path):
    root = str(shutil.copytree(names["ROOT"], tmp_path / "runs"))
    six = names["made"].uri.replace(names["ROOT"], root)
    config = padray.load_config("digits-ipc1", "distill.iterations=9", *SMALL)
    longer = padray.run(config, "distill", storage=root)
    assert longer.set_uri.rpartition("/")[0] == six.rpartition("/")[0]

    def evaluated() -> set[str]:
        manifests = Path(root).glob("evaluations/distilled-*/manifest.json")
        return {json.loads(path.read_text())["inputs"]["set"] for path in manifests}

    padray.evaluate(six, "evaluation.seeds=1")
    assert evaluated() == {names["made"].facts["fingerprint"]}, "the set after 6 iterations, not the one after 9"
    padray.evaluate(longer.set_uri, "evaluation.seeds=1")
    assert evaluated() == {names["made"].facts["fingerprint"], padray.load(longer.set_uri).facts["fingerprint"]}
    assert padray.load(longer.set_uri.rpartition("/")[0]).facts["iterations"] == 9, "a folder means its last set"


def test_a_set_is_found_by_its_folder_too_and_what_is_none_is_refused(names):
    uri = names["made"].uri
    folder = uri.rpartition("/")[0]
    assert padray.load(folder).uri == uri
    for wrong, told in (
        ("set.safetensors", "names no set"),
        (f"{folder}/set-000099-abc.safetensors", "is no set that"),
        (f"{folder.rpartition('/')[0]}/other", "nothing fits"),
    ):
        with pytest.raises(InputError, match=told):
            padray.load(wrong)
    config = padray.load_config("digits-ipc1")
    with pytest.raises(InputError, match="until is one of data, scores"):
        padray.run(config, "distil")


def test_importing_padray_brings_neither_pytorch_nor_ray():
    code = "import padray, sys; print(padray.__version__, {'torch', 'ray'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == f"{padray.__version__} set()\n"
    assert "load" in dir(padray) and not hasattr(padray, "nothing")
