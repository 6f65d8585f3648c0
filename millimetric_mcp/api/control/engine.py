"""Connections to the control database, and its transactions.

A write transaction of SQLite takes the write lock when it begins, so it never fails later
because of another one. On PostgreSQL, writes that must not interleave (the schema, projects,
keys) take one advisory lock. Drivers' messages may quote the DSN, so none leaves this module.
"""

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from millimetric_mcp.errors import SettingsError, StoreUnavailable

_WHERE = "--control / MILLIMETRIC_CONTROL"
_LOCK_WAIT_S = 10.0
_POLL_S = 0.05
_SECONDS = re.compile(r"\d{1,6}(\.\d+)?")
_CONNECT_TIMEOUT_S = 5
_ADVISORY_LOCK = 0x6D696C6C696D6574  # "millimet"


class Database:
    """Transactions on the control database; its failures are errors of this package."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(millimetric_writes=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads.

        Raises:
            StoreUnavailable: the database failed.
        """
        with _own_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, *, exclusive: bool = False) -> Iterator[Connection]:
        """Open a transaction that writes; it is durable once the block ends without an exception.

        At most one ``exclusive`` transaction runs at a time, in all processes together.

        Raises:
            StoreUnavailable: the database failed and nothing was written.
        """
        with _own_errors(), self._writer.begin() as connection:
            if exclusive and self._engine.dialect.name != "sqlite":
                connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S:.0f}s'"))
                connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield connection

    def copy_to(self, path: Path) -> None:
        """Write the database, as it is at one moment, to a new SQLite file.

        Raises:
            StoreUnavailable: it is PostgreSQL, or it failed.
        """
        if self._engine.dialect.name != "sqlite":
            raise StoreUnavailable(
                f"projects and keys are in PostgreSQL ({_WHERE}): copy them with pg_dump"
            )
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with _own_errors(), closing(sqlite3.connect(path)) as copy:
            connection = self._engine.raw_connection()
            try:
                cast("sqlite3.Connection", connection.driver_connection).backup(copy)
            finally:
                connection.close()

    def clear_journal(self) -> None:
        """Remove what was deleted from SQLite's journal too; another database has none.

        Raises:
            StoreUnavailable: other processes read the database all the time.
        """
        if self._engine.dialect.name != "sqlite":
            return
        give_up_at_s = time.monotonic() + _LOCK_WAIT_S
        with _own_errors():
            while not self._empty_journal():
                if time.monotonic() > give_up_at_s:
                    raise StoreUnavailable("the database of projects and keys is always in use")
                time.sleep(_POLL_S)

    def _empty_journal(self) -> bool:
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            [(is_busy, _, _)] = cursor.fetchall()
        finally:
            connection.close()
        return not is_busy

    def close(self) -> None:
        self._engine.dispose()


def parse_dsn(dsn: str | URL) -> URL:
    """Parse ``sqlite:///FILE`` or ``postgresql://…``; the result's text hides the password.

    Raises:
        SettingsError: it is neither.
    """
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError):
        raise _dsn_error("is not a DSN. Write sqlite:///FILE or postgresql://…") from None
    is_timeout = _SECONDS.fullmatch(str(url.query.get("timeout", 0)))
    match url.drivername.partition("+")[0]:
        case "sqlite" if url.database in {None, "", ":memory:"}:
            raise _dsn_error("must name a file, such as sqlite:////srv/millimetric/control.sqlite3")
        case "sqlite" if url.query.keys() - {"timeout"} or not is_timeout:
            raise _dsn_error("the only parameter allowed after the file name is timeout, in s")
        case "sqlite":
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
    raise _dsn_error("must begin with sqlite:/// or postgresql://")


def open_database(url: URL) -> Database:
    """Return the database of a DSN that `parse_dsn` returned.

    A missing SQLite file is created, readable by its owner only.

    Raises:
        SettingsError: the driver is missing, or the SQLite file can't be opened.
        StoreUnavailable: the SQLite file is not a database, or is locked.
    """
    is_sqlite = url.drivername.startswith("sqlite")
    return Database(_make_sqlite_engine(url) if is_sqlite else _make_postgres_engine(url))


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
    path = str(url.database)
    try:
        # SQLite gives its journals the permissions of this file.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise _dsn_error(f"can't open {path}: {error.strerror}") from None
    defaults = {} if "timeout" in url.query else {"timeout": _LOCK_WAIT_S}
    engine = create_engine(url, hide_parameters=True, connect_args=defaults)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", partial(_check_file, path, _identify_file(path)))
    event.listen(engine, "begin", _begin_sqlite)
    with _own_errors():
        _enter_wal_mode(engine)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite, nowhere else
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _identify_file(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_file(path: str, opened: tuple[int, int] | None, _: Connection) -> None:
    """Raise if the file that was opened is not there any more: what is written to it is lost."""
    if _identify_file(path) != opened:
        raise StoreUnavailable(
            f"the database of projects and keys ({_WHERE}) was deleted or replaced while it was "
            f"in use. Put {path} back, then restart."
        )


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("millimetric_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _enter_wal_mode(engine: Engine) -> None:
    """Set the file's mode in which readers and the writer do not wait for each other."""
    # SQLite does not wait for the lock that the change takes, so processes that start
    # together try again.
    give_up_at_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_locked = error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            if not is_locked or time.monotonic() > give_up_at_s:
                raise
            time.sleep(0.01)
        else:
            return
        finally:
            connection.close()


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        name = getattr(cause, "sqlite_errorname", type(cause).__name__)
        raise StoreUnavailable(
            f"the database of projects and keys ({_WHERE}) failed: {name}. Check that it runs, "
            "that it is not locked or full, and that you may use it."
        ) from None
