"""Imported by every Python process that finds it, Ray's workers too: where PADRAY_STEPS names a folder, each training
batch and each iteration of a distillation is written to a file of the process there, with its time and duration.

It is no part of padray: benchmarks that count work put its folder into PYTHONPATH.
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from types import ModuleType
from typing import Any

_FOLDER = os.environ.get("PADRAY_STEPS", "")


class _Log:
    """One line for each step: when it ended, its seconds, and what it was."""

    def __init__(self) -> None:
        self.file: Any = None

    def write(self, began: float, what: str) -> float:
        now = time.time()
        if self.file is None or self.file[0] != os.getpid():  # a process that was forked has a file of its own
            self.file = os.getpid(), open(f"{_FOLDER}/{os.getpid()}", "a", buffering=1)  # noqa: SIM115  # as long as this
        self.file[1].write(f"{now:.4f}\t{now - began:.4f}\t{what}\n")
        return now


_LOG = _Log()


def _training(module: ModuleType) -> None:
    ours = module._train_epoch

    def train_epoch(slopes: Any, samples: Any, ids: Any, optimiser: Any, recipe: Any, at: Any) -> float:
        place, began, step = at.left.batch if at.left else 0, time.time(), optimiser.step
        about = (
            f"{at.training} lr {recipe.lr}"  # the same networks judge every iterate, each with the lr that it learned
        )

        def stepped() -> None:
            nonlocal place, began
            step()
            began, place = _LOG.write(began, f"{about}: {at.number} {place}"), place + 1

        optimiser.step = stepped
        try:
            return float(ours(slopes, samples, ids, optimiser, recipe, at))
        finally:
            del optimiser.step

    module._train_epoch = train_epoch  # type: ignore[attr-defined]


def _checkpoints(module: ModuleType) -> None:
    ours = module.CheckpointWriter.note
    began = time.time()

    def note(writer: Any, metrics: Any) -> None:
        nonlocal began
        began = _LOG.write(began if time.time() - began < 60 else time.time(), f"iteration {metrics['iteration']}")
        ours(writer, metrics)

    module.CheckpointWriter.note = note


_CHANGES = {"padray.experts.training": _training, "padray.stages.checkpoints": _checkpoints}


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in _CHANGES:
            return None
        change = _CHANGES.pop(name)  # and so the others find it
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        ours = spec.loader.exec_module

        def execute(module: ModuleType) -> None:
            ours(module)
            change(module)

        spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec


if _FOLDER:
    sys.meta_path.insert(0, _Finder())
