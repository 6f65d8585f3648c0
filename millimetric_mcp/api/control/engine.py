"""Connections to the control database, and its transactions.

A write transaction of SQLite takes the write lock when it begins, so that it never fails
half-way for another's; PostgreSQL's rare writes that must not interleave (the schema,
projects, keys) take one advisory lock instead. What drivers say of a failure may quote the
DSN: only our own words leave this module.
"""

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from millimetric_mcp.errors import SettingsError, StoreUnavailable

__all__ = ["Database", "open_database", "parse_dsn"]

_WHERE = "--control / MILLIMETRIC_CONTROL"
_LOCK_WAIT_S = 10.0
_SECONDS = re.compile(r"\d{1,6}(\.\d+)?")
_CONNECT_TIMEOUT_S = 5
_ADVISORY_LOCK = 0x6D696C6C696D6574  # "millimet"

_REASONS = (
    ("connection refused", "the connection was refused"),
    ("due to lock timeout", "another process holds its lock"),
    ("timeout expired", "it did not answer in time"),
    ("connection timed out", "it did not answer in time"),
    ("password authentication failed", "it refused the user or password"),
    ("no password supplied", "it asks for a password"),
    ("no pg_hba.conf entry", "it does not let this user in from here"),
    ("could not translate host name", "its host is not known"),
    ("failed to resolve host", "its host is not known"),
    ("invalid connection option", "its DSN has a parameter that PostgreSQL does not know"),
    ("invalid sslmode", "its DSN's sslmode is none of PostgreSQL's"),
    ("invalid port", "its DSN's port is none"),
    ("does not exist", "the database, user or a table does not exist"),
    ("no schema has been selected", "the user may not use its tables"),
    ("permission denied", "the user may not use its tables"),
    ("too many clients", "it has no connection left"),
    ("database is locked", "another process holds its lock"),
    ("readonly database", "it can't be written to"),
    ("read-only transaction", "it can't be written to"),
    ("unable to open database file", "its file can't be opened"),
    ("not a database", "its file is not a SQLite database"),
    ("malformed", "its file is damaged"),
    ("database or disk is full", "the disk is full"),
    ("disk i/o error", "the disk failed"),
)


class Database:
    """An engine, its transactions, and its failures as errors of this package."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(millimetric_writes=True)

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use the database too."""
        return self._engine.dialect.name != "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads.

        Raises:
            StoreUnavailable: the database failed.
        """
        with _explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, *, exclusive: bool = False) -> Iterator[Connection]:
        """A transaction that writes; durable once the block is left without an exception.

        ``exclusive`` keeps out every other exclusive transaction, in all processes.

        Raises:
            StoreUnavailable: the database failed and nothing was written.
        """
        with _explained(), self._writer.begin() as connection:
            if exclusive and self.is_shared:
                connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S:.0f}s'"))
                connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def parse_dsn(dsn: str | URL) -> URL:
    """The parts of ``sqlite:///FILE`` or ``postgresql://…``; the result's text hides the password.

    Raises:
        SettingsError: it is neither.
    """
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError):
        raise _dsn_error("is not a DSN; write sqlite:///FILE or postgresql://…") from None
    match url.drivername.partition("+")[0]:
        case "sqlite" if url.database in {None, "", ":memory:"}:
            raise _dsn_error("must name a file, such as sqlite:////srv/millimetric/control.sqlite3")
        case "sqlite" if not _is_timeout_alone(url.query):
            raise _dsn_error("the only parameter after the file's name is timeout, in seconds")
        case "sqlite":
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
    raise _dsn_error("must begin with sqlite:/// or postgresql://")


def _is_timeout_alone(query: Mapping[str, object]) -> bool:
    return not query.keys() - {"timeout"} and bool(_SECONDS.fullmatch(str(query.get("timeout", 0))))


def open_database(url: URL) -> Database:
    """The database of a DSN that `parse_dsn` gave.

    A SQLite file is made, readable by its owner only, where there is none.

    Raises:
        SettingsError: the DSN can't be used here.
        StoreUnavailable: the SQLite file can't be.
    """
    if url.drivername.startswith("sqlite"):
        return Database(_make_sqlite_engine(url))
    return Database(_make_postgres_engine(url))


def _dsn_error(sentence: str) -> SettingsError:
    return SettingsError([f"{_WHERE}: {sentence}"])


def _make_postgres_engine(url: URL) -> Engine:
    defaults: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 10_000,
        "application_name": "millimetric-mcp",
        "prepare_threshold": None,  # poolers that share sessions lose prepared statements
    }
    wanted = {name: value for name, value in defaults.items() if name not in url.query}
    try:
        return create_engine(
            url, pool_pre_ping=True, pool_recycle=1800, hide_parameters=True, connect_args=wanted
        )
    except ModuleNotFoundError:
        raise _dsn_error(
            "PostgreSQL needs its driver: pip install 'millimetric-mcp[api,postgres]'"
        ) from None


def _make_sqlite_engine(url: URL) -> Engine:
    _make_private_file(Path(str(url.database)))
    defaults = {} if "timeout" in url.query else {"timeout": _LOCK_WAIT_S}
    engine = create_engine(url, hide_parameters=True, connect_args=defaults)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    with _explained():
        _enter_wal_mode(engine)
    return engine


def _make_private_file(path: Path) -> None:
    """SQLite gives its journals the permissions of the file they belong to."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise _dsn_error(f"{path} can't be opened: {error.strerror}") from None


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite, nowhere else
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("millimetric_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _enter_wal_mode(engine: Engine) -> None:
    """Readers and the writer don't wait for each other; the mode stays with the file.

    SQLite does not wait for the lock that a change of mode takes: processes that start
    together have to try again.
    """
    give_up_at_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at_s:
                raise
            time.sleep(0.01)
        else:
            return
        finally:
            connection.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreUnavailable(_explain(error)) from None


def _explain(error: Exception) -> str:
    said = str(error).lower()
    reason = next((ours for theirs, ours in _REASONS if theirs in said), type(error).__name__)
    return f"the database of projects and keys ({_WHERE}) failed: {reason}"
