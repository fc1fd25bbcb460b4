"""What padray prints: a live line per stage on a terminal and plain lines elsewhere; tables at the end.

Progress and errors go to stderr. With `--json` stdout holds one JSON object and nothing else, whoever prints.
"""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from padray.commandline import stdout, tables
from padray.machine.files import shown
from padray.planning.page import Page
from padray.stages.progress import Progress

_PLAIN_EVERY_S = 10.0
_LONGEST = 1000  # characters of a word in an error's sentence: a path may be far longer
_PIPE_WIDTH = 1000  # columns where nobody sees them: whoever reads a file wants names whole


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
            self._print_json({"error": line})
        self.err.print(f"padray: {line}")

    @contextmanager
    def progress(self) -> Iterator[Callable[[Progress], None]]:
        """A listener for the stages' progress."""
        if not self.err.is_terminal:
            yield _PlainLines(self.err)
            return
        columns = (
            TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )  # fmt: skip
        with Bars(*columns, console=self.err) as bars:
            yield _LiveLines(bars)

    def result(self, summary: dict[str, Any]) -> None:
        """The end of a chain: seconds per stage, the set's digest, accuracies."""
        if self.as_json:
            return self._print_json(summary)
        stages = Table("stage", "seconds", "artefact", title=f"padray {summary['config']}")
        for stage, seconds in summary["seconds"].items():
            note = " (reused)" if stage in summary["reused"] else ""
            stages.add_row(stage, f"{seconds:.1f}{note}", summary["artifacts"].get(stage, ""))
        self.out.print(stages)
        if "best" in summary:
            self.out.print(_search(summary), markup=False)
        if summary["evaluation"]:
            rows = [*summary["evaluation"], *tables.as_defaults(summary.get("default", []))]
            self.out.print(tables.of_accuracies(rows))
        if summary["set"]["sha256"]:
            self.out.print(f"set: sha256 {summary['set']['sha256']}, {summary['set']['bytes']} bytes learned")
        if summary["report"]:
            self.out.print(f"report: {summary['report']}")
        return None

    def study(self, made: dict[str, Any]) -> None:
        """A study's table, with the paper's numbers in its cells."""
        if self.as_json:
            return self._print_json(
                {key: made[key] for key in ("study", "title", "source", "sample", "cells", "failed", "table")}
            )
        table = Table(*made["head"], title=f"{made['title']}\nbeside {made['source']}")
        for row in made["body"]:
            table.add_row(*row)
        self.out.print(table)
        self.out.print(made["sample"])
        self.out.print(f"table: {made['table']}")
        return None

    def exchanged(self, told: dict[str, Any]) -> None:
        """What was brought in or taken out, where it is, what is worth knowing of it, and what to do next."""
        if self.as_json:
            return self._print_json(told)
        if "exported" in told:
            already = "already there: " if told["reused"] else ""
            self.out.print(f"{already}{told['exported']} as {told['layout']} in {told['destination']}")
            self.out.print(f"files: {len(told['files'])}; metadata.json says what the others do not")
            return None
        self.out.print(f"{told['imported']}: {told['artifact']}")
        for note in told["notes"]:
            self.out.print(f"note: {note}")
        self.out.print(f"next: {told['use']}")
        return None

    def log(self, text: str) -> None:
        """A part of a job's log, as it comes."""
        stream = sys.stderr if self.as_json else sys.stdout
        stream.write(text)
        stream.flush()

    def submitted(self, told: dict[str, Any]) -> None:
        """How a job ended, or how to follow and to stop one that goes on."""
        if self.as_json:
            return self._print_json(told)
        note = f" ({told['message']})" if told["message"] else ""
        self.out.print(f"job {told['job']}: {told['status']}{note}")
        if told["status"] in ("SUBMITTED", "RUNNING"):
            self.out.print(f"it goes on; follow it: {told['follow']}")
            self.out.print(f"stop it: {told['stop']}")
        return None

    def surveyed(self, told: dict[str, Any]) -> None:
        """What was found in a dataset, where its settings are, and what to do next."""
        if self.as_json:
            return self._print_json(told)
        (smallest, fewest), (largest, most) = told["smallest"], told["largest"]
        shape = "x".join(map(str, told["shape"]))
        self.out.print(f"found: {told['train']:,} training and {told['test']:,} test samples, {told['holds']}, {shape}")
        self.out.print(f"classes: {told['classes']}; {largest} has {most:,} training samples, {smallest} {fewest:,}")
        self.out.print(f"settings: {told['file']}")
        for line in told["next"]:
            self.out.print(f"next: {line}")
        return None

    def plan(self, told: dict[str, Any], page: Page) -> None:
        """The units of every stage and what they take; their sum; what to know of it."""
        if self.as_json:
            return self._print_json(told)
        table = Table(*page.head, title=page.title)
        for row in page.rows:
            table.add_row(*row)
        table.add_section()
        table.add_row(*page.total)
        self.out.print(table)
        if page.clusters is not None:
            types = Table(*page.clusters.head, title=page.clusters.title)
            for row in page.clusters.rows:
                types.add_row(*row)
            self.out.print(types)
        for sentence in page.sentences:
            self.out.print(sentence)
        return None

    def settings(self, described: dict[str, Any]) -> None:
        """Every setting with its origin, then where the artefacts will be."""
        if self.as_json:
            return self._print_json(described)
        rows = Table("setting", "value", "from", title=f"padray {described['config']}")
        for row in described["settings"]:
            rows.add_row(row["setting"], json.dumps(row["value"]), row["origin"])
        self.out.print(rows)
        for stage, folder in described["artifacts"].items():
            self.out.print(f"{stage}: {folder}")
        return None

    def artifacts(self, lines: list[dict[str, Any]]) -> None:
        """The artefacts of a storage root, a line each."""
        if self.as_json:
            return self._print_json({"artifacts": lines})
        rows = Table("artefact", "config", "objects", "bytes")
        broken = [line for line in lines if "broken" in line]
        for line in (line for line in lines if "broken" not in line):
            rows.add_row(line["artifact"], line["config"], str(line["objects"]), f"{line['bytes']:,}")
        self.out.print(rows)
        for line in broken:
            self.out.print(f"broken: {line['broken']}")
        return None

    def artifact(self, shown: dict[str, Any]) -> None:
        """One artefact, whole."""
        self._print_json(shown)

    def status(self, told: dict[str, Any]) -> None:
        """What runs and how far it is, what is not finished, and what every stage has taken."""
        if self.as_json:
            return self._print_json(told)
        for table in tables.of_runs(told["runs"]):
            self.out.print(table)
        if told["unfinished"]:
            rows = Table("stage", "artefact", "objects", "last", "written", title="unfinished")
            for line in told["unfinished"]:
                objects = ", ".join(f"{count} {kind}" for kind, count in sorted(line["objects"].items()))
                rows.add_row(
                    line["stage"], line["artifact"], objects, line["last"], f"{tables.duration(line['idle_s'])} ago"
                )
            self.out.print(rows)
        if told["stages"]:
            rows = Table("stage", "units", "hours", "lost", "hosts", title="what the work took")
            for line in told["stages"]:
                hours = f"{line['seconds'] / 3600:.2f}"
                rows.add_row(line["stage"], str(line["units"]), hours, str(line["lost"]), str(line["hosts"]))
            self.out.print(rows)
        going = sum(run["state"] == "running" for run in told["runs"])
        ends = f"{told['finished']} finished, {len(told['unfinished'])} unfinished" + f", {going} running" * (going > 0)
        self.out.print(f"{told['storage']}: {ends}")
        return None

    def preflight(self, told: dict[str, Any]) -> None:
        """What every node can do, what is wrong, and which types of nodes are not up."""
        if self.as_json:
            return self._print_json(told)
        self.out.print(tables.of_nodes(told))
        for problem in told["problems"]:
            self.out.print(problem)
        if told["not_up"]:
            self.out.print(f"not up, so not asked: nodes of the type {', '.join(told['not_up'])}")
        wrong = sum(bool(line["problems"]) for line in told["nodes"])
        asked = f"{len(told['nodes'])} node{'s' * (len(told['nodes']) != 1)} asked"
        self.out.print(f"{asked}, {wrong} with something wrong")
        return None

    def findings(self, told: dict[str, Any]) -> None:
        """What is wrong or unfinished, and what repair does about it; with --json it comes with the end."""
        if self.as_json or not told["findings"]:
            return
        rows = Table("key", "what", "problem", "repair", title=f"findings in {told['storage']}")
        for line in told["findings"]:
            rows.add_row(line["key"], line["kind"], line["problem"], line["repair"])
        self.out.print(rows)

    def verified(self, told: dict[str, Any]) -> None:
        """How much was checked, what was repaired, and what is left."""
        if self.as_json:
            return self._print_json(told)
        repaired = sum(line["repaired"] for line in told["findings"])
        self.out.print(f"checked: {told['artifacts']} artefacts, {told['objects']} objects, {told['bytes']:,} bytes")
        left = f"{told['wrong']} wrong; --repair makes room for what is right" if told["wrong"] else "nothing is wrong"
        self.out.print(f"repaired: {repaired}; left: {left}" if repaired else f"found: {left}")
        return None

    def removed(self, told: dict[str, Any]) -> None:
        """What was removed, and what was made from it."""
        if self.as_json:
            return self._print_json(told)
        self.out.print(f"removed: {told['removed']}, {told['objects']} objects, {told['bytes']:,} bytes")
        if told["dependants"]:
            self.out.print(f"made from it, and still there: {', '.join(told['dependants'])}")
        return None

    def usage(self, told: dict[str, Any]) -> None:
        """Bytes of every artefact, with each stage's sum and the total."""
        if self.as_json:
            return self._print_json(told)
        rows = Table("stage", "artefact", "objects", "bytes")
        for line in told["artifacts"]:
            note = "" if line["finished"] else " (unfinished)"
            rows.add_row(line["stage"], line["artifact"] + note, f"{line['objects']:,}", f"{line['bytes']:,}")
        rows.add_section()
        for stage, size in told["stages"].items():
            rows.add_row(stage, "all of them", "", f"{size:,}")
        rows.add_row("total", "", "", f"{told['total']:,}")
        self.out.print(rows)
        return None

    def _print_json(self, content: Any) -> None:
        indent = None if self.as_json else 1
        text = json.dumps(content, indent=indent, ensure_ascii=False)
        try:
            text.encode(getattr(self.out.file, "encoding", None) or "utf-8")
        except UnicodeEncodeError:  # JSON has its own way of writing what this terminal cannot
            text = json.dumps(content, indent=indent)
        self.out.file.write(f"{text}\n")


