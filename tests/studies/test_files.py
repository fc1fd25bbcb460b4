"""Every study that comes with padray can be made: its cells are real settings, and no two of a line are the same."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from padray import loading
from padray.studies import plan

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("study_*.yaml"))
PROFILES = [(path, profile) for path in FILES for profile in (plan.FULL, *plan.read(str(path)).profiles)]
COVERED = ("1", "1_mtt", "2", "2_tiny", "3a", "3b", "3c", "4a", "4b", "4c", "5b", "8a", "8b", "9")
IADD = {"architectures", "pruning", "teachers", "weights", "xray"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_profile = pytest.mark.parametrize("path, profile", PROFILES, ids=lambda v: getattr(v, "stem", v))


def read(stem: str) -> plan.Study:
    return plan.read(str(FILES[0].with_name(f"{stem}.yaml")))


def test_every_table_and_figure_of_trajectory_matching_has_its_study():
    stems = {path.stem.removeprefix("study_") for path in FILES}
    assert {f"table{name}" for name in COVERED} <= stems
    assert {"figure2_easiest", "figure2_hardest", "figure4", "figure5", "figure6"} <= stems
    assert {f"iadd_{name}" for name in IADD} <= stems


@each_profile
def test_every_cell_is_made_of_real_settings(path, profile):
    study = plan.read(str(path)).under(profile)
    cells = list(plan.cells(study))
    assert any(cell.config for cell in cells)
    for cell in cells:
        assert cell.config is not None or profile == plan.FULL, "the small profile shows only what padray makes"


@each_profile
def test_no_two_cells_ask_for_the_same(path, profile):
    """A case whose settings do nothing would show noise as a difference."""
    made = [cell for cell in plan.cells(plan.read(str(path)).under(profile)) if cell.config]
    asked = Counter((cell.config.model_dump_json(), str(cell.network)) for cell in made)
    assert not [key for key, count in asked.items() if count > 1]


@each_file
def test_a_printed_number_is_there_for_every_row_that_padray_does_not_have(path):
    study = plan.read(str(path))
    without = {row for row, case in study.rows.cases.items() if case is None}
    assert without <= set(study.printed), "a row with neither our number nor the paper's says nothing"


SMALL = {"small-digits", "small-digits-ipc3", "small-digits-ipc10", "small-cifar10"}


@each_file
def test_small_profiles_start_from_small_presets(path):
    study = plan.read(str(path)).under("small")
    assert study.preset in SMALL
    assert study.distillations == 3
    cases = [*study.rows.cases.values(), *study.columns.cases.values()]
    assert {case["preset"] for case in cases if case and "preset" in case} <= SMALL, "another preset would not be small"
    for cell in plan.cells(study):
        assert cell.config.experts.epochs <= 20 and cell.config.distill.ipc <= 20
        assert cell.config.distill.batch <= 10 * cell.config.distill.ipc


@each_file
def test_what_the_paper_leaves_open_is_said(path):
    study = plan.read(str(path))
    scored = any(cell.config.schedule.needs_scores for cell in plan.cells(study) if cell.config)
    assert not scored or any("scor" in note and "ours" in note for note in study.notes)
    assert "iadd" not in path.stem or any("ours" in note for note in study.notes)


def test_the_rows_of_table_1_are_the_presets():
    for cell in plan.cells(read("study_table1")):
        if cell.config is not None:
            data, ipc = cell.column.split(", IPC ")
            name = f"{cell.row.lower()}-{data.lower().replace('-', '')}-ipc{ipc}"
            other = loading.load(name).config
            assert cell.config.model_copy(update={"scores": other.scores}) == other


def test_the_ablations_end_in_datm_and_in_pad():
    for stem, row in (("study_table3b", "cifar10-ipc10"), ("study_table8b", "cifar100-ipc50")):
        neither, *_, both = [cell.config for cell in plan.cells(read(stem))]
        datm, pad = loading.load(f"datm-{row}").config, loading.load(f"pad-{row}").config
        assert neither.model_copy(update={"scores": datm.scores}) == datm
        assert both == pad


def test_table_4b_falls_from_all_parameters_to_a_quarter():
    """Its columns are shares that are kept; alpha is what is left out."""
    cells = [cell for cell in plan.cells(read("study_table4b")) if cell.row == "10"]
    kept = [(cell.column, 1 - cell.config.distill.selection.ratio) for cell in cells]
    assert kept == [("100 %", 1.0), ("75 %", 0.75), ("50 %", 0.5), ("25 %", 0.25)]
    assert next(cell.printed for cell in cells if cell.column == "75 %") == 67.34


def test_table_9_uses_a_teacher_with_batch_norm_of_the_students_depth():
    for cell in plan.cells(read("study_table9")):
        if cell.config is not None:
            evaluation = cell.config.evaluation
            assert evaluation.protocol == "teacher" and evaluation.epochs == 300
            assert evaluation.teacher.network.norm == "batch"
            assert evaluation.teacher.network.depth == cell.config.network.depth


@pytest.mark.parametrize("side", ["hardest", "easiest"])
def test_figure_2_leaves_out_one_side_alone_and_schedules_nothing(side):
    row = [cell.config.schedule for cell in plan.cells(read(f"study_figure2_{side}")) if cell.row == "10"]
    shares = [getattr(schedule, f"prune_{side}") for schedule in row]
    assert shares[0] == 0 and all(a < b for a, b in pairwise(shares))
    other = "easiest" if side == "hardest" else "hardest"
    assert all(getattr(schedule, f"prune_{other}") == 0 and not schedule.easy_removal for schedule in row)


def test_table_2_is_judged_on_the_eight_networks_of_the_paper():
    for stem, depth in (("study_table2", 3), ("study_table2_tiny", 4)):
        study = read(stem)
        networks = plan.labelled(study.columns.architectures)
        assert len(networks) == 8
        assert networks["ConvNet"].depth == networks["ConvNet-BN"].depth == depth
        made = next(cell.config for cell in plan.cells(study) if cell.config)
        assert networks["ConvNet"] == made.network, "the first column is the network of the distillation"
