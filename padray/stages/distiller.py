"""A worker's part in a distillation: what it reads, how it goes on, what it keeps."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from padray.config import Config
from padray.errors import DivergedError, InputError, WorkError
from padray.evaluation.protocol import ValidationSpec, validation_accuracies
from padray.experts.training import Draws, samples_of
from padray.fingerprint import Identity
from padray.machine import activity
from padray.machine.numerics import Numerics, within_memory
from padray.methods import loop
from padray.methods import state as states
from padray.methods.families import iterative
from padray.methods.loop import LoopHooks
from padray.methods.method import Contribution, Metrics
from padray.methods.settings import Contributions
from padray.methods.state import State
from padray.stages import checkpoints
from padray.stages.checkpoints import Checkpoint
from padray.stages.deciding import numerics_of
from padray.stages.materials import Source, StoredMaterials
from padray.stages.provenance import About, put_set
from padray.store.crash import crash_point
from padray.store.stream import Request, stream
from padray.synthetic.set import Learned

Exchange = Callable[[list[Contribution], int], list[Contribution]]


@dataclass(frozen=True)
class Member:
    """One of `size` workers that distil together; worker 0 chooses where to go on from, judges and stores.

    Attributes:
        exchange: this worker's contributions, and how many there are in all -> those of all workers, in order.
        share: what a function gives on worker 0, on every worker.
    """

    rank: int = 0
    size: int = 1
    exchange: Exchange = field(default=lambda own, count: own)
    share: Callable[[Callable[[], Any]], Any] = field(default=lambda make: make())

    def numbers(self, count: int) -> range:
        """This worker's contributions: a contiguous share, so that shares in rank order are in their order."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)


@dataclass(frozen=True)
class DistillWork:
    """Everything that a worker needs to take part in a distillation. It travels; it holds settings and names.

    Attributes:
        count: contributions of an iteration, which is the most workers that have something to do, and why so many.
    """

    source: Source
    identity: Identity
    count: Contributions

    @property
    def config(self) -> Config:
        return self.source.config

    def open(self, member: Member) -> "Distiller":
        """Load what a worker needs to go on from the newest checkpoint."""
        with within_memory("distilling"):
            return Distiller(self, member)

    def run(self) -> Generator[Metrics, None, None]:
        """Go on from the newest checkpoint to `distill.iterations`; yield the metrics of every iteration."""
        yield from self.open(Member()).run()


