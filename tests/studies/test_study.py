"""A study from end to end on the tiny chain: shared parts made once, continued, diverging cells told."""

import csv
import hashlib
import json
import re
import shutil
import statistics
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from padray.errors import InfrastructureError, InputError, WorkError
from padray.stages import pipeline
from padray.stages.base import Context, Progress
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from padray.studies import study as studies
from padray.studies.grid import Changes
from padray.studies.study import Asked
from padray.synthetic.set import decode
from tests.conftest import TINY

STUDY = """
title: Two filters
source: a paper, Table 1
kind: {kind}
preset: {tiny}
distillations: 2
settings: {{evaluation.architectures: [], distill.iterations: 6, distill.validation.seeds: 0}}
rows:
  title: FIEX
  cases:
    "no": {{schedule.initial_ratio: 1.0, schedule.easy_removal: []}}
    "yes": {{}}
columns:
  title: lr
  cases:
    low: {{distill.lr_images: 1}}
    wild: {{distill.lr_images: 1.0e+30, distill.iterations: 16}}
    elsewhere: null
printed:
  "yes": {{low: 67.4}}
  "no": {{elsewhere: 60}}
profiles:
  small: {{preset: {tiny}, distillations: 2, settings: {{evaluation.seeds: 2}}}}
"""


def make(
    root: Path, path: Path, *overrides: str, validation: float | None = None, told: list[Progress] | None = None
) -> tuple[Context, dict]:
    asked = Asked(str(path), "small", Changes(overrides, validation))
    parts = studies.prepare(asked)
    context = Context("x", parts[2][0].config, open_location(str(root)), InlineRunner())
    context.notify = context.notify if told is None else told.append
    return context, asdict(studies.run(context, asked, parts).summary)


