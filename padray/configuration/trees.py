"""Trees of settings as YAML writes them: sections of numbers, texts and lists, all within bounds.

ruamel reads the text; what becomes of its nodes is decided here, so that a fault is told with its place, no tag makes
anything else, and what an alias repeats is counted every time: no short text becomes a large tree.
"""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from padray.errors import InputError
from padray.machine.files import is_utf8, read_regular, shown

Tree = dict[str, Any]

MOST_BYTES = 2**16  # of a file; the largest of our own has 7,000
MOST_VALUES = 20_000  # aliases counted as what they stand for
MOST_LEVELS = 20
MOST_NUMBER = 2**63 - 1

_KINDS = ("null", "bool", "int", "float", "str")
_TAG = "tag:yaml.org,2002:"
_ALLOWED = "settings are numbers, texts, lists and sections"


def read(path: str, what: str) -> Tree:
    """The tree in a file.

    Args:
        what: what the file is, e.g. "the settings file".

    Raises:
        InputError: no regular file, too large, not text, or as `parse` does.
    """
    content = read_regular(path, what, MOST_BYTES)
    try:
        return parse(content.decode(), shown(path))
    except UnicodeDecodeError:
        raise InputError(f"{shown(path)} is not a text file; {what} is YAML in UTF-8") from None


def parse(text: str, source: str) -> Tree:
    """The sections that a text holds; {} where it holds nothing.

    Raises:
        InputError: not YAML, no sections, a value that is no setting's, or more of them than anybody writes.
    """
    reader = _Reader(text, source)
    tree = reader.plain(reader.root, ())
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{source} must hold sections, in lines such as `key: value`, not a {type(tree).__name__}")
    return tree


def parse_value(text: str, source: str) -> Any:
    """The value that a text means after `key: `. Raises InputError as `parse` does, and for more than one value."""
    reader = _Reader(f"value: {text}", source)
    if not isinstance(reader.root, MappingNode) or len(reader.root.value) != 1:
        raise InputError(f"{source}: one setting at a time; repeat --set for more")
    return reader.plain(reader.root.value[0][1], ())


def _compose(yaml: YAML, text: str, source: str) -> Node | None:
    try:
        node: Node | None = yaml.compose(text)
        return node
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{source}, line {line}: not valid YAML ({shown(str(error.problem))})") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply; settings are at most a few levels deep") from None
    except (YAMLError, ValueError, AssertionError) as error:  # ruamel asserts, and converts numbers, while it scans
        reason = shown(" ".join(str(error).split()))
        raise InputError(f"{source}, line {yaml.reader.line + 1}: not valid YAML ({reason})") from None


class _Reader:
    """From one text's nodes to plain values."""

    def __init__(self, text: str, source: str) -> None:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # YAML lets a later anchor take the place of an earlier one
        self.source, self.root = source, _compose(yaml, text, source)
        self.scalars = {f"{_TAG}{kind}": getattr(yaml.constructor, f"construct_yaml_{kind}") for kind in _KINDS}
        self.read = 0  # values so far
        self.open: set[int] = set()  # the nodes that hold the present one

    def refusal(self, path: tuple[str, ...], why: str) -> InputError:
        key = f"{shown('.'.join(path))}: " if path else ""
        return InputError(f"{self.source}: {key}{why}")

    def plain(self, node: Node | None, path: tuple[str, ...]) -> Any:
        """The value of a node at a place. Raises InputError."""
        if node is None:
            return None
        self.read += 1
        if self.read > MOST_VALUES:
            raise self.refusal((), f"it holds more than {MOST_VALUES:,} values, which is the most")
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self.open:
            raise self.refusal(path, "holds itself; write its settings out")
        if len(path) > MOST_LEVELS:
            raise self.refusal(path, f"nested too deeply; settings are at most {MOST_LEVELS} levels deep")
        self.open.add(id(node))
        is_section = isinstance(node, MappingNode)
        if node.tag != f"{_TAG}{'map' if is_section else 'seq'}":
            raise self.refusal(path, f"{_ALLOWED}, not {shown(str(node.tag).removeprefix(_TAG))}")
        value = self._section(node, path) if is_section else self._list(node, path)
        self.open.discard(id(node))
        return value

    def _list(self, node: Node, path: tuple[str, ...]) -> list[Any]:
        return [self.plain(inner, (*path, str(place))) for place, inner in enumerate(node.value)]

    def _section(self, node: Node, path: tuple[str, ...]) -> Tree:
        """Its own keys, after those that `<<` takes over from others."""
        own: Tree = {}
        taken: Tree = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                value = self.plain(value_node, path)
                for part in reversed(value if isinstance(value, list) else [value]):
                    if not isinstance(part, dict):
                        raise self.refusal(path, "`<<` takes over sections alone")
                    taken |= part
                continue
            key = self._key(key_node, path)
            if key in own:
                line = key_node.start_mark.line + 1
                raise InputError(f"{self.source}, line {line}: duplicate key {shown('.'.join((*path, key)))}")
            own[key] = self.plain(value_node, (*path, key))
        return taken | own

    def _key(self, node: Node, path: tuple[str, ...]) -> str:
        key = self.plain(node, path)
        if isinstance(key, bool) or not isinstance(key, str | int | float):
            raise self.refusal(path, f"a key must be a text or a number (got {shown(repr(key))})")
        return str(key)

    def _scalar(self, node: ScalarNode, path: tuple[str, ...]) -> Any:
        text, kind = str(node.value), str(node.tag).removeprefix(_TAG)
        read = self.scalars.get(str(node.tag))
        if read is None:
            raise self.refusal(path, f"{_brief(text)} is read as a {shown(kind)}, but {_ALLOWED}; a text needs quotes")
        try:
            value = read(node)
        except (ValueError, KeyError, IndexError, ArithmeticError):
            if text.strip("+-").isdigit():  # Python reads at most 4,300 digits
                raise self.refusal(path, _too_large(text)) from None
            raise self.refusal(path, f"{_brief(text)} is no {kind}") from None
        if isinstance(value, int) and abs(value) > MOST_NUMBER:
            raise self.refusal(path, _too_large(text))
        if isinstance(value, str) and not is_utf8(value):
            raise self.refusal(path, f"{shown(value)} is no text: UTF-8 cannot hold it")
        return value


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:30]}…{text[-29:]}")


def _too_large(text: str) -> str:
    return f"whole numbers go up to {MOST_NUMBER:,} (got {_brief(text)}); write larger ones as 1.0e+20"
