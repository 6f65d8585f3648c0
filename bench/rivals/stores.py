"""Events in one table of SQLite or PostgreSQL."""

import asyncio
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import psycopg

from millimetric_mcp.contract.columns import StoredEvent

Rows = list[tuple[Any, ...]]
ResultT = TypeVar("ResultT")

COLUMNS = ", ".join(StoredEvent._fields)
TYPES = {int: "BIGINT", str: "TEXT", bytes: "{binary}"}
READERS = 2
CONNECTIONS = 16
TABLE = "CREATE TABLE IF NOT EXISTS events ({})".format(
    ", ".join(
        f"{name} {'{json}' if name == 'properties' else TYPES[python_type]} NOT NULL"
        for name, python_type in get_type_hints(StoredEvent).items()
    )
)
INDEXES = (
    "CREATE INDEX IF NOT EXISTS by_time ON events (project_id, timestamp_ms)",
    "CREATE INDEX IF NOT EXISTS by_event ON events (project_id, event_name, timestamp_ms)",
    "CREATE INDEX IF NOT EXISTS by_user ON events (project_id, user_id) WHERE user_id <> ''",
)
SOURCES = """
SELECT source, medium, count(*) AS events, count(DISTINCT anonymous_id),
    CAST(sum(CASE WHEN medium = 'paid' THEN 1 ELSE 0 END) AS FLOAT) / count(*)
FROM events WHERE project_id = 1 AND timestamp_ms >= {0} AND timestamp_ms < {0}
GROUP BY source, medium ORDER BY events DESC, source, medium LIMIT {0}
"""
DAILY = """
SELECT timestamp_ms / 86400000 AS bucket, source, medium, count(*) AS value
FROM events WHERE project_id = 1 AND timestamp_ms >= {0} AND timestamp_ms < {0}
GROUP BY bucket, source, medium ORDER BY bucket, value DESC, source, medium LIMIT {0}
"""


class RowStore(ABC):
    """Where the afternoon's API keeps its events."""

    @abstractmethod
    async def open(self) -> None:
        """Makes what is missing; needs a running event loop."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of every connection."""

    @abstractmethod
    async def add(self, event: StoredEvent) -> None:
        """One insert, committed."""

    @abstractmethod
    async def add_many(self, events: Sequence[StoredEvent]) -> None:
        """One transaction, committed."""

    @abstractmethod
    async def sources(self, from_ms: int, to_ms: int, limit: int) -> Rows:
        """Events, visitors and the paid share by source and medium."""

    @abstractmethod
    async def daily(self, from_ms: int, to_ms: int, limit: int) -> Rows:
        """Events by day, source and medium; days counted from 1970."""

    @abstractmethod
    async def settle(self) -> int:
        """Brings statistics and files up to date; how many bytes the events take."""


def open_row_store(dsn: str) -> RowStore:
    """The store of a DSN: ``sqlite:FILE``, else PostgreSQL's."""
    scheme, _, rest = dsn.partition(":")
    return SqliteStore(Path(rest)) if scheme == "sqlite" else PostgresStore(dsn)


class SqliteStore(RowStore):
    """SQLite in WAL mode, every commit flushed: one writer, a few readers, all in threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer = ThreadPoolExecutor(1)
        self._readers = ThreadPoolExecutor(READERS)
        self._local = threading.local()
        marks = ", ".join("?" * len(StoredEvent._fields))
        self._insert = f"INSERT INTO events ({COLUMNS}) VALUES ({marks})"

    async def open(self) -> None:
        await _run(self._writer, self._create)

    async def close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()

    async def add(self, event: StoredEvent) -> None:
        await _run(self._writer, partial(self._write, (event,)))

    async def add_many(self, events: Sequence[StoredEvent]) -> None:
        await _run(self._writer, partial(self._write, events))

    async def sources(self, from_ms: int, to_ms: int, limit: int) -> Rows:
        return await self._read(SOURCES, (from_ms, to_ms, limit))

    async def daily(self, from_ms: int, to_ms: int, limit: int) -> Rows:
        return await self._read(DAILY, (from_ms, to_ms, limit))

    async def settle(self) -> int:
        return await _run(self._writer, self._settle)

    def _settle(self) -> int:
        connection = self._connect()
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._file.stat().st_size

    def _create(self) -> None:
        connection = self._connect()
        connection.execute(TABLE.format(json="TEXT", binary="BLOB"))
        for statement in INDEXES:
            connection.execute(statement)

    def _write(self, events: Iterable[StoredEvent]) -> None:
        with self._connect() as connection:
            connection.executemany(self._insert, events)

    async def _read(self, statement: str, bound: tuple[int, ...]) -> Rows:
        text = statement.format("?")
        return await _run(self._readers, lambda: self._connect().execute(text, bound).fetchall())

    def _connect(self) -> sqlite3.Connection:
        """The calling thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._file)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-262144"):
                connection.execute(f"PRAGMA {pragma}")
            self._local.connection = connection
        return connection


async def _run(executor: ThreadPoolExecutor, work: Callable[[], ResultT]) -> ResultT:
    return await asyncio.get_running_loop().run_in_executor(executor, work)


class PostgresStore(RowStore):
    """PostgreSQL over a few connections, each used by one request at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._idle: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
        marks = ", ".join(["%s"] * len(StoredEvent._fields))
        self._insert = f"INSERT INTO events ({COLUMNS}) VALUES ({marks})"

    async def open(self) -> None:
        for _ in range(CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            self._idle.put_nowait(connection)
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            await connection.execute(TABLE.format(json="JSONB", binary="BYTEA"))
            for statement in INDEXES:
                await connection.execute(statement)

    async def close(self) -> None:
        for _ in range(CONNECTIONS):
            await (await self._idle.get()).close()

    async def add(self, event: StoredEvent) -> None:
        await self._execute(self._insert, event)

    async def add_many(self, events: Sequence[StoredEvent]) -> None:
        connection = await self._idle.get()
        try:
            async with (
                connection.transaction(),
                connection.cursor() as cursor,
                cursor.copy(f"COPY events ({COLUMNS}) FROM STDIN") as copy,
            ):
                for event in events:
                    await copy.write_row(event)
        finally:
            self._idle.put_nowait(connection)

    async def sources(self, from_ms: int, to_ms: int, limit: int) -> Rows:
        return await self._execute(SOURCES.format("%s"), (from_ms, to_ms, limit))

    async def daily(self, from_ms: int, to_ms: int, limit: int) -> Rows:
        return await self._execute(DAILY.format("%s"), (from_ms, to_ms, limit))

    async def settle(self) -> int:
        await self._execute("VACUUM (ANALYZE) events", ())
        rows = await self._execute("SELECT pg_total_relation_size('events')", ())
        return int(rows[0][0])

    async def _execute(self, statement: str, bound: Sequence[Any]) -> Rows:
        connection = await self._idle.get()
        try:
            cursor = await connection.execute(statement, bound)
            return await cursor.fetchall() if cursor.description else []
        finally:
            self._idle.put_nowait(connection)
