"""Every study that comes with padray can be made: its cells are real settings, and no two of a line are the same."""

import functools
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from padray.configuration import loading
from padray.methods.families import FAMILIES
from padray.stages.effort import effort_of
from padray.stages.facts import DatasetFacts, Splits
from padray.studies import definition, grid

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("study_*.yaml"))
PROFILES = [(path, profile) for path in FILES for profile in (definition.FULL, *definition.read(str(path)).profiles)]
TABLES = {  # every table of PAD, and the studies that make it; or why none can
    "1": ("table1",),
    "2": ("table2", "table2_tiny"),
    "3a": ("table3a",),
    "3b": ("table3b",),
    "3c": ("table3c",),
    "4a": ("table4a",),
    "4b": ("table4b",),
    "4c": ("table4c",),
    "5a": ("table5a",),
    "5b": ("table5b",),
    "5c": "SRe2L",
    "6a": ("table6a_easiest", "table6a_hardest"),
    "6b": ("table6b_easiest", "table6b_hardest"),
    "7a": ("table7a",),
    "7b": ("table7b",),
    "8a": ("table8a",),
    "8b": ("table8b",),
    "9": ("table9",),
    "10": "the settings",
}
FIGURES = {
    "1": "a sketch",
    "2": ("figure2_easiest", "figure2_hardest"),
    "3a": "gradient matching, as Table 7a",
    "3b": "distribution matching, as Table 7b",
    "3c": ("figure3c",),
    "4": ("figure4",),
    "5": ("figure5",),
    "6": ("figure6",),
}
IADD = ("architectures", "pruning", "teachers", "weights")
PAPER_TABLES = Path(__file__).parents[3] / "shared/paper_tables.json"  # the paper's tables, where they lie beside this

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_profile = pytest.mark.parametrize("path, profile", PROFILES, ids=lambda v: getattr(v, "stem", v))


@functools.cache
def read(stem: str) -> definition.Study:
    return definition.read(str(FILES[0].with_name(f"{stem}.yaml")))


@functools.cache
def cells_of(stem: str, profile: str = definition.FULL) -> list[grid.Cell]:
    return list(grid.cells(read(stem).under(profile)))


def test_every_table_and_figure_has_its_study_or_a_reason():
    """And no study is of something that this list does not know."""
    made = [stem for stems in (*TABLES.values(), *FIGURES.values()) if isinstance(stems, tuple) for stem in stems]
    stems = {path.stem.removeprefix("study_") for path in FILES}
    assert stems == {*made, *(f"iadd_{name}" for name in IADD), "common_protocol"}


def test_the_list_of_tables_is_the_papers():
    if not PAPER_TABLES.is_file():
        pytest.skip("the paper's tables are not beside this checkout")
    found = json.loads(PAPER_TABLES.read_text())
    assert set(TABLES) == {name.removeprefix("table") for name in found if name.startswith("table")}


def test_table_1_makes_every_printed_number_whose_settings_are_published():
    """And the controls; of four methods padray has none."""
    cells = cells_of("study_table1")
    others = {"KIP", "FRePo", "RCIG", "CAFE"}
    assert {c.row for c in cells if c.missing == grid.NOT_AVAILABLE} == others
    unmade = {(c.row, c.column) for c in cells if c.config is None and c.printed is not None and c.row not in others}
    large = {f"CIFAR-10, IPC {ipc}" for ipc in (500, 1000)}
    tiny = {("DM", f"Tiny, IPC {ipc}") for ipc in (1, 10, 50)}
    assert unmade - tiny == {(row, column) for row in ("DC", "DM", "DSA") for column in large}
    assert {c.row for c in cells if c.source != "distilled"} == {"Random", "Full Dataset"}


@each_profile
def test_every_cell_is_made_of_real_settings(path, profile):
    cells = cells_of(path.stem, profile)
    assert any(cell.config for cell in cells)
    for cell in cells:
        assert cell.config is not None or profile == definition.FULL, "the small profile shows only what padray makes"


@each_profile
def test_no_two_cells_ask_for_the_same(path, profile):
    """A case whose settings do nothing would show noise as a difference."""
    made = [cell for cell in cells_of(path.stem, profile) if cell.config]
    asked = Counter((cell.config.model_dump_json(), str(cell.network), cell.source) for cell in made)
    assert not [key for key, count in asked.items() if count > 1]


@each_file
def test_a_printed_number_is_there_for_every_row_that_padray_does_not_have(path):
    study = read(path.stem)
    without = {row for row, case in study.rows.cases.items() if case is None}
    assert without <= set(study.printed), "a row with neither our number nor the paper's says nothing"


SMALL = {
    "small-digits",
    "small-digits-ipc3",
    "small-digits-ipc10",
    "small-cifar10",
    "small-dm-digits",
    "small-dc-digits",
    "small-coreset-digits",
}


