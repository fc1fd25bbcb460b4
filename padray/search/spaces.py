"""A first search space for settings that somebody has: around their values, and with experts that all trials share."""

from pathlib import Path

from padray.config import Config
from padray.configuration import loading
from padray.errors import InfrastructureError
from padray.machine.files import reason, shown
from padray.methods.searched import Among, Range

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
    searched = config.distill.searched(config.experts)
    return {f"distill.{name}": _yaml(choice) for name, choice in searched.items() if choice is not None}


def _yaml(choice: Range) -> str:
    if isinstance(choice, Among):
        return f"{{type: choice, choices: {list(choice.choices)}}}"
    return f"{{type: float, low: {choice.low:g}, high: {choice.high:g}{', log: true' * choice.log}}}"
