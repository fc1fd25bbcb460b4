"""docs/glossary.md: every place that it names is there, and what it rules out does not come back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "padray").rglob("*.py"))
# Once names of classes and functions here, which nobody from the field would have looked for.
RULED_OUT = {
    "Bench",
    "Board",
    "Crew",
    "Found",
    "Judges",
    "Lesson",
    "Made",
    "Ports",
    "Told",
    "Trail",
    "bring",
    "hire",
    "take_out",
    "told",
}
# What was done to a value does not say what it is: a manifest, rows, an accuracy.
NO_NAMES_OF_VALUES = {"found", "made", "told"}


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`(padray/[\w./]+)`", GLOSSARY))))
def test_every_place_that_it_names_is_there(place):
    assert (ROOT / place).exists()


def test_no_word_is_explained_twice():
    words = re.findall(r"^\| ([a-z, ]+) \|", GLOSSARY, re.M)
    assert len(words) == len(set(words)) > 20


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def test_words_that_are_ruled_out_name_nothing():
    kinds = ast.ClassDef | ast.FunctionDef
    named = {node.name.lstrip("_") for path in MODULES for node in nodes(path) if isinstance(node, kinds)}
    assert not named & RULED_OUT


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT / "padray")) for path in MODULES])
def test_values_are_called_by_what_they_are(path):
    path = ROOT / "padray" / path
    variables = {node.id for node in nodes(path) if isinstance(node, ast.Name)}
    parameters = {node.arg for node in nodes(path) if isinstance(node, ast.arg)}
    attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    assert not {name.lstrip("_") for name in variables | parameters | attributes} & NO_NAMES_OF_VALUES
