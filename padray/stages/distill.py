"""Stage `distill`: from what the family reads to a synthetic set, with checkpoints to go on from."""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing

from padray.errors import InfrastructureError, Interrupted
from padray.fingerprint import DistillInputs, Identity, set_name
from padray.methods import loop
from padray.stages import checkpoints, events, frames, selecting, tensorboard
from padray.stages.base import Context, Done, Progress, Unit, events_of
from padray.stages.distiller import DistillWork
from padray.stages.facts import dataset_facts
from padray.stages.materials import Source
from padray.stages.selecting import SelectWork
from padray.store.artifacts import StoredObject


def make(context: Context, inputs: DistillInputs) -> Identity:
    """Distil until the set of `distill.iterations` iterations is there.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came, and says which state is kept.
    """
    began = time.monotonic()
    identity = inputs.identity(context.config)
    iterations = context.config.distill.iterations
    reused = context.whole(identity, set_name(iterations), _needed(iterations)) is not None
    if not reused:
        work = _work(context, inputs, identity)
        if context.config.distill.from_units:
            selecting.make(context, SelectWork(work.source, identity), work.count.count)
        else:
            _distil(context, work)
    context.finished(identity, began, reused)
    return identity


def _distil(context: Context, work: DistillWork) -> None:
    """Carry a distillation to its end and list what it left. Raises Interrupted."""
    began, identity = time.monotonic(), work.identity
    try:
        waited_s, done = _carry_out(context, work)
        item = _commit(context, identity, work.source.read)
    except KeyboardInterrupt:
        raise Interrupted(checkpoints.kept_state(context.folder(identity), context.config.distill.iterations)) from None
    unit = Unit("distill", item.stem, identity.fingerprint)
    started, finished = events_of(Done(unit, item, time.monotonic() - began, socket.gethostname(), {}))
    events.record(context.location, "distill", [started, {**finished, "waited_s": waited_s, "iterations": done}])


def _work(context: Context, inputs: DistillInputs, identity: Identity) -> DistillWork:
    config = context.config
    classes = dataset_facts(context.folder(inputs.data)).classes
    count = config.distill.contributions(config.network, classes)
    return DistillWork(Source(config, context.location, inputs), identity, count)


def _carry_out(context: Context, work: DistillWork) -> tuple[float, int]:
    """Have the runner distil; the seconds that worker 0 waited for its snapshots, and the number of iterations."""
    waited_s, done, iterations = 0.0, 0, context.config.distill.iterations
    reached = checkpoints.reached(context.folder(work.identity), iterations)
    context.notify(Progress("distill", reached, iterations, f"goes on from {reached}" if reached else ""))
    distilling = closing(context.runner.distill(work))  # closed at once where this is interrupted, which keeps a state
    with tensorboard.Curves(context, work.identity) as curves, distilling as iterations_done:
        context.pass_on()
        for metrics in iterations_done:
            curves.add(metrics)
            waited_s, done = waited_s + metrics["waited_s"], done + 1
            context.notify(Progress("distill", metrics["iteration"] + 1, iterations, loop.describe(metrics)))
    return waited_s, done


def _needed(iterations: int) -> Callable[[StoredObject], bool]:
    """Which of the objects that a distillation lists belong to its set of so many iterations."""

    def needed(item: StoredObject) -> bool:
        earlier = item.stem.startswith("history-") and item.stem < f"history-{iterations:06d}"
        return earlier or item.stem == set_name(iterations)

    return needed


def _commit(context: Context, identity: Identity, read: DistillInputs) -> StoredObject:
    """List the new set beside other ones, the history, and the checkpoint to go on from; drop older checkpoints."""
    folder, iterations = context.folder(identity), context.config.distill.iterations
    # A longer run beside this one drops our checkpoint when it has passed it; then its own tells the history.
    last = checkpoints.newest(folder, iterations)
    if last is None or last.state.iteration < iterations:
        last = checkpoints.newest(folder, sys.maxsize)
    sets = folder.loose(set_name(iterations))
    if last is None or last.state.iteration < iterations or not sets:
        raise InfrastructureError(f"{folder.path} was removed while it was made; the same command makes it again")
    before, last_set = folder.present(), sets[-1]
    others = [item for item in (before.objects if before else ()) if not checkpoints.is_passed(item, iterations)]
    history = [*last.parts, *checkpoints.put_tail(folder, last, iterations)]
    own = [last.item] if checkpoints.is_passed(last.item, iterations) else []
    by_key = {item.key: item for item in (*others, *history, *frames.stored(folder, iterations), last_set, *own)}
    objects = [by_key[key] for key in sorted(by_key)]  # whatever of it was there before
    inputs = read.for_manifest(context.config)
    numerics = last.numerics  # of the workers, which may have another device than this process
    folder.commit(context.manifest(identity, objects, inputs=inputs, numerics=numerics))
    checkpoints.prune(folder, iterations, keep=0)  # the one that is listed has just been read whole
    return last_set
