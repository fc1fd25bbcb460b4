"""What the report shows of a search, as plain data and sentences: how it went, what mattered, what it was worth.

The report knows of no search but what it is handed here: `SearchSummary` points down to settings and rows.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from padray.config import Config
from padray.configuration import loading
from padray.evaluation.summary import Row
from padray.fingerprint import Identity
from padray.report import choice, words
from padray.report.choice import Choice
from padray.report.front import Front
from padray.report.words import Difference

MOST_SHOWN = 12  # trials in the open table; the others are folded away
_MOST_REASONS, _REASON_LETTERS = 3, 160
_ABSOLUTE = re.compile(r"(?<![\w/.…~])(?:file:/{2,3}|~?/)(?:[^\s/'\"]+/)+([^\s/'\"]+)")


@dataclass(frozen=True)
class TrialLine:
    """A trial that came to an end; `values` are the validation accuracies of its networks, `value` their mean.

    They are those after `iterations` iterations; of a stopped trial these are fewer than of a finished one.
    """

    number: int
    parameters: dict[str, Any]
    state: Literal["stopped", "finished", "failed"]
    value: float | None = None
    values: tuple[float, ...] = ()
    reason: str = ""
    iterations: int = 0

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the networks, where there are several."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class SearchSummary:
    """What a report tells of the search that found its settings.

    Attributes:
        identity, default_set: the artefacts of the search, and of the set made with the defaults, if they work.
        config: the settings that the search began from, its space and its objective among them: the defaults.
        trials: by number.
        choice: which of them was chosen, and why.
        importances: how much of the value's variance each parameter explains; empty where that cannot be said.
        default: the evaluation's table of the defaults.
        front: what accuracy costs, where there were two objectives.
    """

    identity: Identity
    default_set: Identity | None
    config: Config
    trials: tuple[TrialLine, ...]
    choice: Choice
    importances: dict[str, float]
    default: Sequence[Row]
    front: Front | None = None

    @property
    def best(self) -> int:
        """The number of the chosen trial."""
        return self.choice.trial

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """What the searched settings were before the search."""
        known = dict(loading.effective(self.config))
        return {name: known.get(name) for name in self.config.search.space}

    @property
    def winner(self) -> TrialLine:
        return next(trial for trial in self.trials if trial.number == self.best)

    def meaning(self) -> dict[str, Any]:
        """All that the page tells of the search, as JSON."""
        return {
            "search": self.identity.fingerprint,
            "default_set": self.default_set.fingerprint if self.default_set else None,
            "from": self.config.model_dump(mode="json", exclude_defaults=True, exclude={"storage"}),
            "trials": [trial.__dict__ for trial in self.trials],
            "choice": asdict(self.choice),
            "importances": list(self.importances.items()),
            "default": [asdict(row) for row in self.default],
            **({"front": _without_files(self.front)} if self.front else {}),
        }


def _without_files(front: Front) -> dict[str, Any]:
    """A front as it is told: the page names no place."""
    members = [{**asdict(member), "file": member.file.rpartition("/")[2]} for member in front.members]
    return {**asdict(front), "members": members}


class HistoryInfo(NamedTuple):
    """Value and spread of every finished trial by number, the best value so far after each trial, and the failures.

    `stopped` holds number and last value of each trial that was stopped early.
    """

    numbers: tuple[int, ...]
    values: tuple[float, ...]
    spreads: tuple[float, ...]
    steps: tuple[int, ...]
    best_so_far: tuple[float, ...]
    best: int
    failed: tuple[int, ...]
    caption: str
    stopped: tuple[tuple[int, float], ...] = ()


def history_info(summary: SearchSummary) -> HistoryInfo:
    """The search, trial by trial; the best-so-far line begins with the first trial that finished."""
    trials = sorted(summary.trials, key=lambda trial: trial.number)
    done = [trial for trial in trials if trial.state == "finished"]
    finished = [(trial.number, trial.value or 0.0, trial.std or 0.0) for trial in done]
    numbers, values, spreads = zip(*finished, strict=True) if finished else ((), (), ())
    steps = tuple(trial.number for trial in trials if numbers and trial.number >= numbers[0])
    best_so_far = tuple(max(v for n, v in zip(numbers, values, strict=True) if n <= step) for step in steps)
    failed = tuple(trial.number for trial in trials if trial.state == "failed")
    stopped = tuple((trial.number, trial.value or 0.0) for trial in trials if trial.state == "stopped")
    caption = _history_caption(summary)
    return HistoryInfo(numbers, values, spreads, steps, best_so_far, summary.best, failed, caption, stopped)


def _history_caption(summary: SearchSummary) -> str:
    n = summary.config.search.seeds
    caption = f"Each dot: a trial's mean over {n} networks, its bar their standard deviation. "
    caption += "The line: the best so far. "
    if counts(summary.trials)["stopped"]:
        caption += "Hollow dots: trials that were stopped early, at their last value. "
    failed = failures(summary.trials)
    return caption + (" ".join(failed) if failed else "No trial failed.")


def failures(trials: Sequence[TrialLine]) -> list[str]:
    """`Trials 3 and 5 failed: the loss became nan.` A sentence per reason; beyond a few, how many there are."""
    by_reason: dict[str, list[int]] = {}
    for trial in trials:
        if trial.state == "failed":
            by_reason.setdefault(shareable(trial.reason) or "no reason was recorded", []).append(trial.number)
    sentences = [f"Trial{'s' * (len(n) > 1)} {listed(n)} failed: {why.rstrip('.')}." for why, n in by_reason.items()]
    if len(sentences) <= _MOST_REASONS:
        return sentences
    rest = sum(map(len, list(by_reason.values())[_MOST_REASONS:]))
    return [*sentences[:_MOST_REASONS], f"{rest} more failed for other reasons; the table tells."]


def shareable(text: str) -> str:
    """A sentence on one line, of bearable length, with only the last part of absolute paths."""
    short = " ".join(_ABSOLUTE.sub(r"…/\1", text).split())
    return short if len(short) <= _REASON_LETTERS else short[: _REASON_LETTERS - 1] + "…"


def listed(items: Sequence[Any]) -> str:
    """`3`, `3 and 5`, `3, 5 and 7`."""
    texts = [str(item) for item in items]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


class ImportanceInfo(NamedTuple):
    """How much of the value's variance each parameter explains, the most important first, in shares of one."""

    names: tuple[str, ...]
    shares: tuple[float, ...]
    caption: str


