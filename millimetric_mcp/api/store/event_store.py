"""The event store as the API uses it: asynchronous, bounded, and closed in order."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from zlib import crc32

from millimetric_mcp.api.store.backups import write_backup
from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.commit import GroupCommitter
from millimetric_mcp.api.store.deletions import (
    Cutoffs,
    count_imported,
    delete_imported,
    delete_people,
    expire,
    find_own_visitors,
)
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.inserts import insert_events
from millimetric_mcp.api.store.inspection import inspect
from millimetric_mcp.api.store.reads import count_shards, read_clock, read_identity, read_rows
from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.api.store.upgrade import open_upgraded
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.reads import WindowParams
from millimetric_mcp.errors import StoreUnavailable

MAX_CONCURRENT_READS = 4
MAX_HEAVY_READS_EMBEDDED = 1
"""A heavy read takes all memory and processors: one after another they take no longer than side
by side, and none lacks memory because of another."""

WRITE_CLOSE_S = 0.5
THREADS_CLOSE_S = 1.0
_POLL_S = 0.01

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class EventStore:
    """The `Store` on ClickHouse: writes in groups, reads and deletions in threads."""

    def __init__(
        self, pool: ClientPool, *, identity: str, shards: int, max_queued_events: int
    ) -> None:
        self.id = identity
        self.is_alone = pool.target.embedded
        self.left_running = False
        self.pool = pool
        self._closing = threading.Event()
        embedded, on_cluster = pool.target.embedded, pool.target.cluster is not None
        heavy_reads = MAX_HEAVY_READS_EMBEDDED if embedded else MAX_CONCURRENT_READS
        self._readers = ThreadPoolExecutor(MAX_CONCURRENT_READS, "store-read")
        self._heavy_readers = ThreadPoolExecutor(heavy_reads, "store-read-heavy")
        self._maintenance = ThreadPoolExecutor(1, "store-maintenance")
        self._writers = ThreadPoolExecutor(shards, "store-write")
        self._lanes = [
            GroupCommitter(
                partial(_run, self._writers, partial(insert_events, pool, shard=shard)),
                max_queued_events=max_queued_events,
            )
            for shard in (range(1, shards + 1) if on_cluster else [0])
        ]

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    async def append(self, events: Sequence[StoredEvent]) -> None:
        # On a cluster a request is stored whole on one shard, chosen by its first visitor.
        await self._lanes[self._choose_lane(events)].commit(events)

    def _choose_lane(self, events: Sequence[StoredEvent]) -> int:
        lanes = len(self._lanes)
        return crc32(events[0].anonymous_id.encode()) % lanes if lanes > 1 else 0

    async def append_part(self, events: Sequence[StoredEvent]) -> None:
        # A part is as large as a group, so it waits for no other one.
        shard = self._choose_lane(events) + 1 if self.pool.target.cluster else 0
        await _run(self._writers, partial(insert_events, self.pool, shard=shard), events)

    async def count_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        return await _run(self._heavy_readers, count_imported, self.pool, project_id, parts=parts)

    async def delete_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        work = partial(delete_imported, parts=parts, closing=self._closing)
        return await _run(self._maintenance, work, self.pool, project_id)

    async def flush(self) -> None:
        # An event is acknowledged when the engine has written it.
        return

    async def read(self, project_id: int, params: WindowParams) -> Mapping[str, Any]:
        statement = compose(project_id, params)
        readers = self._heavy_readers if statement.is_heavy else self._readers
        return await _run(readers, read_rows, self.pool, statement)

    async def now(self) -> datetime:
        return await _run(self._readers, read_clock, self.pool)

    async def ping(self) -> None:
        await _run(self._readers, self.pool.query, "SELECT 1")

    async def delete_people(
        self, *, salt: bytes, users: Cutoffs, visitors: Cutoffs
    ) -> Mapping[int, int]:
        work = partial(
            delete_people, salt=salt, users=users, visitors=visitors, closing=self._closing
        )
        return await _run(self._maintenance, work, self.pool)

    async def find_own_visitors(
        self, project_id: int, *, salt: bytes, user_hash: bytes, cutoff: datetime
    ) -> Sequence[bytes]:
        work = partial(find_own_visitors, salt=salt, user_hash=user_hash, cutoff=cutoff)
        return await _run(self._maintenance, work, self.pool, project_id)

    async def expire(self, project_id: int, *, first_day: date) -> int:
        return await _run(self._maintenance, expire, self.pool, project_id, first_day=first_day)

    async def back_up(
        self, directory: Path, *, base: Path | None, finish: Callable[[], None]
    ) -> Mapping[str, int]:
        def work() -> Mapping[str, int]:
            tables = write_backup(self.pool, directory, base=base)
            finish()
            return tables

        await self.flush()
        return await _run(self._maintenance, work)

    async def inspect(self) -> Mapping[str, Any]:
        await self.flush()
        return await _run(self._heavy_readers, inspect, self.pool)

    async def close(self) -> None:
        # What does not end in time ends with the process: writes that were never acknowledged,
        # reads without a caller, and deletions, which the next process repeats.
        lanes = [asyncio.ensure_future(lane.close()) for lane in self._lanes]
        _, late = await asyncio.wait(lanes, timeout=WRITE_CLOSE_S)
        self._closing.set()
        executors = (self._writers, self._readers, self._heavy_readers, self._maintenance)
        if late or not await _end(executors, timeout_s=THREADS_CLOSE_S):
            self.left_running = True
        else:
            await asyncio.to_thread(self.pool.close)


async def _run(
    executor: ThreadPoolExecutor,
    work: Callable[P, ResultT],
    *args: P.args,
    **kwargs: P.kwargs,
) -> ResultT:
    loop = asyncio.get_running_loop()
    try:
        result = loop.run_in_executor(executor, partial(work, *args, **kwargs))
    except RuntimeError:
        raise StoreUnavailable("the event store is closed") from None
    return await result


async def _end(executors: Sequence[ThreadPoolExecutor], *, timeout_s: float) -> bool:
    """Return whether the executors' threads end in time; work that had not begun is dropped."""
    for executor in executors:
        executor.shutdown(wait=False, cancel_futures=True)
    waiting = [threading.Thread(target=executor.shutdown, daemon=True) for executor in executors]
    for thread in waiting:
        thread.start()
    deadline_s = time.monotonic() + timeout_s
    while any(thread.is_alive() for thread in waiting):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def open_event_store(target: StoreTarget, *, max_queued_events: int) -> EventStore:
    """Return the store of a target, its schema up to date. Blocks for about a second.

    Raises:
        StoreError: the store can't be reached, or refuses its schema.
    """
    pool, _ = open_upgraded(target)
    return EventStore(
        pool,
        identity=read_identity(pool),
        shards=count_shards(pool),
        max_queued_events=max_queued_events,
    )
