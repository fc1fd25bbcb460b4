"""Settings from a preset or a YAML file, with `--set` on top, and where each value came from."""

import copy
import difflib
import functools
import io
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from padray.config import Config
from padray.configuration import trees
from padray.configuration.digests import NAMED_FILES, with_digests
from padray.configuration.trees import Tree
from padray.errors import InputError
from padray.machine.files import is_utf8, quoted, shown
from padray.methods.families import DEFAULT
from padray.methods.families import settings_of as family_settings
from padray.methods.settings import DistillSettings

_SUFFIXES = frozenset({".yaml", ".yml"})
_RETIRED = (("distill", "checkpoint_every"),)  # settings that changed no result, in manifests of earlier versions


@dataclass(frozen=True)
class Loaded:
    """A checked configuration, its name, and for every setting that is not a default where it was set."""

    name: str
    config: Config
    origins: dict[str, str]


class UnknownNameError(InputError):
    """A name that means no settings."""


class UnfitError(InputError):
    """Settings that do not hold. `key`: the dotted setting or section that does not, empty for the whole."""

    def __init__(self, sentence: str, key: str = "") -> None:
        super().__init__(sentence)
        self.key = key


def preset_names() -> list[str]:
    """The recipes that come with padray."""
    folder = resources.files("padray") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(name: str, overrides: tuple[str, ...] = (), space: str | None = None) -> Loaded:
    """The configuration called `name` (a preset, or a path to a YAML file) with `section.key=value` overrides.

    Raises:
        InputError: unknown name, key, type or range; a duplicate key; YAML that cannot be parsed; a ranking that is
            not there, or another one than `scores.digest` says.
    """
    loaded = settings_of(name, overrides, space)
    config, origins = with_digests(loaded.config), dict(loaded.origins)
    for one in NAMED_FILES:
        if one.path_of(config) is not None:
            origins.setdefault(f"{one.section}.{one.digest}", f"the bytes of {one.section}.{one.path}")
    return Loaded(loaded.name, config, origins)


def settings_of(name: str, overrides: tuple[str, ...] = (), space: str | None = None) -> Loaded:
    """As `load`, but a ranking's file is not opened: it may lie on another machine. Raises InputError."""
    tree, source = _read(name)
    origins = {key: source for key, _ in _leaves(tree)}
    if space is not None:
        _put(tree, ["search", "space"], load_space(space), f"--space {shown(space)}")
        origins["search.space"] = shown(space)
    for override in overrides:
        path, value = _parse_override(override)
        _put(tree, path, value, f"--set {shown(override)}")
        origins = {k: v for k, v in origins.items() if not f"{k}.".startswith(f"{'.'.join(path)}.")}
        origins[".".join(path)] = "--set"
    tree = _with_scoring_network(tree, origins)
    label = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    return Loaded(label, _check(_with_starts(tree, origins, source), origins, source), origins)


def _with_scoring_network(tree: Tree, origins: dict[str, str]) -> Tree:
    """The tree whose scoring networks are of the run's own kind, where a space alone asks for them and none is named.

    Whoever wrote the settings had no use for scores, so their network is not the papers'.
    """
    search, scores = tree.get("search"), tree.get("scores") or {}
    space = search.get("space") if isinstance(search, dict) else None
    if not isinstance(space, dict) or not isinstance(scores, dict) or {"network", "path"} & scores.keys():
        return tree
    if "network" not in tree or not any(str(name).startswith("schedule.") for name in space):
        return tree
    origins["scores.network"] = "network, as the space asks for scores"
    return {**tree, "scores": {**scores, "network": tree["network"]}}


def _with_starts(tree: Tree, origins: dict[str, str], source: str) -> Tree:
    """The tree with what the presets and files that `search.start` names say of the space, in their place."""
    search = tree.get("search")
    named = search.get("start") if isinstance(search, dict) else None
    if not isinstance(named, list) or not any(isinstance(one, str) for one in named):
        return tree
    space = _check({**tree, "search": {**search, "start": []}}, origins, source).search.space  # type: ignore[dict-item]
    starts: list[Any] = []
    for one in named:
        if isinstance(one, str):
            known = dict(effective(_check(*_read_start(one))))
            starts.append({key: known[key] for key, spec in space.items() if key in known and spec.holds(known[key])})
            if not starts[-1]:
                raise InputError(f"search.start: {shown(one)} has no value that lies in search.space")
        else:
            starts.append(one)
    return {**tree, "search": {**search, "start": starts}}  # type: ignore[dict-item]


def _read_start(name: str) -> tuple[Tree, dict[str, str], str]:
    """What `search.start` names; of its own search nothing is asked."""
    tree, source = _read(name)
    return {key: value for key, value in tree.items() if key != "search"}, {}, source


def from_settings(settings: Tree, overrides: tuple[str, ...], source: str) -> Config:
    """The configuration that a manifest holds, with overrides. Raises InputError if it no longer fits."""
    tree, origins = dict(settings), dict[str, str]()
    for section, retired in _RETIRED:
        if isinstance(tree.get(section), dict):
            tree[section] = {key: value for key, value in tree[section].items() if key != retired}
    for override in overrides:
        path, value = _parse_override(override)
        _put(tree, path, value, f"--set {shown(override)}")
        origins[".".join(path)] = "--set"
    return _check(tree, origins, source)