def importance_info(summary: SearchSummary) -> ImportanceInfo | None:
    """The bars; None where nothing can be said."""
    if not summary.importances:
        return None
    ranked = sorted(summary.importances.items(), key=lambda item: -item[1])
    finished = counts(summary.trials)["finished"]
    caption = f"Each parameter's share of the variance among {finished} finished trials (fANOVA, shares add up to one)."
    missing = [name for name in summary.config.search.space if name not in summary.importances]
    if missing:
        caption += f" Not every finished trial chose {listed(missing)}, so nothing is said of that."
    if finished < 10 * len(ranked):
        caption += " So few trials give no more than a hint."
    return ImportanceInfo(tuple(name for name, _ in ranked), tuple(share for _, share in ranked), caption)


NO_IMPORTANCES = "How much each parameter matters is not known: that takes 3 finished trials with different values."


def counts(trials: Sequence[TrialLine]) -> dict[str, int]:
    """How many trials came to which end."""
    states = [trial.state for trial in trials]
    return {state: states.count(state) for state in ("finished", "stopped", "failed")}


def describe(summary: SearchSummary) -> str:
    """What a trial was, how it was judged, and which was best."""
    config, n = summary.config, counts(summary.trials)
    total = len(summary.trials)
    epochs = config.search.epochs or config.evaluation.judging.epochs
    ends = ", ".join(f"{n[state]} {state}" for state in n if n[state] or state != "stopped")
    return (
        f"The settings are chosen from {total} trial{'s' * (total > 1)}: {ends}. {_stopping(summary)}"
        f"A trial distilled a set in {config.distill.iterations:,} iterations; its value is the mean "
        f"accuracy on the validation split of {config.search.seeds} fresh networks trained on that set for {epochs} "
        f"epochs, the same networks for every trial. The search never read the test split. {_finals(summary, n)}"
    )


