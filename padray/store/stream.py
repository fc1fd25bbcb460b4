"""Rows of shards, read ahead of their use under a budget of bytes, in the order in which they were asked for."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from padray.store.artifacts import Folder, StoredObject
from padray.store.shards import read_row, rows_of

Request = tuple[StoredObject, int]


def stream(
    folder: Folder, requests: Iterable[tuple[Request, ...]], budget_bytes: int = 256 << 20, readers: int = 2
) -> Iterator[tuple[torch.Tensor, ...]]:
    """For each tuple of (shard, row) requests the tuple of rows, in order.

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
            waiting.append((cost, [pool.submit(read_row, folder, item, row) for item, row in group]))
            held += cost
        for _, futures in waiting:
            yield tuple(future.result() for future in futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
