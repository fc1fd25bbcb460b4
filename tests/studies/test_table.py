"""What a study's table says of its numbers: what n counts, what failed, which control is whose, what was changed."""

from dataclasses import replace

import pytest

from padray.configuration import loading
from padray.evaluation import summary as evaluation
from padray.evaluation.summary import Row
from padray.fingerprint import Identity
from padray.studies import definition, grid, study_page, table
from padray.studies.make import CellResult, Chain
from padray.studies.table import StudyResult

STUDY = """
title: Two filters
source: a paper
preset: digits-ipc1
distillations: 3
settings: {evaluation.seeds: 2}
rows: {title: filter, cases: {"no": {schedule.initial_ratio: 0.5}, "yes": {}, "KIP": null}}
columns: {title: lr, cases: {low: {distill.lr_images: 1}, high: {distill.lr_images: 2}}}
printed: {KIP: {low: "46.1±0.6"}}
profiles: {small: {preset: demo}}
"""


@pytest.fixture
def told(tmp_path):
    """The table of a study where every distillation reached 50 %, unless its cell is changed."""

    def made(*overrides: str, profile: str = "full", random: dict | None = None, **cells: CellResult) -> StudyResult:
        path = tmp_path / "study.yaml"
        path.write_text(STUDY)
        study = definition.read(str(path))
        asked = list(grid.cells(study.under(profile), grid.Changes(overrides)))
        results = [cells.get(f"{c.row}_{c.column}") or result(c, 3, (random or {}).get(c.row, 0.3)) for c in asked]
        return StudyResult(study.under(profile), profile, grid.differences(study, asked), results)

    return made


def result(cell: grid.Cell, rows: int, random: float = 0.3, failed: str = "") -> CellResult:
    """Three distillations of a cell, the first `rows` of which were evaluated; the k-th reached 50 + k %."""
    if cell.config is None:
        return CellResult(cell, (), (), ())
    chains = tuple(Chain(config, None, None) for config in cell.distillations(3))
    return CellResult(
        cell, chains, chains[:rows], tuple(evaluated(cell, 0.5 + k / 100, random) for k in range(rows)), failed
    )


def evaluated(cell: grid.Cell, accuracy: float, random: float, diverged: int = 0) -> list[Row]:
    """The rows of a set whose two networks reached that mean, but for those that diverged, of the control too."""
    values = {"distilled": [accuracy - 0.1, accuracy + 0.1], "random": [random, random]}
    label = cell.shown_network()

    def trained(source: str, seed: int, value: float) -> evaluation.CellResult:
        wild = seed < diverged
        both = (0.0, 0.0) if wild else (value, value)
        return evaluation.CellResult(source, label, seed, 0.1, None, None, None, *both, 10, 3, wild)

    return [
        evaluation.row(label, source, [trained(source, seed, value) for seed, value in enumerate(accuracies)])
        for source, accuracies in values.items()
    ]


def texts(told: StudyResult) -> dict[tuple[str, str], str]:
    return {(entry.row, entry.column): entry.text for entry in table.entries(told.results)}


def cell(told: StudyResult, row: str, column: str) -> grid.Cell:
    return next(r.cell for r in told.results if (r.cell.row, r.cell.column) == (row, column))


def test_n_counts_the_distillations_and_the_control_its_networks(told):
    found = texts(told())
    assert found["no", "low"] == "51.0 ± 1.0"
    assert found["KIP", "low"] == "not available (paper 46.1±0.6)" and found["KIP", "high"] == "not available"
    assert found[table.CONTROL, "low"] == "30.0 ± 0.0"
    assert "n = 3 distillations, each the mean of 2 fresh networks; the control's n = 2" in table.sample(told())


def test_a_cell_without_all_its_distillations_says_so(told):
    """Otherwise what diverges would leave nothing but a better mean."""
    part = told(no_low=result(cell(told(), "no", "low"), 2, failed="the loss became nan"))
    assert texts(part)["no", "low"] == "50.5 ± 0.7 (n = 2; 1 of 3 distillations failed: the loss became nan)"
    assert texts(part)["no", "high"] == "51.0 ± 1.0"


def test_the_networks_of_the_one_distillation_that_came_out_are_no_distillations(told):
    one = told(no_low=result(cell(told(), "no", "low"), 1, failed="nan"))
    assert texts(one)["no", "low"] == "50.0 (n = 1; 2 of 3 distillations failed: nan)"
    none = told(no_low=result(cell(told(), "no", "low"), 0, failed="nan"))
    assert texts(none)["no", "low"] == "failed: nan"


def test_networks_that_diverged_are_told_with_the_mean_over_the_others(told):
    asked = cell(told(), "no", "low")
    sets = [evaluated(asked, 0.5 + k / 100, 0.3, diverged) for k, diverged in enumerate((1, 0, 2))]
    some = told(no_low=replace(result(asked, 3), rows=tuple(sets)))
    assert texts(some)["no", "low"] == "27.0 ± 25.6 (3 of 6 networks diverged; the others 55.5 ± 6.4)"
    assert texts(some)[f"{table.CONTROL}, no", "low"] == "15.0 ± 21.2 (1 of 2 networks diverged; the others 30.0)"
    lines = {(line.row, line.column): line for line in table.lines_of(table.entries(some.results))}
    low = lines["no", "low"]
    assert (low.diverged, low.networks, low.others_mean) == (3, 6, pytest.approx(0.555))
    failed = told(no_low=replace(result(asked, 1, failed="nan"), rows=(sets[2],)))
    assert texts(failed)["no", "low"] == "0.0 (n = 1; 2 of 3 distillations failed: nan; 2 of 2 networks diverged)"


