"""Ray Train around the distillation loop: any number of workers, the same bytes.

Every worker makes its share of the contributions; they are gathered and summed in the order of their numbers.
Checkpoints are padray's, in padray's storage, so Ray Train's own folder is scratch under a name used once.
"""

import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from padray.cluster import shares
from padray.cluster.gather import Group, PeerLeftError, PeerLostError
from padray.cluster.pool import place
from padray.cluster.probe import Probe
from padray.cluster.session import beside_driver
from padray.cluster.waiting import InThread
from padray.errors import Failure, GpuFullError, InfrastructureError, WorkError
from padray.machine import activity
from padray.machine.activity import Step
from padray.methods.method import Metrics
from padray.stages.distiller import Distiller, DistillWork

Tell = Callable[[tuple[Step, ...]], None]
_POLL_S = 0.5
_PATIENCE_S, _SHORT_S = 300.0, 20.0  # of an interrupted driver, with workers at work and while they start


@ray.remote(num_cpus=0)
class MetricsBuffer:
    """What driver and workers tell each other while they distil.

    Worker 0 pins up metrics, and any worker the reason if padray itself gives up. The driver asks for a stop, and
    worker 0, once it looks for that, stores its last state. A buffer that dies comes back empty: what it held is for
    show, but for a stop, which is asked for again, and a refusal, which the storage tells too.
    """

    def __init__(self) -> None:
        self.metrics: list[Metrics] = []
        self.steps: tuple[Step, ...] = (Step("starting Ray Train's workers"),)
        self.refusal: Failure | None = None
        self.is_watched = self.is_stopped = False

    def add(self, metrics: Metrics) -> None:
        self.is_watched = True  # worker 0 is at work, and so will look for a stop
        self.metrics.append(metrics)

    def take(self) -> tuple[list[Metrics], tuple[Step, ...]]:
        """The metrics that were not taken yet, and what worker 0 is at."""
        taken, self.metrics = self.metrics, []
        return taken, self.steps

    def refuse(self, failure: Failure) -> None:
        self.refusal = self.refusal or failure

    def reason(self) -> Failure | None:
        return self.refusal

    def stop(self) -> bool:
        """Ask for a stop; whether anybody looks for that."""
        self.is_stopped = True
        return self.is_watched

    def stopped(self, steps: tuple[Step, ...]) -> bool:
        """Worker 0 says what it is at, and asks whether to stop."""
        self.is_watched, self.steps = True, steps
        return self.is_stopped

    def over(self) -> bool:
        """Whether the workers end on purpose."""
        return self.is_stopped or self.refusal is not None


def run(
    work: DistillWork, probe: Probe, share: float = 0.0, tell: Tell = lambda steps: None
) -> Generator[Metrics, None, None]:
    """Distil on Ray Train workers; yield the metrics as they come in. Interrupted or closed, it has a state stored.

    Where a GPU that others share is full, workers with a whole one each go on from the last checkpoint.

    Args:
        share: of a GPU that a worker takes.
        tell: is told what worker 0 is at.

    Raises:
        InputError, WorkError: padray gave up (not retried), or workers were lost too often.
    """
    for taken in (share, shares.WHOLE):
        try:
            yield from _distil(Task(work, probe, taken, tell))
            return
        except GpuFullError as error:
            if not shares.is_shared(taken):
                raise shares.alone(error) from None


@dataclass(frozen=True)
class Task:
    """What a group of workers is to do; `share`: of a GPU that each takes; `tell`: is told what worker 0 is at."""

    work: DistillWork
    probe: Probe
    share: float
    tell: Tell


def _distil(task: Task) -> Generator[Metrics, None, None]:
    """Groups of workers, one after another for as long as each gets further than the one before."""
    settings = task.work.config.cluster
    buffer = MetricsBuffer.options(  # type: ignore[attr-defined]
        scheduling_strategy=beside_driver(), max_restarts=-1, max_task_retries=-1
    ).remote()
    reached = -1
    while True:
        before: int = reached
        error: Exception | None = None
        try:
            with closing(_fitted(task, buffer)) as iterations:
                for metrics in iterations:
                    reached = max(reached, int(metrics["iteration"]))
                    yield metrics
        except Exception as failed:  # Ray Train's own, or Ray's
            error = failed
        reason = ray.get(buffer.reason.remote())
        if reason is None and error is not None and reached > before:
            continue
        ray.kill(buffer)  # not where this is interrupted: the workers still ask it
        if reason is not None:
            raise reason
        if error is not None:
            raise _explain(error, settings.max_losses)
        return