@each_file
def test_small_profiles_start_from_small_presets(path):
    study = read(path.stem).under("small")
    assert study.preset in SMALL
    assert study.distillations == 3
    cases = [*study.rows.cases.values(), *study.columns.cases.values()]
    assert {case["preset"] for case in cases if case and "preset" in case} <= SMALL, "another preset would not be small"
    for cell in cells_of(path.stem, "small"):
        assert cell.config.distill.ipc <= 20 and cell.config.distill.iterations <= 1000
        if cell.config.distill.needs_experts:
            assert cell.config.experts.epochs <= 20 and cell.config.distill.batch <= 10 * cell.config.distill.ipc


@each_file
def test_what_the_paper_leaves_open_is_said(path):
    study = read(path.stem)
    scored = any(cell.config.schedule.needs_scores for cell in cells_of(path.stem) if cell.config)
    assert not scored or any("scor" in note and "ours" in note for note in study.notes)
    assert "iadd" not in path.stem or any("ours" in note for note in study.notes)


def test_the_rows_of_table_1_are_the_presets():
    found = {(cell.row, cell.column): cell for cell in cells_of("study_table1")}
    names = {"DATM": "datm", "PAD without its filters": "unfiltered", "PAD": "pad", "MTT": "mtt"}
    for (row, column), cell in found.items():
        if row in names and (cell.config or cell.missing == "as DATM"):
            data, ipc = column.split(", IPC ")
            other = loading.load(f"{names[row]}-{data.lower().replace('-', '')}-ipc{ipc}").config
            assert (cell.config or found["DATM", column].config) == other


def test_what_stands_beside_datms_printed_numbers_is_what_its_authors_published():
    for stem in ("study_table1", "study_table2", "study_table2_tiny", "study_table3a"):
        study = read(stem)
        assert any("DATM" in note and "published" in note for note in study.notes)
        for cell in cells_of(stem):
            if cell.row.endswith("DATM"):
                data, ipc = cell.config.data.dataset, cell.config.distill.ipc
                published = loading.load(f"datm-{data}-ipc{ipc}").config
                assert (cell.config.distill, cell.config.experts) == (published.distill, published.experts)
                assert cell.printed is not None
            if cell.row.endswith("without its filters"):
                assert cell.printed is None


def test_ftd_and_tesla_are_mtt_but_for_what_their_notes_say():
    flat = {"experts.rho": 0.01, "experts.gsam_alpha": 1.0, "distill.ema_decay": 0.999}
    known = {"FTD": flat, "TESLA": {"distill.gradient": "tesla", "distill.iterations": 10_000}}
    made = {(c.row, c.column): c.config for c in cells_of("study_table1") if c.config}
    for (row, column), config in made.items():
        if row in known:
            assert config == loading.with_values(made["MTT", column], known[row], row)
    assert {column for row, column in made if row == "FTD"} == {column for row, column in made if row == "MTT"}
    ftd = next(cell.config for cell in cells_of("study_table3a") if cell.row == "FTD")
    plain = ftd.model_copy(update={"evaluation": made["MTT", "CIFAR-100, IPC 50"].evaluation})
    assert plain == loading.with_values(made["MTT", "CIFAR-100, IPC 50"], flat, "FTD")


def test_random_real_samples_stand_beside_every_size_of_tables_2_and_3a():
    rows = {
        "study_table2": {"CIFAR-10, Random", "CIFAR-100, Random"},
        "study_table2_tiny": {"Random"},
        "study_table3a": {"Random"},
    }
    for stem, expected in rows.items():
        cells = cells_of(stem)
        assert {cell.row for cell in cells if cell.source == "random"} == expected
        assert all(cell.printed is not None for cell in cells if cell.source == "random")


def test_the_ablations_end_in_pad_without_its_filters_and_in_pad():
    for stem, row in (("study_table3b", "cifar10-ipc10"), ("study_table8b", "cifar100-ipc50")):
        neither, *_, both = [cell.config for cell in cells_of(stem)]
        without, pad = loading.load(f"unfiltered-{row}").config, loading.load(f"pad-{row}").config
        assert neither.model_copy(update={"scores": without.scores}) == without
        assert both == pad


def test_table_5a_leaves_the_printed_shares_of_the_hardest_out_of_mtts_experts():
    made = {(c.row, c.column): c for c in cells_of("study_table5a")}
    for ipc, share in (("1", 0.2), ("10", 0.1), ("50", 0.05)):
        filtered, plain = made[ipc, "FIEX"].config, made[ipc, "none (MTT)"].config
        assert filtered.schedule.prune_hardest == share
        assert plain == loading.load(f"mtt-cifar10-ipc{ipc}").config
        assert filtered.model_copy(update={"schedule": plain.schedule}) == plain


def test_figure_3c_and_table_4b_differ_in_what_the_experts_see():
    figure = {(c.row, c.column): c.config for c in cells_of("study_figure3c")}
    assert figure["10", "none"] == loading.load("unfiltered-cifar10-ipc10").config
    assert [figure["500", share].distill.selection.alpha for share in ("25 %", "50 %", "75 %")] == [0.25, 0.5, 0.75]
    assert all(not config.schedule.needs_scores for config in figure.values())


