"""What the product asks of ClickHouse, as blocking calls; run them in threads."""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.inserts import insert_events
from millimetric_mcp.api.store.statements import (
    Window,
    compose_for,
    compose_query,
    compose_sources,
    compose_stats,
    cut_window,
    has_projection,
    to_ms,
)
from millimetric_mcp.contract.columns import NULL_WHEN_EMPTY, SHOWN_COLUMNS, StoredEvent
from millimetric_mcp.contract.reads import (
    Breakdown,
    QueryParams,
    SourcesParams,
    StatsParams,
)
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.errors import StoreUnavailable

MAINTENANCE_TIMEOUT_S = 660
"""A little longer than the statements wait for a cluster's servers."""

ERASURE_TIMEOUT_S = 60
ERASURE_POLL_S = 0.5

Row = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EVENT_ROW = tuple(column.name for column in SHOWN_COLUMNS)


class ClickHouse:
    """One project's questions and every project's writes, over a pool of clients.

    Every method raises the errors of `ClientPool.run`.
    """

    def __init__(self, pool: ClientPool) -> None:
        self.pool = pool
        self.closing = threading.Event()

    def insert(self, events: Sequence[StoredEvent], *, shard: int | None = None) -> None:
        """Stores all events or none, durably; ``shard`` counts from 1, on a cluster only."""
        self.pool.run(
            lambda client: insert_events(client, events, target=self.pool.target, shard=shard)
        )

    def sources(self, project_id: int, params: SourcesParams) -> list[Row]:
        """Rows of ``/v1/sources``, most events first."""
        window = cut_window(params.from_, params.to, by_day=True)
        bound = _bind_window(window) | {
            "project_id": project_id,
            "event": "",
            "limit": params.limit,
        }
        rows = self._query(compose_sources(params), bound)
        columns = ["source"] if params.breakdown is Breakdown.SOURCE else ["source", "medium"]
        names = [*columns, "events", "uniques", "paid_share"]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def stats(self, project_id: int, params: StatsParams) -> tuple[list[Row], bool]:
        """Rows of ``/v1/stats`` in their order, and whether ``limit`` left some out."""
        by_day = has_projection(params.group_by, params.interval)
        window = cut_window(params.from_, params.to, by_day=by_day)
        bound = _bind_window(window) | {
            "project_id": project_id,
            "event": params.event or "",
            "limit": params.limit + 1,
        }
        rows = self._query(compose_stats(params), bound)
        names = [*(["bucket"] if params.interval else []), *params.group_by, "value"]
        shown = [_label(names, row) for row in rows[: params.limit]]
        return shown, len(rows) > params.limit

    def query(self, project_id: int, params: QueryParams) -> list[Row]:
        """Rows of ``/v1/query``, newest first."""
        filters = params.model_dump(exclude={"from_", "to", "limit"})
        bound = {name: value or "" for name, value in filters.items()} | {
            "project_id": project_id,
            "from_ms": to_ms(params.from_),
            "to_ms": to_ms(params.to),
            "limit": params.limit,
        }
        return [_label(_EVENT_ROW, row) for row in self._query(compose_query(), bound)]

    def now(self) -> datetime:
        """The store's own clock, UTC, exact to the microsecond."""
        elapsed_us = self._query(compose_for("now", self.pool.target), {})[0][0]
        return _EPOCH + timedelta(microseconds=elapsed_us)

    def identify(self) -> str:
        """The store's own id: of a server or cluster the same by every address.

        Raises:
            StoreUnavailable: this server of the cluster has no copy of it yet.
        """
        identity = str(self._query(compose_for("identity", self.pool.target), {})[0][0])
        if not identity:
            raise StoreUnavailable(
                "this server of the event store does not hold the store's id yet, which it "
                "fetches from the others by itself: try again in a moment"
            )
        return identity

    def forget(self, *, salt: bytes, cutoffs: Mapping[tuple[int, bytes], datetime]) -> None:
        """Erases users' events; ``cutoffs`` says by when they had arrived.

        A user is a project id and sha256(salt || user_id). Returns when the rows are gone from
        every answer, the files that held them are deleted, and so is the engine's note of the
        statement (a cluster keeps its last one). Doing it again is harmless.

        Raises:
            StoreUnavailable: the files are still there after `ERASURE_TIMEOUT_S`, or the
                store is closing; it has to be done again.
        """
        microsecond = timedelta(microseconds=1)
        bound: dict[str, Any] = {
            "project_ids": sorted({project_id for project_id, _ in cutoffs}),
            "salt": salt.hex().upper(),
            "users": [f"{project_id} {digest.hex().upper()}" for project_id, digest in cutoffs],
            "cutoffs_us": [(cutoff - _EPOCH) // microsecond for cutoff in cutoffs.values()],
        }
        self._command("forget", bound)
        if self.pool.target.cluster is None:
            user_hash = next(iter(cutoffs))[1].hex().upper()
            self._command("forgotten", {"user_hash": user_hash})
        self._wait_for_deletion()

    def _wait_for_deletion(self) -> None:
        """Returns when the files that are now outdated are gone."""
        statement = compose_for("outdated_parts", self.pool.target)
        doomed = {row[0] for row in self._query(statement, {})}
        deadline_s = time.monotonic() + ERASURE_TIMEOUT_S
        while doomed and time.monotonic() < deadline_s:
            if self.closing.wait(ERASURE_POLL_S):
                break
            doomed &= {row[0] for row in self._query(statement, {})}
        if doomed:
            raise StoreUnavailable("erased rows still lie in outdated files")

    def expire(self, project_id: int, *, first_day: date) -> int:
        """Removes events from days before ``first_day`` and says how many there were."""
        bound = {"project_id": project_id, "first_day": first_day}
        count = int(self._query(compose_for("expired", self.pool.target), bound)[0][0])
        if count:
            self._command("retention", bound)
        return count

    def count_shards(self) -> int:
        """How many shards the cluster has; 1 without a cluster."""
        cluster = self.pool.target.cluster
        if cluster is None:
            return 1
        statement = compose_for("shards", self.pool.target)
        return int(self._query(statement, {"cluster": cluster})[0][0]) or 1

    def ping(self) -> None:
        """Returns when the store answers."""
        self.pool.run(lambda client: client.query("SELECT 1"))

    def _query(self, statement: str, bound: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return self.pool.run(
            lambda client: client.query(statement, parameters=dict(bound)).result_rows
        )

    def _command(self, name: str, bound: Mapping[str, Any]) -> None:
        """Runs a maintenance statement; values too long for a URL travel in the body."""
        statement = compose_for(name, self.pool.target)
        self.pool.run(
            lambda client: client.raw_query(statement, parameters=dict(bound)),
            timeout_s=MAINTENANCE_TIMEOUT_S,
        )


def _bind_window(window: Window) -> dict[str, Any]:
    return {
        "first_day": window.first_day,
        "end_day": window.end_day,
        "head_from_ms": window.head_ms[0],
        "head_to_ms": window.head_ms[1],
        "tail_from_ms": window.tail_ms[0],
        "tail_to_ms": window.tail_ms[1],
    }


def _label(names: Sequence[str], row: Sequence[Any]) -> Row:
    return {name: _present(name, value) for name, value in zip(names, row, strict=True)}


def _present(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00.000Z"
    if value == "" and name in NULL_WHEN_EMPTY:
        return None
    return value
