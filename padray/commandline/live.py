"""How far the stages are, while a command goes on: bars on a terminal, plain lines elsewhere."""

import time
from dataclasses import replace
from typing import Any

import rich.console
from rich.progress import Progress as Bars

from padray.stages.progress import Ahead, Progress, Watched, Workers, duration

_EVERY_S, _SELDOM_S, _PART = 10.0, 60.0, 0.05  # between two plain lines: at first, at most, and of what has gone by


class _Lines:
    """What both have in common: they know since when a stage is heard of, and so how long it still takes."""

    def __init__(self) -> None:
        self.stages = dict[str, Watched]()

    def hear(self, progress: Progress) -> tuple[Progress, Watched]:
        """A stage with what is left of it, if whoever tells of it does not say."""
        watched = self.stages.setdefault(progress.stage, Watched(progress, before=progress.done))
        watched.hear(progress)
        left = watched.left_s(time.monotonic()) if progress.left_s is None else progress.left_s
        return replace(progress, left_s=left), watched


class LiveLines(_Lines):
    """A bar per stage, and below them one for the run."""

    def __init__(self, bars: Bars) -> None:
        super().__init__()
        self.bars, self.tasks, self.last = bars, dict[str, Any](), ""

    def __call__(self, progress: Progress) -> None:
        heard, _ = self.hear(progress)
        self._show(heard.stage, heard.done, heard.total, _left(heard), _said(heard))
        if stages := _stages(heard.ahead):
            if self.last != heard.stage and "run" in self.tasks:  # so that it stays the last line
                self.bars.remove_task(self.tasks.pop("run"))
            self._show("run", len(heard.ahead.over), stages, "", str(heard.ahead))
            self.last = heard.stage

    def _show(self, name: str, done: int, total: int, left: str, text: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, text="", left="")
        self.bars.update(self.tasks[name], completed=done, total=total, left=left, text=text)


class PlainLines(_Lines):
    """A line when a stage begins and ends, and now and then in between: the longer it takes, the seldomer."""

    def __init__(self, console: rich.console.Console) -> None:
        super().__init__()
        self.console, self.last = console, dict[str, float]()

    def __call__(self, progress: Progress) -> None:
        heard, watched = self.hear(progress)
        now = time.monotonic()
        every = min(_SELDOM_S, max(_EVERY_S, _PART * (now - watched.began)))
        if now - self.last.get(heard.stage, float("-inf")) < every and heard.done < heard.total:
            return
        self.last[heard.stage] = now
        left, text = _left(heard), _said(heard)
        self.console.print(
            f"{heard.stage} {heard.done}/{heard.total}{', ' * bool(left)}{left}{': ' * bool(text)}{text}"
        )
        if (stages := _stages(heard.ahead)) and heard.done < heard.total:
            later = "; ".join(filter(None, (heard.stage, str(heard.ahead))))
            self.console.print(f"run {len(heard.ahead.over)}/{stages} stages: {later}")


def _stages(ahead: Ahead) -> int:
    """How many stages the run has; 0 where nobody says."""
    return len(ahead.over) + 1 + len(ahead.to_come) if ahead != Ahead() else 0


def _left(progress: Progress) -> str:
    """How long the stage still takes, as far as that is known."""
    if progress.left_s is None or progress.done >= progress.total:
        return ""
    return f"{duration(progress.left_s)} left"


def _said(progress: Progress) -> str:
    """What is worth saying beside the numbers; of the workers while there is work left for them."""
    workers = progress.workers if progress.done < progress.total else Workers()
    return "; ".join(filter(None, (progress.text, workers.steps(), workers.summary())))
