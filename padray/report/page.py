"""The report as one self-contained HTML page: pictures inside, no script, no network, light and dark, any width."""

from collections.abc import Sequence
from dataclasses import dataclass

from padray.configuration import loading
from padray.evaluation.summary import Row, shows_balanced
from padray.methods.families import method_of
from padray.report import code, difficulty, gallery, info, profiles, search_view, strip, templates, words
from padray.report.rendering import Picture
from padray.report.subject import Link, Subject


def render(subject: Subject, drawn: dict[str, Picture]) -> str:
    """The page: a function of the subject alone."""
    return templates.render("page.html.j2", _view(subject), drawn)


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
        "accuracies": _table(subject.rows),
        "measures": _measures(subject.rows),
        "by_balanced": subject.rows[0].by_balanced,
        "recovery": words.recovery(subject.rows),
        "protocol": words.protocol(config, has_validation),
        "test_split": subject.test_split,
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
        "gallery": _gallery(subject),
        "values": _values(subject),
        "method": difficulty.named(config.scores.method),
        "changed": changed,
        "settings": [line for line in settings if not line[0].startswith(tuple(f"{part}." for part in config.idle))],
        "idle": config.idle,
        "yaml": words.as_yaml(config, without=("search",) if subject.search else ()),
        "chain": subject.chain,
        "numerics": _numerics(subject.chain),
        "command": words.command(subject.name, subject.overrides),
        "preset": subject.name in loading.preset_names(),
        "search": _search(subject),
        "program": code.training_code(
            code.safetensors_load(subject.set_key, config, subject.synthetic, subject.fitted_key),
            config,
            subject.synthetic,
            subject.noun,
        ),
        "code_remarks": code.remarks(config),
        "preprocessing": subject.synthetic.preprocessing.kind,
        "fitted_key": subject.fitted_key,
    }


def _gallery(subject: Subject) -> gallery.Gallery:
    frames = strip.strip_info(subject.synthetic, subject.frames)
    return gallery.gallery(info.images_info(subject.synthetic), frames, subject.real)


def _values(subject: Subject) -> profiles.Values | None:
    """A table's samples in the data's own units."""
    profile = profiles.profiles_info(subject.synthetic, subject.real) if subject.real is not None else None
    return profiles.values_of(profile) if profile is not None and profile.is_table else None


def _search(subject: Subject) -> search_view.SearchPart | None:
    if subject.search is None:
        return None
    return search_view.view(subject.search, subject.rows, subject.name, subject.overrides)


@dataclass(frozen=True)
class _Shown:
    """A row of the table in words."""

    source: str
    trained_on: str
    accuracies: tuple[str, ...]  # in the order of `_measures`
    n: int
    lr: str
    values: str


@dataclass(frozen=True)
class _Group:
    """A network's rows, and the difference of the set to its control."""

    architecture: str
    difference: words.Difference | None
    rows: list[_Shown]


def _measures(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns of accuracies, what decides before what is said beside it."""
    if not shows_balanced(rows):
        return ("test accuracy",)
    return ("balanced accuracy", "plain") if rows[0].by_balanced else ("test accuracy", "balanced")


def _table(rows: Sequence[Row]) -> list[_Group]:
    """Network by network."""
    columns = len(_measures(rows))
    return [
        _Group(name, words.difference(rows, name), [_shown(row, columns) for row in rows if row.architecture == name])
        for name in dict.fromkeys(row.architecture for row in rows)
    ]


def _shown(row: Row, columns: int) -> _Shown:
    values = ", ".join(f"{100 * value:.2f}" for value in row.values_of(row.by_balanced))
    accuracies = (words.deciding(row), words.accuracy(row, not row.by_balanced))[:columns]
    return _Shown(row.source, info.SOURCES[row.source], accuracies, row.n, f"{row.lr:.3g}", values)


def _experts(subject: Subject) -> str:
    """What the experts know that the set was matched with."""
    percents = [100 * value for value in subject.experts]
    if not percents:
        return ""
    least, most = f"{min(percents):.1f}", f"{max(percents):.1f}"
    middle = f"{most} %" if least == most else f"between {least} and {most} %"
    who = f"the {len(percents)} experts" if len(percents) > 1 else "the expert"
    reach = "reach" if len(percents) > 1 else "reaches"
    return f"The ceiling: {who} it was matched with {reach} {middle} on the validation split."


def _kept(subject: Subject) -> list[str]:
    """What the keep-list left to all that was made."""
    if not subject.kept:
        return []
    who = "the experts, " if subject.config.distill.needs_experts else ""
    return [f"The set, {who}and the random controls know only {subject.kept} training {subject.noun}s."]


def _sizes(subject: Subject) -> list[tuple[str, str, int]]:
    """Everything that was learned: what, its shape, its bytes; then their sum."""
    learned = subject.synthetic.learned
    names = {"images": f"{subject.noun}s", "labels": "soft labels" if learned.soft else "labels"}
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
    """The machine's part: what was the same for all stages once, then which stages had what else."""
    known = [link for link in chain if link.numerics]
    parts = [{f"{key} {value}" for key, value in link.numerics.items()} for link in known]
    shared = set.intersection(*parts) if parts else set[str]()
    lines = {", ".join(sorted(shared)): ["all stages"]} if shared else {}
    for link, part in zip(known, parts, strict=True):
        if part - shared:
            lines.setdefault(", ".join(sorted(part - shared)), []).append(link.stage)
    return [(", ".join(stages), text) for text, stages in lines.items()]
