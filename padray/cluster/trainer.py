"""Ray Train around the distillation loop: any number of workers, the same bytes.

Every worker makes the contributions of its own trajectories; they are gathered and summed in trajectory order.
Checkpoints are padray's, in padray's storage, so Ray Train's own folder is scratch under a name used once.
"""

import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from padray.cluster import gpus, shares
from padray.cluster.lost import LOST, Losses
from padray.cluster.session import beside_driver
from padray.config import Config
from padray.distill.loop import Contribution, Metrics
from padray.errors import Failure, GpuFullError, InfrastructureError, WorkError
from padray.matching.student import Gradient
from padray.stages.distill import Bench, DistillWork, Member

T = TypeVar("T")
_POLL_S = 0.5
_PATIENCE_S = 30.0  # of a driver that was told to stop; `ray job stop` itself has 3 s


@ray.remote(num_cpus=0)
class Board:
    """What driver and workers tell each other while they distil.

    Worker 0 pins up metrics, and any worker the reason if padray itself gives up. The driver asks for a stop, and
    worker 0, once it looks for that, answers when its last state is stored.
    """

    def __init__(self) -> None:
        self.metrics: list[Metrics] = []
        self.refusal: Failure | None = None
        self.is_watched = self.is_stopped = self.is_kept = False

    def add(self, metrics: Metrics) -> None:
        self.is_watched = True  # worker 0 is at work, and so will look for a stop
        self.metrics.append(metrics)

    def take(self) -> list[Metrics]:
        taken, self.metrics = self.metrics, []
        return taken

    def refuse(self, failure: Failure) -> None:
        self.refusal = self.refusal or failure

    def reason(self) -> Failure | None:
        return self.refusal

    def stop(self) -> bool:
        """Ask for a stop; whether anybody looks for that."""
        self.is_stopped = True
        return self.is_watched

    def stopped(self) -> bool:
        """Worker 0 asks whether to stop."""
        self.is_watched = True
        return self.is_stopped

    def answer(self) -> None:
        self.is_kept = True

    def kept(self) -> bool:
        return self.is_kept

    def over(self) -> bool:
        """Whether the workers end on purpose."""
        return self.is_stopped or self.refusal is not None


def run(work: DistillWork, share: float = 0.0) -> Generator[Metrics, None, None]:
    """Distil on Ray Train workers; yield the metrics as they come in. Interrupted or closed, it has a state stored.

    Where a GPU that others share is full, workers with a whole one each go on from the last checkpoint.

    Args:
        share: of a GPU that a worker takes.

    Raises:
        InputError, WorkError: padray gave up (not retried), or workers were lost too often.
    """
    for taken in (share, shares.WHOLE):
        try:
            yield from _distil(work, taken)
            return
        except GpuFullError as error:
            if not shares.is_shared(taken):
                raise shares.alone(error) from None


def _distil(work: DistillWork, share: float) -> Generator[Metrics, None, None]:
    board = _board(work.config)
    with tempfile.TemporaryDirectory(prefix="padray-train-", ignore_cleanup_errors=True) as scratch:
        outcome: list[BaseException] = []
        over = threading.Event()  # not the thread's join: interrupted, Python 3.11 takes a live thread for an ended one
        trainer = _trainer(work, share, board, scratch)
        threading.Thread(target=_fit, args=(trainer, outcome, over), daemon=True).start()
        try:
            while not over.wait(_POLL_S):
                yield from ray.get(board.take.remote())
            yield from ray.get(board.take.remote())
        except (KeyboardInterrupt, GeneratorExit):
            _stop(board, over)
            raise
    reason = ray.get(board.reason.remote())
    ray.kill(board)
    if reason is not None:
        raise reason
    if outcome:
        raise _explain(outcome[0], work.config)


def _stop(board: Any, over: threading.Event) -> None:
    """Have worker 0 store its last state; come back when it has, or when nobody answers. The board stays for them."""
    if not ray.get(board.stop.remote()):
        return
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and not ray.get(board.kept.remote()):
        if over.wait(0.1):
            return


def _board(config: Config) -> Any:
    """A board that is there: while a dead node is not yet known for dead, Ray may give it to that one."""
    losses = Losses(config.cluster.max_losses)
    while True:
        board = Board.options(scheduling_strategy=beside_driver()).remote()  # type: ignore[attr-defined]
        try:
            ray.get(board.take.remote())
            return board
        except LOST as error:
            losses.add("the board", error)


def _explain(error: BaseException, config: Config) -> WorkError:
    words = " ".join(str(error).split())[:400]
    return InfrastructureError(
        f"distilling on Ray Train failed ({type(error).__name__}: {words}); the last checkpoint is kept and the same "
        f"command goes on from it; cluster.max_losses ({config.cluster.max_losses}) allows more lost workers"
    )


