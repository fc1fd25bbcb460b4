"""A first search space for settings that somebody has: around their values, and with experts that all trials share."""

from pathlib import Path

from padray.config import Config
from padray.configuration import loading
from padray.errors import InfrastructureError
from padray.machine.files import reason, shown
from padray.methods.trajectory.settings import TrajectorySettings

_WIDE, _NARROW = 10.0, 4.0  # how far a range goes to either side, as a factor
_HEAD = """\
# A first search space for {name}, around its values: `padray tune {name} --space {file}`.
# All trials share the experts, so a trial costs a distillation and no more. Trial 0 is {name} as it is,
# and stays the choice unless another trial is better beyond noise.
"""
_FILTER = """\
# PAD's first filter makes other experts for every choice, and scoring networks first: dear, so it is not asked for.
# schedule.initial_ratio: {type: choice, choices: [0.5, 0.75, 1.0]}
"""


def write(settings: str) -> str:
    """Write NAME-space.yaml beside NAME.yaml, unless it is there; its name, or nothing if there is nothing to search.

    Raises:
        InputError: settings that do not hold.
        InfrastructureError: a disk that is full, or the like; nothing is left then.
    """
    config = loading.load(settings).config
    file = str(Path(settings).with_name(f"{Path(settings).stem}-space.yaml"))
    lines = [f"{name}: {spec}\n" for name, spec in around(config).items()]
    if not lines:
        return ""
    known = {"name": Path(settings).name, "file": Path(file).name}
    try:
        with open(file, "x", encoding="utf-8") as stream:
            stream.write(_HEAD.format(**known) + "".join(lines) + _FILTER * config.distill.needs_experts)
    except FileExistsError:  # somebody's own
        return file
    except OSError as error:
        Path(file).unlink(missing_ok=True)
        raise InfrastructureError(f"cannot write {shown(file)}: {reason(error)}; the same command again") from None
    return file


def around(config: Config) -> dict[str, str]:
    """Of each setting that is worth searching what may be chosen, in YAML; nothing for a family without any."""
    distill, lines = config.distill, dict[str, str]()
    if distill.from_units:
        return lines
    lines["distill.lr_images"] = _around(distill.lr_images, _WIDE)
    if isinstance(distill, TrajectorySettings):
        if distill.soft_labels:
            lines["distill.labels.lr"] = _around(distill.labels.lr, _WIDE)
        lines["distill.student_lr"] = _around(distill.student_lr, _NARROW)
        if distill.selection.strategy != "none":
            lines["distill.selection.alpha"] = _range(0.0, max(0.5, distill.selection.alpha))
        lines["distill.windows.max_start"] = _ends(config, distill)
    else:
        lines["distill.momentum_images"] = _range(0.0, max(0.9, distill.momentum_images))
    return {name: spec for name, spec in lines.items() if spec}


def _around(value: float, factor: float) -> str:
    """A logarithmic range around a learning rate; nothing around 0, which keeps something as it is."""
    if not value:
        return ""
    return f"{{type: float, low: {value / factor:.3g}, high: {value * factor:.3g}, log: true}}"


def _range(low: float, high: float) -> str:
    return f"{{type: float, low: {low:g}, high: {high:g}}}"


def _ends(config: Config, distill: TrajectorySettings) -> str:
    """The last start epochs of students, up to the last one that these experts allow."""
    windows, experts = distill.windows, config.experts
    if experts.keep_epochs is not None:
        return ""
    last = experts.epochs + 1 - distill.expert_epochs
    middle = (windows.max_start + last) // 2
    ends = sorted({windows.start, windows.max_start, max(middle, windows.max_start), max(last, windows.max_start)})
    return f"{{type: choice, choices: {ends}}}" if len(ends) > 1 else ""