class Distiller:
    """A worker's opened inputs while it distils."""

    def __init__(self, work: DistillWork, member: Member) -> None:
        self.work, self.member, self.config = work, member, work.config
        settings = self.config.distill
        self.folder = work.source.folder(work.identity)
        resumed = member.share(lambda: checkpoints.newest(self.folder, settings.iterations))
        self.dataset = work.source.dataset()
        numerics = member.share(lambda: self._numerics(resumed))
        self.device, self.dtype = numerics.use(self.config.compute.allocator), numerics.dtype
        self.materials = StoredMaterials(work.source, self.dataset, self.device, numerics)
        self.method = iterative(settings, self.materials)
        self.checkpoint_writer = checkpoints.CheckpointWriter(
            self.folder, numerics, resumed, settings.checkpoint_seconds
        )
        self.state = states.to_device(resumed.state if resumed else self._start(), self.device)
        self.mine = member.numbers(self.method.count)
        self.waited_s = 0.0  # since the last iteration's end

    def _start(self) -> State:
        with activity.step("choosing what to start from"):
            return self.method.start()

    def _numerics(self, resumed: Checkpoint | None) -> Numerics:
        """Those that it began with."""
        if resumed is None:
            return numerics_of(self.config, self.dataset.shape, self.dataset.classes)
        return Numerics(**resumed.numerics)

    def _requests(self) -> Iterator[tuple[Request, ...]]:
        """What this worker reads, in order: for each of its contributions the snapshots that it asks for."""
        for iteration in range(self.state.iteration, self.config.distill.iterations):
            for number in self.mine:
                yield self.materials.requests(self.method.snapshots(iteration, number))

    def _rows(self, streamed: Iterator[tuple[torch.Tensor, ...]]) -> Iterator[tuple[torch.Tensor, ...]]:
        """The snapshots where the work is; what was waited for them is noted."""
        asked = time.monotonic()
        for rows in streamed:
            if self.device.type != "cpu":  # a move to where they are would still let the readers have the interpreter
                rows = tuple(row.to(self.device) for row in rows)
            self.waited_s += time.monotonic() - asked
            yield rows
            asked = time.monotonic()

    def _exchange(self, own: list[Contribution]) -> list[Contribution]:
        return self.member.exchange(own, self.method.count)

    def run(self) -> Generator[Metrics, None, None]:
        """The metrics of every iteration, and `waited_s`, the seconds that this worker waited for its snapshots.

        However this ends, the last good state is kept: by an error, by Ctrl-C, or because nobody asks any further.
        """
        iterations = self.config.distill.iterations
        if not self.state.iteration and self.member.rank == 0:
            self.checkpoint_writer.show(self.state, self.config.distill.ipc)
        if self.state.iteration >= iterations and self.member.rank == 0:  # only the set is still to store
            self._finish(self.state)
        try:  # closed however it ends, or the readers would outlive what they read for
            with (
                within_memory("distilling"),
                activity.step("iteration", iterations, done=self.state.iteration) as going,
                closing(stream(self.materials.shards, self._requests())) as streamed,
            ):
                hooks = LoopHooks(self._rows(streamed), self.mine, self._exchange, self._judge, self._keep)
                for metrics in loop.run(self.method, self.state, iterations, hooks):
                    going.done = metrics["iteration"] + 1
                    yield {**metrics, "waited_s": self.waited_s}  # no clock in the history, whose bytes are compared
                    self.waited_s = 0.0
        except WorkError as error:
            raise type(error)(f"{error}; {self._kept(error)}") from error
        except BaseException:
            self.keep()
            raise

    def keep(self) -> None:
        """Store the last good state, if this worker is the one that stores. From whatever thread."""
        if self.member.rank == 0 and self.state.iteration:
            self.checkpoint_writer.store(self.state)

    def _kept(self, error: WorkError) -> str:
        """Store the last good state, whichever worker met the error first; what is kept, and how to go on."""
        done, total = self.state.iteration, self.config.distill.iterations
        try:
            self.keep()
        except (InputError, WorkError):  # the storage may be what failed
            done = self.checkpoint_writer.stored
        if not done:
            return f"no iteration {'is kept' if self.state.iteration else 'was finished'}"
        kept = f"the state after {done} of {total} iterations is kept"
        if not isinstance(error, DivergedError):
            return f"{kept}, and the same command goes on from it"
        return f"{kept}, and distill.iterations={done} makes a set of it; other settings start another distillation"

    def _judge(self, learned: Learned) -> list[float | None]:
        """What `distill.validation.seeds` fresh networks reach on validation, as worker 0 finds it."""
        network, dataset = self.config.network, self.dataset
        with activity.step("judging on validation"):
            return list(
                self.member.share(lambda: validation_accuracies(learned, network, dataset, self._validation_spec))
            )

    @cached_property
    def _validation_spec(self) -> ValidationSpec:
        """How iterates are judged, and the validation samples, which worker 0 alone asks for, once."""
        settings, draws = self.config.distill.validation, Draws(self.materials.seed, "distill", "validation")
        held = samples_of(self.dataset, "validation", self.device, self.dtype)
        execution = replace(self.materials.execution, bf16=())
        return ValidationSpec(held, self.config.evaluation, settings.epochs, settings.seeds, draws, execution)

    def _keep(self, state: State, metrics: Metrics) -> None:
        if self.member.rank == 0:
            self.checkpoint_writer.show(state, self.config.distill.ipc)
            self.checkpoint_writer.note(metrics)  # before the state is the last good one: a stop may come in between
        self.state = state
        crash_point("distill", "iteration", state.iteration)
        if self.member.rank == 0:
            if state.iteration < self.config.distill.iterations:
                self.checkpoint_writer.offer(state)
            else:
                self.checkpoint_writer.store(state)
                self._finish(state)

    def _finish(self, state: State) -> None:
        """Store the set: the best judged iterate, or the last one."""
        chosen, learned = loop.result(state)
        accuracy, warning = state.best.accuracy if state.best else None, self.method.warning(state)
        about = About(state.iteration, chosen, accuracy, warning)
        put_set(self.work.source, self.work.identity, self.dataset, learned, about)
