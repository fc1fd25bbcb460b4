"""Settings from a preset or a YAML file, with `--set` on top, and where each value came from."""

import difflib
import hashlib
import io
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from padray.config import Config
from padray.errors import InputError

Tree = dict[str, Any]
_RETIRED = (("distill", "checkpoint_every"),)  # settings that changed no result, in manifests of earlier versions


@dataclass(frozen=True)
class Loaded:
    """A checked configuration, its name, and for every setting that is not a default where it was set."""

    name: str
    config: Config
    origins: dict[str, str]


class UnknownNameError(InputError):
    """A name that means no settings."""


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
    config, origins = _with_digest(loaded.config), dict(loaded.origins)
    if config.scores.path is not None:
        origins.setdefault("scores.digest", "the bytes of scores.path")
    return Loaded(loaded.name, config, origins)


def settings_of(name: str, overrides: tuple[str, ...] = (), space: str | None = None) -> Loaded:
    """As `load`, but a ranking's file is not opened: it may lie on another machine. Raises InputError."""
    text, source = _read(name)
    tree = _parse(text, source)
    try:
        origins = {key: source for key, _ in _leaves(tree)}
    except RecursionError:
        raise InputError(f"{source}: a section holds itself; write its settings out") from None
    if space is not None:
        _put(tree, ["search", "space"], load_space(space), f"--space {space}")
        origins["search.space"] = space
    for override in overrides:
        path, value = _parse_override(override)
        _put(tree, path, value, override)
        origins = {k: v for k, v in origins.items() if not f"{k}.".startswith(f"{'.'.join(path)}.")}
        origins[".".join(path)] = "--set"
    label = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    return Loaded(label, _check(tree, origins, source), origins)


def from_settings(settings: Tree, overrides: tuple[str, ...], source: str) -> Config:
    """The configuration that a manifest holds, with overrides. Raises InputError if it no longer fits."""
    tree, origins = json.loads(json.dumps(settings)), {}
    for section, key in _RETIRED:
        if isinstance(tree.get(section), dict):
            tree[section].pop(key, None)
    for override in overrides:
        path, value = _parse_override(override)
        _put(tree, path, value, override)
        origins[".".join(path)] = "--set"
    return _check(tree, origins, source)


def with_values(config: Config, values: dict[str, Any], source: str) -> Config:
    """The configuration with some dotted settings changed. Raises InputError if one is unknown or does not fit."""
    tree = config.model_dump(mode="json")
    if "scores.path" in values:  # another file, so another digest
        tree["scores"]["digest"] = None
    for key, value in values.items():
        _put(tree, key.split("."), value, f"{key}={value}")
    checked = _check(tree, dict.fromkeys(values, source), source)
    return _with_digest(checked) if "scores.path" in values else checked


def as_yaml(config: Config) -> str:
    """The settings that are not at their default, as YAML that `load` reads back."""
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(config.model_dump(mode="json", exclude_defaults=True), text)
    return text.getvalue()


def load_space(path: str) -> Tree:
    """A search space's file: dotted settings and what may be chosen for each. Raises InputError."""
    if Path(path).suffix not in {".yaml", ".yml"}:
        raise InputError(f"--space {path} must be a .yaml file, e.g. search_spaces/pad_filters.yaml")
    return _parse(*_read(path))


def effective(config: Config) -> list[tuple[str, Any]]:
    """Every setting of a configuration as (dotted key, value), in the order of the sections."""
    return _leaves(config.model_dump(mode="json"))


def _read(name: str) -> tuple[str, str]:
    if name in preset_names():
        return (resources.files("padray") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"), f"preset {name}"
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        try:
            return path.read_text(encoding="utf-8"), name
        except OSError as error:
            raise InputError(f"cannot read the settings file {name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{name} is not a text file; settings are YAML") from None
    near = _near(name, preset_names(), "the presets are")
    raise UnknownNameError(f"{name!r} is neither a preset nor a .yaml file{near}")


def _parse(text: str, source: str) -> Tree:
    try:
        tree = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{source}, line {line}: not valid YAML ({error.problem})") from None
    except YAMLError as error:
        raise InputError(f"{source}: not valid YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply; settings are at most a few levels deep") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{source} must hold sections such as `data:` and `distill:`, not a {type(tree).__name__}")
    return tree


def _parse_override(override: str) -> tuple[list[str], Any]:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise InputError(f"--set {override}: write it as section.key=value, e.g. distill.ipc=10")
    tree = _parse(f"value: {text}", f"--set {key}")
    if tree.keys() != {"value"}:
        raise InputError(f"--set {key}: one setting at a time; repeat --set for more")
    return path, tree["value"]


def _put(tree: Tree, path: list[str], value: Any, override: str) -> None:
    for part in path[:-1]:
        if not isinstance(tree.get(part) or {}, dict):
            raise InputError(f"--set {override}: {part!r} is a value, it holds no settings")
        tree[part] = dict(tree.get(part) or {})
        tree = tree[part]
    tree[path[-1]] = value


def _leaves(tree: Tree, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", value)]
    return found


def _check(tree: Tree, origins: dict[str, str], source: str) -> Config:
    try:
        text = json.dumps({str(k): v for k, v in tree.items()})
    except (TypeError, ValueError) as error:  # what JSON has no word for, and lists that hold themselves
        raise InputError(f"{source}: settings are numbers, texts, lists and sections ({error})") from None
    try:  # through JSON, because there lists are valid tuples even where types are strict
        return Config.model_validate_json(text)
    except ValidationError as error:
        raise InputError(_sentence(error, origins, source)) from None


def _with_digest(config: Config) -> Config:
    """With the digest of the ranking's bytes. A file that is not here must have its digest among the settings."""
    scores = config.scores
    if scores.path is None:
        return config
    try:
        with Path(scores.path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        if scores.digest is not None:  # then it may be stored already; the scores stage says so if it is not
            return config
        raise InputError(f"scores.path: cannot read the ranking {scores.path}: {error.strerror}") from None
    if scores.digest not in (None, digest):
        raise InputError(
            f"scores.path: {scores.path} is not the ranking that scores.digest means (its SHA-256 is {digest}); "
            f"leave scores.digest out, or give that file"
        )
    return config.model_copy(update={"scores": scores.model_copy(update={"digest": digest})})


_PLAIN = {"model_type": "must hold settings of its own", "tuple_type": "must be a list"}


def _sentence(error: ValidationError, origins: dict[str, str], source: str) -> str:
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if part != "nullable"]
    key = ".".join(parts)
    below = (origin for k, origin in origins.items() if not key or k.startswith(f"{key}."))
    mixed = f"{source} with --set" if "--set" in below else source
    where = next((origins[k] for k in origins if f"{key}.".startswith(f"{k}.")), mixed)
    if first["type"] == "extra_forbidden":
        return f"{where}: {key} is not a setting{_near(parts[-1], _fields(parts[:-1]), 'known here are')}"
    message = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    if first["type"] == "value_error" and not key:
        return f"{where}: {message}"
    given = first["input"]
    shown = "" if isinstance(given, dict | list) else f" (got {given!r})"
    return f"{where}: {key}: {message[0].lower()}{message[1:]}{shown}"


def _fields(parts: list[str]) -> list[str]:
    model: Any = Config
    for part in parts:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = field.annotation if field else None
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def nearest(word: str, known: list[str]) -> str:
    """The known word that was probably meant, as the end of a sentence."""
    return _near(word, known, "")


def _near(word: str, known: list[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; {otherwise} {', '.join(known)}" if known and otherwise else ""