def _trainer(work: DistillWork, share: float, board: Any, scratch: str) -> TorchTrainer:
    settings = work.config.cluster
    resources = {"CPU": float(settings.cpus_per_worker or work.config.compute.threads)}
    if share:
        resources["GPU"] = share
    return TorchTrainer(
        _worker,
        train_loop_config={"work": work, "board": board},
        torch_config=TorchConfig(backend="gloo"),  # the same on CPUs and GPUs, for little is exchanged
        scaling_config=ScalingConfig(
            num_workers=settings.workers,  # type: ignore[arg-type]  # V2 also takes (fewest, most)
            use_gpu=bool(share),
            resources_per_worker=resources,
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # V2's, not the V1 class that a type checker sees
            name=f"{work.identity.name}-{uuid.uuid4().hex}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=settings.max_losses),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _fit(trainer: TorchTrainer, outcome: list[BaseException], over: threading.Event) -> None:
    try:
        trainer.fit()
    except Exception as error:  # handed to the driver's thread, which explains it
        outcome.append(error)
    finally:
        over.set()


def _worker(config: dict[str, Any]) -> None:
    """What every Train worker runs. padray's own errors end the run without a retry."""
    work, board = config["work"], config["board"]
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    count = work.config.distill.trajectories
    member = Member(rank, size, lambda own: _gather(own, count, size), _from_first) if size > 1 else Member()
    try:
        if (unusable := gpus.require(work.config.compute.device)) is not None:
            raise unusable
        bench = work.open(member)
        with closing(bench.run()) as iterations, _watching(board, bench) as stop:
            for metrics in iterations:
                if rank == 0:
                    board.add.remote(metrics)
                if stop.is_set():
                    break
        if stop.is_set():
            _leave()
    except _PeerLostError:
        if not ray.get(board.over.remote()):
            raise  # a worker was lost: Ray Train starts the group again, from the last checkpoint
    except Exception as error:  # ours or not, it would only happen again; told, not raised, so nothing is tried again
        ray.get(board.refuse.remote(_told(error)))
        _leave()


@contextmanager
def _watching(board: Any, bench: Bench) -> Iterator[threading.Event]:
    """Worker 0 looks for a stop while it works. It stores its last state at once, however long an iteration takes.

    The event says that the work is to end with its iteration.
    """
    stop, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not ray.get(board.stopped.remote()):  # asked at once, so that the driver knows of somebody to wait for
            if over.wait(_POLL_S):
                return
        try:
            bench.keep()
        finally:
            ray.get(board.answer.remote())  # stored or not: what the driver says, it reads from the storage
            stop.set()

    thread = threading.Thread(target=watch, daemon=True)
    if bench.member.rank == 0:
        thread.start()
    try:
        yield stop
    finally:
        over.set()
        if bench.member.rank == 0:
            thread.join()


def _leave() -> None:
    """End this worker's part in the exchange, or the others would wait for it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _told(error: Exception) -> Failure:
    """An error as padray tells it; what it does not know comes with its traceback, and is no result."""
    if isinstance(error, Failure):
        return error
    trace = "".join(traceback.format_exception(error))
    return WorkError(f"distilling met an error that padray does not know; the last state is kept\n{trace}")


class _PeerLostError(Exception):
    """Another worker is gone, as far as this one can see."""


@contextmanager
def _exchanging() -> Iterator[None]:
    """What fails in here fails because another worker does not answer."""
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises
        raise _PeerLostError(str(error)) from error


def _from_first(make: Callable[[], T]) -> T:
    """What worker 0 makes, on every worker."""
    held: list[Any] = [make() if dist.get_rank() == 0 else None]
    with _exchanging():
        dist.broadcast_object_list(held, src=0)
    found: T = held[0]
    return found


def _gather(own: list[Contribution], count: int, size: int) -> list[Contribution]:
    """The contributions of all workers in trajectory order; copies, so their bytes are those that were made."""
    share = -(-count // size)
    like = own[0]
    packed = torch.stack([_pack(item) for item in own] + [torch.zeros_like(_pack(like))] * (share - len(own))).cpu()
    parts = [torch.empty_like(packed) for _ in range(size)]
    with _exchanging():
        dist.all_gather(parts, packed)
    held = [len(Member(rank, size).trajectories(count)) for rank in range(size)]
    return [_unpack(row.to(like.loss.device), like) for part, n in zip(parts, held, strict=True) for row in part[:n]]


def _tensors(item: Contribution) -> list[torch.Tensor]:
    gradient = item.gradient
    found = [item.loss, gradient.images, gradient.labels, gradient.lr, item.weights, item.layers]
    return [tensor for tensor in found if tensor is not None]


def _pack(item: Contribution) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in _tensors(item)])


def _unpack(row: torch.Tensor, like: Contribution) -> Contribution:
    shapes = _tensors(like)
    parts = iter(
        part.view(shape.shape)
        for part, shape in zip(torch.split(row, [s.numel() for s in shapes]), shapes, strict=True)
    )
    loss, images = next(parts), next(parts)
    labels = next(parts) if like.gradient.labels is not None else None
    lr = next(parts)
    weights = next(parts) if like.weights is not None else None
    return Contribution(loss, Gradient(images, labels, lr), weights, next(parts))