def _search(summary: dict[str, Any]) -> str:
    best, trials = summary["best"], summary["trials"]
    chosen = [f"{key}={_short(value)}" for key, value in best["settings"].items()]
    ends = [f"{trials['finished']} trials finished", *([f"{n} stopped"] if (n := trials["stopped"]) else [])]
    ends.append(f"{trials['failed']} failed")
    if trials["missing"]:
        ends.append(f"{trials['missing']} not begun as search.hours were over (the same command goes on)")
    return (
        f"search: {', '.join(ends)}; the best, trial "
        f"{best['trial']} with {100 * best['validation']:.1f} % on validation: {', '.join(chosen)}"
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _LiveLines:
    """A bar per stage."""

    def __init__(self, bars: Bars) -> None:
        self.bars, self.tasks = bars, dict[str, Any]()

    def __call__(self, progress: Progress) -> None:
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bars.add_task(progress.stage, text="")
        task = self.tasks[progress.stage]
        text = _said(progress)
        self.bars.update(task, completed=progress.done, total=progress.total, text=text)


class _PlainLines:
    """A line when a stage begins and ends, and every few seconds in between."""

    def __init__(self, console: rich.console.Console) -> None:
        self.console, self.last, self.began = console, dict[str, float](), dict[str, tuple[float, int]]()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        began, before = self.began.setdefault(progress.stage, (now, progress.done))
        due = now - self.last.get(progress.stage, float("-inf")) >= _PLAIN_EVERY_S
        if not (due or progress.done == progress.total):
            return
        self.last[progress.stage] = now
        rate = (progress.done - before) / (now - began) if now > began else 0.0
        left = (
            f", {(progress.total - progress.done) / rate:.0f} s left" if rate and progress.done < progress.total else ""
        )
        text = _said(progress)
        self.console.print(f"{progress.stage} {progress.done}/{progress.total}{left}{': ' * bool(text)}{text}")


def _said(progress: Progress) -> str:
    """What is worth saying beside the numbers; of the workers while there is work left for them."""
    workers = progress.workers.summary() if progress.done < progress.total else ""
    return "; ".join(filter(None, (progress.text, workers)))
