"""Writes events to the engine: as native columns, or as rows of text that are encoded before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget
from millimetric_mcp.api.store.statements import compose_insert_rows
from millimetric_mcp.contract.columns import COLUMNS, StoredEvent

_NAMES = tuple(column.name for column in COLUMNS)
# With types, the client does not ask for them before each insert.
_TYPES = tuple(column.clickhouse_type for column in COLUMNS)
_TIMESTAMP, _IP_HASH = _NAMES.index("timestamp"), _NAMES.index("ip_hash")
_IMPORT_PART = _NAMES.index("import_part")

ROW_COLUMNS = (*_NAMES, "received_at")
"""The columns of `Rows`, in their order."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The events of one request as the embedded engine reads them: JSON lists, with commas between.

    ``received_us`` is when they arrived, in microseconds since 1970; each request has another.
    """

    received_us: int
    count: int
    text: bytes

    def __len__(self) -> int:
        return self.count


def encode_rows(events: Sequence[StoredEvent], *, received_us: int, import_part: int = 0) -> Rows:
    """Return the events of one request as text."""
    seconds, fraction = divmod(received_us, 1_000_000)
    received_at = f"{seconds:010}.{fraction:06}"
    rows = []
    for event in events:
        row: list[Any] = [*event, received_at]
        seconds, fraction = divmod(event.timestamp_ms, 1000)
        row[_TIMESTAMP] = f"{seconds:010}.{fraction:03}"
        row[_IP_HASH] = int.from_bytes(event.ip_hash)
        row[_IMPORT_PART] = import_part
        rows.append(row)
    return Rows(received_us, len(rows), to_json(rows)[1:-1])


def insert_rows(
    pool: ClientPool, requests: Iterable[Rows], *, columns: tuple[str, ...] = ROW_COLUMNS
) -> None:
    """Store all requests' events or none, durably; only the embedded engine reads them."""
    text = compose_insert_rows(columns) + b",".join(rows.text for rows in requests).decode()
    # Not client.command: it searches the text for a format, which is slow for some events.
    pool.run(lambda client: client.raw_query(text))


def insert_events(
    pool: ClientPool, events: Sequence[StoredEvent], *, import_part: int = 0, shard: int = 0
) -> None:
    """Store all events or none, durably; ``shard`` counts from 1 on a cluster, else it is 0."""
    columns: list[Sequence[Any]] = list(zip(*events, strict=True))
    columns[_IP_HASH] = [int.from_bytes(ip_hash) for ip_hash in columns[_IP_HASH]]
    columns[_IMPORT_PART] = [import_part] * len(events)
    pool.run(
        lambda client: client.insert(
            EVENTS,
            columns,
            column_names=_NAMES,
            column_type_names=_TYPES,
            column_oriented=True,
            settings=_list_settings(pool.target, shard=shard),
        )
    )


def _list_settings(target: StoreTarget, *, shard: int) -> dict[str, Any]:
    """Return the settings of one insert."""
    if target.embedded:
        # One part, however large: by default the engine cuts at 256 MB, and a failure between two
        # parts would store half of a batch. One thread: with several it takes a fifth longer.
        return {"min_insert_block_size_bytes": 0, "max_threads": 1}
    settings: dict[str, Any] = {
        # The server gathers the inserts of all API processes, and answers when they are stored.
        "async_insert": 1,
        "wait_for_async_insert": 1,
        # Replicated tables drop an insert that equals an earlier one, as two events may.
        "insert_deduplication_token": uuid4().hex,
        # Without progress in headers, the client never repeats an insert after a broken response.
        "send_progress_in_http_headers": 0,
    }
    # With a shard named, a Distributed table writes to it at once and as a whole.
    return settings | ({"insert_shard_id": shard} if shard else {})
