"""How far the stages are, while a command goes on: bars on a terminal, plain lines elsewhere."""

import time
from typing import Any

import rich.console
from rich.progress import Progress as Bars

from padray.stages.progress import Progress

_PLAIN_EVERY_S = 10.0


class LiveLines:
    """A bar per stage."""

    def __init__(self, bars: Bars) -> None:
        self.bars, self.tasks = bars, dict[str, Any]()

    def __call__(self, progress: Progress) -> None:
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bars.add_task(progress.stage, text="")
        task = self.tasks[progress.stage]
        text = _said(progress)
        self.bars.update(task, completed=progress.done, total=progress.total, text=text)


class PlainLines:
    """A line when a stage begins and ends, and every few seconds in between."""

    def __init__(self, console: rich.console.Console) -> None:
        self.console, self.last, self.began = console, dict[str, float](), dict[str, tuple[float, int]]()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        began, before = self.began.setdefault(progress.stage, (now, progress.done))
        due = now - self.last.get(progress.stage, float("-inf")) >= _PLAIN_EVERY_S
        if not (due or progress.done == progress.total):
            return
        self.last[progress.stage] = now
        rate = (progress.done - before) / (now - began) if now > began else 0.0
        left = (
            f", {(progress.total - progress.done) / rate:.0f} s left" if rate and progress.done < progress.total else ""
        )
        text = _said(progress)
        self.console.print(f"{progress.stage} {progress.done}/{progress.total}{left}{': ' * bool(text)}{text}")


def _said(progress: Progress) -> str:
    """What is worth saying beside the numbers; of the workers while there is work left for them."""
    workers = progress.workers.summary() if progress.done < progress.total else ""
    return "; ".join(filter(None, (progress.text, workers)))