def with_values(config: Config, values: dict[str, Any], source: str) -> Config:
    """The configuration with some dotted settings changed. Raises InputError if one is unknown or does not fit."""
    tree = config.model_dump(mode="json")
    others = [one for one in NAMED_FILES if f"{one.section}.{one.path}" in values]
    for one in others:  # another file, so another digest
        tree[one.section][one.digest] = None
    for key, value in values.items():
        _put(tree, key.split("."), value, f"{source}: {shown(key)}")
    checked = _check(tree, dict.fromkeys(values, source), source)
    return with_digests(checked) if others else checked


def as_yaml(config: Config) -> str:
    """The settings that are not at their default, as YAML that `load` reads back."""
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(config.model_dump(mode="json", exclude_defaults=True), text)
    return text.getvalue()


def load_space(path: str) -> Tree:
    """A search space's file: dotted settings and what may be chosen for each. Raises InputError."""
    if Path(path).suffix not in _SUFFIXES:
        raise InputError(f"--space {quoted(path)} must be a .yaml file, e.g. search_spaces/pad_filters.yaml")
    return trees.read(path, "the search space")


def effective(config: Config) -> list[tuple[str, Any]]:
    """Every setting of a configuration as (dotted key, value), in the order of the sections."""
    return _leaves(config.model_dump(mode="json"))


def _read(name: str) -> tuple[Tree, str]:
    """A preset's tree, or that of a file, and what to call it in sentences."""
    if name in preset_names():
        return copy.deepcopy(_preset(name)), f"preset {name}"
    if Path(name).suffix in _SUFFIXES:
        return trees.read(name, "the settings file"), shown(name)
    near = _near(name, preset_names(), "the presets are")
    raise UnknownNameError(f"{quoted(name)} is neither a preset nor a .yaml file{near}")


@functools.cache
def _preset(name: str) -> Tree:
    """A preset's tree, read once in a process."""
    text = (resources.files("padray") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return trees.parse(text, f"preset {name}")


def _parse_override(override: str) -> tuple[list[str], Any]:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or len(path) > trees.MOST_LEVELS or not is_utf8(key):
        raise InputError(f"--set {shown(override)}: write it as section.key=value, e.g. distill.ipc=10")
    return path, trees.parse_value(text, f"--set {shown(key)}")


def _put(tree: Tree, path: list[str], value: Any, source: str) -> None:
    """Set one value, in sections of the tree's own: those that it was given may be another's too."""
    for part in path[:-1]:
        if not isinstance(tree.get(part) or {}, dict):
            raise InputError(f"{source}: {quoted(part)} is a value, it holds no settings")
        tree[part] = dict(tree.get(part) or {})
        tree = tree[part]
    tree[path[-1]] = value


def _leaves(tree: Tree, prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        leaves += (
            _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", value)]
        )
    return leaves


def _check(tree: Tree, origins: dict[str, str], source: str) -> Config:
    try:
        # through JSON, because there lists are valid tuples even where types are strict
        return Config.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise _unfit(error, tree, origins, source) from None
    except RecursionError:  # only what was stored can be so deep
        raise InputError(f"{source}: nested too deeply; settings are at most a few levels deep") from None


_PLAIN = {
    "model_type": "must hold settings of its own",
    "tuple_type": "must be a list",
    "json_invalid": "settings are texts, numbers, lists and sections",
}


def _unfit(error: ValidationError, tree: Tree, origins: dict[str, str], source: str) -> UnfitError:
    """The first of its faults, with the place where the value was set."""
    faults = [(_place(fault, tree), fault) for fault in error.errors()]
    top = faults[0][0]  # of a setting of several kinds each kind has its fault: the deepest is that of the kind meant
    parts, fault = max((one for one in faults if one[0][: len(top)] == top), key=lambda one: len(one[0]))
    key = ".".join(parts)
    below = (origin for k, origin in origins.items() if not key or k.startswith(f"{key}."))
    mixed = f"{source} with --set" if "--set" in below else source
    where = next((origins[k] for k in origins if f"{key}.".startswith(f"{k}.")), mixed)
    return UnfitError(f"{where}: {_sentence(fault, parts, tree)}", key)


def _place(fault: Any, tree: Any) -> list[str]:
    """Where a fault is, by the keys and places that were given: pydantic's own steps between them are left out."""
    parts = []
    for part in fault["loc"]:
        inside = part in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(part, int)
        if inside or (fault["type"] == "missing" and part == fault["loc"][-1]):
            parts.append(str(part))
            tree = tree[part] if inside else None
    return parts


def _sentence(fault: Any, parts: list[str], tree: Tree) -> str:
    """What is wrong with a setting."""
    key = shown(".".join(parts)) or "''"
    if fault["type"] == "extra_forbidden":
        return f"{key} is not a setting{_near(parts[-1], _fields(parts[:-1], tree), 'known here are')}"
    message = _PLAIN.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    if not parts:
        return str(message)
    given = fault["input"]
    got = "" if isinstance(given, dict | list) else f" (got {shown(repr(given))})"
    return f"{key}: {message[0].lower()}{message[1:]}{got}"


def _fields(parts: list[str], tree: Tree) -> list[str]:
    """The settings of a section; those of `distill` are its family's."""
    model: Any = Config
    for part in parts:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = field.annotation if field else None
        if model is DistillSettings:
            model = family_settings(tree["distill"].get("family", DEFAULT))
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def nearest(word: str, known: list[str]) -> str:
    """The known word that was probably meant, as the end of a sentence."""
    return _near(word, known, "")


def _near(word: str, known: list[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; {otherwise} {', '.join(known)}" if known and otherwise else ""
