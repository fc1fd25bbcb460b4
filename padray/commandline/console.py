"""What padray prints: a live line per stage on a terminal and plain lines elsewhere; tables at the end.

Progress and errors go to stderr. With `--json` stdout holds one JSON object and nothing else, whoever prints.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from padray.commandline import console_tables, stdout
from padray.commandline.live import LiveLines, PlainLines
from padray.commandline.results import Artifact, ArtifactLine, BrokenLine, Description, Listing
from padray.machine.files import shown
from padray.stages.progress import Progress

if TYPE_CHECKING:  # what a command works with; printing it loads nothing of that
    from padray.data.survey import SurveySummary
    from padray.evaluation.summary import Row
    from padray.exchange.outgoing import Exported
    from padray.exchange.received import Imported
    from padray.operations.clusters import PreflightResult, Submitted
    from padray.operations.status import Status
    from padray.operations.upkeep import Removed, Verified
    from padray.operations.usage import Usage
    from padray.planning.result import Plan
    from padray.stages.summaries import RunResult, SearchResult
    from padray.studies.study import StudyTable

_LONGEST = 1000  # characters of a word in an error's sentence: a path may be far longer
_PIPE_WIDTH = 1000  # columns where nobody sees them: whoever reads a file wants names whole


@dataclass(frozen=True)
class _Error:
    error: str


T = TypeVar("T")


def _or_json(draw: "Callable[[Console, T], None]") -> "Callable[[Console, T], None]":
    """Draws a result for people; with `--json` the result itself is printed."""

    @wraps(draw)
    def show(console: "Console", result: T) -> None:
        if console.as_json:
            console._print_json(result)
        else:
            draw(console, result)

    return show


class Console:
    """One command's output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal that has no such character gets its number
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self.out = rich.console.Console(
            file=stdout.result(), width=width, highlight=False, soft_wrap=True, markup=False, emoji=False
        )
        self.err = rich.console.Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def error(self, sentence: str) -> None:
        """One sentence on stderr, on one line and not endless whatever it quotes, and as the JSON object."""
        line = " ".join(shown(word, _LONGEST) for word in sentence.split())
        if self.as_json:
            self._print_json(_Error(line))
        self.err.print(f"padray: {line}")

    @contextmanager
    def progress(self) -> Iterator[Callable[[Progress], None]]:
        """A listener for the stages' progress."""
        if not self.err.is_terminal:
            yield PlainLines(self.err)
            return
        columns = (
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Bars(*columns, console=self.err) as bars:
            yield LiveLines(bars)

    @_or_json
    def result(self, result: "RunResult") -> None:
        """The end of a chain: seconds per stage, the set's digest, accuracies."""
        from padray.stages.summaries import SearchResult

        stages = Table("stage", "seconds", "artefact", title=f"padray {result.config}")
        for stage, seconds in result.seconds.items():
            note = " (reused)" if stage in result.reused else ""
            stages.add_row(stage, f"{seconds:.1f}{note}", result.artifacts.get(stage, ""))
        self.out.print(stages)
        default: Sequence[Row] = ()
        if isinstance(result, SearchResult):
            for line in _search(result):
                self.out.print(line, markup=False)
            default = result.default if result.best.trial else ()  # where they stay, they are the set
        if result.evaluation:
            self.out.print(console_tables.of_accuracies([*result.evaluation, *console_tables.as_defaults(default)]))
        if result.ceiling:
            self.out.print(f"ceiling: {result.ceiling.text}")
        for note in result.notes:
            self.out.print(f"note: {note}")
        if result.set.sha256:
            self.out.print(f"set: sha256 {result.set.sha256}, {result.set.bytes} bytes learned")
        if result.report:
            self.out.print(f"report: {result.report}")

    def study(self, study: "StudyTable") -> None:
        """A study's table, with the paper's numbers in its cells."""
        summary = study.summary
        if self.as_json:
            return self._print_json(summary)
        table = Table(*study.head, title=f"{summary.title}\nbeside {summary.source}")
        for row in study.body:
            table.add_row(*row)
        self.out.print(table)
        self.out.print(summary.sample)
        self.out.print(f"table: {summary.table}")
        self.out.print(f"page: {summary.page}")
        return None

    @_or_json
    def exported(self, exported: "Exported") -> None:
        """What was taken out, and where it is."""
        already = "already there: " if exported.reused else ""
        self.out.print(f"{already}{exported.exported} as {exported.layout} in {exported.destination}")
        self.out.print(f"files: {len(exported.files)}; metadata.json says what the others do not")
        if exported.install:
            self.out.print(f"to train on it there: pip install {exported.install}; python train.py")
        if exported.measured or exported.lost:
            self.out.print(exported.measured.sentence if exported.measured else f"note: {exported.lost}")

    @_or_json
    def imported(self, imported: "Imported") -> None:
        """What was brought in, where it is, what is worth knowing of it, and what to do next."""
        self.out.print(f"{imported.imported}: {imported.artifact}")
        for note in imported.notes:
            self.out.print(f"note: {note}")
        self.out.print(f"next: {imported.use}")

    def log(self, text: str) -> None:
        """A part of a job's log, as it comes."""
        stream = sys.stderr if self.as_json else sys.stdout
        stream.write(text)
        stream.flush()

    @_or_json
    def submitted(self, job: "Submitted") -> None:
        """How a job ended, or how to follow and to stop one that goes on."""
        note = f" ({job.message})" if job.message else ""
        self.out.print(f"job {job.job}: {job.status}{note}")
        if job.status in ("SUBMITTED", "RUNNING"):
            self.out.print(f"it goes on; follow it: {job.follow}")
            self.out.print(f"stop it: {job.stop}")

    @_or_json
    def surveyed(self, survey: "SurveySummary") -> None:
        """What was found in a dataset, where its settings are, and what to do next."""
        (smallest, fewest), (largest, most) = survey.smallest, survey.largest
        self.out.print(f"found: {survey.samples}")
        uneven = f"{largest} has {most:,} training samples, {smallest} {fewest:,}"
        even = f"every class has {most:,} training samples"
        self.out.print(f"classes: {survey.classes}; {even if fewest == most else uneven}")
        for remark in survey.remarks:
            self.out.print(f"note: {remark}")
        self.out.print(f"settings: {survey.file}, {survey.sized}")
        for line in survey.next:
            self.out.print(f"next: {line}")

    @_or_json
    def plan(self, plan: "Plan") -> None:
        """The units of every stage and what they take; their sum; what to know of it."""
        from padray.planning.wording import page

        shown = page(plan)
        table = Table(*shown.head, title=shown.title)
        for row in shown.rows:
            table.add_row(*row)
        table.add_section()
        table.add_row(*shown.total)
        self.out.print(table)
        if shown.clusters is not None:
            types = Table(*shown.clusters.head, title=shown.clusters.title)
            for row in shown.clusters.rows:
                types.add_row(*row)
            self.out.print(types)
        for sentence in shown.sentences:
            self.out.print(sentence)

    @_or_json
    def settings(self, described: Description) -> None:
        """Every setting with its origin, then where the artefacts will be."""
        rows = Table("setting", "value", "from", title=f"padray {described.config}")
        for line in described.settings:
            rows.add_row(line.setting, json.dumps(line.value), line.origin)
        self.out.print(rows)
        for stage, folder in described.artifacts.items():
            self.out.print(f"{stage}: {folder}")

    @_or_json
    def artifacts(self, listing: Listing) -> None:
        """The artefacts of a storage root, a line each."""
        self.out.print(
            console_tables.of_artifacts([each for each in listing.artifacts if isinstance(each, ArtifactLine)])
        )
        for line in listing.artifacts:
            if isinstance(line, BrokenLine):
                self.out.print(f"broken: {line.broken}")

    @_or_json
    def artifact(self, artifact: Artifact) -> None:
        """One artefact, whole: what it reached, what it was made from, its settings, its objects."""
        for table in console_tables.of_artifact(artifact):
            self.out.print(table)

    @_or_json
    def status(self, status: "Status") -> None:
        """What runs and how far it is, what is not finished, and what every stage has taken."""
        for table in console_tables.of_runs(status.runs):
            self.out.print(table)
        if status.unfinished:
            self.out.print(console_tables.of_unfinished(status.unfinished))
        if status.stages:
            self.out.print(console_tables.of_stages(status.stages))
        going = sum(run.state == "running" for run in status.runs)
        ends = f"{status.finished} finished, {len(status.unfinished)} unfinished" + f", {going} running" * (going > 0)
        self.out.print(f"{status.storage}: {ends}")

    @_or_json
    def preflight(self, result: "PreflightResult") -> None:
        """What every node can do, what is wrong, and which types of nodes are not up."""
        self.out.print(console_tables.of_nodes(result))
        for problem in result.problems:
            self.out.print(problem)
        if result.not_up:
            self.out.print(f"not up, so not asked: nodes of the type {', '.join(result.not_up)}")
        wrong = sum(bool(line.problems) for line in result.nodes)
        asked = f"{len(result.nodes)} node{'s' * (len(result.nodes) != 1)} asked"
        self.out.print(f"{asked}, {wrong} with something wrong")

    def findings(self, verified: "Verified") -> None:
        """What is wrong or unfinished, and what repair does about it; with --json it comes with the end."""
        if self.as_json or not verified.findings:
            return
        rows = Table("key", "what", "problem", "repair", title=f"findings in {verified.storage}")
        for line in verified.findings:
            rows.add_row(line.key, line.kind, line.problem, line.repair)
        self.out.print(rows)

    @_or_json
    def verified(self, verified: "Verified") -> None:
        """How much was checked, what was repaired, and what is left."""
        repaired, wrong = sum(line.repaired for line in verified.findings), verified.wrong
        counts = f"{verified.artifacts} artefacts, {verified.objects} objects, {verified.bytes:,} bytes"
        self.out.print(f"checked: {counts}")
        left = f"{wrong} wrong; --repair makes room for what is right" if wrong else "nothing is wrong"
        self.out.print(f"repaired: {repaired}; left: {left}" if repaired else f"found: {left}")

    @_or_json
    def removed(self, removed: "Removed") -> None:
        """What was removed, and what was made from it."""
        self.out.print(f"removed: {removed.removed}, {removed.objects} objects, {removed.bytes:,} bytes")
        if removed.dependants:
            self.out.print(f"made from it, and still there: {', '.join(removed.dependants)}")

    @_or_json
    def usage(self, usage: "Usage") -> None:
        """Bytes of every artefact, with each stage's sum and the total."""
        rows = Table("stage", "artefact", "objects", "bytes")
        for line in usage.artifacts:
            note = "" if line.finished else " (unfinished)"
            rows.add_row(line.stage, line.artifact + note, f"{line.objects:,}", f"{line.bytes:,}")
        rows.add_section()
        for stage, size in usage.stages.items():
            rows.add_row(stage, "all of them", "", f"{size:,}")
        rows.add_row("total", "", "", f"{usage.total:,}")
        self.out.print(rows)

    def _print_json(self, result: Any) -> None:
        """A result, which is a dataclass, as one JSON object."""
        indent, content = None if self.as_json else 1, asdict(result)
        text = json.dumps(content, indent=indent, ensure_ascii=False)
        try:
            text.encode(getattr(self.out.file, "encoding", None) or "utf-8")
        except UnicodeEncodeError:  # JSON has its own way of writing what this terminal cannot
            text = json.dumps(content, indent=indent)
        self.out.file.write(f"{text}\n")


def _search(result: "SearchResult") -> list[str]:
    """What became of the trials, what was chosen and where it is, and what keeps that from meaning much."""
    best, trials = result.best, result.trials
    chosen = [f"{key}={_short(value)}" for key, value in best.settings.items()]
    ends = [f"{trials.finished} trials finished", *([f"{trials.stopped} stopped"] if trials.stopped else [])]
    ends.append(f"{trials.failed} failed")
    if trials.missing:
        ends.append(f"{trials.missing} not begun: {trials.limit} (the same command goes on)")
    return [
        f"search: {', '.join(ends)}; chosen: {'the defaults' if not best.trial else f'trial {best.trial}'} with "
        f"{100 * (best.validation or 0):.1f} % on validation: {', '.join(chosen)}",
        f"verdict: {result.verdict}",
        *(f"warning: {warning}" for warning in result.warnings),
        *([f"front: {', '.join(one.file for one in result.front.members)}"] if result.front else []),
        f"settings: {best.file}",
    ]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
