"""What the report says in words: its headline and verdict, its protocol, its settings, and what to type.

Accuracies are in [0, 1] in the rows and in percent in the sentences.
"""

import io
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from padray.config import Config
from padray.configuration import loading
from padray.evaluation.controls import CHOOSING
from padray.evaluation.published import WHOSE, Protocol
from padray.evaluation.settings import EvaluationSettings
from padray.evaluation.summary import Row, diverged
from padray.settings.sections import in_words


class Difference(NamedTuple):
    """How much better one row is than another, in points; `error` is that difference's standard error."""

    architecture: str
    points: float
    error: float
    known: bool

    @property
    def clear(self) -> bool:
        """More than two standard errors, with more than one network on either side."""
        return self.known and abs(self.points) > 2 * self.error

    @property
    def text(self) -> str:
        """`+15.9`, `−0.3`."""
        return f"{self.points:+.1f}".replace("-", "−")


def find(rows: Sequence[Row], architecture: str, source: str) -> Row | None:
    """The row of an architecture and a source, if there is one."""
    return next((r for r in rows if (r.architecture, r.source) == (architecture, source)), None)


def difference(rows: Sequence[Row], architecture: str) -> Difference | None:
    """Set minus control on one architecture; None without a control."""
    own, control = find(rows, architecture, "distilled"), find(rows, architecture, "random")
    if own is None or control is None:
        return None
    return between(own, control)


def between(one: Row, other: Row) -> Difference:
    """One row minus another, in what decides; its standard error takes their networks as independent."""
    own, others = one.spread(one.by_balanced), other.spread(one.by_balanced)
    error = math.sqrt(own.std**2 / own.n + others.std**2 / others.n)
    known = min(own.n, others.n) > 1
    return Difference(one.architecture, 100 * (own.mean - others.mean), 100 * error, known)


def accuracy(row: Row, balanced: bool = False) -> str:
    """`53.7 ± 30.0 % (1 diverged; the others 67.1 ± 0.4)`."""
    return f"{row.spread(balanced).text} %{''.join(f' ({note})' for note in diverged(row, balanced))}"


def deciding(row: Row) -> str:
    """Its accuracy, in what `evaluation.metric` says that decides: `65.2 ± 2.7 %`."""
    return accuracy(row, row.by_balanced)


def headline(rows: Sequence[Row], samples: int, training: int, noun: str = "image", kind: str = "synthetic") -> str:
    """What the set achieves on the network that it was made with, beside its controls."""
    name = rows[0].architecture
    article = "an" if name[0] in "aeiou" or name.startswith("mlp") else "a"
    own, control, full = (find(rows, name, source) for source in ("distilled", "random", "full"))
    assert own is not None, "the network that the set was made with is always evaluated"
    images = f"{noun}{'s' * (samples > 1)}"
    text = f"Trained on {samples:,} {kind} {images}, {article} {name} reaches {deciding(own)}"
    text += f"{' balanced accuracy' * own.by_balanced} on the test split"
    text += f"; on {samples:,} random real {images} {deciding(control)}" if control else ""
    one = " by one network" if full and full.n == 1 else ""
    return text + (f"; on the {training:,} {noun}s of the training split {deciding(full)}{one}." if full else ".")


def verdict(rows: Sequence[Row], noun: str = "image") -> str:
    """Whether the set beats its control, plainly; on its own network and then on the others."""
    names = list(dict.fromkeys(row.architecture for row in rows))
    differences = [d for d in (difference(rows, name) for name in names) if d is not None]
    if not differences:
        return f"No control was run, so nothing says whether the set is better than real {noun}s."
    first, *others = differences
    if not first.known:
        says = f"The difference to the control is {first.text} points, but with one network its spread is not known."
    elif first.points == first.error == 0:
        says = "The set does not beat its control: all networks reach the same on either."
    elif not first.clear:
        says = (
            f"The set does not clearly beat its control: the difference of {first.text} points is within two "
            f"standard errors (± {2 * first.error:.1f})."
        )
    elif first.points > 0:
        says = f"It beats its control by {first.points:.1f} points."
    else:
        says = f"The set does not beat its control: random real {noun}s are better by {-first.points:.1f} points."
    return f"{says} {_others(others)}".strip()


def _others(others: Sequence[Difference]) -> str:
    """The same for networks that the set was not made with."""
    if not others:
        return ""
    losers = [f"{d.architecture} ({d.text})" for d in others if not (d.clear and d.points > 0)]
    if not losers:
        which = {1: "the other network", 2: "both other networks"}.get(len(others), f"all {len(others)} other networks")
        return f"It beats it on {which} too."
    won, count = len(others) - len(losers), f"{len(others)} other network{'s' * (len(others) > 1)}"
    if not won:
        return f"It clearly beats it on no other network: {', '.join(losers)}."
    return f"Of {count} it clearly beats it on {won}; not on {', '.join(losers)}."


