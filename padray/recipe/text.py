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
from padray.recipe import scale
from padray.recipe.scale import Plan

UNEVEN = 1.5  # largest over smallest class from which balanced accuracy decides

Line = tuple[str, Any, str]  # setting, value, what it means


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


def write(survey: Survey, ipc: int, to: str | None) -> str:
    """Write the settings; the file's name.

    Raises:
        InputError: too few samples, or a file that cannot be made.
        InfrastructureError: a disk that is full, or the like; nothing is left then.
    """
    name = to or f"{survey.settings.dataset}.yaml"
    if Path(name).suffix not in {".yaml", ".yml"} or not is_utf8(name):
        raise InputError(f"--to {shown(name)} must be a .yaml file, and its name UTF-8")
    content = text(survey, ipc).encode()
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise InputError(
            f"{shown(name)} is there already, and nothing is overwritten; give another name with --to"
        ) from None
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
    return name


def text(survey: Survey, ipc: int) -> str:
    """The settings file. Raises InputError for more samples per class than the smallest class can give."""
    plan = scale.plan(survey, ipc)
    sections = {
        "data": _data(plan),
        "network": _network(plan),
        "experts": _experts(plan),
        "distill": _distill(plan),
        "evaluation": _evaluation(plan),
    }
    parts = [_head(plan), *(_section(name, lines) for name, lines in sections.items()), _filters(plan)]
    return "\n".join(parts)


# -- the sections


def _head(plan: Plan) -> str:
    survey, shape = plan.survey, "x".join(map(str, plan.survey.shape))
    paragraphs = [
        f"Settings for {survey.settings.dataset}, written by `padray init-config`. They run as they are: `padray run` "
        f"with the name of this file. `padray config show` with it lists every other setting.",
        f"Found: {sum(survey.counts)} training and {survey.test} test samples of {shape} numbers each, "
        f"{len(survey.names)} classes: {some(survey.names)}. {_balance(plan)}{_sizes(survey)}{_stand_in(survey)}",
        "Change first: distill.ipc, the size of the set; then distill.lr_images, ten times more or less: the accuracy "
        "on the validation split tells which is better. Then distill.iterations and experts.count: more of them cost "
        "time and do no harm. The numbers are for two CPU cores; those of the papers are in the presets, such as "
        "pad-cifar10-ipc10.",
    ]
    return "#\n".join(_comment(text) for text in paragraphs)


def _balance(plan: Plan) -> str:
    (smallest, fewest), (largest, most) = plan.survey.smallest, plan.survey.largest
    if fewest == most:
        return f"Every class has {most} training samples. "
    uneven = f", {most / fewest:.1f} times as few: balanced accuracy, the mean over classes, decides"
    return (
        f"The largest class, {shown(largest)}, has {most} training samples, the smallest, {shown(smallest)}, "
        f"{fewest}{uneven if plan.uneven > UNEVEN else ''}. "
    )


def _sizes(survey: Survey) -> str:
    if survey.settings.size is None:
        return ""
    kinds, low, high = survey.found_sizes
    return f"The images have sides of {low}{f' to {high}' * (low < high)} pixels{f', {kinds} sizes' * (kinds > 1)}. "


def _stand_in(survey: Survey) -> str:
    place = shown(survey.test_place)
    return f"{place} serves as the test split." if place.removeprefix("data/").startswith("val") else ""


def _data(plan: Plan) -> list[Line]:
    data = plan.data
    meaning = {
        "image_column": "the column of the images",
        "label_column": "the column of the labels",
        "size": "every image is resized to so many pixels a side; time grows with its square",
        "limit_per_class": "only the first so many training samples of each class; take it out when all else is right",
        "validation": "this share of the training samples is for choosing; the test split is only for the proof",
        "preprocessing": _PREPROCESSING[data.preprocessing],
    }
    stated = set(data.model_dump(exclude_unset=True)) | {"validation", "preprocessing"}
    lines: list[Line] = [("dataset", data.dataset, "a name, for folders and tables")]
    lines.append(("path", data.path, "the dataset's folder; only this machine reads it"))
    for key, value in data.model_dump(mode="json").items():
        default = DataSettings.model_fields[key].default
        if key in stated - {"dataset", "path"} or (key in meaning and value != default):
            lines.append((key, value, meaning.get(key, "as you said")))
    return lines


