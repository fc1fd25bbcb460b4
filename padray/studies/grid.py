"""The grid of cells that a study asks for under one profile, and in what they differ from the study's own."""

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from padray.config import Config, ValidationSettings
from padray.configuration import loading
from padray.errors import InputError
from padray.machine.files import shown
from padray.networks.settings import NetworkSettings
from padray.studies.definition import Cases, Shown, Study, Values, labelled

Differences = list[tuple[str, list[tuple[Any, Any]]]]  # setting, its values in the full study and here
MOST_CELLS = 1000
NOT_AVAILABLE = "not available"
_JUDGINGS = 20  # of a distillation that is given a validation split: the papers test each 500 of 10,000 iterations
_OWN = ("preset", "source", "without")  # what a case holds beside settings
_FILES = ("scores.path", "schedule.keep_list")  # what only the cells have whose case names one
_BESIDE = ("search.", "cluster.", "compute.", "storage.", "data.path", *_FILES)  # no cell's accuracy depends on these


@dataclass(frozen=True)
class Cell:
    """One cell: its settings (None: it says why it is `missing`), its network, and the printed number.

    `source` is what networks are trained on: the set, or a control beside it.
    """

    row: str
    column: str
    config: Config | None
    network: NetworkSettings | None
    printed: float | str | None
    source: Shown = "distilled"
    missing: str = ""

    def distillations(self, count: int) -> list[Config]:
        """The cell's settings with `count` seeds of the distillation in turn; of a control, which all share, one."""
        assert self.config is not None, "a cell that is not available has nothing to distil"
        count = count if self.source == "distilled" else 1
        first = self.config.seed_of("distill")
        seeds = [{"distill.seed": first + k} if k else {} for k in range(count)]
        return [loading.with_values(self.config, seed, f"{self.row} / {self.column}") for seed in seeds]

    def shown_network(self) -> str:
        """The label of the row that this cell takes from the evaluation."""
        assert self.config is not None
        return (self.network or self.config.network).label


@dataclass(frozen=True)
class Changes:
    """What was typed on top of a study: settings, and the share of the training data to hold out for validation."""

    overrides: tuple[str, ...] = ()
    validation: float | None = None


UNCHANGED = Changes()


def cells(study: Study, changes: Changes = UNCHANGED) -> Iterator[Cell]:
    """All cells, row by row. Raises InputError where there are too many, or settings do not fit, naming the cell."""
    load = functools.cache(loading.load)  # each preset is read once
    networks = labelled(study.columns.architectures)
    rows: Cases = study.rows.cases
    columns: Cases = {name: {} for name in networks} if networks else study.columns.cases
    if len(rows) * len(columns) > MOST_CELLS:
        raise InputError(f"rows and columns: {len(rows)} times {len(columns)} are more than {MOST_CELLS} cells")
    for (row, row_case), (column, column_case) in itertools.product(rows.items(), columns.items()):
        printed, network = study.printed.get(row, {}).get(column), networks.get(column)
        if row_case is None or column_case is None:
            yield Cell(row, column, None, network, printed, missing=NOT_AVAILABLE)
        elif column in row_case.get("without", {}):
            yield Cell(row, column, None, network, printed, missing=row_case["without"][column])
        elif (absent := _absent_file({**row_case, **column_case}, changes)) is not None:
            yield Cell(row, column, None, network, printed, missing=absent)
        else:
            where = f"cell {shown(f'{row} / {column}')}"
            preset = load(_preset(study, (row_case, column_case), where)).config
            own = study.cells.get(row, {}).get(column, {})
            config = _config(study, preset, (row_case, column_case, own), where, changes)
            if networks:
                known = tuple(dict.fromkeys(network for network in networks.values() if network != config.network))
                evaluation = config.evaluation.model_copy(update={"architectures": known})
                config = config.model_copy(update={"evaluation": evaluation})
            yield Cell(row, column, config, network, printed, row_case.get("source", "distilled"))


def _preset(study: Study, cases: tuple[Values, Values], where: str) -> str:
    """The preset of a cell: the row's and the column's together, or the study's. Raises InputError without any."""
    names = [case["preset"] for case in cases if case.get("preset")] or [study.preset]
    if names == [None]:
        raise InputError(f"{where}: neither it nor the study names a preset")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise InputError(f"{where}: preset must be the name of settings (got {shown(repr(wrong[0]))})")
    return "-".join(map(str, names))


def _absent_file(case: Values, changes: Changes) -> str | None:
    """Why a cell cannot be made whose case takes its ranking, or keep-list, from a file; None if that is there."""
    named = {key: value for key, value in case.items() if key in _FILES and value is not None}
    typed = {key: value for key, _, value in (one.partition("=") for one in changes.overrides)}
    for key, value in named.items():
        path = str(typed.get(key, value))
        if not os.path.isfile(path):
            return f"no file {shown(path)}: name yours with --set {key}=FILE"
    return None


def _config(study: Study, preset: Config, cases: Sequence[Values], where: str, changes: Changes) -> Config:
    case = {key: value for case in cases for key, value in case.items() if key not in _OWN}
    for source in {one.get("source", "random") for one in cases} - {"random"}:
        case[f"evaluation.controls.{source}"] = True
    typed = {key: value for key, _, value in (one.partition("=") for one in changes.overrides)}
    case |= {key: typed[key] for key in _FILES if case.get(key) is not None and key in typed}
    config = loading.with_values(preset, study.settings | case, where)
    if overrides := tuple(one for one in changes.overrides if one.partition("=")[0] not in _FILES):
        config = loading.from_settings(config.model_dump(mode="json"), overrides, where)
    return config if changes.validation is None else _held(config, changes.validation, where)


def _held(config: Config, share: float, where: str) -> Config:
    """With a validation split, on which the iterates are judged while distilling."""
    values: Values = {"data.validation": share}
    if not config.distill.validation.seeds:
        values["distill.validation.seeds"] = ValidationSettings().seeds
        values["distill.validation.every"] = max(1, config.distill.iterations // _JUDGINGS)
    return loading.with_values(config, values, where)


def differences(full: Study, planned: Sequence[Cell]) -> Differences:
    """Every setting in which cells that are made differ from those of the full study, with all pairs of values.

    Whatever changed them: a profile, or `--set`. Where the columns are networks, all of a row have the same settings.
    """
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    originals = {(cell.row, cell.column if cell.network is None else ""): cell.config for cell in cells(full)}
    for cell in planned:
        original, config = originals.get((cell.row, cell.column if cell.network is None else "")), cell.config
        if original is None or config is None:
            continue
        before, after = dict(loading.effective(original)), dict(loading.effective(config))
        for key in dict.fromkeys([*before, *after]):
            if key.startswith(_BESIDE):
                continue
            pair = (before.get(key), after.get(key))
            if pair[0] != pair[1] and pair not in pairs.setdefault(key, []):
                pairs[key].append(pair)
    return [(key, values) for key, values in pairs.items() if values]
