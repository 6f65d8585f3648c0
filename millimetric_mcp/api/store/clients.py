"""Handles of one ClickHouse, embedded or server: one conversation a thread."""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error, ProgrammingError
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.errors import StoreRefused, StoreUnavailable, StoreUncertain

CONNECT_TIMEOUT_S = 5
RECEIVE_TIMEOUT_S = 300

_TOO_SLOW = 159  # TIMEOUT_EXCEEDED
_UNKNOWN_FATE = frozenset({_TOO_SLOW, 209, 210, 319})  # timeouts, network, UNKNOWN_STATUS_OF_INSERT

_log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")


class ClientPool:
    """A client for each thread that asks, all closed together."""

    def __init__(self, target: StoreTarget) -> None:
        self.target = target
        self._local = threading.local()
        self._clients: list[Client] = []
        self._lock = threading.Lock()

    def run(self, work: Callable[[Client], ResultT]) -> ResultT:
        """What ``work`` returns, given the calling thread's client.

        Raises:
            StoreUnavailable: nothing was done: the store can't be reached.
            StoreRefused: nothing was done: the store said no.
            StoreUncertain: the connection broke or timed out after the work was sent.
        """
        client = self._client()
        try:
            return work(client)
        except Error as error:
            raise _translate(error, embedded=self.target.embedded) from error

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._connect()
            self._local.client = client
            with self._lock:
                self._clients.append(client)
        return client

    def _connect(self) -> Client:
        try:
            if self.target.embedded:
                return _connect_embedded(self.target)
            return _connect_server(self.target)
        except ClickHouseError as error:
            _log.error("store: can't connect (%s)", _name(error))
            raise StoreUnavailable("the event store can't be reached", retry_after_s=5) from error

    def close(self) -> None:
        """Ends every conversation; the embedded engine stops with the last one."""
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()


def _connect_embedded(target: StoreTarget) -> Client:
    client = clickhouse_connect.get_client(
        dsn=target.dsn, settings=_query_settings(target), show_clickhouse_errors="scrub"
    )
    client.command(f"CREATE DATABASE IF NOT EXISTS `{target.database}`")
    client.command(f"USE `{target.database}`")
    return client


def _connect_server(target: StoreTarget) -> Client:
    settings: dict[str, Any] = {"async_insert": 1, "wait_for_async_insert": 1}
    if target.cluster:
        settings["distributed_foreground_insert"] = 1
    return clickhouse_connect.get_client(
        dsn=target.dsn,
        database=target.database,
        settings=settings,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=RECEIVE_TIMEOUT_S,
        autogenerate_session_id=False,
        show_clickhouse_errors="scrub",
    )


def _query_settings(target: StoreTarget) -> dict[str, Any]:
    memory_bytes = target.memory_mb * 1024 * 1024
    settings = {"max_memory_usage": memory_bytes, "max_memory_usage_for_user": memory_bytes}
    return settings | ({"max_threads": target.threads} if target.threads else {})


def _translate(error: Error, *, embedded: bool) -> Exception:
    _log.error("store: %s", _name(error))
    if isinstance(error.__cause__, MaxRetryError | NewConnectionError | ConnectTimeoutError):
        return _unreachable(error.__cause__)
    if not embedded and (error.code is None or error.code in _UNKNOWN_FATE):
        return StoreUncertain("the event store did not answer")
    if isinstance(error, ProgrammingError) and error.code is None:
        return StoreUnavailable("the event store is closed")
    return StoreRefused("the event store refused the statement")


def _unreachable(cause: BaseException) -> Exception:
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(reason, NewConnectionError | ConnectTimeoutError):
        return StoreUnavailable("the event store can't be reached", retry_after_s=5)
    return StoreUncertain("the event store did not answer")


def _name(error: BaseException) -> str:
    code, name = getattr(error, "code", None), getattr(error, "name", None)
    return f"{type(error).__name__} code={code} name={name}"