def _fitted(task: Task, buffer: Any) -> Generator[Metrics, None, None]:
    """One run of Ray Train, which starts its workers again `cluster.max_losses` times. Raises what ended it."""
    with tempfile.TemporaryDirectory(prefix="padray-train-", ignore_cleanup_errors=True) as scratch:
        fitting = InThread(_trainer(task, buffer, scratch).fit)
        try:
            ended = False
            while not ended:
                ended = fitting.wait(_POLL_S)  # asked before taking, so that nothing is missed
                taken, steps = ray.get(buffer.take.remote())
                task.tell(steps)
                yield from taken
        except (KeyboardInterrupt, GeneratorExit):
            _stop(buffer, fitting)
            raise
    if fitting.error is not None:
        raise fitting.error


def _stop(buffer: Any, fitting: InThread[Any]) -> None:
    """Have worker 0 store its last state and the workers end; come back when they have, or when nobody answers.

    Where the thread that waits for them still does so while Ray shuts down, Ray ends this process with code 1.
    """
    patience = _PATIENCE_S if ray.get(buffer.stop.remote()) else _SHORT_S
    fitting.wait(patience)


def _explain(error: Exception, allowed: int) -> InfrastructureError:
    words = " ".join(str(error).split())[:400]
    return InfrastructureError(
        f"distilling on Ray Train failed ({type(error).__name__}: {words}); the last checkpoint is kept and the same "
        f"command goes on from it; cluster.max_losses ({allowed}) allows more lost workers without an iteration done"
    )


def _trainer(task: Task, buffer: Any, scratch: str) -> TorchTrainer:
    config = task.work.config
    settings = config.cluster
    resources = {"CPU": float(settings.cpus_per_worker or config.compute.threads)}
    if task.share:
        resources["GPU"] = task.share
    return TorchTrainer(
        _worker,
        train_loop_config={"work": task.work, "probe": task.probe, "buffer": buffer},
        torch_config=TorchConfig(backend="gloo"),  # the same on CPUs and GPUs, for little is exchanged
        scaling_config=ScalingConfig(
            num_workers=settings.workers,  # type: ignore[arg-type]  # V2 also takes (fewest, most)
            use_gpu=bool(task.share),
            resources_per_worker=resources,
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # V2's, not the V1 class that a type checker sees
            name=f"{task.work.identity.name}-{uuid.uuid4().hex}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=settings.max_losses),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _worker(config: dict[str, Any]) -> None:
    """What every Train worker runs. padray's own errors end the run without a retry."""
    work, buffer = config["work"], config["buffer"]
    context, stop = ray.train.get_context(), threading.Event()
    rank, size = context.get_world_rank(), context.get_world_size()
    group = Group(rank, size, stop)
    try:
        placed = place(work.config.compute.device, config["probe"])
        if isinstance(placed, Failure):
            raise placed
        distiller = work.open(group.member())
        with closing(distiller.run()) as iterations, _watching(buffer, distiller, stop):
            for metrics in iterations:
                if rank == 0:
                    buffer.add.remote(metrics)
        group.agree()
    except PeerLeftError:
        return  # the buffer says why
    except PeerLostError:
        if not ray.get(buffer.over.remote()):
            raise  # a worker was lost: Ray Train starts the group again, from the last checkpoint
    except Exception as error:  # ours or not, it would only happen again; told, not raised, so nothing is tried again
        ray.get(buffer.refuse.remote(_failure(error)))
        group.leave()


@contextmanager
def _watching(buffer: Any, distiller: Distiller, stop: threading.Event) -> Iterator[None]:
    """Worker 0 looks for a stop while it works. It stores its last state at once, however long an iteration takes.

    Args:
        stop: set then, which ends the work with its iteration.
    """
    if distiller.member.rank:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        # Asked at once, so that the driver knows of somebody to wait for.
        while not ray.get(buffer.stopped.remote(activity.steps())):
            if over.wait(_POLL_S):
                return
        try:
            distiller.keep()
        finally:  # stored or not: what the driver says, it reads from the storage
            stop.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _failure(error: Exception) -> Failure:
    """An error as padray tells it; what it does not know comes with its traceback, and is no result."""
    if isinstance(error, Failure):
        return error
    trace = "".join(traceback.format_exception(error))
    return WorkError(f"distilling met an error that padray does not know; the last state is kept\n{trace}")
