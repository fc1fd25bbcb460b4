"""Examples that `padray COMMAND --help` ends with. Tests read them with the commands' own parsers."""

import typer

EXAMPLES = {
    "run": (
        "padray run digits-ipc1",
        "padray run digits-ipc1 --set distill.iterations=600",
        "padray run cifar10-narrow-ipc1 --set data.path=FOLDER --storage s3://BUCKET/padray",
    ),
    "data": ("padray data digits-ipc1",),
    "scores": ("padray scores demo --set scores.method=forgetting",),
    "experts": ("padray experts digits-ipc10 --set experts.count=20",),
    "distill": ("padray distill digits-ipc1 --runner inline",),
    "evaluate": (
        "padray evaluate digits-ipc1",
        "padray evaluate SET SET --set 'evaluation.architectures=[lenet, resnet18]'",
    ),
    "report": ("padray report digits-ipc1",),
    "tune": (
        "padray tune digits-ipc1 --space search_spaces/pad_filters.yaml --set search.trials=20",
        "padray tune mine.yaml --space mine-space.yaml --set search.hours=2",
    ),
    "study": (
        "padray study search_spaces/study_table3b.yaml --profile small",
        "padray study search_spaces/study_table1.yaml --set data.path=FOLDER --validation 0.1",
    ),
    "export": ("padray export distilled/digits my-set --to imagefolder",),
    "import": ("padray import FOLDER --from pt --config pad-cifar10-ipc10 --set data.path=FOLDER",),
    "submit": (
        "padray submit run digits-ipc10 --address http://HOST:8265 --storage s3://BUCKET/padray",
        "padray submit tune digits-ipc10 --space FILE --address http://HOST:8265 --storage s3://BUCKET/padray",
    ),
    "preflight": ("padray preflight --address http://HOST:8265 --storage s3://BUCKET/padray",),
    "init-config": (
        "padray init-config FOLDER --budget 1h --ipc 10 --to mine.yaml",
        "padray init-config FOLDER --set data.size=32",
        "padray init-config wines.csv --set data.label_column=NAME",
    ),
    "plan": ("padray plan digits-ipc10 --calibrate", "padray plan digits-ipc10 --nodes 8 --price prices.yaml"),
    "config show": ("padray config show demo --set distill.ipc=10",),
    "ls": ("padray ls --storage s3://BUCKET/padray",),
    "show": ("padray show distilled/digits",),
    "status": ("padray status --storage s3://BUCKET/padray",),
    "verify": ("padray verify --repair", "padray verify --older-than 7d"),
    "rm": ("padray rm searches/digits",),
    "du": ("padray du --json",),
}


def put_below(app: typer.Typer, prefix: str = "") -> None:
    """Let every command of an app, and of the groups in it, end its help with its examples."""
    for command in app.registered_commands:
        if lines := EXAMPLES.get(f"{prefix}{command.name}"):
            command.epilog = "\n\n".join(("Examples:", *lines)).replace("[", r"\[")  # which would be Rich's markup
    for group in app.registered_groups:
        if group.typer_instance is not None:
            put_below(group.typer_instance, f"{prefix}{group.name} ")