def test_where_rows_have_different_controls_each_is_shown(told):
    found = texts(told(random={"no": 0.2, "yes": 0.3}))
    assert found[f"{table.CONTROL}, no", "low"] == "20.0 ± 0.0"
    assert found[f"{table.CONTROL}, yes", "high"] == "30.0 ± 0.0"
    assert (table.CONTROL, "low") not in found


def test_what_was_typed_is_in_the_table_and_its_title(told):
    page = table.markdown(told("distill.iterations=2"), {})
    assert page.startswith("# Two filters (with other settings than the study's file)")
    assert "| `distill.iterations` | 400 → 2 |" in page
    assert table.heading(told("data.path=/elsewhere")) == "Two filters", "where the files lie is no difference"
    small = table.markdown(told("distill.iterations=2", profile="small"), {})
    assert small.startswith("# Two filters (small profile, not the paper's size)")
    assert "| `distill.iterations` | 400 → 2 |" in small


def test_a_teacher_is_named(told):
    assert "teacher" not in table.sample(told())
    said = table.sample(told("evaluation.protocol=rded-kd", "evaluation.teacher.network.width=16"))
    assert "The networks learn from a teacher's labels (convnet3w16-batch), not from those of the sets." in said


PAPERS = "; the printed numbers of trajectory matching are of the iterate that is best on the test split."


def test_the_table_says_which_iterate_a_set_is_and_which_one_the_papers_print(told):
    """Ours may be the last one; whoever reads the printed number beside it must know that theirs is not."""
    last = "Each set is its distillation's last iterate, for none was judged"
    assert table.sample(told("distill.validation.seeds=0")).endswith(last + PAPERS)
    best = "Each set is the iterate that did best on a validation split (20 % of the training data)"
    assert table.sample(told("data.validation=0.2")).endswith(best + PAPERS)
    alone = told("distill.validation.seeds=0")
    alone = replace(alone, study=alone.study.model_copy(update={"printed": {}}))
    assert table.sample(alone).endswith(last + "."), "where nothing is printed beside ours, nothing is compared"


def test_a_study_without_trajectories_says_nothing_of_experts_and_of_what_is_printed_of_them(told):
    other = loading.load("dm-digits-ipc1").config
    plain = told()
    results = [r if r.cell.config is None else replace(r, cell=replace(r.cell, config=other)) for r in plain.results]
    said = table.sample(replace(plain, results=results))
    assert "experts" in table.sample(plain) and "experts" not in said and "numbers of trajectory" not in said


def test_the_page_counts_the_sets_that_clearly_beat_their_control(told):
    said = study_page.beside_controls(table.entries(told().results))
    assert said.startswith("Of 4 cells with a control, equally many random real samples, 4 clearly beat it and none is")
    said = study_page.beside_controls(table.entries(told(random={"no": 0.9, "yes": 0.5}).results))
    assert "samples, none clearly beats it and 2 are clearly worse, by more than two standard errors" in said
    assert study_page.beside_controls([]) == ""


def test_a_control_that_the_study_has_a_row_for_is_not_told_twice(told):
    base = told(random={"no": 0.2, "yes": 0.3})
    row = [
        replace(r, cell=replace(r.cell, row="Random", source="random"), chains=r.chains[:1], rows=r.rows[:1])
        for r in base.results
        if r.cell.row == "no"
    ]
    found = texts(replace(base, results=[*row, *base.results]))
    assert found["Random", "low"] == "20.0 ± 0.0", "the control of the set beside it"
    assert (f"{table.CONTROL}, no", "low") not in found and (table.CONTROL, "low") not in found
    assert found[f"{table.CONTROL}, yes", "low"] == "30.0 ± 0.0", "another control than the row's is still told"


def test_balanced_accuracy_is_called_so(told):
    assert table.sample(told("evaluation.metric=balanced_accuracy")).startswith("Test balanced accuracy in %")


def test_the_title_names_the_data_that_stand_in_for_the_papers(told):
    small = told(profile="small")
    assert table.heading(small) == "Two filters (small profile, not the paper's size)"
    elsewhere = replace(small, changed=[*small.changed, ("data.dataset", [("cifar10", "digits"), ("tiny", "digits")])])
    assert table.heading(elsewhere) == "Two filters (small profile on digits, not the paper's size)"


def test_cells_that_are_evaluated_otherwise_are_evaluated_apart(told):
    config = told().results[0].cell.config
    chains = [
        Chain(c, Identity("data", "x", "0" * 64), Identity("distill", "x", "1" * 64))
        for c in (
            config,
            loading.with_values(config, {"evaluation.seeds": 9}, "test"),
            loading.with_values(config, {"distill.checkpoint_seconds": 9}, "test"),
        )
    ]
    assert chains[0].id != chains[1].id
    assert chains[0].id == chains[2].id
