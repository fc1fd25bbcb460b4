"""`padray study`: read, plan, make, write. Its artefact is the table as Markdown, Parquet and a picture."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from padray.errors import InputError
from padray.machine.files import shown
from padray.methods.families import method_of
from padray.networks import factory
from padray.networks.flat import spans_of
from padray.report import figures, info, layer_errors, sample_figures
from padray.stages import stored
from padray.stages.base import Context
from padray.stages.facts import dataset_facts
from padray.store.artifacts import Folder, StoredObject
from padray.studies import comparison, definition, drawing, grid, study_page, table
from padray.studies.definition import FULL, Study
from padray.studies.grid import UNCHANGED, Changes
from padray.studies.make import CellResult, Chain, StudyCells, make

PAGE, HTML = "table.md", "table.html"
_NAME = re.compile(r"[\w .,+=@()-]{1,100}")  # one that every storage takes


@dataclass(frozen=True)
class Asked:
    """What was typed: the study's file, its profile, and what is to be otherwise in all of its cells."""

    path: str
    profile: str = FULL
    changes: Changes = UNCHANGED

    @property
    def name(self) -> str:
        stem = Path(self.path).stem.removeprefix("study_").replace("_", "-")
        return stem if self.profile == FULL else f"{stem}-{self.profile}"


def prepare(asked: Asked) -> tuple[Study, Study, list[grid.Cell]]:
    """The study as its file has it, as its profile has it, and the cells. Raises InputError."""
    if not _NAME.fullmatch(asked.name):
        raise InputError(
            f"{shown(asked.path)}: the table's folder is called after this file and its profile; name them with up to "
            f"100 letters, digits and -"
        )
    held = asked.changes.validation
    if held is not None and not 0 < held <= 0.5:
        raise InputError(f"--validation {held:g} must be a share of the training data above 0 and at most 0.5")
    original = definition.read(asked.path)
    study = original.under(asked.profile)
    return original, study, list(grid.cells(study, asked.changes))


@dataclass(frozen=True)
class StudySummary:
    """What `--json` prints of a study.

    Attributes:
        failed: how many cells did.
        table, page: where the table lies, as Markdown and as HTML.
    """

    study: str
    title: str
    source: str
    sample: str
    cells: list[table.CellLine]
    failed: int
    table: str
    page: str


@dataclass(frozen=True)
class StudyTable:
    """A study's end: its summary, and the table for a terminal."""

    summary: StudySummary
    head: list[str]
    body: list[list[str]]


def run(context: Context, asked: Asked, parts: tuple[Study, Study, list[grid.Cell]]) -> StudyTable:
    """Make the study's table and store it."""
    original, study, cells = parts
    context = replace(context, name=asked.name)
    outcomes = make(context, study, cells)
    result = table.StudyResult(study, asked.profile, grid.differences(original, cells), outcomes.results)
    uri = _write(context, result, outcomes)
    columns, body = table.lines_for_console(outcomes.results)
    lines, failed = table.lines_of(table.entries(outcomes.results)), sum(bool(one.failed) for one in outcomes.results)
    title, sample = table.heading(result), table.sample(result)
    summary = StudySummary(asked.name, title, study.source, sample, lines, failed, uri, uri.removesuffix(PAGE) + HTML)
    return StudyTable(summary, [study.rows.title, *columns], body)


def _write(context: Context, study_result: table.StudyResult, outcomes: StudyCells) -> str:
    """Draw, store, and commit last; the pictures and the page also under plain names, to be opened together."""
    folder, entries = context.folder(outcomes.identity), table.entries(outcomes.results)
    heading, axis = f"{table.heading(study_result)} - {study_result.study.source}", study_result.study.columns.title
    drawn = {"table.png": drawing.draw_table(entries, heading, axis, table.measure(outcomes.results))}
    shown = _of_cells(context, study_result.study.kind, outcomes.results)
    captions = {"table.png": "The table", **{name: picture.caption for name, picture in shown.items()}}
    compared = None
    if study_result.study.kind == "comparison":
        compared = comparison.compare(context, study_result.study.rows.title, entries, outcomes.results)
        if compared.ranking:
            drawn["ranks.png"] = drawing.draw_ranks(compared.ranking, heading)
            captions["ranks.png"] = "Average ranks: rows whose bars overlap do not differ"
    beside = [line for section in comparison.sections(compared) for line in section.markdown] if compared else []
    drawn |= {name: picture.content for name, picture in shown.items()}
    columns = stored.columns_of(table.CellLine, table.lines_of(entries))
    files = {
        PAGE: table.markdown(study_result, captions, beside).encode(),
        HTML: study_page.html(context, study_result, compared, captions).encode(),
        "table.parquet": stored.encode_table(columns),
        "table.csv": table.as_csv(columns),
        **drawn,
    }
    objects = [*outcomes.units]
    for name, content in files.items():
        stem, suffix = name.rsplit(".", 1)
        objects.append(folder.put(stem, suffix, content))
        context.location.put(f"{folder.path}/{name}", content)
    sets = sorted({chain.set_fingerprint for result in outcomes.results for chain in result.chains})
    folder.commit(context.manifest(outcomes.identity, _once(objects), inputs={"sets": sets}))
    return f"{folder.uri}/{PAGE}"


def _once(objects: list[StoredObject]) -> list[StoredObject]:
    return list({item.key: item for item in objects}.values())


class Picture(NamedTuple):
    """What a cell's distillation shows: the figure, and of what it is."""

    caption: str
    content: bytes


def _of_cells(context: Context, kind: str, results: list[CellResult]) -> dict[str, Picture]:
    """What the study's kind shows of the first distillation of every cell that came to an end, by the files' names."""
    drawn: dict[str, Picture] = {}
    for place, result in enumerate(results):
        if kind in ("table", "comparison") or not result.rows:
            continue
        chain = result.evaluated[0]
        pictures = _pictures(context, context.folder(chain.distilled), chain, kind)
        drawn |= {
            f"{name}-{place:02d}.png": Picture(f"{result.cell.row} / {result.cell.column}{caption}", content)
            for name, (caption, content) in pictures.items()
        }
    return drawn


def _pictures(context: Context, folder: Folder, chain: Chain, kind: str) -> dict[str, Picture]:
    iterations = chain.config.distill.iterations
    if kind == "pictures":
        return {kind: Picture("", sample_figures.draw_images(info.images_info(stored.load_set(folder, iterations))))}
    history = stored.load_history(folder, iterations)
    facts, distill = dataset_facts(context.folder(chain.data)), chain.config.distill
    spans = spans_of(factory.build(chain.config.network, facts.shape, facts.classes, 0))
    own = {one.stem: one.info for one in method_of(distill).figures(distill, history, spans, facts.class_names)}
    drawn = {stem: figures.DRAWINGS[type(one)](one) for stem, one in own.items()}
    if kind == "weights":
        return {kind: Picture("", drawn[kind])} if kind in drawn else {}
    pictures = {}
    if "layers" in drawn:
        pictures = {f"{kind}-relative": Picture(": errors relative to the expert's own way", drawn["layers"])}
    if absolute := layer_errors.errors_info(history, spans):
        pictures[f"{kind}-absolute"] = Picture(f": {absolute.caption}", layer_errors.draw_errors(absolute))
    return pictures
