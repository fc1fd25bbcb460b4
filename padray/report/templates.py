"""The pages' templates: what they know, and how bytes and long names come into them."""

import base64
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from padray.report.style import DARK, LIGHT

_BREAKS = re.compile(r"(?<!\d)([./_=,-]+)(?=\w)|([./_=,-]+)(?=[^\W\d])")  # not within 0.25
_APOSTROPHE = re.compile(r"(?<=\w)'")
_WITHIN = re.compile(r"(?<=\d) (?=[±%])|(?<=±) (?=\d)")


def render(name: str, view: Mapping[str, Any], pictures: Mapping[str, Any]) -> str:
    """A page: a function of what it is given alone."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda file: (resources.files("padray.report") / file).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["uri"] = _uri
    environment.filters["breakable"] = breakable
    environment.filters["unbroken"] = unbroken
    return environment.get_template(name).render(view, pictures=pictures, light=LIGHT, dark=DARK) + "\n"


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def breakable(text: object) -> Markup:
    """A long name that may go on in the next line after a dot or the like, and never within a word."""
    return Markup(_BREAKS.sub(r"\g<0><wbr>", str(escape(text))))


def unbroken(text: object) -> str:
    """A sentence whose numbers stay on one line with their spread and their unit, with a printer's apostrophes."""
    return _APOSTROPHE.sub("\N{RIGHT SINGLE QUOTATION MARK}", _WITHIN.sub("\N{NO-BREAK SPACE}", str(text)))