def _finals(summary: SearchSummary, n: dict[str, int]) -> str:
    """How the choice was made among the best."""
    highest = max((t for t in summary.trials if t.state == "finished"), key=lambda t: (t.value or 0.0, -t.number))
    others = sum(one.trial > 0 for one in summary.choice.finalists)
    text = f"Trial {highest.number} was highest with {value_text(highest)}; being the highest of {n['finished']}, that "
    if not others:
        return f"{text}number flatters, those on test above do not."
    if summary.choice.default_reason:
        return f"{text}number flatters."
    which = "best other trial was" if others == 1 else f"{others} best other trials were"
    return (
        f"{text}number flatters. So the defaults and the {which} judged again by {summary.choice.networks} other "
        f"networks each, and the defaults stay unless one is better beyond noise, that of networks and that of the "
        f"{summary.choice.samples:,} validation samples."
    )


def _stopping(summary: SearchSummary) -> str:
    """What early stopping was, and what it saved; nothing where nothing was stopped."""
    if not counts(summary.trials)["stopped"]:
        return ""
    done = sum(trial.iterations for trial in summary.trials)
    return (
        f"A stopped trial was judged after fewer iterations and is never the best; all trials together took "
        f"{done:,} iterations, as many as {done / summary.config.distill.iterations:.1f} full ones. "
    )


class Comparison(NamedTuple):
    """Test accuracy of the chosen settings and of the defaults on one network, and the one minus the other."""

    architecture: str
    best: Row
    default: Row
    difference: Difference


def comparisons(best: Sequence[Row], default: Sequence[Row]) -> list[Comparison]:
    """Network by network, where both were evaluated."""
    pairs = []
    for name in dict.fromkeys(row.architecture for row in best):
        own, other = words.find(best, name, "distilled"), words.find(default, name, "distilled")
        if own is not None and other is not None:
            pairs.append(Comparison(name, own, other, words.between(own, other)))
    return pairs


def verdict(pairs: Sequence[Comparison], summary: SearchSummary) -> str:
    """Whether the search was worth it, plainly: on validation, then on test, by network."""
    warned = map(_as_sentence, choice.warnings(summary.choice))
    decided = " ".join([choice.sentence(summary.choice), *warned])
    if not pairs or not summary.best:
        return decided
    first, *others = pairs
    return (
        f"{decided} On test, on {first.architecture}, the chosen settings reach {words.deciding(first.best)}, the "
        f"defaults {words.deciding(first.default)}: {_outcome(first.difference)}. "
        f"{_elsewhere(others, either=not first.difference.clear)}"
    ).strip()


def _as_sentence(warning: str) -> str:
    return f"{warning[0].upper()}{warning[1:]}."


def _outcome(difference: Difference) -> str:
    points = f"{abs(difference.points):.1f} points"
    if not difference.known:
        return f"{points} {'more' if difference.points > 0 else 'less'}, but one network cannot tell the spread"
    if not difference.clear:
        return "no clear difference"
    return f"better by {points}" if difference.points > 0 else f"worse by {points}"


def _elsewhere(others: Sequence[Comparison], either: bool) -> str:
    """The networks that the search did not look at, by how they came out."""
    if not others:
        return ""
    clear = [c.difference for c in others if c.difference.clear]
    better = [f"{d.architecture} ({d.text})" for d in clear if d.points > 0]
    worse = [f"{d.architecture} ({d.text})" for d in clear if d.points < 0]
    open_ = [c.architecture for c in others if not c.difference.clear]
    if not clear:
        which = f"the {len(others)} other networks" if len(others) > 1 else open_[0]
        return f"On {which} there is no clear difference{' either' * either}."
    parts = [f"better on {listed(better)}"] * bool(better) + [f"worse on {listed(worse)}"] * bool(worse)
    parts += [f"not clearly different on {listed(open_)}"] * bool(open_)
    return f"Elsewhere they are {'; '.join(parts)}."


def value_text(trial: TrialLine) -> str:
    """`80.3 ± 2.5 %`, or nothing for a trial without a value."""
    if trial.value is None:
        return ""
    spread = f" ± {100 * trial.std:.1f}" if trial.std is not None else ""
    after = f" after {trial.iterations:,} iterations" if trial.state == "stopped" else ""
    return f"{100 * trial.value:.1f}{spread} %{after}"
