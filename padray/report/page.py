"""The report as one self-contained HTML page: pictures inside, no script, no network, light and dark."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import resources
from typing import Any, NamedTuple

import jinja2

from padray.config import Config
from padray.evaluation.table import Row, shows_balanced
from padray.methods.families import method_of
from padray.methods.figures import Figure, History
from padray.networks.flat import Span
from padray.report import difficulty, difficulty_figures, figures, info, search, search_figures, search_view, words
from padray.report.difficulty import Difficulty
from padray.report.remarks import Observed
from padray.report.search import SearchSummary
from padray.report.style import DARK, LIGHT, Theme
from padray.synthetic.set import SyntheticSet


class Link(NamedTuple):
    """A stage in the chain of fingerprints, and the numerics under which it was made."""

    stage: str
    folder: str
    fingerprint: str
    numerics: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """Everything that a report tells of.

    Attributes:
        name, overrides: what was typed: a preset's or file's name, and its `--set`s.
        rows: the evaluation's table, the network that the set was made with first.
        history: the distillation's metrics, iteration by iteration.
        spans: the parameter tensors of that network.
        splits: how many samples each split of the dataset has.
        experts: each expert's last validation accuracy; empty without a validation split.
        set_key, set_sha256, set_size: the set's file under the storage root, its digest and its bytes.
        chain: the artefacts that led here, in order.
        search: the search that found the settings, if one did.
        difficulty: the scores that the experts' schedule was made from, if it has one.
        kept: how many training samples the keep-list has, and which; empty without one.
        fitted_key: the file of the set's preprocessing, where that is not in the set's.
        observed: what the run says of itself.
    """

    name: str
    overrides: tuple[str, ...]
    config: Config
    synthetic: SyntheticSet
    rows: Sequence[Row]
    history: History
    spans: Sequence[Span]
    splits: dict[str, int]
    experts: tuple[float, ...]
    set_key: str
    set_sha256: str
    set_size: int
    chain: tuple[Link, ...]
    search: SearchSummary | None = None
    difficulty: Difficulty | None = None
    kept: str = ""
    fitted_key: str | None = None
    observed: Observed = field(default_factory=Observed)

    @cached_property
    def samples(self) -> int:
        """M, the number of synthetic images."""
        return len(self.synthetic.learned.images)

    @cached_property
    def own_figures(self) -> list[Figure]:
        """What the family shows of its iterations."""
        distill, names = self.config.distill, [str(name) for name in self.synthetic.facts["class_names"]]
        return method_of(distill).figures(distill, self.history, self.spans, names)

    @property
    def ids(self) -> list[int]:
        """Of the training samples that the set consists of; empty where it was distilled."""
        ids: list[int] = self.synthetic.facts.get("selected", [])
        return ids

    @property
    def kind(self) -> str:
        """How the set's samples came about."""
        return words.kind(self.ids, "distilled")

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "image" if self.synthetic.preprocessing.content == "image" else "sample"


class Picture(NamedTuple):
    """A figure in both themes, and what it shows in words."""

    stem: str
    alt: str
    caption: str
    light: bytes
    dark: bytes


def pictures(subject: Subject) -> dict[str, Picture]:
    """All figures of a subject by their stems, in the order of the page."""
    facts, distill, history = subject.synthetic.facts, subject.config.distill, subject.history
    metric = subject.config.evaluation.metric
    images, accuracy = info.images_info(subject.synthetic), info.accuracy_info(subject.rows)

    def both(stem: str, alt: str, caption: str, draw: Callable[[Theme], bytes]) -> Picture:
        return Picture(stem, alt, caption, draw(LIGHT), draw(DARK))

    drawn = [
        both("accuracy", "Test accuracy per network and source", "", partial(figures.draw_accuracy, accuracy)),
        both("images", f"The {subject.kind} {subject.noun}s", images.caption, partial(figures.draw_images, images)),
    ]
    if history:  # a set that was put together from units has none
        left_out = method_of(distill).left_out(distill)
        loss = info.loss_info(history, facts["iteration"], facts["validation_accuracy"], left_out, metric)
        drawn.append(both("loss", "Loss and accuracy over iterations", loss.caption, partial(figures.draw_loss, loss)))
    for figure in subject.own_figures:
        draw = partial(figures.DRAWINGS[type(figure.info)], figure.info)
        drawn.append(both(figure.stem, figure.alt, figure.info.caption, draw))
    if subject.search is not None:
        trials, shares = search.history_info(subject.search), search.importance_info(subject.search)
        draw = partial(search_figures.draw_history, trials)
        drawn.append(both("trials", "Validation accuracy of every trial", trials.caption, draw))
        if subject.search.front is not None:
            draw = partial(search_figures.draw_front, subject.search.front)
            caption = "Every finished trial; the line is the Pareto front, which no trial beats in both."
            drawn.append(both("front", "What accuracy costs", caption, draw))
        if shares is not None:
            draw = partial(search_figures.draw_importances, shares)
            drawn.append(both("importances", "How much each parameter matters", shares.caption, draw))
    if subject.difficulty is not None:
        seen, scored = difficulty.schedule_info(subject.difficulty), difficulty.agreement_info(subject.difficulty)
        draw = partial(difficulty_figures.draw_schedule, seen)
        drawn.append(both("schedule", "Training samples in each epoch", seen.caption, draw))
        if scored is not None:
            draw = partial(difficulty_figures.draw_agreement, scored)
            drawn.append(both("difficulty", "Agreement of the difficulty scores", scored.caption, draw))
    return {picture.stem: picture for picture in drawn}