def recovery(rows: Sequence[Row]) -> str:
    """What the set's images are worth with hard labels, where that and the full data were trained on."""
    points = [
        f"{row.architecture} {100 * row.hard_label_recovery:.1f}" for row in rows if row.hard_label_recovery is not None
    ]
    return f"Full data minus hard labels (hard-label recovery), in points: {', '.join(points)}." if points else ""


_EACH = "Each number is the mean ± sample standard deviation over n fresh networks (one that diverges counts as 0 %)"


_OWN = {"epochs": "number of epochs", "batch": "batches", "weight_decay": "weight decay", "augment": "augmentation"}


def protocol_of(settings: EvaluationSettings) -> str:
    """Whose protocol it is, and in what the settings leave it: `DC's protocol (dc300), but for its momentum`."""
    others = [_OWN.get(name, name) for name, value in settings.own.items() if value != getattr(settings.row, name)]
    others += ["lr"] if settings.fixed_lr is not None else []
    other = (
        f", but for its {' and '.join([', '.join(others[:-1])] * (len(others) > 1) + others[-1:])}" if others else ""
    )
    return f"{WHOSE[settings.protocol]} protocol ({settings.protocol}){other}"


def protocol(config: Config, has_validation: bool) -> str:
    """How the accuracies came about, in a few sentences."""
    if config.evaluation.taught:
        return _taught(config, has_validation)
    settings, lrs = config.evaluation, ", ".join(f"{lr:g}" for lr in config.evaluation.controls.lrs)
    training = settings.training
    full = f" ({settings.controls.full_epochs} on the full split{_full_lrs(config)})" if settings.controls.full else ""
    share = f"a fixed {100 * CHOOSING:g} % of each class's training samples, for want of a validation split"
    split = "the validation split" if has_validation else share
    by = " by balanced accuracy" if settings.metric == "balanced_accuracy" else ""
    others = {
        "those samples labelled by the experts": settings.controls.random_soft,
        "the set's images with hard labels": settings.controls.hard_labels,
    }
    named = [name for name, asked in others.items() if asked]
    also = f" The same holds for {' and for '.join(named)}." if named else ""
    return (
        f"{_EACH}, trained by {protocol_of(settings)}: {training.epochs:,} epochs{full} of batches of "
        f"{training.batch} with SGD ({'Nesterov’s ' * training.nesterov}momentum {training.momentum:g}, weight decay "
        f"{training.weight_decay:g}, {_DECAYS[training.decay]}, augmentation {in_words(training.augment)}"
        f"{_mixed(training)}), and the last epoch counts; the test split is read here and nowhere else. "
        f"{_TWICE * settings.double_training}{_lr_of_set(config)}; its control, a fresh stratified draw of equally "
        f"many real samples for each seed, is trained by the same protocol at the lr out of {lrs} that is best{by} on "
        f"{split}.{also} {_iterate(config, has_validation)}"
    )


def _full_lrs(config: Config) -> str:
    """The grid of the full data's control, where that is another one."""
    own = config.evaluation.controls.full_lrs
    return f", at an lr of {' or '.join(f'{lr:g}' for lr in own)}" if own else ""


_DECAYS = {
    "none": "a constant lr",
    "half": "lr divided by ten half-way",
    "sixths": "lr divided by five after two and again after two and a half thirds",
    "cosine": "lr falling along a cosine",
}


_TWICE = (
    "On the set each network was trained twice over, on its images before averaging and then, the same network, on "
    "their average, as FTD’s and ATT’s scripts do it: those are no accuracies of fresh networks, and nothing to "
    "compare with such. "
)


def _mixed(training: Protocol) -> str:
    return f", CutMix of {100 * training.cutmix:g} % of the batches" if training.cutmix else ""


def _lr_of_set(config: Config) -> str:
    """Which lr networks are trained with on the set."""
    if config.evaluation.chooses_lr:
        return "The lr on the set is chosen as its control’s is"
    if config.evaluation.fixed_lr is not None:
        return f"On the set the lr is {config.evaluation.fixed_lr:g}"
    if not config.distill.learns_lr:
        return f"The set learned no lr, so on it the protocol’s {config.evaluation.training.lr:g} is taken"
    return "The set brings its learned lr" if config.distill.changes_lr else "The set brings its lr"


