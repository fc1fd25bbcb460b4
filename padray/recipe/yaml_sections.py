"""The settings of a plan, section by section: each value with what it means, and why it is what it is."""

from typing import Any

from padray.config import Config, DataSettings
from padray.configuration import loading
from padray.recipe.scale import JUDGED, Plan

UNEVEN = 1.5  # largest over smallest class from which balanced accuracy decides
CONTROL_LRS = [0.003, 0.01, 0.03, 0.1]
FULL_LR = 0.03

Line = tuple[str, Any, str]  # setting, value, what it means


def sections_of(plan: Plan) -> dict[str, list[Line]]:
    """All sections of the settings file, in its order."""
    sections = {"data": _data(plan), "network": _network(plan)}
    if plan.sizes.family == "trajectory":
        sections["experts"] = _experts(plan)
    return sections | {"distill": _distill(plan), "evaluation": _evaluation(plan)}


def config_of(plan: Plan) -> Config:
    """The settings that the file holds."""
    tree = {name: {key: value for key, value, _ in lines} for name, lines in sections_of(plan).items()}
    return loading.from_settings(tree, (), "init-config")


def _data(plan: Plan) -> list[Line]:
    data = plan.data
    meaning = {
        "image_column": "the column of the images",
        "label_column": "the column of the labels",
        "size": "every image is resized to so many pixels a side; time grows with its square",
        "limit_per_class": "the first so many training samples of each class, which are read in this time; out: all",
        "validation": "this share of the training samples is for choosing; the test split is only for the proof",
        "preprocessing": _PREPROCESSING[data.preprocessing],
    }
    stated = set(data.model_dump(exclude_unset=True)) | {"validation", "preprocessing"}
    lines: list[Line] = [("dataset", data.dataset, "a name, for what is stored and printed")]
    lines.append(("path", data.path, "where the dataset lies; only this machine reads it"))
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
        "convnet": (
            "the network of the papers",
            "channels, for this budget; the papers have 128",
            "blocks, each halves the image",
        ),
        "convnet1d": ("the same for series", "channels, for this budget", "blocks, each halves the series"),
        "mlp": ("a multi-layer perceptron", "hidden units per layer, for this budget", "hidden layers"),
    }[network["name"]]
    return [(key, network[key], said) for key, said in zip(("name", "width", "depth"), meaning, strict=True)]


def _experts(plan: Plan) -> list[Line]:
    sizes = plan.sizes
    return [
        ("count", sizes.experts, "networks trained on the real data, as many as fit; the papers have 100"),
        ("epochs", sizes.epochs, "of each expert"),
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
    kinds, size, sizes = len(plan.survey.names), len(plan.survey.names) * plan.ipc, plan.sizes
    judging = {"every": max(1, sizes.iterations // JUDGED), "seeds": sizes.judges, "epochs": sizes.judge_epochs}
    own = _trajectory(plan) if sizes.family == "trajectory" else _distribution(plan)
    return [
        ("family", sizes.family, _FAMILIES[sizes.family]),
        ("ipc", plan.ipc, f"synthetic samples per class: {size} in all for {kinds} classes"),
        ("iterations", sizes.iterations, "what fits into the budget by plan; raise it, and the same command goes on"),
        ("lr_images", plan.lr_images, "learning rate of the samples: the number that matters most"),
        *own,
        _augment(plan),
        ("validation", judging, "how often, and with how many networks, the best set is chosen"),
    ]


_FAMILIES = {
    "trajectory": "follows experts' trainings: what hours are for; distribution takes minutes",
    "distribution": "matches mean features (DM), without experts: what minutes are for; trajectory takes hours",
}


def _trajectory(plan: Plan) -> list[Line]:
    size = len(plan.survey.names) * plan.ipc
    return [
        ("student_steps", 20, "steps of a student on the set in each iteration; time grows with it"),
        ("expert_epochs", 2, "how far along an expert's path these steps have to come"),
        ("batch", min(size, 100), "synthetic samples per step of the student"),
        ("student_lr", plan.student_lr, "the student's learning rate, where its learning begins"),
        ("lr_student_lr", 1.0e-5, "learning rate of the student's learning rate"),
        ("windows", plan.windows, "epochs at which the students begin; later ones are harder, and for larger sets"),
        ("labels", {"lr": 1}, "soft labels are learned too; {kind: hard} keeps the classes"),
    ]


def _distribution(plan: Plan) -> list[Line]:
    return [("real_batch", plan.sizes.real_batch, "real samples of a class in each iteration; time grows with it")]


def _evaluation(plan: Plan) -> list[Line]:
    sizes, controls = plan.sizes, dict[str, Any](lrs=CONTROL_LRS, tuning_seeds=1)
    meaning = "learning rates that the control chooses from"
    if sizes.full_epochs:
        controls |= {"full": True, "full_epochs": sizes.full_epochs, "full_lrs": [FULL_LR], "full_seeds": 1}
        meaning += "; full: the ceiling, one network on the whole training split"
    lines: list[Line] = []
    if plan.uneven > UNEVEN:
        lines.append(("metric", "balanced_accuracy", "what decides; the plain accuracy is reported beside it"))
    lines += [
        ("seeds", sizes.seeds, "fresh networks trained on the set, and as many on the control: real samples at random"),
        ("epochs", sizes.cell_epochs, "of each; the papers have 1001"),
        _augment(plan),
        ("controls", controls, meaning),
    ]
    return lines
