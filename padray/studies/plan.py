"""A study's file, and the grid of cells that it asks for under one profile.

A case holds dotted settings, and may name a `preset`; a cell is a row's case and a column's case together, over the
profile's preset and settings. A case that is null is a method that padray does not have: its cells are shown as
"not available", beside what the paper prints for them.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from padray import loading, trees
from padray.config import Config
from padray.errors import InputError
from padray.files import shown
from padray.sections import Architecture, NetworkSettings, Section

Values = dict[str, Any]
Cases = dict[str, Values | None]
Networks = dict[str, Architecture]
Differences = list[tuple[str, list[tuple[Any, Any]]]]  # setting, its values in the full study and here
Distillations = Annotated[int, Field(ge=1, le=100)]
FULL = "full"
MOST_CELLS = 1000
_BESIDE = ("search.", "cluster.", "compute.", "storage.", "data.path")  # no cell's accuracy depends on these


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


class Study(Section):
    """One study, as its file says."""

    title: str
    source: str
    kind: Literal["table", "pictures", "weights", "errors"] = "table"
    preset: str | None = None
    distillations: Distillations = 1
    settings: Values = Field(default={})
    rows: Axis
    columns: Axis
    printed: dict[str, dict[str, float | str | None]] = Field(default={})
    notes: tuple[str, ...] = ()
    profiles: dict[str, Profile] = Field(default={})

    @model_validator(mode="after")
    def _names_fit(self) -> "Study":
        if self.rows.architectures:
            raise ValueError("networks can only be columns; give the rows cases")
        rows, columns = set(self.rows.cases), set(labelled(self.columns.architectures) or self.columns.cases)
        for row, cells in self.printed.items():
            wrong = sorted(set(cells) - columns if row in rows else cells)
            if wrong:
                raise ValueError(f"printed {row!r}: {', '.join(wrong)} are not cells of the table")
        if FULL in self.profiles:
            raise ValueError(f"{FULL} is the study itself; call the profile otherwise")
        for name, profile in self.profiles.items():
            unknown = (set(profile.rows) - rows) | (set(profile.columns) - columns)
            if unknown:
                raise ValueError(f"profiles.{name} changes {sorted(unknown)[0]!r}, which is no case of this study")
        return self

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
            "preset": profile.preset or self.preset, "settings": self.settings | profile.settings,
            "rows": rows, "columns": columns, "distillations": profile.distillations or self.distillations,
        }  # fmt: skip
        return self.model_copy(update=update)


def _replaced(cases: Cases, changes: Cases, preset: str | None) -> Cases:
    """The cases with a profile's own values and preset; those that the profile sets to null are left out."""
    found: Cases = {}
    for name, case in (cases | changes).items():
        if case is None or name in changes:
            found |= {} if name in changes and case is None else {name: case}
        else:
            found[name] = {key: value for key, value in case.items() if preset is None or key != "preset"}
    return found


def labelled(architectures: Networks | tuple[NetworkSettings, ...]) -> Networks:
    """Networks by the names of their columns."""
    if isinstance(architectures, dict):
        return architectures
    return {network.label: network for network in architectures}


@dataclass(frozen=True)
class Cell:
    """One cell: its settings (None: not available), the network that it is evaluated on, and the printed number."""

    row: str
    column: str
    config: Config | None
    network: NetworkSettings | None
    printed: float | str | None

    def distillations(self, count: int) -> list[Config]:
        """The cell's settings with `count` seeds of the distillation in turn."""
        assert self.config is not None, "a cell that is not available has nothing to distil"
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


def cells(study: Study, overrides: tuple[str, ...] = ()) -> Iterator[Cell]:
    """All cells, row by row. Raises InputError where there are too many, or settings do not fit, naming the cell."""
    networks = labelled(study.columns.architectures)
    columns: dict[str, Values | None] = {name: {} for name in networks} if networks else dict(study.columns.cases)
    rows, presets = study.rows.cases, dict[str, Config]()
    if len(rows) * len(columns) > MOST_CELLS:
        raise InputError(f"rows and columns: {len(rows)} times {len(columns)} are more than {MOST_CELLS} cells")
    for (row, row_case), (column, column_case) in itertools.product(rows.items(), columns.items()):
        config = None
        if row_case is not None and column_case is not None:
            name, case = f"cell {shown(f'{row} / {column}')}", {**row_case, **column_case}
            preset = case.pop("preset", None) or study.preset
            if preset is None:
                raise InputError(f"{name}: neither it nor the study names a preset")
            if not isinstance(preset, str):
                raise InputError(f"{name}: preset must be the name of settings (got {shown(repr(preset))})")
            if preset not in presets:
                presets[preset] = loading.load(preset).config
            config = _config(presets[preset], study.settings | case, name, overrides)
            if networks:
                known = tuple(dict.fromkeys(network for network in networks.values() if network != config.network))
                evaluation = config.evaluation.model_copy(update={"architectures": known})
                config = config.model_copy(update={"evaluation": evaluation})
        yield Cell(row, column, config, networks.get(column), study.printed.get(row, {}).get(column))


def _config(preset: Config, values: Values, name: str, overrides: tuple[str, ...]) -> Config:
    changed = loading.with_values(preset, values, name)
    return loading.from_settings(changed.model_dump(mode="json"), overrides, name) if overrides else changed


def differences(full: Study, made: Sequence[Cell]) -> Differences:
    """Every setting in which cells that are made differ from those of the full study, with all pairs of values.

    Whatever changed them: a profile, or `--set`. Where the columns are networks, all of a row have the same settings.
    """
    found: dict[str, list[tuple[Any, Any]]] = {}
    originals = {(cell.row, cell.column if cell.network is None else ""): cell.config for cell in cells(full)}
    for cell in made:
        original, config = originals.get((cell.row, cell.column if cell.network is None else "")), cell.config
        if original is None or config is None:
            continue
        before, after = dict(loading.effective(original)), dict(loading.effective(config))
        for key in dict.fromkeys([*before, *after]):
            if key.startswith(_BESIDE):
                continue
            pair = (before.get(key), after.get(key))
            if pair[0] != pair[1] and pair not in found.setdefault(key, []):
                found[key].append(pair)
    return [(key, values) for key, values in found.items() if values]
