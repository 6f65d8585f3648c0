"""The event store as the API uses it: asynchronous, bounded, and closed in order."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from millimetric_mcp.api.store.backups import write_backup
from millimetric_mcp.api.store.clickhouse_errors import is_too_large
from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.deletions import (
    Cutoffs,
    count_imported,
    count_project,
    delete_imported,
    delete_people,
    delete_project,
    expire,
    find_own_visitors,
)
from millimetric_mcp.api.store.directory import check_writable
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.inspection import inspect, measure
from millimetric_mcp.api.store.memory import release_code
from millimetric_mcp.api.store.names import StoredName, list_names
from millimetric_mcp.api.store.readers import Readers
from millimetric_mcp.api.store.reads import (
    count_shards,
    list_damaged_parts,
    read_answer,
    read_identity,
    stop_query,
)
from millimetric_mcp.api.store.statements import compose, compose_left_out
from millimetric_mcp.api.store.threads import end, run
from millimetric_mcp.api.store.upgrade import open_upgraded, report_building
from millimetric_mcp.api.store.writers import Writer, open_writer
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.reads import WindowParams
from millimetric_mcp.errors import RequestError, StoreError

MAX_CONCURRENT_READS = 4
MAX_HEAVY_READS_EMBEDDED = 1
"""A heavy read takes all memory and processors: one after another they take no longer than side
by side, and none lacks memory because of another."""

READ_TIMEOUT_S = 30
"""From a question to its answer: as long as an MCP client waits."""

PARTS_MAX_AGE_S = 5
DAMAGE = (
    "Files of the event store are damaged, so events are missing. See 'Damaged data' in "
    "docs/operate.md."
)

WRITE_CLOSE_S = 0.5
THREADS_CLOSE_S = 1.0

_log = logging.getLogger(__name__)


class EventStore:
    """The `Store` on ClickHouse: writes in groups, reads and deletions in threads.

    Reads and deletions see every event that was acknowledged before them.
    """

    def __init__(self, pool: ClientPool, writer: Writer, *, identity: str) -> None:
        self.id = identity
        self.is_alone = pool.target.embedded
        self.left_running = False
        self.checks: dict[str, Callable[[], Awaitable[None]]] = {"store": self._check_engine}
        if pool.target.embedded:
            self.checks["disk"] = self._check_disk
        self.checks |= writer.checks
        self.pool = pool
        self._writer = writer
        self._closing = threading.Event()
        embedded = pool.target.embedded
        heavy_reads = MAX_HEAVY_READS_EMBEDDED if embedded else MAX_CONCURRENT_READS
        stop = partial(stop_query, pool)
        self._readers = Readers(
            MAX_CONCURRENT_READS, "store-read", stop=stop, timeout_s=READ_TIMEOUT_S
        )
        self._heavy_readers = Readers(
            heavy_reads, "store-read-heavy", stop=stop, timeout_s=READ_TIMEOUT_S
        )
        self._probes = ThreadPoolExecutor(2, "store-probe")
        self._names = ThreadPoolExecutor(2, "store-names")
        self._damaged_parts: tuple[str, ...] = ()
        self._parts_checked_at_s = float("-inf")
        self._maintenance = ThreadPoolExecutor(1, "store-maintenance")
        self._upgrade = ThreadPoolExecutor(1, "store-upgrade")

    def start(self) -> None:
        self._writer.start()
        self._upgrade.submit(self._report_upgrade)

    def observe_groups(self, observe: Callable[[int], None]) -> None:
        self._writer.observe_group = observe

    async def append(self, events: Sequence[StoredEvent]) -> None:
        await self._writer.append(events)

    async def append_part(self, events: Sequence[StoredEvent], *, import_part: int) -> None:
        await self._writer.append_part(events, import_part=import_part)

    async def count_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        return await run(self._maintenance, count_imported, self.pool, project_id, parts=parts)

    async def delete_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        work = partial(delete_imported, parts=parts, closing=self._closing)
        return await run(self._maintenance, work, self.pool, project_id)

    async def flush(self) -> None:
        await run(self._maintenance, self._writer.flush)

    async def read(self, project_id: int, params: WindowParams) -> Mapping[str, Any]:
        statement, left_out = compose(project_id, params), compose_left_out(project_id, params)
        readers = self._heavy_readers if statement.is_heavy else self._readers

        def answer(mark: str) -> Mapping[str, Any]:
            self._writer.flush()
            settings = {"log_comment": mark, "max_execution_time": READ_TIMEOUT_S}
            found = read_answer(self.pool, statement, params, settings=settings)
            if left_out is None:
                return found
            counted = self.pool.query(left_out.text, left_out.values, settings=settings)
            return {"bots_left_out": counted[0][0], **found}

        try:
            return await readers.run(project_id, answer)
        except StoreError as error:
            is_alone = self.is_alone and statement.is_heavy
            cause = error.__cause__
            if isinstance(cause, Exception) and is_too_large(cause, is_alone=is_alone):
                raise RequestError(ErrorCode.QUERY_TOO_LARGE) from None
            raise

    def _report_upgrade(self) -> None:
        with suppress(StoreError):  # it is logged
            report_building(self.pool, _log.info, closing=self._closing)

    async def now(self) -> datetime:
        return await self._writer.now()

    async def _check_engine(self) -> None:
        await run(self._probes, self.pool.query, "SELECT 1")

    async def _check_disk(self) -> None:
        await run(self._probes, check_writable, Path(self.pool.target.address))

    async def list_damage(self) -> Sequence[str]:
        now_s = time.monotonic()
        if now_s - self._parts_checked_at_s > PARTS_MAX_AGE_S:
            self._parts_checked_at_s = now_s
            try:
                found = await run(self._probes, list_damaged_parts, self.pool)
            except StoreError:  # a later call tries again
                found = self._damaged_parts
            if found and found != self._damaged_parts:
                _log.error("store: damaged data parts: %s. %s", ", ".join(found), DAMAGE)
            self._damaged_parts = found
        return [DAMAGE] if self._damaged_parts else []

    async def list_names(
        self,
        project_id: int,
        *,
        except_events: Collection[str],
        source_rules: Collection[str],
        since: datetime,
        limit: int,
    ) -> Sequence[StoredName]:
        def work() -> Sequence[StoredName]:
            self._writer.flush()
            return list_names(
                self.pool,
                project_id,
                except_events=except_events,
                source_rules=source_rules,
                since=since,
                limit=limit,
            )

        return await run(self._names, work)

    async def delete_people(
        self, *, salt: bytes, users: Cutoffs, visitors: Cutoffs
    ) -> Mapping[int, int]:
        work = partial(
            delete_people, salt=salt, users=users, visitors=visitors, closing=self._closing
        )
        await self._writer.flush_for_deletion()
        return await run(self._maintenance, work, self.pool)

    async def find_own_visitors(
        self, project_id: int, *, salt: bytes, user_hash: bytes, cutoff: datetime
    ) -> Sequence[bytes]:
        work = partial(find_own_visitors, salt=salt, user_hash=user_hash, cutoff=cutoff)
        await self.flush()
        return await run(self._maintenance, work, self.pool, project_id)

    async def count_project(self, project_id: int) -> int:
        await self.flush()
        return await run(self._maintenance, count_project, self.pool, project_id)

    async def delete_project(self, project_id: int) -> int:
        await self._writer.flush_for_deletion()
        work = partial(delete_project, closing=self._closing)
        return await run(self._maintenance, work, self.pool, project_id)

    async def expire(self, project_id: int, *, first_day: date) -> int:
        await self.flush()
        return await run(self._maintenance, expire, self.pool, project_id, first_day=first_day)

    async def back_up(
        self, directory: Path, *, base: Path | None, finish: Callable[[], None]
    ) -> Mapping[str, int]:
        def work() -> Mapping[str, int]:
            tables = write_backup(self.pool, directory, base=base)
            finish()
            return tables

        await self.flush()
        return await run(self._maintenance, work)

    async def measure(self) -> Mapping[str, float]:
        if self.pool.target.embedded:
            return self._writer.measure() | await run(self._probes, measure, self.pool)
        await self._check_engine()
        return self._writer.measure()

    async def inspect(self) -> Mapping[str, Any]:
        await self.flush()
        return await run(self._maintenance, inspect, self.pool)

    async def close(self) -> None:
        # What does not end in time ends with the process: writes that were never acknowledged,
        # reads without a caller, and deletions, which the next process repeats. The next process
        # also takes what is left in the journal.
        writes = asyncio.ensure_future(self._writer.close())
        _, late = await asyncio.wait([writes], timeout=WRITE_CLOSE_S)
        self._closing.set()
        readers = (*self._readers.executors, *self._heavy_readers.executors)
        executors = (
            *self._writer.executors,
            *readers,
            self._probes,
            self._names,
            self._maintenance,
            self._upgrade,
        )
        if late or not await end(executors, timeout_s=THREADS_CLOSE_S):
            self.left_running = True
        else:
            await asyncio.to_thread(self.pool.close)


def open_event_store(target: StoreTarget, *, max_queued_events: int) -> EventStore:
    """Return the store of a target, its schema up to date. Blocks for about a second.

    Call it inside `keeping_copy` if the store may be older.

    Raises:
        StoreError: the store can't be reached, or refuses its schema.
    """
    pool, _ = open_upgraded(target)
    writer = open_writer(pool, shards=count_shards(pool), max_queued_events=max_queued_events)
    if target.embedded:
        release_code()
    return EventStore(pool, writer, identity=read_identity(pool))
