"""A study's file becomes the right cells, and says what its profile changes."""

import os

import pytest

from padray.configuration import loading
from padray.errors import InputError
from padray.studies import definition, grid
from padray.studies import study as studies
from padray.studies.grid import Changes
from padray.studies.study import Asked

STUDY = """
title: IR x AEE
source: a paper, Table 1
preset: digits-ipc1
distillations: 1
settings: {experts.epochs: 45}
rows:
  title: IR
  cases:
    "50 %": {schedule.initial_ratio: 0.5}
    "75 %": {schedule.initial_ratio: 0.75, preset: digits-ipc10}
    KIP: null
columns:
  title: AEE
  cases:
    20: {schedule.addition_end_epoch: 20}
    40: {schedule.addition_end_epoch: 40}
printed:
  "50 %": {20: 66.23}
  KIP: {40: "46.1±0.6"}
notes: [one thing]
profiles:
  small:
    preset: demo
    distillations: 3
    settings: {experts.epochs: 20}
    rows: {KIP: null}
    columns: {20: {schedule.addition_end_epoch: 4}}
"""


@pytest.fixture
def study(tmp_path):
    def written(text: str = STUDY) -> definition.Study:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return definition.read(str(path))

    return written


def test_a_cell_is_its_row_and_its_column_over_the_preset(study):
    cells = {(cell.row, cell.column): cell for cell in grid.cells(study())}
    assert list(cells) == [(r, c) for r in ("50 %", "75 %", "KIP") for c in ("20", "40")]
    config = cells["50 %", "40"].config
    assert (config.schedule.initial_ratio, config.schedule.addition_end_epoch, config.distill.ipc) == (0.5, 40, 1)
    assert config.experts.epochs == 45
    assert cells["75 %", "20"].config.distill.ipc == 10, "a case may name a preset of its own"
    assert cells["KIP", "20"].config is None
    assert cells["50 %", "20"].printed == 66.23
    assert cells["KIP", "40"].printed == "46.1±0.6"


def test_a_profile_replaces_what_it_names(study):
    small = study().under("small")
    cells = {(cell.row, cell.column): cell.config for cell in grid.cells(small)}
    assert list(cells) == [(r, c) for r in ("50 %", "75 %") for c in ("20", "40")], "null drops a row from a profile"
    assert cells["50 %", "20"].schedule.addition_end_epoch == 4
    assert cells["50 %", "40"].schedule.addition_end_epoch == 40
    assert cells["50 %", "20"].experts.epochs == 20
    assert small.distillations == 3
    with pytest.raises(InputError, match="--profile tiny is not in this study; it has full, small"):
        study().under("tiny")


def test_distillations_differ_in_their_seed_alone(study):
    cell = next(grid.cells(study(), Changes(("distill.seed=7",))))
    configs = cell.distillations(3)
    assert [config.distill.seed for config in configs] == [7, 8, 9]
    assert all(config.model_copy(update={"distill": cell.config.distill}) == cell.config for config in configs)


def test_every_difference_of_setting_is_named(study):
    found = dict(grid.differences(study(), list(grid.cells(study().under("small")))))
    assert found["experts.epochs"] == [(45, 20)]
    assert found["schedule.addition_end_epoch"] == [(20, 4)]
    assert found["network.width"] == [(32, 16)]
    assert not [key for key in found if key.startswith(("search.", "cluster."))]
    assert "schedule.initial_ratio" not in found, "what both have is no difference"
    assert dict(grid.differences(study(), list(grid.cells(study())))) == {}


def test_what_was_typed_is_a_difference_too_but_not_where_the_files_lie(study):
    cells = list(grid.cells(study(), Changes(("experts.count=2", "data.path=FOLDER"))))
    assert [key for key, _ in grid.differences(study(), cells)] == ["experts.count"]
    small = list(grid.cells(study().under("small"), Changes(("experts.epochs=16",))))
    assert dict(grid.differences(study(), small))["experts.epochs"] == [(45, 16)]


