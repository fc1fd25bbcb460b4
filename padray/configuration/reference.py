"""docs/settings.md: every setting with its meaning, default, source and allowed values, as the models have them.

    python -m padray.configuration.reference > docs/settings.md

Texts stand below the settings in the models. They are read from the sources, so that no other command waits for that.
"""

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from padray.config import Config
from padray.evaluation.published import PROTOCOLS, Protocol
from padray.methods.families import FAMILIES
from padray.methods.settings import DistillSettings
from padray.networks.families import FAMILIES as NETWORKS
from padray.networks.settings import NetworkSettings
from padray.settings.sections import Section
from padray.settings.space import ParameterSpec

_SOURCE = re.compile(r"\s*\[([^\[\]]+)\]$")


@dataclass(frozen=True)
class Setting:
    """A line of the reference.

    Attributes:
        default: as it would be typed in YAML; empty where a section must give one.
        source: the paper or the scripts that the default is of, or `ours`.
        counts: it says how many or where, and changes no fingerprint of the folder that it fills.
    """

    key: str
    meaning: str
    default: str
    source: str
    allowed: str
    counts: bool = False


def settings_of(model: type[Section], prefix: str, whole: Section | None = None) -> Iterator[Setting]:
    """The settings of a section and of those in it, by dotted names.

    Args:
        whole: what the section is where nothing is said of it; None: its models' own defaults.
    """
    for name, field in model.model_fields.items():
        inner, key = _section(field), f"{prefix}{name}"
        value = field.default if whole is None else getattr(whole, name)
        if name == "space":
            yield from settings_of(ParameterSpec, f"{key}.NAME.")
        elif inner is not None and (inner is not NetworkSettings or key == "network"):
            yield from settings_of(inner, f"{key}.", value)
        else:
            yield _setting(model, name, key, value)


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _setting(model: type[Section], name: str, key: str, value: Any) -> Setting:
    text = _texts(model).get(name, "")
    source = _SOURCE.search(text)
    if source is None:
        raise ValueError(f"{model.__name__}.{name} needs a text below it that ends with whose default it is: [ours]")
    allowed = _allowed(_schema(model, name))
    default = _default(value, model.model_fields[name])
    return Setting(key, text[: source.start()], default, source[1], allowed, name in model.UNITS)


@cache
def _texts(model: type[BaseModel]) -> dict[str, str]:
    """What stands below the settings of a model and of those that it builds on."""
    texts: dict[str, str] = {}
    for each in reversed([base for base in model.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in itertools.pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                said = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and text.value.value
                texts |= {field.target.id: " ".join(said.split())} if isinstance(said, str) else {}
    return texts


def _default(value: Any, field: FieldInfo) -> str:
    """As it would be typed in YAML. A family that must be named is so by its one name."""
    if value is PydanticUndefined:
        names = get_args(field.annotation)
        return str(names[0]) if len(names) == 1 else ""
    if isinstance(value, NetworkSettings):
        shape = {"name": value.name, **value.model_dump(exclude_defaults=True)}
        return "{" + ", ".join(f"{key}: {part}" for key, part in shape.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


# -- what is allowed, from JSON Schema


def _schema(model: type[Section], name: str) -> dict[str, Any]:
    schema = _whole_schema(model)
    part: dict[str, Any] = schema["properties"][name]
    return part


@cache
def _whole_schema(model: type[Section]) -> dict[str, Any]:
    return TypeAdapter(model).json_schema()


def _allowed(schema: dict[str, Any]) -> str:
    """A part of a JSON Schema in words."""
    if "allowed" in schema:
        return str(schema["allowed"])
    if "$ref" in schema:
        return "a [network](#network): its name, or a section"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_allowed, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(one).strip(chr(34))}`" for one in schema.get("enum", [schema.get("const")]))
    return _of_type(schema)


def _of_type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(schema)}"
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(map(_allowed, schema['prefixItems']))}]"
    if kind == "array":
        return f"list of: {_allowed(schema['items'])}"
    if kind == "object":
        return "section"
    return {"boolean": "`true`, `false`", "null": "`null`", "string": "text"}[str(kind)] + (
        f" like `{schema['pattern']}`" if "pattern" in schema else ""
    )


def _bounds(schema: dict[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema]
    return f", {', '.join(said)}" if said else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or (value.is_integer() and abs(value) < 1e6) else f"{value:g}"


# -- the page


def page() -> str:
    """The whole of docs/settings.md."""
    parts = [_HEAD]
    for name, field in Config.model_fields.items():
        section = _section(field)
        if name == "distill":
            parts += _of_families()
        elif section is not None:
            parts.append(_chapter(name, section, list(settings_of(section, f"{name}."))))
            parts += {"network": [_networks()], "evaluation": [_protocols()]}.get(name, [])
        else:
            parts.append(f"## {name}\n\n{_table([_setting(Config, name, name, field.default)])}")
    return "\n\n".join(parts) + "\n"


def _of_families() -> Iterator[str]:
    """What every family has, and of each what it has besides, or has another default of."""
    common = list(settings_of(DistillSettings, "distill."))
    yield _chapter("distill", DistillSettings, [one for one in common if one.key != "distill.family"])
    for name, family in FAMILIES.items():
        own = [one for one in settings_of(family.settings, "distill.") if one not in common]
        yield _chapter(f"distill, family: {name}", family.settings, own)


def _chapter(title: str, model: type[Section], rows: list[Setting]) -> str:
    said = (inspect.getdoc(model) or "").split("\n\n")
    return "\n\n".join([f"## {title}", " ".join(said[0].split()), _table(rows)])


def _table(rows: list[Setting]) -> str:
    lines = [["setting", "default", "of", "meaning", "allowed"], ["---"] * 5]
    for row in rows:
        shown = f"`{row.default}`" if row.default else ""
        lines.append([f"`{row.key}`{'*' * row.counts}", shown, row.source, row.meaning, row.allowed])
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _networks() -> str:
    rows = [["network", "usual width", "usual depth", "largest depth", "to choose", "for"], ["---"] * 6]
    for name, family in NETWORKS.items():
        numbers = ["" if one is None else str(one) for one in (family.width, family.depth, family.most_depth)]
        rows.append([f"`{name}`", *numbers, ", ".join(family.choices), family.reads])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _protocols() -> str:
    names = [field.name for field in fields(Protocol)]
    rows = [["protocol", *names], ["---"] * (1 + len(names))]
    for name, protocol in PROTOCOLS.items():
        rows.append([f"`{name}`", *(str(getattr(protocol, each)) for each in names)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_HEAD = """\
# Every setting

Made from the settings' models by `python -m padray.configuration.reference > docs/settings.md`; a test holds the two
together. `padray config show CONFIG` prints what a configuration makes of them, and where each value came from.
The [tuning guide](tuning.md) says which to change first.

`of` says whose default it is: that of a paper or of its published scripts, or `ours`. A default that is right for one
dataset and size is seldom right for another: the presets have what a paper says for each. A star marks what says only
how many, or where: it makes no new folder, and more of it extends the one that is there."""

if __name__ == "__main__":
    print(page(), end="")
