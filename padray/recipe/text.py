"""The settings file: what each number means, and which one to change first."""

import os
import textwrap
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from padray.config import DataSettings
from padray.configuration import loading
from padray.data.listing import some
from padray.data.survey import Survey
from padray.errors import InfrastructureError, InputError
from padray.machine.files import is_utf8, reason, shown
from padray.recipe import description
from padray.recipe.scale import Plan
from padray.recipe.sizing import MARGIN, Fit
from padray.recipe.yaml_sections import UNEVEN, Line, sections_of


def known(overrides: tuple[str, ...]) -> DataSettings:
    """What the user says of the data. Raises InputError for anything else."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not key.startswith("data.") or key == "data.path":
            raise InputError(
                f"--set {shown(override)}: init-config takes what there is to know of the data, such as "
                f"data.label_column=NAME or data.size=32; PATH says where they are, and the rest is set in the file"
            )
    return loading.from_settings({}, overrides, "--set").data


def named(survey: Survey, to: str | None) -> str:
    """The name of the settings file. Raises InputError for one that cannot be written, before anything is measured."""
    name = to or f"{survey.settings.dataset}.yaml"
    if Path(name).suffix not in {".yaml", ".yml"} or not is_utf8(name):
        raise InputError(f"--to {shown(name)} must be a .yaml file, and its name UTF-8")
    if "\0" not in name and os.path.lexists(name):
        raise _there(name)
    return name


def _there(name: str) -> InputError:
    return InputError(f"{shown(name)} is there already, and nothing is overwritten; give another name with --to")


def write(fitted: Fit, name: str) -> None:
    """Write the settings.

    Raises:
        InputError: a file that cannot be made.
        InfrastructureError: a disk that is full, or the like; nothing is left then.
    """
    content = text(fitted).encode()
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise _there(name) from None
    except OSError as error:
        raise InputError(f"cannot write {shown(name)}: {reason(error)}") from None
    except ValueError as error:  # a NUL
        raise InputError(f"cannot write {shown(name)}: {error}") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
    except OSError as error:
        os.unlink(name)
        raise InfrastructureError(f"cannot write {shown(name)}: {reason(error)}; the same command again") from None


def text(fitted: Fit) -> str:
    """The settings file."""
    plan = fitted.plan
    parts = [_head(fitted), *(_section(name, lines) for name, lines in sections_of(plan).items())]
    return "\n".join([*parts, _filters(plan)] if plan.sizes.family == "trajectory" else parts)


def _head(fitted: Fit) -> str:
    plan = fitted.plan
    survey = plan.survey
    paragraphs = [
        f"Settings for {survey.settings.dataset}, written by `padray init-config`. They run as they are: `padray run` "
        f"with the name of this file. `padray config show` with it lists every other setting.",
        f"Found: {description.samples(survey)}; {len(survey.names)} classes: {some(survey.names)}. {_balance(plan)}"
        + "".join(f"{remark[0].upper()}{remark[1:]}. " for remark in description.remarks(plan)),
        f"S{sized(fitted)[1:]}",
        "Change first: distill.ipc, the size of the set; then distill.lr_images, ten times more or less: the accuracy "
        "on the validation split tells which is better. Then distill.iterations"
        f"{' and experts.count' * (plan.sizes.family == 'trajectory')}: more of them cost time and do no harm. The "
        "settings of the papers are in the presets, such as pad-cifar10-ipc10.",
    ]
    return "#\n".join(_comment(text) for text in paragraphs)


def sized(fitted: Fit) -> str:
    """What the time goes to, by the plan."""
    sizes, took, cores = fitted.plan.sizes, fitted.seconds, fitted.budget.cores
    parts = {
        f"{took.experts} experts": took.expert * took.experts / cores,
        f"{took.iterations} iterations": took.iteration * took.iterations,
        "judging iterates": took.judging,
        f"the proof with {sizes.seeds} networks": took.cells / cores,
        "the ceiling": took.full / cores,
    }
    spent = ", ".join(f"{what} {_time(seconds)}" for what, seconds in parts.items() if seconds)
    core = f"{cores} core{'s' * (cores > 1)}"
    ceiling = "" if took.full or took.experts else " No network on the whole training split fits: there is no ceiling."
    return (
        f"sized for {fitted.budget.asked} on this machine's {core}, at the pace that its plan measured here: {spent}; "
        f"{100 - 100 * MARGIN:.0f} % are left for reading, starting and the report.{ceiling}"
    )


def _time(seconds: float) -> str:
    """`12 s`, `3.4 min`, `1.2 h`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _balance(plan: Plan) -> str:
    (smallest, fewest), (largest, most) = plan.survey.smallest, plan.survey.largest
    if fewest == most:
        return f"Every class has {most} training samples. "
    uneven = f", {most / fewest:.1f} times as few: balanced accuracy, the mean over classes, decides"
    return (
        f"The largest class, {shown(largest)}, has {most} training samples, the smallest, {shown(smallest)}, "
        f"{fewest}{uneven if plan.uneven > UNEVEN else ''}. "
    )


def _filters(plan: Plan) -> str:
    scores = {"networks": 3, "epochs": 8, "lr": plan.lr, "batch": plan.batch, "augment": plan.augment}
    schedule = {"initial_ratio": 0.75, "addition_end_epoch": plan.sizes.epochs // 3}
    comment = _comment(
        "PAD's first filter: the experts begin with the easier three quarters of each class, as scoring networks rank "
        "them. The second one leaves shallow parameters out: `selection: {strategy: depth, alpha: 0.25}` in distill."
    )
    lines = ["schedule: " + _yaml(schedule), "scores:", f"  network: {_yaml(plan.architecture)}"]
    lines += [f"  {key}: {_yaml(value)}" for key, value in scores.items()]
    return comment + "".join(f"# {line}\n" for line in lines)


# -- YAML


def _section(name: str, lines: list[Line]) -> str:
    """A section; a comment stands beside its setting, or before it where the line would be long."""
    written = [(f"  {key}: {_yaml(value)}", meaning) for key, value, meaning in lines]
    column = max([len(line) for line, _ in written if len(line) <= 40], default=40) + 2
    shown = [f"{name}:"]
    for line, meaning in written:
        beside = f"{line:<{column}}# {meaning}" if len(line) < column else f"{line}  # {meaning}"
        shown += [beside] if len(beside) <= 120 else [f"  # {meaning}:", *_folded(line)]
    return "\n".join(shown) + "\n"


def _folded(line: str) -> list[str]:
    """A mapping that is too long for a line goes on in the next."""
    if len(line) <= 120 or not line.endswith("}"):
        return [line]
    return textwrap.wrap(line, 118, subsequent_indent="    ", break_on_hyphens=False)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False))


def _yaml(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    stream, writer = StringIO(), YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.width = True, 10**6
    writer.dump([value], stream)
    return stream.getvalue().strip()[1:-1]