def test_other_networks_as_columns_differ_from_those_of_their_row(study):
    text = STUDY[: STUDY.index("columns:")] + "columns: {title: network, architectures: [convnet, lenet]}\n"
    text += "profiles: {small: {preset: demo, architectures: [mlp]}}\n"
    found = dict(grid.differences(study(text), list(grid.cells(study(text).under("small")))))
    assert found["network.width"] == [(32, 16)], "rows correspond where columns do not"


def test_networks_as_columns_are_evaluated_on_one_set(study):
    text = STUDY[: STUDY.index("columns:")] + "columns: {title: network, architectures: [convnet, lenet]}\n"
    cells = [cell for cell in grid.cells(study(text)) if cell.row == "50 %"]
    assert [cell.column for cell in cells] == ["convnet3w128", "lenet"]
    assert cells[0].config == cells[1].config
    assert [network.name for network in cells[0].config.evaluation.architectures] == ["convnet", "lenet"]
    assert cells[1].shown_network() == "lenet"


FAMILIES = """
title: methods
source: a paper
rows:
  title: method
  cases:
    Random: {preset: pad, source: random}
    MTT: {preset: mtt, distill.ema_decay: 0.9, without: {"500": no settings published}}
    PAD: {preset: pad}
    Full: {preset: pad, source: full}
columns:
  title: IPC
  cases:
    "1": {preset: cifar10-ipc1}
    "500": {preset: cifar10-ipc500}
profiles: {small: {preset: small-digits}}
"""


def test_a_row_and_a_column_name_a_preset_together(study):
    cells = {(cell.row, cell.column): cell for cell in grid.cells(study(FAMILIES))}
    assert cells["PAD", "500"].config == loading.load("pad-cifar10-ipc500").config
    mtt = loading.load("mtt-cifar10-ipc1", ("distill.ema_decay=0.9",)).config
    assert cells["MTT", "1"].config == mtt
    left_out = cells["MTT", "500"]
    assert left_out.config is None and left_out.missing == "no settings published"
    small = grid.cells(study(FAMILIES).under("small"))
    assert {cell.config.data.dataset for cell in small if cell.config} == {"digits"}, "a profile's preset stands alone"


def test_a_row_of_a_control_has_the_settings_of_the_set_beside_it(study):
    cells = {cell.row: cell for cell in grid.cells(study(FAMILIES)) if cell.column == "1"}
    assert (cells["Random"].source, cells["Full"].source, cells["PAD"].source) == ("random", "full", "distilled")
    assert cells["Random"].config == cells["PAD"].config
    assert cells["Full"].config.evaluation.controls.full and not cells["PAD"].config.evaluation.controls.full
    assert len(cells["Random"].distillations(3)) == 1, "a control does not depend on the set"
    assert len(cells["PAD"].distillations(3)) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("source: random", "source: radom"), "row 'Random': source must be one of random, random_soft, full"),
        (('without: {"500"', 'without: {"50"'), "row 'MTT': without names '50', which is no column"),
        (("no settings published", "3"), "row 'MTT': without must say for each column why"),
        (('"1": {', '"1": {source: full, '), "column '1': source and without belong to rows"),
        (("preset: mtt,", "preset: mmt,"), "'mmt-cifar10-ipc1' is neither a preset"),
    ],
)
def test_wrong_rows_are_refused_in_a_sentence(study, change, sentence):
    with pytest.raises(InputError, match=sentence):
        list(grid.cells(study(FAMILIES.replace(*change))))


