"""Snapshots of shards, read ahead of their use under a budget of bytes, in the order in which they were asked for."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter

import torch

from padray.store.artifacts import Folder, StoredObject
from padray.store.shards import read_rows, row_of, rows_of

Request = tuple[StoredObject, int]  # a shard, and the epoch whose snapshot is wanted


def stream(
    folder: Folder, requests: Iterable[tuple[Request, ...]], budget_bytes: int = 256 << 20, readers: int = 2
) -> Generator[tuple[torch.Tensor, ...], None, None]:
    """For each tuple of (shard, epoch) requests the tuple of snapshots (P,), in order. Closed early, the readers end.

    At least one tuple is always read ahead; more of them only while their bytes fit into the budget.
    """
    waiting: deque[tuple[int, Future[tuple[torch.Tensor, ...]]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(readers, thread_name_prefix="padray-stream")
    try:
        upcoming = iter(requests)
        group = next(upcoming, None)
        while group is not None:
            cost = sum(rows_of(item).row_bytes for item, _ in group)
            while waiting and (held + cost > budget_bytes or len(waiting) > 2 * readers):
                spent, future = waiting.popleft()
                held -= spent
                yield future.result()
            following = next(upcoming, None)  # now, for readers at work would make it wait for the interpreter
            waiting.append((cost, pool.submit(_read, folder, group)))
            held += cost
            group = following
        for _, future in waiting:
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read(folder: Folder, group: tuple[Request, ...]) -> tuple[torch.Tensor, ...]:
    rows: list[torch.Tensor] = []
    for item, part in groupby(group, key=itemgetter(0)):  # a start and its target lie in one shard
        rows += read_rows(folder, item, [row_of(item, epoch) for _, epoch in part])
    return tuple(rows)
