"""docs/glossary.md: every place that it names is there, and what it rules out does not come back."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
# Once names of classes and functions here, which nobody from the field would have looked for.
RULED_OUT = {"Bench", "Board", "Crew", "Judges", "Lesson", "Ports", "Told", "Trail", "bring", "hire", "take_out"}


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`(padray/[\w./]+)`", GLOSSARY))))
def test_every_place_that_it_names_is_there(place):
    assert (ROOT / place).exists()


def test_no_word_is_explained_twice():
    words = re.findall(r"^\| ([a-z, ]+) \|", GLOSSARY, re.M)
    assert len(words) == len(set(words)) > 20


def test_words_that_are_ruled_out_name_nothing():
    named = set()
    for path in (ROOT / "padray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                named.add(node.name.lstrip("_"))
    assert not named & RULED_OUT