def render(subject: Subject, drawn: dict[str, Picture]) -> str:
    """The page: a function of the subject alone."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["uri"] = _uri
    template = environment.from_string((resources.files("padray.report") / "page.html.j2").read_text("utf-8"))
    return template.render(_view(subject), pictures=drawn, light=LIGHT, dark=DARK) + "\n"


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _view(subject: Subject) -> dict[str, object]:
    """What the template shows, in its order."""
    config, facts, distill = subject.config, subject.synthetic.facts, subject.config.distill
    settings = words.settings(config)
    has_validation = bool(subject.splits.get("validation"))
    changed = [line for line in settings if line[1] != line[2]]
    if subject.search is not None:  # its section tells what was searched and how
        changed = [line for line in changed if not line[0].startswith("search.")]
    return {
        "name": subject.name,
        "subtitle": (
            facts["dataset"],
            config.network.label,
            f"{distill.ipc} {subject.noun}{'s' * (distill.ipc > 1)} per class",
            *([] if distill.from_units else [f"{facts['iterations']:,} iterations"]),
            *([f"chosen from {len(subject.search.trials)} trials"] if subject.search else []),
        ),
        "headline": words.headline(
            subject.rows, subject.samples, subject.splits["train"], subject.noun, words.kind(subject.ids)
        ),
        "kind": subject.kind,
        "verdict": words.verdict(subject.rows, subject.noun),
        "noun": subject.noun,
        "table": _table(subject.rows),
        "balanced": shows_balanced(subject.rows),
        "recovery": words.recovery(subject.rows),
        "protocol": words.protocol(config, has_validation),
        "experts": _experts(subject),
        "sizes": _sizes(subject),
        "share": f"{100 * subject.samples / subject.splits['train']:.2g} %",
        "training": subject.splits["train"],
        "set": {"key": subject.set_key, "sha256": subject.set_sha256, "size": subject.set_size},
        "notes": [
            *(f"{note[0].upper()}{note[1:]}." for note in subject.observed.notes),
            *_kept(subject),
            *method_of(distill).notes(distill, subject.synthetic.learned, subject.noun),
            *([words.selected(subject.ids, subject.noun)] if subject.ids else []),
        ],
        "own_figures": subject.own_figures,
        "changed": changed,
        "settings": settings,
        "yaml": words.as_yaml(config, without=("search",) if subject.search else ()),
        "chain": subject.chain,
        "numerics": _numerics(subject.chain),
        "command": words.command(subject.name, subject.overrides),
        "search": _search(subject),
        "code": words.training_code(
            subject.set_key,
            config,
            subject.synthetic.preprocessing.kind,
            subject.synthetic.classes,
            subject.noun,
            subject.fitted_key,
        ),
        "preprocessing": subject.synthetic.preprocessing.kind,
        "fitted_key": subject.fitted_key,
    }


def _search(subject: Subject) -> search_view.SearchPart | None:
    if subject.search is None:
        return None
    return search_view.view(subject.search, subject.rows, subject.name, subject.overrides)


@dataclass(frozen=True)
class _Shown:
    """A row of the table in words."""

    source: str
    trained_on: str
    accuracy: str
    n: int
    lr: str
    balanced: str
    values: str


@dataclass(frozen=True)
class _Group:
    """A network's rows, and the difference of the set to its control."""

    architecture: str
    difference: words.Difference | None
    rows: list[_Shown]


def _table(rows: Sequence[Row]) -> list[_Group]:
    """Network by network."""
    balanced = shows_balanced(rows)
    return [
        _Group(name, words.difference(rows, name), [_shown(row, balanced) for row in rows if row.architecture == name])
        for name in dict.fromkeys(row.architecture for row in rows)
    ]


def _shown(row: Row, balanced: bool) -> _Shown:
    values = ", ".join(f"{100 * value:.2f}" for value in row.values)
    also = words.accuracy(row, balanced=True) if balanced else ""
    return _Shown(row.source, info.SOURCES[row.source], words.accuracy(row), row.n, f"{row.lr:.3g}", also, values)


def _experts(subject: Subject) -> str:
    """What the experts know that the set was matched with."""
    percents = [100 * value for value in subject.experts]
    if not percents:
        return ""
    middle = f"between {min(percents):.1f} and {max(percents):.1f} %" if len(percents) > 1 else f"{percents[0]:.1f} %"
    return f"The ceiling: the {len(percents)} experts it was matched with reach {middle} on the validation split."


def _kept(subject: Subject) -> list[str]:
    """What the keep-list left to all that was made."""
    if not subject.kept:
        return []
    who = "the experts, " if subject.config.distill.needs_experts else ""
    return [f"The set, {who}and the random controls know only {subject.kept} training {subject.noun}s."]


def _sizes(subject: Subject) -> list[tuple[str, str, int]]:
    """Everything that was learned: what, its shape, its bytes; then their sum."""
    learned = subject.synthetic.learned
    names = {"labels": "soft labels" if learned.soft else "labels"}
    parts = [(names.get(name, name), part) for name, part in learned.tensors().items()]
    lines = [
        (
            name,
            f"{' × '.join(map(str, part.shape)) or '1'}, {str(part.dtype).removeprefix('torch.')}",
            part.numel() * part.element_size(),
        )
        for name, part in parts
    ]
    return [*lines, ("together", "", subject.synthetic.size_bytes)]


def _numerics(chain: Sequence[Link]) -> list[tuple[str, str]]:
    """The machine's part: once, if it was the same for all stages, else stage by stage."""
    texts = {
        link.stage: ", ".join(f"{key} {value}" for key, value in link.numerics.items())
        for link in chain
        if link.numerics
    }
    if len(set(texts.values())) == 1:
        return [("all stages", next(iter(texts.values())))]
    return list(texts.items())