def test_a_validation_split_for_all_cells_judges_where_nothing_was_judged(study):
    without = list(grid.cells(study(FAMILIES)))
    for before, cell in zip(without, grid.cells(study(FAMILIES), Changes(validation=0.2)), strict=True):
        if cell.config is None:
            continue
        assert cell.config.data.validation == 0.2 and before.config.data.validation == 0
        judging = cell.config.distill.validation
        assert (judging.seeds, judging.every) == (3, cell.config.distill.iterations // 20)


def test_a_validation_split_leaves_a_judging_that_was_asked_for_as_it_is(study):
    typed = ("distill.validation.seeds=1", "distill.validation.every=7", "distill.iterations=30")
    cells = list(grid.cells(study(FAMILIES), Changes(typed, 0.1)))
    assert {(c.config.distill.validation.seeds, c.config.distill.validation.every) for c in cells if c.config} == {
        (1, 7)
    }
    short = list(grid.cells(study(FAMILIES), Changes(("distill.iterations=30",), 0.1)))
    assert {c.config.distill.validation.every for c in short if c.config} == {1}, (
        "of 30 iterations too, many are judged"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("initial_ratio: 0.5", "initial_ration: 0.5"), "cell 50 % / 20.*initial_ration.*did you mean initial_ratio"),
        (("initial_ratio: 0.5", "initial_ratio: 2"), "cell 50 % / 20.*schedule.initial_ratio"),
        (("preset: digits-ipc1\n", ""), "neither it nor the study names a preset"),
        (('KIP: {40: "46', 'KIT: {40: "46'), "printed 'KIT': 40 are not cells"),
        (("{20: 66.23}", "{20: 66.23, 30: 1}"), "printed '50 %': 30 are not cells"),
        (("rows: {KIP: null}", "rows: {KIT: null}"), "small changes 'KIT', which is no case"),
        (("  small:\n", "  full:\n"), "full is the study itself"),
        (("title: IR\n", "titel: IR\n"), "rows.tit"),
        (("title: IR x AEE", "title: [IR"), "not valid YAML"),
        (("title: IR x AEE", "title: 2001-13-45"), "title: '2001-13-45' is read as a timestamp"),
        (("title: IR x AEE", "title: &a [*a]"), "title.0: holds itself"),
        (("preset: digits-ipc10", "preset: [digits-ipc10]"), "cell 75 % / 20: preset must be the name of settings"),
        (("distillations: 1\n", "distillations: 1000000\n"), "distillations: input should be less than or"),
        (("columns:\n", "".join(f"    k{k}: {{}}\n" for k in range(500)) + "columns:\n"), "503 times 2 are more than"),
    ],
)
def test_a_wrong_study_is_refused_in_a_sentence(study, change, sentence):
    with pytest.raises(InputError, match=sentence):
        list(grid.cells(study(STUDY.replace(*change))))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the study nowhere\.yaml"):
        definition.read("nowhere.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(InputError, match=r"cannot read the study .*fifo\.yaml: it is a FIFO"):
        definition.read(str(tmp_path / "fifo.yaml"))


@pytest.mark.parametrize("name", ["study_a\\b.yaml", "study_\n.yaml", f"{'x' * 150}.yaml", "study_.yaml"])
def test_a_file_that_no_folder_can_be_called_after_is_refused_before_it_is_made(name, tmp_path):
    path = tmp_path / name
    path.write_text(STUDY)
    with pytest.raises(InputError, match="the table's folder is called after this file"):
        studies.prepare(Asked(str(path)))
    path.rename(tmp_path / "study_täble 1.yaml")
    assert studies.prepare(Asked(str(tmp_path / "study_täble 1.yaml")))[2]


RANKED = """
title: three rankings
source: a paper, Table 5
preset: digits-ipc1
settings: {schedule.prune_hardest: 0.1}
rows: {title: IPC, cases: {"1": {}}}
columns:
  title: ranking
  cases:
    none: {schedule.prune_hardest: 0.0}
    file: {scores.method: file, scores.path: absent.json}
    el2n: {}
printed: {"1": {file: 46.3}}
"""


def test_a_case_whose_file_is_not_there_has_no_cell_and_one_that_is_typed_is_that_case_s_alone(study, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("[0.5]")
    cells = {cell.column: cell for cell in grid.cells(study(RANKED))}
    assert cells["file"].missing == "no file absent.json: name yours with --set scores.path=FILE"
    assert cells["file"].config is None and cells["file"].printed == 46.3 and cells["none"].config
    cells = {cell.column: cell.config for cell in grid.cells(study(RANKED), Changes((f"scores.path={path}", "seed=3")))}
    assert cells["file"].scores.path == str(path) and cells["file"].scores.digest
    assert cells["el2n"].scores.method == "el2n" and {config.seed for config in cells.values()} == {3}