def finished(root: Path) -> list[str]:
    lines = [line for path in sorted((root / "events").glob("*.jsonl")) for line in path.read_text().splitlines()]
    events = [json.loads(line) for line in lines]
    return [f"{event['fingerprint']}/{event['unit']}" for event in events if event["event"] == "finished"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(TINY)
    path = folder / "study_filters.yaml"
    path.write_text(STUDY.format(tiny=folder / "tiny.yaml", kind="weights"))
    return folder, path, make(folder / "runs", path)[1]


def test_cells_hold_their_distillations_and_the_printed_numbers(made):
    _, _, summary = made
    cells = {(cell["row"], cell["column"]): cell for cell in summary["cells"]}
    low = cells["yes", "low"]
    assert low["n"] == 2
    assert low["printed_percent"] == "67.4"
    assert low["mean"] == statistics.fmean(low["values"])
    assert low["std"] == statistics.stdev(low["values"])
    assert cells["no", "elsewhere"]["missing"] == "not available"
    assert cells["random real samples", "low"]["n"] == 2
    assert "n = 2 distillations, each the mean of 2 fresh networks" in summary["sample"]


def test_in_one_process_too_progress_counts_all_distillations(made):
    folder, path, _ = made
    told: list[Progress] = []
    make(folder / "runs", path, "distill.iterations=2", told=told)
    done = [(one.done, one.total) for one in told if one.stage == "distill" and one.text.startswith("cell-")]
    assert done == [(k, 8) for k in range(1, 9)], "two rows and two columns, with two sets each"


def test_a_comparison_tells_intervals_and_costs_beside_its_table(made):
    folder, _, _ = made
    path = folder / "study_compared.yaml"
    path.write_text(STUDY.format(tiny=folder / "tiny.yaml", kind="comparison"))
    page = Path(make(folder / "runs", path)[1]["table"]).read_text()
    assert "\n\nPrinted numbers: a paper, Table 1. Test accuracy" in page
    assert page.count("| FIEX | low |") == 2 == page.count("| FIEX |"), "rows bear their name in each table"
    (_, intervals), (_, costs) = (page.split(title)[:2] for title in ("confidence intervals", "in forward passes"))
    yes = next(line for line in intervals.splitlines() if line.startswith("| yes"))
    assert re.search(r"\| \d+\.\d \[-?\d+\.\d, \d+\.\d\] \|", yes)
    shown = next(line for line in costs.splitlines() if line.startswith("| no")).split("|")
    experts, distilled = 3 * 3 * 6 * 230, 6 * 2 * 3 * 6 * 12 + 230 + 3 * 10  # plain SGD; a start is chosen and labelled
    assert (
        shown[2].strip() == f"{(experts + distilled) / 1000:.1f} k; {experts / 1000:.1f} k of it for scores and experts"
    )


def test_a_diverging_cell_says_so_and_leaves_the_others(made):
    _, _, summary = made
    wild = [cell for cell in summary["cells"] if cell["column"] == "wild" and cell["row"] != "random real samples"]
    assert len(wild) == 2
    assert all("distill.lr_images" in cell["missing"] and not cell["values"] for cell in wild)
    assert summary["failed"] == 2


def test_experts_that_diverge_take_their_own_cells_alone(made, tmp_path):
    folder, _, _ = made
    path = tmp_path / "study_experts.yaml"
    text = STUDY.format(tiny=folder / "tiny.yaml", kind="table").replace(
        '"no": {sch', '"no": {experts.lr: 1.0e+30, sch'
    )
    path.write_text(text)
    cells = {(cell["row"], cell["column"]): cell for cell in make(folder / "runs", path)[1]["cells"]}
    assert "experts.lr" in cells["no", "low"]["missing"] and not cells["no", "low"]["values"]
    assert cells["yes", "low"]["n"] == 2
    path.write_text(text.replace('"yes": {}', '"yes": {experts.lr: 1.0e+30}'))
    with pytest.raises(WorkError, match=r"experts\.lr"):
        make(folder / "runs", path)


def test_what_cells_share_is_made_once(made):
    folder, _, _ = made
    units = finished(folder / "runs")
    assert len(units) == len(set(units))
    experts = [unit for unit in units if "/expert-" in unit]
    assert len(experts) == 3 * 2, "three experts with the schedule and three without it, for all columns and seeds"


def test_the_page_tells_size_differences_and_pictures(made):
    folder, path, summary = made
    page = Path(summary["table"].removeprefix("file://"))
    text = page.read_text()
    assert text.startswith("# Two filters (small profile, not the paper's size)")
    assert "| yes | " in text
    assert "(paper 67.4)" in text
    pictures = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(pictures) == 1 + 2, "the table, and the weights of the two cells that came to an end"
    assert all((page.parent / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    table = pq.read_table(page.parent / "table.parquet").to_pydict()
    assert table["row"][0] == "no"
    html = (page.parent / "table.html").read_text()
    assert html.count('src="data:image/png;base64,') == 1 + 2 * 10, "the table, and ten images of each of two sets"
    assert 'href="' not in html and "<script" not in html and "prefers-color-scheme: dark" in html
    assert "paper 67.4" in html and "not the paper&#39;s size" in html
    lines = list(csv.DictReader((page.parent / "table.csv").read_text().splitlines()))
    assert [line["row"] for line in lines] == table["row"] and lines[0]["values"].split()[0][:2] == "0."
    assert path.exists() and folder.exists()


def test_errors_are_shown_as_the_paper_has_them_and_relative_and_the_page_says_which(made, tmp_path):
    folder, path, _ = made
    own = tmp_path / "study_errors.yaml"
    own.write_text(path.read_text().replace("kind: weights", "kind: errors"))
    page = Path(make(folder / "runs", own)[1]["table"].removeprefix("file://"))
    text = page.read_text()
    said = {"relative": "no / low: errors relative to the expert's own way", "absolute": "the expert's end (absolute)"}
    for name, caption in said.items():
        assert (page.parent / f"errors-{name}-00.png").read_bytes().startswith(b"\x89PNG")
        assert f"![errors-{name}-00.png]" in text and caption in text


def test_the_same_command_again_makes_nothing(made):
    folder, path, summary = made
    before = Counter(finished(folder / "runs"))
    again = make(folder / "runs", path)[1]
    assert again["cells"] == summary["cells"]
    assert Counter(finished(folder / "runs")) == before, "what diverged would only do so again"


def test_what_machines_do_to_a_cell_is_told_and_tried_again(made, tmp_path, monkeypatch):
    folder, path, summary = made
    root = Path(shutil.copytree(folder / "runs", tmp_path / "runs"))
    for part in ("distilled", "studies"):
        shutil.rmtree(root / part)
    run, calls = pipeline.run, []

    def fails_once(context, until):
        if until == "distill" and not calls:
            calls.append(context)
            raise InfrastructureError("the storage was lost")
        return run(context, until)

    monkeypatch.setattr(pipeline, "run", fails_once)
    cells = make(root, path)[1]["cells"]
    assert sum("the storage was lost" in (cell["missing"] or "") for cell in cells) == 1
    assert not any(b"storage was lost" in file.read_bytes() for file in root.glob("studies/*/cell-*"))
    assert make(root, path)[1]["cells"] == summary["cells"]


def test_the_command_prints_the_table_and_ends_with_code_3_where_a_cell_failed(made, run):
    folder, path, summary = made
    said = run("study", path, "--profile", "small", "--storage", folder / "runs", "--runner", "inline", "--json")
    assert said.code == 3
    assert said.json["cells"] == summary["cells"]
    said = run("study", path, "--profile", "smal", "--storage", folder / "runs", "--runner", "inline")
    assert said.code == 2 and "--profile smal is not in this study; it has full, small" in said.err


def test_a_validation_split_chooses_another_iterate_and_the_table_says_so(made, tmp_path, run):
    """One option for all cells: the sets are no longer the last iterates."""
    folder, path, summary = made
    last, held = tmp_path / "study_last.yaml", ("--validation", "0.2", "--set", "distill.lr_images=30")
    last.write_text(
        path.read_text().replace("wild: {distill.lr_images: 1.0e+30, distill.iterations: 16}", "wild: null")
    )
    arguments = ("study", last, "--profile", "small", "--storage", folder / "runs", "--runner", "inline", "--json")
    said = run(*arguments, *held)
    assert said.code == 0
    sets = [facts for facts in chosen(folder / "runs") if facts["validation_accuracy"] is not None]
    assert len(sets) == 4, "two rows of two distillations each"
    assert any(facts["iteration"] < facts["iterations"] for facts in sets), "another one than the last was chosen"
    assert "the iterate that did best on a validation split (20 % of the training data)" in said.json["sample"]
    assert "its distillation's last iterate, for none was judged" in summary["sample"]
    page = Path(said.json["table"].removeprefix("file://")).read_text()
    assert said.json["sample"] in page and "| `data.validation` | 0.1 → 0.2 |" in page
    assert run(*arguments, "--validation", "0").code == 2


def chosen(root: Path) -> list[dict]:
    """The facts of all sets in a root."""
    return [decode(path.read_bytes()).facts for path in sorted(root.glob("distilled/*/set-*.safetensors"))]


@pytest.mark.parametrize("content", [b"[]", b'{"set": 1}', b'{"other": "x"}'])
def test_an_outcome_that_anybody_may_have_put_there_is_refused_in_a_sentence(made, tmp_path, content):
    root = Path(shutil.copytree(made[0] / "runs", tmp_path / "runs"))
    digest = hashlib.sha256(content).hexdigest()[:12]
    for path in root.glob("studies/*/cell-*.json"):
        path.rename(path.with_name(f"{path.name.rsplit('-', 1)[0]}-{digest}.json")).write_bytes(content)
    with pytest.raises(InputError, match=rf"cell-\w+-{digest}.json in .* is not what padray writes there: delete it"):
        make(root, made[1])
