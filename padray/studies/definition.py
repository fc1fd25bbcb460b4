"""A study's file: what it asks for, and what its profiles change.

A case holds dotted settings, and may name a `preset`; a cell is a row's case and a column's case together, over the
profile's preset and settings; `cells` holds settings of single ones. Where both name a preset, they name it together:
the row's `mtt` and the column's `cifar10-ipc1` are mtt-cifar10-ipc1. A row's `source: random` (`random_soft`, `full`)
stands for the control of that name beside the cell's set, and its `without` says which columns it has no cell in, and
why. A case that is null is a method that padray does not have: its cells are shown as "not available", beside what the
paper prints for them. A case that takes its ranking (`scores.path`) or keep-list (`schedule.keep_list`) from a file has
no cells where that is not there; `--set` names another file, for these cases alone.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from padray.configuration import trees
from padray.errors import InputError
from padray.machine.files import shown
from padray.networks.settings import Architecture, NetworkSettings
from padray.settings.sections import Section

Values = dict[str, Any]
Cases = dict[str, Values | None]
Networks = dict[str, Architecture]
Cells = dict[str, dict[str, Values]]  # by row and column
Distillations = Annotated[int, Field(ge=1, le=100)]
# Of the sources of an evaluation, those that a row can show.
Shown = Literal["distilled", "random", "random_soft", "full"]
CONTROLS = ("random", "random_soft", "full")
FULL = "full"


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
