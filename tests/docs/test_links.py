"""Links lead somewhere: to a file, to a heading in it, or to one of the few places outside; and to every page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, README, ROOT, name, text, without_blocks

OUTSIDE = re.compile(r"https://(?:arxiv\.org/abs/\d{4}\.\d{5}|docs\.ray\.io)$")
MOST_BYTES = 200_000  # of a picture


def targets(page: Path) -> Iterator[str]:
    """What a page's links and pictures lead to."""
    prose = re.sub(r"`[^`\n]*`", "", without_blocks(page))
    yield from re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    lost = []
    for target in targets(page):
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        if target.startswith("http"):
            lost += [] if OUTSIDE.match(target) else [target]
        elif not place.is_file() or (anchor and anchor not in anchors(place)):
            lost.append(target)
    assert not lost


def test_papers_are_linked_by_one_number_each():
    """The same paper under two numbers is a misprint in one of them."""
    named = re.findall(r"\[\*{0,2}([A-Z]+)\*{0,2}\]\(https://arxiv\.org/abs/([\d.]+)\)", "\n".join(map(text, PAGES)))
    numbers: dict[str, set[str]] = {}
    for paper, number in named:
        numbers.setdefault(paper, set()).add(number)
    assert len(numbers) >= 7 and all(len(each) == 1 for each in numbers.values())


def test_every_page_and_picture_is_reached_from_readme():
    linked = {(README.parent / target.partition("#")[0]).resolve() for target in targets(README)}
    pages = {page for page in (ROOT / "docs").iterdir() if page.is_file()}
    assert pages <= linked
    pictures = {path for page in PAGES for target in targets(page) if (path := page.parent / target).suffix == ".png"}
    assert {path.resolve() for path in pictures} == set((ROOT / "docs/images").iterdir())
    assert all(path.stat().st_size < MOST_BYTES for path in pictures)
