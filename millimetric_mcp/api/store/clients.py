"""Connections to one ClickHouse, embedded or server: one client for each thread."""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager_options
from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from millimetric_mcp.api.store import clickhouse_errors
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.memory import import_engine
from millimetric_mcp.errors import StoreUnavailable

CONNECT_TIMEOUT_S = 5
RECEIVE_TIMEOUT_S = 150
"""Longer than the 120 s after which a server ends an asynchronous insert."""

_DRIVERS = ("clickhouse_connect", "urllib3")

SHARING_VERSION = "26.9"
"""Since this version the engine computes a subquery once that a statement names ``_SHARED`` and
uses several times. Servers before it, of which some can do it too, are not tested with that."""
_SHARED = " AS MATERIALIZED\n"
_SHARING: Mapping[str, Any] = {
    "enable_materialized_cte": 1,
    # Otherwise the engine may read a shared subquery while it plans, before it is computed.
    "use_index_for_in_with_subqueries": 0,
}

_log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")


class ClientPool:
    """A client for each calling thread, all closed together.

    ``unreadable_parts`` are data parts that a statement could not read.
    """

    def __init__(self, target: StoreTarget) -> None:
        self.target = target
        self.unreadable_parts: set[str] = set()
        self._connections = None if target.embedded else _open_connections(target)
        self._local = threading.local()
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        for name in _DRIVERS:  # their warnings quote URLs, which hold what callers sent
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # Only to see that events are no data frames and arrays, the client would import pandas and
        # numpy, a tenth of the process's memory.
        options.pd = options.pd_time_test = options.np = None
        if target.embedded:
            # The engine reads its zone from TZ, and does not start with one that it does not know.
            os.environ["TZ"] = "UTC"
            import_engine()
            # For embedded.xml. The limit of all statements of a user does not work: the engine's
            # sum for it grows with each statement until none runs.
            os.environ["MILLIMETRIC_ENGINE_MEMORY_BYTES"] = str(target.memory_mb * 1024 * 1024)

    def run(
        self, work: Callable[[Client], ResultT], *, timeout_s: int = RECEIVE_TIMEOUT_S
    ) -> ResultT:
        """Return what ``work`` returns for the calling thread's client.

        ``timeout_s`` is for each statement, on a server only.

        Raises:
            StoreUnavailable: nothing was done: the store can't be reached, or can't do it now.
            StoreRefused: nothing was done: the store refused the statement.
            StoreUncertain: the connection broke or timed out after the statement was sent.
        """
        embedded = self.target.embedded
        client = self._client(0 if embedded else timeout_s)
        try:
            return work(client)
        except Exception as error:
            if not clickhouse_errors.is_cancelled(error):
                _log.error("store: %s", clickhouse_errors.describe(error))
            if part := clickhouse_errors.find_part(error):
                self.unreadable_parts.add(part)
            if embedded:
                self._drop(client)
            raise clickhouse_errors.as_store_error(error, embedded=embedded) from error

    def query(
        self,
        statement: str,
        values: Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement; ``values`` are bound by name. Raises as `run`."""
        bound, set_ = dict(values or {}), dict(settings or {})

        def ask(client: Client) -> Sequence[Sequence[Any]]:
            text = statement
            if _SHARED in statement and client.min_version(SHARING_VERSION):
                set_.update(_SHARING)
            else:
                text = statement.replace(_SHARED, " AS\n")
            return client.query(text, parameters=bound, settings=set_).result_rows

        return self.run(ask)

    def _client(self, timeout_s: int) -> Client:
        if not hasattr(self._local, "clients"):
            self._local.clients = {}
        clients: dict[int, Client] = self._local.clients
        if timeout_s not in clients:
            clients[timeout_s] = self._connect(timeout_s)
            with self._lock:
                self._clients.append(clients[timeout_s])
        return clients[timeout_s]

    def _drop(self, client: Client) -> None:
        """Close the calling thread's client; the next statement opens another one.

        After a failed statement, the embedded engine may answer the client's next statement with
        rows of the failed one, which may be another project's.
        """
        with self._lock:
            if client not in self._clients:
                return  # the pool is closed
            self._clients.remove(client)
        self._local.clients.clear()
        client.close()

    def _connect(self, timeout_s: int) -> Client:
        try:
            if self._connections is None:
                return _connect_embedded(self.target)
            return _connect_server(self.target, self._connections, timeout_s)
        except (ClickHouseError, ValueError, LookupError) as error:
            failure = clickhouse_errors.as_connection_error(error, self.target)
            if self._clients:  # the first failure ends the start, and is shown there
                _log.error("store: %s", failure)
            raise failure from error

    def close(self) -> None:
        """Close every client; the embedded engine stops with the last one."""
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()
        if self._connections is not None:
            self._connections.clear()


class _Connections(PoolManager):
    """Connections that send an insert only once.

    The client repeats a request after a reset connection. An insert may be stored by then, so its
    error is replaced by one after which the client does not repeat.
    """

    def urlopen(  # type: ignore[override]  # as PoolManager itself has it
        self,
        method: str,
        url: str,
        redirect: bool = False,  # noqa: FBT001, FBT002 - the overridden method's
        **kw: Any,  # noqa: ANN401
    ) -> BaseHTTPResponse:
        kw["retries"] = False
        try:
            return super().urlopen(method, url, redirect=redirect, **kw)
        except (NewConnectionError, ConnectTimeoutError):
            raise
        except HTTPError as error:
            if isinstance(kw.get("body"), bytes | str | None):
                raise
            final = HTTPError(f"after the insert was sent: {type(error).__name__}")
        raise final  # outside the handler: otherwise the client finds the reset as its context


def _open_connections(target: StoreTarget) -> _Connections:
    tls: dict[str, Any] = dict(target.tls_options)
    if "verify" in tls:
        tls["verify"] = tls["verify"].lower() not in {"false", "0", "no", "off"}
    return _Connections(**get_pool_manager_options(**tls))


def _connect_embedded(target: StoreTarget) -> Client:
    link = Path(target.address, "metadata", target.database)
    if link.is_dir() and not link.is_symlink():
        raise StoreUnavailable(
            f"{target.address} was copied without its symbolic links. Copy the data directory "
            "again with a tool that keeps them, such as cp -a or rsync -a"
        )
    with resources.as_file(resources.files(__package__) / "embedded.xml") as configuration:
        client = clickhouse_connect.get_client(
            dsn=target.dsn,
            settings=_query_settings(target),
            show_clickhouse_errors="scrub",
            tz_mode="schema",
            chdb_options={"config-file": str(configuration)},
        )
    client.command(f"CREATE DATABASE IF NOT EXISTS `{target.database}`")
    client.command(f"USE `{target.database}`")
    return client


def _connect_server(target: StoreTarget, connections: PoolManager, timeout_s: int) -> Client:
    client = clickhouse_connect.get_client(
        dsn=target.dsn,
        interface="https" if target.secure else "http",  # the client ignores the DSN's scheme
        pool_mgr=connections,
        client_name="millimetric-mcp",
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=timeout_s,
        autogenerate_session_id=False,
        show_clickhouse_errors="scrub",
        tz_mode="schema",  # the server may have another zone than UTC
    )
    client.database = target.database  # not in the DSN: it may not exist yet
    return client


def _query_settings(target: StoreTarget) -> dict[str, Any]:
    """Limit a statement to three quarters of the memory, so that writes go on beside it."""
    settings = {
        "max_memory_usage": target.memory_mb * 1024 * 1024 * 3 // 4,
        # As on a server: a step of an upgrade returns before all older events are rewritten.
        "mutations_sync": 0,
        "alter_sync": 0,
    }
    if target.embedded:
        # The engine would use one thread only, unless it had a free GiB of memory for each.
        settings["max_threads_min_free_memory_per_thread"] = 0
    return settings | ({"max_threads": target.threads} if target.threads else {})
