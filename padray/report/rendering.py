"""All figures of a report, each in two themes and two widths, with what it shows in words and as a table."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from padray.methods.families import method_of
from padray.report import (
    difficulty,
    difficulty_figures,
    figures,
    front,
    info,
    profiles,
    sample_figures,
    search,
    search_figures,
    strip,
    tables,
)
from padray.report.style import DARK, LIGHT, Theme
from padray.report.subject import Subject

Drawn = tuple[str, str, Any, str]  # a stem, what it shows to whom cannot see it, what is drawn, and its caption

DRAWINGS: dict[type, Callable[[Any, Theme], bytes]] = {
    **figures.DRAWINGS,
    **sample_figures.DRAWINGS,
    info.AccuracyInfo: figures.draw_accuracy,
    info.LossInfo: figures.draw_loss,
    profiles.ProfilesInfo: profiles.draw_profiles,
    search.HistoryInfo: search_figures.draw_history,
    search.ImportanceInfo: search_figures.draw_importances,
    front.Front: search_figures.draw_front,
    difficulty.ScheduleInfo: difficulty_figures.draw_schedule,
    difficulty.AgreementInfo: difficulty_figures.draw_agreement,
}
_BESIDE = frozenset({"images", "strip"})  # the page shows their samples one by one; drawn they lie beside it


class Picture(NamedTuple):
    """A figure as PNG for windows and for telephones, in both themes, and as CSV; and what it shows in words.

    Those that lie beside the page alone have one version; those of a study have no table of their own.
    """

    alt: str
    caption: str
    light: bytes
    dark: bytes
    narrow: bytes
    narrow_dark: bytes
    table: bytes = b""

    @property
    def is_beside(self) -> bool:
        """Whether it lies beside the page alone."""
        return not self.dark


def pictures(subject: Subject) -> dict[str, Picture]:
    """All figures of a subject by their stems, in the order of the page."""
    return {stem: _picture(stem, alt, shown, caption) for stem, alt, shown, caption in _shown(subject)}


def picture(alt: str, caption: str, draw: Callable[[Theme], bytes]) -> Picture:
    """A figure in all versions, without a table."""
    return Picture(alt, caption, *(draw(theme) for theme in (LIGHT, DARK, LIGHT.narrow, DARK.narrow)))


def _picture(stem: str, alt: str, shown: Any, caption: str) -> Picture:
    """A figure of any kind that there is, in the versions that its place needs, and its table."""
    draw = DRAWINGS[type(shown)]
    if stem in _BESIDE:
        return Picture(alt, caption, draw(shown, LIGHT), b"", b"", b"", tables.as_csv(shown))
    whole = picture(alt, caption, lambda theme: draw(shown, theme))
    return whole._replace(table=tables.as_csv(shown))


def _shown(subject: Subject) -> Iterator[Drawn]:
    facts, distill, history = subject.synthetic.facts, subject.config.distill, subject.history
    images, metric = info.images_info(subject.synthetic), subject.config.evaluation.metric
    yield "accuracy", "Test accuracy per network and source", info.accuracy_info(subject.rows), ""
    yield "images", f"The {subject.kind} {subject.noun}s", images, images.caption
    yield from _samples(subject)
    if history:  # a set that was put together from units has none
        left_out = method_of(distill).left_out(distill)
        loss = info.loss_info(history, facts["iteration"], facts["validation_accuracy"], left_out, metric)
        yield "loss", "Loss and accuracy over iterations", loss, loss.caption
    for figure in subject.own_figures:
        yield figure.stem, figure.alt, figure.info, figure.info.caption
    if subject.search is not None:
        trials, shares = search.history_info(subject.search), search.importance_info(subject.search)
        yield "trials", "Validation accuracy of every trial", trials, trials.caption
        if subject.search.front is not None:
            caption = "Every finished trial; the line is the Pareto front, which no trial beats in both."
            yield "front", "What accuracy costs", subject.search.front, caption
        if shares is not None:
            yield "importances", "How much each parameter matters", shares, shares.caption
    if subject.difficulty is not None:
        seen, scored = difficulty.schedule_info(subject.difficulty), difficulty.agreement_info(subject.difficulty)
        yield "schedule", "Training samples in each epoch", seen, seen.caption
        if scored is not None:
            yield "difficulty", "Agreement of the difficulty scores", scored, scored.caption


def _samples(subject: Subject) -> Iterator[Drawn]:
    """What is told of the samples besides themselves."""
    labels = info.labels_info(subject.synthetic)
    if labels is not None:
        yield "labels", "The mean soft label of each class", labels, labels.caption
    frames = strip.strip_info(subject.synthetic, subject.frames)
    if frames is not None:
        yield "strip", "How the samples came about", frames, frames.caption
    if subject.real is not None:
        yield "nearest", "Distances to real samples", subject.real.nearest, subject.real.nearest.caption
        profile = profiles.profiles_info(subject.synthetic, subject.real)
        if profile is not None:
            yield "profiles", "The samples in the units of the data", profile, profile.caption
