"""The event store as the API sees it: asynchronous, bounded, and closed in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial
from threading import Thread
from typing import ParamSpec, TypeVar
from zlib import crc32

from millimetric_mcp.api.store.clickhouse import ClickHouse, Row
from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.commit import GroupCommitter
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.migrations import migrate
from millimetric_mcp.api.store.statements import has_projection
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.reads import QueryParams, SourcesParams, StatsParams

MAX_CONCURRENT_READS = 4
MAX_RAW_READS_EMBEDDED = 1
"""Statistics from raw rows take what memory and processors there are: one after the other they
take no longer than side by side, and none lacks memory for another."""

WRITE_CLOSE_S = 0.5
THREADS_CLOSE_S = 1.0
_POLL_S = 0.01

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class EventStore:
    """Writes in groups, reads in a few threads of their own, maintenance in one more.

    Made by `open_event_store`; every method raises `StoreError`s only.
    """

    def __init__(
        self, clickhouse: ClickHouse, *, identity: str, shards: int, max_queued_events: int
    ) -> None:
        self.id = identity
        self.left_running = False
        self._clickhouse = clickhouse
        self._readers = ThreadPoolExecutor(MAX_CONCURRENT_READS, thread_name_prefix="store-read")
        embedded = clickhouse.pool.target.embedded
        raw_reads = MAX_RAW_READS_EMBEDDED if embedded else MAX_CONCURRENT_READS
        self._raw_readers = ThreadPoolExecutor(raw_reads, thread_name_prefix="store-read-raw")
        self._maintenance = ThreadPoolExecutor(1, thread_name_prefix="store-maintenance")
        self._writers = ThreadPoolExecutor(shards, thread_name_prefix="store-write")
        self._lanes = [
            GroupCommitter(self._inserter(shard), max_queued_events=max_queued_events)
            for shard in range(1, shards + 1)
        ]

    def start(self) -> None:
        """Begins accepting writes; needs a running event loop."""
        for lane in self._lanes:
            lane.start()

    async def append(self, events: Sequence[StoredEvent]) -> None:
        """Returns when all events of one request are durably stored, or raises and none is.

        On a cluster a request lands whole on one shard, chosen by its first visitor.

        Raises:
            StoreUnavailable: none is stored.
            StoreUncertain: it is not known whether they are.
        """
        lane = 0
        if len(self._lanes) > 1:
            lane = crc32(events[0].anonymous_id.encode()) % len(self._lanes)
        await self._lanes[lane].commit(events)

    async def sources(self, project_id: int, params: SourcesParams) -> list[Row]:
        """Rows of ``/v1/sources``."""
        return await self._read(self._clickhouse.sources, project_id, params)

    async def stats(self, project_id: int, params: StatsParams) -> tuple[list[Row], bool]:
        """Rows of ``/v1/stats``, and whether ``limit`` left some out."""
        stats = partial(self._clickhouse.stats, project_id, params)
        if has_projection(params.group_by, params.interval):
            return await self._read(stats)
        return await asyncio.get_running_loop().run_in_executor(self._raw_readers, stats)

    async def query(self, project_id: int, params: QueryParams) -> list[Row]:
        """Rows of ``/v1/query``."""
        return await self._read(self._clickhouse.query, project_id, params)

    async def now(self) -> datetime:
        """The store's own clock, UTC, exact to the microsecond."""
        return await self._read(self._clickhouse.now)

    async def ping(self) -> None:
        """Returns when the store answers."""
        await self._read(self._clickhouse.ping)

    async def forget(self, *, salt: bytes, cutoffs: Mapping[tuple[int, bytes], datetime]) -> None:
        """Erases users' events that had arrived by each one's cutoff; returns when it is done.

        ``cutoffs`` goes by project id and user hash: sha256(salt || user_id).
        """
        await self._maintain(partial(self._clickhouse.forget, salt=salt, cutoffs=cutoffs))

    async def expire(self, project_id: int, *, first_day: date) -> int:
        """Removes events from days before ``first_day`` and says how many there were."""
        return await self._maintain(
            partial(self._clickhouse.expire, project_id, first_day=first_day)
        )

    async def close(self) -> None:
        """Writes what is queued, ends what runs, and lets go of the store.

        What does not end in time is left running, see ``left_running``: writes that nobody
        was told of, reads that nobody waits for, and maintenance, which the next process does
        again. It dies with the process.
        """
        lanes = [asyncio.ensure_future(lane.close()) for lane in self._lanes]
        _, late = await asyncio.wait(lanes, timeout=WRITE_CLOSE_S)
        self._clickhouse.closing.set()
        executors = (self._writers, self._readers, self._raw_readers, self._maintenance)
        if late or not await _end(executors, timeout_s=THREADS_CLOSE_S):
            self.left_running = True
        else:
            await asyncio.to_thread(self._clickhouse.pool.close)

    def _inserter(self, shard: int) -> Callable[[Sequence[StoredEvent]], Awaitable[None]]:
        on_cluster = self._clickhouse.pool.target.cluster is not None
        insert = partial(self._clickhouse.insert, shard=shard if on_cluster else None)

        async def run(events: Sequence[StoredEvent]) -> None:
            await asyncio.get_running_loop().run_in_executor(self._writers, insert, events)

        return run

    async def _read(self, work: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs) -> ResultT:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(work, *args, **kwargs))

    async def _maintain(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._maintenance, work)


async def _end(executors: Sequence[ThreadPoolExecutor], *, timeout_s: float) -> bool:
    """Whether their threads end in time; what had not begun is dropped."""
    for executor in executors:
        executor.shutdown(wait=False, cancel_futures=True)
    waiting = [Thread(target=executor.shutdown, daemon=True) for executor in executors]
    for thread in waiting:
        thread.start()
    deadline_s = time.monotonic() + timeout_s
    while any(thread.is_alive() for thread in waiting):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def open_event_store(target: StoreTarget, *, max_queued_events: int) -> EventStore:
    """The store of a target, its schema brought up to date; blocks for about a second.

    Raises:
        StoreError: the store can't be reached, or refuses its schema.
    """
    clickhouse = ClickHouse(ClientPool(target))
    migrate(clickhouse.pool)
    return EventStore(
        clickhouse,
        identity=clickhouse.identify(),
        shards=clickhouse.count_shards(),
        max_queued_events=max_queued_events,
    )