_PREPROCESSING = {
    "zca": "whitening, as the papers have it; normalize: each channel's mean and deviation",
    "normalize": "by the mean and deviation of each channel or column; zca whitens",
    "none": "values as they are; normalize: each channel's mean and deviation",
}


def _network(plan: Plan) -> list[Line]:
    network = plan.architecture
    meaning = {
        "convnet": ("the network of the papers", "channels; the papers have 128", "blocks, each halves the image"),
        "convnet1d": ("the same for series", "channels", "blocks, each halves the series"),
        "mlp": ("a multi-layer perceptron", "hidden units per layer", "hidden layers"),
    }[network["name"]]
    return [(key, network[key], said) for key, said in zip(("name", "width", "depth"), meaning, strict=True)]


def _experts(plan: Plan) -> list[Line]:
    return [
        ("count", 6, "networks trained on the real data; the set learns from their paths. The papers have 100"),
        ("epochs", plan.epochs, "of each expert"),
        ("batch", plan.batch, "real samples per step; an epoch should have twenty steps or more"),
        ("lr", plan.lr, "learning rate; lower it if the experts' accuracy jumps up and down"),
        _augment(plan),
    ]


def _augment(plan: Plan) -> Line:
    if plan.augment == "none":
        return "augment", plan.augment, "augmentation is for images"
    flips = "; take flip out where left and right are not alike" if "flip" in plan.augment else ""
    return "augment", plan.augment, f"how samples are varied{flips}"


def _distill(plan: Plan) -> list[Line]:
    kinds, size = len(plan.survey.names), len(plan.survey.names) * plan.ipc
    iterations = 300 if plan.ipc == 1 else 500
    seeds = 3 if plan.data.validation else 0  # without a split the last iterate is the set
    return [
        ("ipc", plan.ipc, f"synthetic samples per class: {size} in all for {kinds} classes"),
        ("iterations", iterations, "steps of the set; raise it, and the same command goes on from there"),
        ("student_steps", 20, "steps of a student on the set in each iteration; time grows with it"),
        ("expert_epochs", 2, "how far along an expert's path these steps have to come"),
        ("batch", min(size, 100), "synthetic samples per step of the student"),
        ("lr_images", plan.lr_images, "learning rate of the samples: the number that matters most"),
        ("student_lr", plan.student_lr, "the student's learning rate, where its learning begins"),
        ("lr_student_lr", 1.0e-5, "learning rate of the student's learning rate"),
        _augment(plan),
        ("windows", plan.windows, "epochs at which the students begin; later ones are harder, and for larger sets"),
        ("labels", {"lr": 1}, "soft labels are learned too; {kind: hard} keeps the classes"),
        (
            "validation",
            {"every": iterations // 3, "seeds": seeds, "epochs": 200},
            "how often, and with how many networks, the best set is chosen",
        ),
    ]


def _evaluation(plan: Plan) -> list[Line]:
    lines: list[Line] = []
    if plan.uneven > UNEVEN:
        lines.append(("metric", "balanced_accuracy", "what decides; the plain accuracy is reported beside it"))
    lines += [
        ("seeds", 5, "fresh networks trained on the set, and as many on the control: real samples at random"),
        ("epochs", 300, "of each; the papers have 1001"),
        _augment(plan),
        ("controls", {"lrs": [0.01, 0.03, 0.1], "tuning_seeds": 1}, "learning rates that the control chooses from"),
    ]
    return lines


def _filters(plan: Plan) -> str:
    scores = {"networks": 3, "epochs": 8, "lr": plan.lr, "batch": plan.batch, "augment": plan.augment}
    schedule = {"initial_ratio": 0.75, "addition_end_epoch": plan.epochs // 3}
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
        shown += [beside] if len(beside) <= 120 else [f"  # {meaning}:", line]
    return "\n".join(shown) + "\n"


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
