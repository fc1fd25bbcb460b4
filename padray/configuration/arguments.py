"""A command line for a job: parsed here as it will be parsed there, so that what is wrong with it is told at once."""

from dataclasses import dataclass
from typing import Any

from padray.errors import InputError

COMMANDS = ("run", "data", "scores", "experts", "distill", "evaluate", "report", "tune", "study")
_APART = frozenset({"storage", "overrides", "space", "price", "as_json"})  # a job's end is told here


@dataclass(frozen=True)
class Line:
    """A command that computes: what it works on (settings, sets or a study), and its options by their names here."""

    command: str
    names: tuple[str, ...]
    options: dict[str, Any]
    others: tuple[str, ...] = ()  # options as they are typed that name no file and no place

    @property
    def storage(self) -> str | None:
        """What `--storage` says."""
        storage: str | None = self.options.get("storage")
        return storage

    @property
    def overrides(self) -> tuple[str, ...]:
        """What every `--set` says."""
        return tuple(self.options.get("overrides") or ())

    @property
    def space(self) -> str | None:
        """The search space's file."""
        space: str | None = self.options.get("space")
        return space

    @property
    def price(self) -> str | None:
        """A price, or a price table's file."""
        price: str | None = self.options.get("price")
        return price


def parse(commands: Any, words: tuple[str, ...]) -> Line:
    """A command line for `padray`, read by padray's own commands.

    Args:
        commands: typer's group of all commands.
        words: `COMMAND …`, or without a command the configuration for `run`, or with `--space` for `tune`.

    Raises:
        InputError: a command that computes nothing. typer raises its own errors for what it cannot read.
    """
    place = 0 if not words[0].startswith("-") else next((at for at, word in enumerate(words) if word in COMMANDS), 0)
    first, rest = words[place], [*words[:place], *words[place + 1 :]]
    if first not in COMMANDS:
        if first in commands.commands:
            raise InputError(f"padray {first} is no work for a cluster; there are {', '.join(COMMANDS)}")
        spaced = any(word == "--space" or word.startswith("--space=") for word in words)
        first, rest = "tune" if spaced else "run", list(words)
    command = commands.commands[first]
    given = parameters(commands, first, rest)
    arguments = [each.name for each in command.params if each.param_type_name == "argument"]
    names = [name for key in arguments for name in _listed(given[key])]
    options = [each for each in command.params if each.name not in {*arguments, *_APART}]
    others = [word for option in options for word in _typed(option, given[option.name])]
    return Line(first, tuple(names), {key: given[key] for key in given if key not in arguments}, tuple(others))


def parameters(commands: Any, command: str, words: list[str]) -> dict[str, Any]:
    """What padray's own parser makes of a command's words, by the names here. typer raises its own errors."""
    given: dict[str, Any] = commands.commands[command].make_context(command, words).params
    return given


def _listed(value: Any) -> list[str]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _typed(option: Any, value: Any) -> list[str]:
    if value is None or value == option.default:
        return []
    return [option.opts[0]] if option.is_flag else [f"{option.opts[0]}={value}"]