def test_table_7a_leaves_rows_out_of_dcs_distance_and_nothing_else():
    for row, preset in (("10", "dc-cifar10-ipc10"), ("500", None)):
        cells = {c.column: c.config.distill for c in cells_of("study_table7a") if c.row == row}
        plain = cells["plain DC"]
        assert preset is None or plain == loading.load(preset).config.distill
        for column, distill in cells.items():
            share = 0.0 if column == "plain DC" else float(column.split()[0]) / 100
            rescale = "kept" if column.endswith("rescaled") else "none"
            assert (distill.selection.alpha, distill.selection.rescale) == (share, rescale)
            assert distill.model_copy(update={"selection": plain.selection}) == plain


def test_figures_4_and_5_are_of_the_papers_sizes():
    assert {c.config.distill.ipc for c in cells_of("study_figure4")} == {50}
    assert {c.config.distill.ipc for c in cells_of("study_figure5")} == {1, 10, 500}
    assert not [
        note for stem in ("study_figure4", "study_figure5") for note in read(stem).notes if "IPC is ours" in note
    ]


def test_figure_5_says_which_errors_are_the_papers():
    assert any("absolute errors: those are in errors-absolute-" in note for note in read("study_figure5").notes)


def test_table_4b_falls_from_all_parameters_to_a_quarter():
    """Its columns are shares that are kept; alpha is what is left out."""
    cells = [cell for cell in cells_of("study_table4b") if cell.row == "10"]
    kept = [(cell.column, 1 - cell.config.distill.selection.alpha) for cell in cells]
    assert kept == [("100 %", 1.0), ("75 %", 0.75), ("50 %", 0.5), ("25 %", 0.25)]
    assert next(cell.printed for cell in cells if cell.column == "75 %") == 67.34


def test_table_9_uses_a_teacher_with_batch_norm_of_the_students_depth():
    for cell in cells_of("study_table9"):
        if cell.config is not None:
            evaluation = cell.config.evaluation
            assert evaluation.protocol == "rded-kd" and evaluation.training.epochs == 300
            assert evaluation.training.augment == "flip", "RDED's random crops are the whole image at factor 1"
            assert evaluation.teacher.network.norm == "batch"
            assert evaluation.teacher.network.depth == cell.config.network.depth


@pytest.mark.parametrize("side", ["hardest", "easiest"])
def test_figure_2_leaves_out_one_side_alone_and_schedules_nothing(side):
    row = [cell.config.schedule for cell in cells_of(f"study_figure2_{side}") if cell.row == "10"]
    shares = [getattr(schedule, f"prune_{side}") for schedule in row]
    assert shares[0] == 0 and all(a < b for a, b in pairwise(shares))
    other = "easiest" if side == "hardest" else "hardest"
    assert all(getattr(schedule, f"prune_{other}") == 0 and not schedule.easy_removal for schedule in row)


def test_table_2_is_judged_on_the_eight_networks_of_the_paper():
    for stem, depth in (("study_table2", 3), ("study_table2_tiny", 4)):
        study = read(stem)
        networks = definition.labelled(study.columns.architectures)
        assert len(networks) == 8
        assert (networks["MLP"].depth, networks["MLP"].width) == (1, 128), "PAD's text: one hidden layer of 128"
        assert networks["ConvNet"].depth == networks["ConvNet-BN"].depth == depth
        made = next(cell.config for cell in cells_of(stem) if cell.config)
        assert networks["ConvNet"] == made.network, "the first column is the network of the distillation"


# -- the families beside each other

DIGITS = DatasetFacts(tuple("0123456789"), (1, 8, 8), Splits(1290, 142, 359), (129,) * 10)
CIFAR10 = DatasetFacts(tuple("0123456789"), (3, 32, 32), Splits(45_000, 5000, 10_000), (4500,) * 10)
NARROW = DatasetFacts(tuple("0123456789"), (3, 32, 32), Splits(2700, 300, 10_000), (270,) * 10)


@pytest.mark.parametrize("profile, facts", [(definition.FULL, CIFAR10), ("small", DIGITS), ("narrow", NARROW)])
def test_all_families_have_the_same_data_network_evaluation_and_cost(profile, facts):
    by_column: dict[str, list[grid.Cell]] = {}
    for cell in cells_of("study_common_protocol", profile):
        by_column.setdefault(cell.column, []).append(cell)
    assert read("study_common_protocol").kind == "comparison"
    for cells in by_column.values():
        configs = [cell.config for cell in cells]
        assert len({config.data for config in configs}) == 1
        assert len({config.network for config in configs}) == 1
        assert len({(config.evaluation.protocol_text, config.evaluation.seeds) for config in configs}) == 1
        assert {config.distill.validation.seeds for config in configs} == {0}
        made = [config for cell, config in zip(cells, configs, strict=True) if cell.source == "distilled"]
        costs = [effort_of(config, facts).total for config in made if config.distill.family != "coreset"]
        assert max(costs) < 1.02 * min(costs)
        assert {cell.config.distill.family for cell in cells} == set(FAMILIES)