def _iterate(config: Config, has_validation: bool) -> str:
    """Which iterate of its distillation the set is; papers choose theirs on the test split."""
    if config.distill.from_units:
        return "Nothing was iterated to make the set."
    if has_validation and config.distill.validation.seeds:
        return "The set is the iterate that did best on the validation split."
    return (
        "The set is the last iterate, for none was judged; what papers print of trajectory matching is the iterate "
        "that is best on the test split."
    )


def _taught(config: Config, has_validation: bool) -> str:
    """The same where a teacher labels every batch."""
    settings, teacher, training = config.evaluation, config.evaluation.teacher, config.evaluation.training
    counts = (
        "Which epoch out of the last fifth counts was chosen on the validation split"
        if has_validation
        else "The last epoch counts, for want of a validation split"
    )
    mixed = "" if teacher.mix == "none" else f" and mixed ({teacher.mix})"
    return (
        f"{_EACH}, taught by {protocol_of(settings)}: for {training.epochs:,} epochs by a "
        f"{teacher.network.label} that was trained on the training split for {teacher.epochs}. On each batch of "
        f"{training.batch}, augmented ({in_words(training.augment)}){mixed}, they imitate its outputs, softened by a "
        f"temperature of {teacher.temperature:g} (AdamW, lr {teacher.lr:g}, weight decay {teacher.weight_decay:g}). "
        f"{counts}; the test split is read here and nowhere else. The control is a fresh stratified draw of equally "
        f"many real samples for each seed. The set's own labels and lr take no part. {_iterate(config, has_validation)}"
    )


def settings(config: Config) -> list[tuple[str, str, str]]:
    """Every setting as (key, value, default); where the storage is, is not a setting of the result."""
    defaults = dict(loading.effective(Config()))
    lines = []
    for key, value in loading.effective(config):
        if not key.startswith("storage."):
            default = json.dumps(defaults[key]) if key in defaults else "none"
            lines.append((key, _shown(config, key, value), default))
    return lines


def _shown(config: Config, key: str, value: Any) -> str:
    if key == "evaluation.architectures":
        return ", ".join(network.label for network in config.evaluation.architectures) or "[]"
    if isinstance(value, float):  # a search's have sixteen digits; the file below has them all
        value = float(f"{value:.8g}")
    return json.dumps(_shareable(value), ensure_ascii=False)


def _shareable(value: Any) -> Any:
    """A report is passed on: of an absolute path only its last part is told."""
    return f"…/{PurePosixPath(value).name}" if isinstance(value, str) and value.startswith(("/", "~")) else value


def as_yaml(config: Config, without: Sequence[str] = ()) -> str:
    """The settings that are not at their default, but for sections left out, as a file that `padray run` takes."""
    tree = config.model_dump(mode="json", exclude_defaults=True, exclude={"storage", *without})
    for section, key in (("data", "path"), ("scores", "path"), ("schedule", "keep_list")):
        if key in tree.get(section, {}):
            tree[section][key] = _shareable(tree[section][key])
    return yaml_text(tree)


def yaml_text(tree: dict[str, Any]) -> str:
    """A tree as YAML, short lists and sections on one line."""
    writer, buffer = YAML(typ="safe", pure=True), io.StringIO()
    # in their own order: a space's conditions look back
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.default_flow_style, writer.allow_unicode, writer.width = None, True, 100
    writer.dump(tree, buffer)
    return buffer.getvalue()


def command(name: str, overrides: Sequence[str]) -> str:
    """The command that makes this set and this report again."""
    file = name if name in loading.preset_names() else f"{name}.yaml"
    parts = ["padray", "run", file]
    for override in overrides:
        key, _, value = override.partition("=")
        if not key.strip().startswith("storage"):
            parts += ["--set", f"{key}={_shareable(value)}"]
    return shlex.join(parts).replace(" --set ", " \\\n    --set ")


def kind(ids: Sequence[int], otherwise: str = "synthetic") -> str:
    """What a set's samples are: `ids` of the training samples that it consists of, if it does."""
    return "chosen real" if ids else otherwise


_MOST_IDS = 100


def selected(ids: Sequence[int], noun: str) -> str:
    """Which training samples a set consists of, by their ids."""
    shown = ", ".join(map(str, ids[:_MOST_IDS]))
    more = f" and {len(ids) - _MOST_IDS:,} more" if len(ids) > _MOST_IDS else ""
    return (
        f"It consists of these training {noun}s, class after class, by their places among the training files: "
        f"{shown}{more}. The file selected-….parquet beside the set lists them; another run can name it as "
        f"schedule.keep_list."
    )
