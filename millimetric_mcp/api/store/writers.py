"""Two ways of writing events: to a server or cluster, and to the engine in this process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol
from zlib import crc32

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.clock import ArrivalClock
from millimetric_mcp.api.store.commit import GroupCommitter
from millimetric_mcp.api.store.directory import check_writable
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.handover import Handover
from millimetric_mcp.api.store.inserts import Rows, encode_rows, insert_events, insert_rows
from millimetric_mcp.api.store.journal import Journal
from millimetric_mcp.api.store.reads import read_clock, read_value
from millimetric_mcp.api.store.segments import hand_over, take_over
from millimetric_mcp.api.store.threads import run
from millimetric_mcp.contract.columns import StoredEvent

JOURNAL_DIR = "journal"


class Writer(Protocol):
    """What `EventStore` needs for its writes; the methods are those of `Store`."""

    executors: Sequence[ThreadPoolExecutor]
    checks: Mapping[str, Callable[[], Awaitable[None]]]
    observe_group: Callable[[int], None]

    def start(self) -> None: ...
    async def append(self, events: Sequence[StoredEvent]) -> None: ...
    async def append_part(self, events: Sequence[StoredEvent], *, import_part: int) -> None: ...
    def flush(self) -> None:
        """Return as that of `Store`. Blocks."""

    async def flush_for_deletion(self) -> None:
        """Return as `flush`, when besides no file of a journal holds an older event."""

    async def now(self) -> datetime: ...
    def measure(self) -> dict[str, float]:
        """Return the metrics of what waits to be written, by name."""

    async def close(self) -> None: ...


class ServerWriter:
    """Native inserts: one at a time for each shard of a cluster."""

    def __init__(self, pool: ClientPool, *, shards: int, max_queued_events: int) -> None:
        self._pool = pool
        self.observe_group: Callable[[int], None] = lambda _: None
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = {}
        self._inserts = ThreadPoolExecutor(shards, "store-write")
        self._clock = ThreadPoolExecutor(1, "store-clock")
        self.executors: Sequence[ThreadPoolExecutor] = (self._inserts, self._clock)
        self._lanes: list[GroupCommitter[Sequence[StoredEvent]]] = [
            GroupCommitter(
                partial(self._insert, shard),
                max_queued_events=max_queued_events,
                observe_group=lambda events: self.observe_group(events),  # noqa: PLW0108 - set later
            )
            for shard in (range(1, shards + 1) if pool.target.cluster else [0])
        ]

    async def _insert(self, shard: int, requests: Sequence[Sequence[StoredEvent]]) -> None:
        events = [event for request in requests for event in request]
        await run(self._inserts, insert_events, self._pool, events, shard=shard)

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    async def append(self, events: Sequence[StoredEvent]) -> None:
        # On a cluster a request is stored whole on one shard, chosen by its first visitor.
        await self._lanes[self._choose_lane(events)].commit(events)

    def _choose_lane(self, events: Sequence[StoredEvent]) -> int:
        lanes = len(self._lanes)
        return crc32(events[0].anonymous_id.encode()) % lanes if lanes > 1 else 0

    async def append_part(self, events: Sequence[StoredEvent], *, import_part: int) -> None:
        # A part is as large as a group, so it waits for no other one.
        shard = self._choose_lane(events) + 1 if self._pool.target.cluster else 0
        await run(
            self._inserts, insert_events, self._pool, events, import_part=import_part, shard=shard
        )

    def flush(self) -> None:
        """Return at once: an event is acknowledged when the server has it."""

    async def flush_for_deletion(self) -> None:
        """Return at once: there is no journal."""

    async def now(self) -> datetime:
        return await run(self._clock, read_clock, self._pool)

    def measure(self) -> dict[str, float]:
        return {"queue_events": sum(lane.queued_events for lane in self._lanes)}

    async def close(self) -> None:
        await asyncio.gather(*(lane.close() for lane in self._lanes))


class EmbeddedWriter:
    """Rows of text for the engine in this process: by way of a journal, or straight."""

    def __init__(self, pool: ClientPool, *, arrivals: ArrivalClock, max_queued_events: int) -> None:
        self._pool = pool
        self.observe_group: Callable[[int], None] = lambda _: None
        self._arrivals = arrivals
        self._inserts = ThreadPoolExecutor(1, "store-write")
        journal = _open_journal(pool)
        self._handover = Handover(journal, partial(hand_over, pool), writers=self._inserts)
        self.executors: Sequence[ThreadPoolExecutor] = (self._handover.executor, self._inserts)
        has_journal = pool.target.journal
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = (
            {"journal": self._check_journal} if has_journal else {}
        )
        self._committer: GroupCommitter[Rows] = GroupCommitter(
            self._handover.write if has_journal else self._insert,
            write_now=self._handover.write_now if has_journal else lambda _: False,
            max_queued_events=max_queued_events,
            observe_group=lambda events: self.observe_group(events),  # noqa: PLW0108 - set later
        )

    async def _check_journal(self) -> None:
        self._handover.check()
        await run(self._handover.executor, check_writable, _journal_directory(self._pool.target))

    async def _insert(self, requests: Sequence[Rows]) -> None:
        await run(self._inserts, insert_rows, self._pool, requests)

    def start(self) -> None:
        self._handover.start()
        self._committer.start()

    async def append(self, events: Sequence[StoredEvent]) -> None:
        await self._committer.commit(encode_rows(events, received_us=self._arrivals.next_us()))

    async def append_part(self, events: Sequence[StoredEvent], *, import_part: int) -> None:
        # A part is as large as a group, so it does not go through the journal.
        received_us = self._arrivals.next_us()

        def insert() -> None:
            rows = encode_rows(events, received_us=received_us, import_part=import_part)
            insert_rows(self._pool, [rows])

        await run(self._inserts, insert)

    def flush(self) -> None:
        self._handover.flush()

    async def flush_for_deletion(self) -> None:
        await self._handover.flush_for_deletion()

    async def now(self) -> datetime:
        return self._arrivals.next_time()

    def measure(self) -> dict[str, float]:
        return {"queue_events": self._committer.queued_events, **self._handover.measure()}

    async def close(self) -> None:
        await self._committer.close()
        await self._handover.close()


def open_writer(
    pool: ClientPool,
    *,
    shards: int,
    max_queued_events: int,
    clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Writer:
    """Return the writer for the pool's target. What a journal holds is stored first.

    Raises:
        StoreError: the store fails.
    """
    if not pool.target.embedded:
        return ServerWriter(pool, shards=shards, max_queued_events=max_queued_events)
    take_over(pool, _open_journal(pool))
    newest_us = read_value(pool, "newest_arrival")
    arrivals = ArrivalClock(newest_us=newest_us, clock_us=clock_us)
    return EmbeddedWriter(pool, arrivals=arrivals, max_queued_events=max_queued_events)


def _open_journal(pool: ClientPool) -> Journal:
    return Journal(_journal_directory(pool.target), fsync=pool.target.fsync)


def _journal_directory(target: StoreTarget) -> Path:
    return Path(target.address, JOURNAL_DIR, target.database)
