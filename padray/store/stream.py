"""Snapshots of shards, read ahead of their use under a budget of bytes, in the order in which they were asked for."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from padray.store.artifacts import Folder, StoredObject
from padray.store.shards import read_row, row_of, rows_of

Request = tuple[StoredObject, int]  # a shard, and the epoch whose snapshot is wanted


def stream(
    folder: Folder, requests: Iterable[tuple[Request, ...]], budget_bytes: int = 256 << 20, readers: int = 2
) -> Iterator[tuple[torch.Tensor, ...]]:
    """For each tuple of (shard, epoch) requests the tuple of snapshots (P,), in order.

    At least one tuple is always read ahead; more of them only while their bytes fit into the budget.
    """
    waiting: deque[tuple[int, list[Future[torch.Tensor]]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(readers, thread_name_prefix="padray-stream")
    try:
        for group in requests:
            cost = sum(rows_of(item).row_bytes for item, _ in group)
            while waiting and (held + cost > budget_bytes or len(waiting) > 2 * readers):
                spent, futures = waiting.popleft()
                held -= spent
                yield tuple(future.result() for future in futures)
            waiting.append((cost, [pool.submit(_read, folder, *request) for request in group]))
            held += cost
        for _, futures in waiting:
            yield tuple(future.result() for future in futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read(folder: Folder, item: StoredObject, epoch: int) -> torch.Tensor:
    return read_row(folder, item, row_of(item, epoch))
