"""A study's file, and the grid of cells that it asks for under one profile.

A case holds dotted settings, and may name a `preset`; a cell is a row's case and a column's case together, over the
profile's preset and settings; `cells` holds settings of single ones. Where both name a preset, they name it together:
the row's `mtt` and the column's `cifar10-ipc1` are mtt-cifar10-ipc1. A row's `source: random` (`random_soft`, `full`)
stands for the control of that name beside the cell's set, and its `without` says which columns it has no cell in, and
why. A case that is null is a method that padray does not have: its cells are shown as "not available", beside what the
paper prints for them. A case that takes its ranking (`scores.path`) or keep-list (`schedule.keep_list`) from a file has
no cells where that is not there; `--set` names another file, for these cases alone.
"""

import functools
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from padray.config import Config, ValidationSettings
from padray.configuration import loading, trees
from padray.errors import InputError
from padray.machine.files import shown
from padray.networks.settings import Architecture, NetworkSettings
from padray.settings.sections import Section

Values = dict[str, Any]
Cases = dict[str, Values | None]
Networks = dict[str, Architecture]
Cells = dict[str, dict[str, Values]]  # by row and column
Differences = list[tuple[str, list[tuple[Any, Any]]]]  # setting, its values in the full study and here
Distillations = Annotated[int, Field(ge=1, le=100)]
Shown = Literal[
    "distilled", "random", "random_soft", "full"
]  # of the sources of an evaluation, those that a row can show
CONTROLS = ("random", "random_soft", "full")
FULL = "full"
MOST_CELLS = 1000
NOT_AVAILABLE = "not available"
_JUDGINGS = 20  # of a distillation that is given a validation split: the papers test each 500 of 10,000 iterations
_OWN = ("preset", "source", "without")  # what a case holds beside settings
_BESIDE = (
    "search.",
    "cluster.",
    "compute.",
    "storage.",
    "data.path",
    "scores.path",
    "schedule.keep_list",
)  # no cell's accuracy depends on these


class Axis(Section):
    """The rows or the columns: cases by name, or (columns only) networks that the sets are evaluated on."""

    title: str
    cases: Cases = Field(default={})
    architectures: Networks | tuple[Architecture, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> "Axis":
        if bool(self.cases) == bool(self.architectures):
            raise ValueError("an axis has either cases or architectures")
        return self


class Profile(Section):
    """What another size of the same study changes; its rows and columns replace the cases of their names.

    Its preset is that of all cells, but for those whose case in this profile names another.
    """

    preset: str | None = None
    distillations: Distillations | None = None
    settings: Values = Field(default={})
    rows: Cases = Field(default={})
    columns: Cases = Field(default={})
    architectures: Networks | tuple[Architecture, ...] = ()
    cells: Cells = Field(default={})


class Study(Section):
    """One study, as its file says."""

    title: str
    source: str
    kind: Literal["table", "comparison", "pictures", "weights", "errors"] = "table"
    preset: str | None = None
    distillations: Distillations = 1
    settings: Values = Field(default={})
    rows: Axis
    columns: Axis
    cells: Cells = Field(default={})
    printed: dict[str, dict[str, float | str | None]] = Field(default={})
    notes: tuple[str, ...] = ()
    profiles: dict[str, Profile] = Field(default={})

    @model_validator(mode="after")
    def _names_fit(self) -> "Study":
        if self.rows.architectures:
            raise ValueError("networks can only be columns; give the rows cases")
        rows, columns = set(self.rows.cases), set(labelled(self.columns.architectures) or self.columns.cases)
        own = {f"profiles.{name}.cells": profile.cells for name, profile in self.profiles.items()}
        by_cell: dict[str, Mapping[str, Mapping[str, Any]]] = {"printed": self.printed, "cells": self.cells, **own}
        for where, row, cells in ((where, *pair) for where, grid in by_cell.items() for pair in grid.items()):
            wrong = sorted(set(cells) - columns if row in rows else cells)
            if wrong:
                raise ValueError(f"{where} {row!r}: {', '.join(wrong)} are not cells of the table")
        self._check_rows(columns)
        if FULL in self.profiles:
            raise ValueError(f"{FULL} is the study itself; call the profile otherwise")
        for name, profile in self.profiles.items():
            unknown = (set(profile.rows) - rows) | (set(profile.columns) - columns)
            if unknown:
                raise ValueError(f"profiles.{name} changes {sorted(unknown)[0]!r}, which is no case of this study")
        return self

    def _check_rows(self, columns: set[str]) -> None:
        """Raises ValueError for a row that shows, or leaves out, what is not there."""
        for row, case in self.rows.cases.items():
            source, without = (case or {}).get("source", "random"), (case or {}).get("without", {})
            if source not in CONTROLS:
                raise ValueError(f"row {row!r}: source must be one of {', '.join(CONTROLS)} (got {source!r})")
            if not isinstance(without, dict) or not all(isinstance(why, str) for why in without.values()):
                raise ValueError(f"row {row!r}: without must say for each column why the row has no cell in it")
            if wrong := sorted(set(without) - columns):
                raise ValueError(f"row {row!r}: without names {wrong[0]!r}, which is no column of this study")
        both = [name for name, case in self.columns.cases.items() if case and {"source", "without"} & set(case)]
        if both:
            raise ValueError(f"column {both[0]!r}: source and without belong to rows")

    def under(self, name: str) -> "Study":
        """This study with a profile's changes. Raises InputError for a profile that it does not have."""
        if name == FULL:
            return self
        if name not in self.profiles:
            known = ", ".join([FULL, *self.profiles])
            raise InputError(f"--profile {shown(name)} is not in this study; it has {shown(known)}")
        profile = self.profiles[name]
        rows = self.rows.model_copy(update={"cases": _replaced(self.rows.cases, profile.rows, profile.preset)})
        columns = self.columns.model_copy(
            update={
                "cases": _replaced(self.columns.cases, profile.columns, profile.preset),
                "architectures": profile.architectures or self.columns.architectures,
            }
        )
        update = {
            "preset": profile.preset or self.preset,
            "settings": self.settings | profile.settings,
            "rows": rows,
            "columns": columns,
            "cells": profile.cells or self.cells,
            "distillations": profile.distillations or self.distillations,
        }
        return self.model_copy(update=update)


def _replaced(cases: Cases, changes: Cases, preset: str | None) -> Cases:
    """The cases with a profile's own values and preset; those that the profile sets to null are left out."""
    replaced: Cases = {}
    for name, case in (cases | changes).items():
        if case is None or name in changes:
            replaced |= {} if name in changes and case is None else {name: case}
        else:
            replaced[name] = {key: value for key, value in case.items() if preset is None or key != "preset"}
    return replaced


def labelled(architectures: Networks | tuple[NetworkSettings, ...]) -> Networks:
    """Networks by the names of their columns."""
    if isinstance(architectures, dict):
        return architectures
    return {network.label: network for network in architectures}


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


def read(path: str) -> Study:
    """The study in a file. Raises InputError if it is none."""
    tree = trees.read(path, "the study")
    try:
        return Study.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        first = error.errors()[0]
        where = shown(".".join(str(part) for part in first["loc"])) or "the study"
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{shown(path)}: {where}: {message[0].lower()}{shown(message[1:])}") from None


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


_FILES = ("scores.path", "schedule.keep_list")  # what only the cells have whose case names one


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
