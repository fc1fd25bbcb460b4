"""JSON that anybody may have written: it is read only where padray could have written it."""

import json
import math
from typing import Any

_DEEPEST = 32  # lists and objects inside each other


def parse_json(content: bytes | str) -> Any:
    """What a text says.

    Raises:
        ValueError: it is no JSON in UTF-8, is nested deeply, or holds numbers that are not finite or half characters.
    """
    text = content if isinstance(content, str) else content.decode()
    try:
        tree = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(tree)
    return tree


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _check(tree: Any) -> None:
    """Raises ValueError for what would only fail later: where it is printed, or stored again."""
    waiting = [(tree, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif isinstance(value, str):
            value.encode()  # of a pair of surrogates that is one character, one half may be missing
        elif isinstance(value, int | float) and not _is_finite(value):
            raise ValueError("a number that is not finite")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
