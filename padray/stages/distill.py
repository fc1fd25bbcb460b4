"""Stage `distill`: from snapshots to a synthetic set, with checkpoints to go on from."""

import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from padray import distill, fingerprint, networks
from padray.config import Config
from padray.distill import loop, synthetic, windows
from padray.distill.loop import Contribution, Metrics, Ports, Problem
from padray.distill.state import State
from padray.distill.synthetic import SyntheticSet
from padray.errors import DivergedError, InfrastructureError, InputError, Interrupted, WorkError
from padray.evaluation.protocol import Trial, validation_accuracies
from padray.experts.training import Draws, samples_of
from padray.fingerprint import Identity
from padray.matching.student import Learned
from padray.networks.flat import FlatNetwork
from padray.numerics import Numerics, decide, within_memory
from padray.stages import checkpoints, events, tensorboard
from padray.stages.base import Context, Done, Inputs, Progress, Unit, events_of, require_units
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point
from padray.store.shards import read_buffers, read_row
from padray.store.stream import Request, stream

Exchange = Callable[[list[Contribution]], list[Contribution]]
End = tuple[torch.Tensor, dict[str, torch.Tensor]]  # an expert's last parameters (P,) and its last buffers by name


@dataclass(frozen=True)
class Member:
    """One of `size` workers that distil together; worker 0 chooses where to go on from, judges and stores.

    Attributes:
        exchange: this worker's contributions -> those of all workers, in trajectory order.
        share: what a function gives on worker 0, on every worker.
    """

    rank: int = 0
    size: int = 1
    exchange: Exchange = field(default=lambda own: own)
    share: Callable[[Callable[[], Any]], Any] = field(default=lambda make: make())

    def trajectories(self, count: int) -> range:
        """This worker's trajectories: a contiguous share, so that shares in rank order are in trajectory order."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)


@dataclass(frozen=True)
class DistillWork:
    """Everything that a worker needs to take part in a distillation. It travels; it holds settings and names."""

    config: Config
    inputs: Inputs
    experts: Identity
    identity: Identity

    def open(self, member: Member) -> "Bench":
        """Load what a worker needs to go on from the newest checkpoint."""
        with within_memory("distilling"):
            return Bench(self, member)

    def run(self) -> Generator[Metrics, None, None]:
        """Go on from the newest checkpoint to `distill.iterations`; yield the metrics of every iteration."""
        yield from self.open(Member()).run()


class Bench:
    """A worker's opened inputs while it distils."""

    def __init__(self, work: DistillWork, member: Member) -> None:
        self.work, self.member, self.config = work, member, work.config
        location = work.inputs.location
        self.folder = Folder(location, work.identity.folder, work.identity.fingerprint)
        self.expert_folder = Folder(location, work.experts.folder, work.experts.fingerprint)
        self.experts = self.expert_folder.require()
        require_units(self.experts, self.config.experts.count, work.experts.folder)
        resumed = member.share(lambda: checkpoints.newest(self.folder, self.config.distill.iterations))
        self.numerics = Numerics(**resumed.numerics) if resumed else decide(self.config.compute)
        self.device = self.numerics.use()
        self.dataset = work.inputs.dataset()
        self.seed = self.config.seed_of("distill")
        self.problem = Problem(self.config.distill, self._student(), self.seed)
        self.trail = checkpoints.Trail(self.folder, self.numerics, resumed, self.config.distill.checkpoint_seconds)
        self.state = distill.state.to_device(resumed.state if resumed else self._start(), self.device)
        self.waited_s = 0.0  # since the last iteration's end

    def _student(self) -> FlatNetwork:
        network = networks.build(self.config.network, self.dataset.shape, self.dataset.classes, 0)
        return FlatNetwork(network.to(self.device, self.numerics.dtype).train())

    def _start(self) -> State:
        settings, dtype = self.config.distill, self.numerics.dtype
        images, targets = self._noise() if settings.init == "noise" else self._real()
        learned = Learned(images.to(dtype), targets, torch.tensor(settings.student_lr, dtype=dtype))
        importance = self.problem.importance
        weights = None if importance is None else importance.start(dtype)
        return distill.state.start(learned, weights, averaged=settings.ema_decay > 0)

    def _noise(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels to start from where nothing real may show."""
        settings, classes = self.config.distill, self.dataset.classes
        targets = synthetic.class_labels(classes, settings.ipc)
        images = synthetic.noise(len(targets), self.dataset.shape, self.seed)
        if settings.labels.kind == "soft":
            targets = synthetic.plain_logits(targets, classes).to(self.numerics.dtype)
        return images, targets

    def _real(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Chosen real samples and what the experts say of them."""
        settings, network = self.config.distill, self.problem.network
        images, labels = self.dataset.split("train", self.numerics.dtype, self.device)
        ends = [self._end(f"expert-{k:04d}") for k in range(self.config.experts.count)]
        network.module.eval()
        with torch.no_grad():
            correct = torch.zeros((0, len(labels)), dtype=torch.bool)
            if settings.init == "correct":
                correct = self._correct(ends, images, labels)
            chosen = synthetic.choose_samples(labels, correct, settings.ipc, self.seed, self.dataset.classes)
            targets = synthetic.class_labels(self.dataset.classes, settings.ipc)
            if settings.labels.kind == "soft":
                targets = self._soft(ends, images[chosen], targets)
        network.module.train()
        return images[chosen].clone(), targets

    def _soft(self, ends: list[End], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Where the learned labels of these samples start, (M, K)."""
        if self.config.distill.labels.start == "one_expert":
            return self._logits(ends[0], images)
        return synthetic.soft_labels(torch.stack([self._logits(end, images) for end in ends]), labels)

    def _correct(self, ends: list[End], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Which samples each expert gets right (E, N), for the first experts that together fill every class."""
        rows: list[torch.Tensor] = []
        for end in ends:
            rows.append(self._logits(end, images).argmax(dim=1) == labels)
            filled = labels[torch.stack(rows).any(dim=0)].bincount(minlength=self.dataset.classes)
            if int(filled.min()) >= self.config.distill.ipc:
                break  # later experts would change nothing, and there may be a hundred
        return torch.stack(rows)

    def _logits(self, end: End, images: torch.Tensor) -> torch.Tensor:
        theta_P, buffers = end[0].to(self.device), {name: buffer.to(self.device) for name, buffer in end[1].items()}
        parts = torch.split(images, 1000)
        return torch.cat([self.problem.network(theta_P, part.to(self.device), buffers).cpu() for part in parts])

    def _end(self, stem: str) -> End:
        item = self.experts.object(stem)
        buffers = read_buffers(self.expert_folder, item, -1)
        if buffers.keys() != self.problem.network.buffers().keys():  # an older padray kept none
            raise InputError(
                f"{self.work.experts.folder} lacks its networks' running statistics: start again with --fresh"
            )
        return read_row(self.expert_folder, item, -1), buffers

    def _requests(self) -> Iterator[tuple[Request, ...]]:
        """What this worker reads, in order: for each of its trajectories the start and the target snapshot."""
        settings = self.config.distill
        shards = {k: self.experts.object(f"expert-{k:04d}") for k in range(self.config.experts.count)}
        mine = self.member.trajectories(settings.trajectories)
        for iteration in range(self.state.iteration, settings.iterations):
            found = windows.pairs(settings.windows, len(shards), settings.trajectories, iteration, self.seed)
            for pair in (found[j] for j in mine):
                item = shards[pair.expert]
                yield (item, pair.start), (item, pair.start + settings.expert_epochs)

    def _rows(self, streamed: Iterator[tuple[torch.Tensor, ...]]) -> Iterator[tuple[torch.Tensor, ...]]:
        """The snapshots where the work is; what was waited for them is noted."""
        asked = time.monotonic()
        for rows in streamed:
            if self.device.type != "cpu":  # a move to where they are would still let the readers have the interpreter
                rows = tuple(row.to(self.device) for row in rows)
            self.waited_s += time.monotonic() - asked
            yield rows
            asked = time.monotonic()

    def run(self) -> Generator[Metrics, None, None]:
        """The metrics of every iteration, and `waited_s`, the seconds that this worker waited for its snapshots.

        However this ends, the last good state is kept: by an error, by Ctrl-C, or because nobody asks any further.
        """
        settings = self.config.distill
        mine = self.member.trajectories(settings.trajectories)
        if self.state.iteration >= settings.iterations and self.member.rank == 0:  # only the set is still to store
            self._finish(self.state)
        try:  # closed however it ends, or the readers would outlive what they read for
            with within_memory("distilling"), closing(stream(self.expert_folder, self._requests())) as streamed:
                ports = Ports(self._rows(streamed), mine, self.member.exchange, self._judge, self._keep)
                for metrics in loop.run(self.problem, self.state, settings.iterations, ports):
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
            self.trail.store(self.state)

    def _kept(self, error: WorkError) -> str:
        """Store the last good state, whichever worker met the error first; what is kept, and how to go on."""
        done, total = self.state.iteration, self.config.distill.iterations
        try:
            self.keep()
        except (InputError, WorkError):  # the storage may be what failed
            done = self.trail.stored
        if not done:
            return f"no iteration {'is kept' if self.state.iteration else 'was finished'}"
        kept = f"the state after {done} of {total} iterations is kept"
        if not isinstance(error, DivergedError):
            return f"{kept}, and the same command goes on from it"
        return f"{kept}, and distill.iterations={done} makes a set of it; other settings start another distillation"

    def _judge(self, learned: Learned) -> list[float | None]:
        """What `distill.validation.seeds` fresh networks reach on validation, as worker 0 finds it."""
        network, dataset = self.config.network, self.dataset
        return list(self.member.share(lambda: validation_accuracies(learned, network, dataset, self._trial)))

    @cached_property
    def _trial(self) -> Trial:
        """How iterates are judged, and the validation samples, which worker 0 alone asks for, once."""
        settings, draws = self.config.distill.validation, Draws(self.seed, "distill", "validation")
        held = samples_of(self.dataset, "validation", self.device, self.numerics.dtype)
        return Trial(held, self.config.evaluation, settings.epochs, settings.seeds, draws)

    def _keep(self, state: State, metrics: Metrics) -> None:
        if self.member.rank == 0:
            self.trail.note(metrics)  # before the state is the last good one: a stop may come in between
        self.state = state
        crash_point("distill", "iteration", state.iteration)
        if self.member.rank == 0:
            if state.iteration < self.config.distill.iterations:
                self.trail.offer(state)
            else:
                self.trail.store(state)
                self._finish(state)

    def _finish(self, state: State) -> None:
        """Store the set: the best judged iterate, or the last one."""
        chosen, learned = loop.result(state)
        facts = self._facts(chosen, state)
        content = synthetic.encode(SyntheticSet(learned, self.dataset.preprocessing, facts))
        self.folder.put(f"set-{state.iteration:06d}", "safetensors", content)

    def _facts(self, chosen: int, state: State) -> dict[str, Any]:
        """What a stranger needs to know: a function of settings and inputs, without clock or host."""
        config = self.config
        network = config.network.model_dump(mode="json")
        warning = loop.warning(self.problem, state)
        return {
            "class_names": list(self.dataset.class_names), "dataset": config.data.dataset,
            "shape": list(self.dataset.shape), "ipc": config.distill.ipc, "network": network,
            "label_kind": config.distill.labels.kind, "iterations": state.iteration, "iteration": chosen,
            "validation_accuracy": state.best.accuracy if state.best else None,
            "fingerprint": fingerprint.set_fingerprint(self.work.identity, state.iteration),
            "distillation": self.work.identity.fingerprint, "experts": self.work.experts.fingerprint,
            "expert_ids": list(range(config.experts.count)), "dataset_fingerprint": self.work.inputs.data.fingerprint,
            "settings": fingerprint.meaning(config.distill), "seed": self.seed,
            **({"warning": warning} if warning else {}),
        }  # fmt: skip


def make(context: Context, data: Identity, experts: Identity) -> Identity:
    """Distil until the set of `distill.iterations` iterations is there.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came, and says which state is kept.
    """
    began = time.monotonic()
    identity = fingerprint.distill_identity(context.config, experts)
    iterations = context.config.distill.iterations
    reused = context.whole(identity, f"set-{iterations:06d}", _needed(iterations)) is not None
    if not reused:
        work = DistillWork(context.config, Inputs(context.location, data), experts, identity)
        try:
            waited_s, done = _carry_out(context, work)
            made = _commit(context, identity, data, experts)
        except KeyboardInterrupt:
            raise Interrupted(checkpoints.told(context.folder(identity), iterations)) from None
        unit = Unit("distill", made.stem, identity.fingerprint)
        took = Done(unit, made, time.monotonic() - began, socket.gethostname(), {})
        started, finished = events_of(took)
        events.record(context.location, "distill", [started, {**finished, "waited_s": waited_s, "iterations": done}])
    context.finished(identity, began, reused)
    return identity


def _carry_out(context: Context, work: DistillWork) -> tuple[float, int]:
    """Have the runner distil; the seconds that worker 0 waited for its snapshots, and the number of iterations."""
    waited_s, done, iterations = 0.0, 0, context.config.distill.iterations
    reached = checkpoints.reached(context.folder(work.identity), iterations)
    context.notify(Progress("distill", reached, iterations, f"goes on from {reached}" if reached else ""))
    distilling = closing(context.runner.distill(work))  # closed at once where this is interrupted, which keeps a state
    with tensorboard.Curves(context, work.identity) as curves, distilling as told:
        context.pass_on()
        for metrics in told:
            curves.add(metrics)
            waited_s, done = waited_s + metrics["waited_s"], done + 1
            context.notify(Progress("distill", metrics["iteration"] + 1, iterations, loop.describe(metrics)))
    return waited_s, done


def _needed(iterations: int) -> Callable[[StoredObject], bool]:
    """Which of the objects that a distillation lists belong to its set of so many iterations."""

    def needed(item: StoredObject) -> bool:
        earlier = item.stem.startswith("history-") and item.stem < f"history-{iterations:06d}"
        return earlier or item.stem == f"set-{iterations:06d}"

    return needed


def _commit(context: Context, identity: Identity, data: Identity, experts: Identity) -> StoredObject:
    """List the new set beside other ones, the history, and the checkpoint to go on from; drop older checkpoints."""
    folder, iterations = context.folder(identity), context.config.distill.iterations
    # A longer run beside this one drops our checkpoint when it has passed it; then its own tells the history.
    last = checkpoints.newest(folder, iterations)
    if last is None or last.state.iteration < iterations:
        last = checkpoints.newest(folder, sys.maxsize)
    found = folder.loose(f"set-{iterations:06d}")
    if last is None or last.state.iteration < iterations or not found:
        raise InfrastructureError(f"{folder.path} was removed while it was made; the same command makes it again")
    before, made = folder.present(), found[-1]
    others = [item for item in (before.objects if before else ()) if not checkpoints.is_passed(item, iterations)]
    history = [*last.parts, *checkpoints.put_tail(folder, last, iterations)]
    own = [last.item] if checkpoints.is_passed(last.item, iterations) else []
    by_key = {item.key: item for item in (*others, *history, made, *own)}
    objects = [by_key[key] for key in sorted(by_key)]  # whatever of it was there before
    ids = list(range(context.config.experts.count))
    inputs = {"data": data.fingerprint, "experts": experts.fingerprint, "expert_ids": ids}
    numerics = last.numerics  # of the workers, which may have another device than this process
    folder.commit(context.manifest(identity, objects, inputs=inputs, numerics=numerics))
    checkpoints.prune(folder, iterations, keep=0)  # the one that is listed has just been read whole
    return made
