"""docs/failures.md: padray says every message that it explains, and the settings that it names are there. The same
of the notes in the tuning guide."""

import ast
import re

import pytest

from padray.configuration import loading
from tests.docs.pages import ROOT, text

PAGE, TUNING = ROOT / "docs/failures.md", ROOT / "docs/tuning.md"
PRESETS = ("demo", "dm-digits-ipc1", "dc-digits-ipc1", "coreset-digits-ipc10")  # of each family one


def rows() -> list[list[str]]:
    """The tables' lines: message, cause, remedy, settings."""
    lines = [line for line in text(PAGE).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def notes() -> list[str]:
    """What the tuning guide says that a run may say of itself."""
    table = next(part for part in text(TUNING).split("\n\n") if part.startswith("| note |"))
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def said() -> list[str]:
    """Every text in padray's sources; what is filled in is `…`."""
    texts = []
    for path in (ROOT / "padray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return [re.sub(r"\{\w+\}", "…", one).replace("`", "") for one in texts]


SAID = said()


@pytest.mark.parametrize("message", [one.strip("`") for one in (*(row[0] for row in rows()), *notes())])
def test_padray_says_every_message(message):
    fixed = [re.escape(part) for part in message.split("…") if part.strip()]
    assert max(map(len, fixed)) > 10, "too little of it to know it by"
    assert any(re.search(".*".join(fixed), one, re.S) for one in SAID)


def test_every_line_names_a_cause_and_settings_that_are_there():
    known = {key for name in PRESETS for key, _ in loading.effective(loading.load(name).config)}
    assert len(rows()) > 40
    for message, cause, _, *settings in rows():
        assert cause, message
        for setting in re.findall(r"`([a-z_.]+)`", " ".join(settings)):
            assert any(f"{key}.".startswith(f"{setting}.") for key in known), setting
