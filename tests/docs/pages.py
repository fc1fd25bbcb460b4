"""README and the pages of docs/, and what stands in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))


def name(page: Path) -> str:
    """What a page is called in the names of tests."""
    return page.relative_to(ROOT).as_posix()


def text(page: Path) -> str:
    """A page as it is written."""
    return page.read_text(encoding="utf-8")


def on_one_line(*pages: Path) -> str:
    """Pages with every run of white space as one space, so that where lines end does not matter."""
    return re.sub(r"\s+", " ", "\n".join(map(text, pages)))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", text(page), re.M | re.S)


def without_blocks(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text(page), flags=re.M | re.S)
