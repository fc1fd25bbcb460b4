"""A finished tiny chain to hold plans against, and plans themselves."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from padray.commandline import commands
from padray.commandline.console import Console
from padray.planning.plan import Asked
from padray.stages import pipeline


def plan(settings: object, root: Path, *overrides: str, **asked: Any) -> dict[str, Any]:
    """What `padray plan --json` prints."""
    request = commands.Request(overrides, str(root), "inline")
    price = asked.pop("price", None)
    return asdict(commands.plan(str(settings), request, Asked(price=price and str(price), **asked), Console(True)))


def make(settings: object, root: Path, *overrides: str, until: str = "evaluate") -> pipeline.Outcome:
    return pipeline.run(commands.context(str(settings), commands.Request(overrides, str(root), "inline")), until)


def made(root: Path) -> Counter[str]:
    """How many units of each stage the events table calls finished."""
    return Counter(event["stage"] for event in events(root))


def events(root: Path) -> list[dict[str, Any]]:
    paths = sorted((root / "events").iterdir()) if (root / "events").is_dir() else []
    found = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [event for event in found if event["event"] == "finished"]


def counted(told: dict[str, Any], key: str = "to_do") -> Counter[str]:
    """A count of a plan's lines by stage; the dataset is no unit of the events table."""
    found: Counter[str] = Counter()
    for line in told["stages"]:
        if line["stage"] != "data" and line[key]:
            found[line["stage"]] += line[key]
    return found


def line_of(told: dict[str, Any], stage: str) -> dict[str, Any]:
    return next(line for line in told["stages"] if line["stage"] == stage)


@pytest.fixture(scope="session")
def finished(settings: Path) -> Path:
    """The root of the tiny chain, finished; not to be written to."""
    make(settings, settings.parent / "runs")
    return settings.parent / "runs"
