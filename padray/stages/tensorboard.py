"""What TensorBoard shows of a run: event files of every distillation, and of its evaluation, beside the artefacts.

They are for looking at and nothing is made from them. Whoever yields a distillation's metrics writes them, so they are
the same in one process and on Ray. A run that goes on from a checkpoint begins a file that takes back what earlier
ones say of later iterations, as TensorBoard itself does for whoever restarts. What goes wrong here costs no work.
"""

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from padray.evaluation.protocol import Cell
from padray.evaluation.summary import CellResult, Row
from padray.fingerprint import Identity
from padray.methods.method import Metrics
from padray.stages.base import Context, Progress
from padray.store.roots import TENSORBOARD

_FLUSH_S = 10.0
_TAGS = {
    "loss": "distill/loss",
    "skipped": "distill/left_out",
    "not_finite": "distill/not_finite",
    "student_lr": "distill/student_lr",
    "validation_accuracy": "distill/validation_accuracy",
}


def folder_of(context: Context, distilled: Identity) -> Path | None:
    """Where the event files of a set go: the settings' folder, or else the storage, where that is one."""
    chosen, uri = context.config.storage.tensorboard, context.location.uri
    if chosen is None and "://" in uri:
        return None
    root = Path(uri) / TENSORBOARD if chosen is None else Path(chosen).expanduser()
    return root / distilled.folder.rpartition("/")[2]


class Curves:
    """The event files of a distillation, opened with its first iteration."""

    def __init__(self, context: Context, distilled: Identity) -> None:
        self.context, self.folder = context, folder_of(context, distilled)
        self.file: _File | None = None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.file is not None:
            self.file.close()

    def add(self, metrics: Metrics) -> None:
        """Add what an iteration told; numbers that are not finite have no place on a curve."""
        if self.folder is None:
            return
        step = metrics["iteration"] + 1
        if self.file is None:
            self.file = _File(self.context, self.folder, step)
        self.file.write({tag: metrics.get(key) for key, tag in _TAGS.items()}, step)


def show_evaluation(context: Context, distilled: Identity, rows: list[Row], cells: Mapping[Cell, CellResult]) -> None:
    """Write the accuracies: of every cell by its seed, and the means of the table at the set's iterations."""
    folder = folder_of(context, distilled)
    if folder is None:
        return
    file = _File(context, folder / "evaluation", 0)
    by_seed: dict[int, dict[str, float | None]] = {}
    for cell, result in cells.items():
        if cell.lr is None or cell.lr == _chosen(rows, cell):
            by_seed.setdefault(cell.seed, {})[f"cells/{cell.source}/{cell.network.label}"] = result.test
    for seed in sorted(by_seed):
        file.write(by_seed[seed], seed)
    means = {f"evaluation/{row.source}/{row.architecture}": row.mean for row in rows}
    file.write(means, context.config.distill.iterations)
    file.close()


def _chosen(rows: list[Row], cell: Cell) -> float | None:
    """The learning rate of the table's row that a control's cell belongs to."""
    at = (cell.source, cell.network.label)
    return next((row.lr for row in rows if (row.source, row.architecture) == at), None)


class _File:
    """An event file. What cannot be written is said once, and that is all."""

    def __init__(self, context: Context, folder: Path, first: int) -> None:
        """Begin a file that takes back what others in the folder say of the steps from `first` on."""
        self.context, self.flushed = context, time.monotonic()
        self.writer: Any = None
        try:
            from tensorboardX.event_file_writer import EventsWriter  # takes a second, and is not everywhere
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            folder.mkdir(parents=True, exist_ok=True)
            self.writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{secrets.token_hex(4)}")
            start = SessionLog(status=SessionLog.START)
            self.writer.write_event(Event(wall_time=time.time(), step=first, session_log=start))
        except ImportError:
            self._say("tensorboardX is not installed here, so no event files for TensorBoard are written")
        except OSError as error:
            self._give_up(error)

    def write(self, values: Mapping[str, float | None], step: int) -> None:
        if self.writer is None:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value is not None]
        try:
            self.writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
            if time.monotonic() - self.flushed > _FLUSH_S:
                self.writer.flush()
                self.flushed = time.monotonic()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.writer = None
        self._say(f"no more event files for TensorBoard are written: {error.strerror}")

    def _say(self, sentence: str) -> None:
        self.context.notify(Progress("machines", 1, 1, sentence))
