"""How events travel to the engine: by column, in the form that it takes fastest."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget
from millimetric_mcp.api.store.statements import compose_insert_text
from millimetric_mcp.contract.columns import COLUMNS, StoredEvent

MAX_TEXT_EVENTS = 100
"""Up to so many events the embedded engine takes text faster than native blocks, which its
client hands over by a file."""

_NAMES = tuple(column.name for column in COLUMNS)
# With the types given, the client need not ask for them before each insert.
_TYPES = tuple(column.clickhouse_type for column in COLUMNS)
_TIMESTAMP, _IP_HASH = _NAMES.index("timestamp"), _NAMES.index("ip_hash")


def insert_events(pool: ClientPool, events: Sequence[StoredEvent], *, shard: int = 0) -> None:
    """Store all events or none, durably; ``shard`` counts from 1 on a cluster, else it is 0."""
    columns: list[Sequence[Any]] = list(zip(*events, strict=True))
    columns[_IP_HASH] = [int.from_bytes(ip_hash) for ip_hash in columns[_IP_HASH]]
    if pool.target.embedded and len(events) <= MAX_TEXT_EVENTS:
        columns[_TIMESTAMP] = [f"{ms // 1000:010}.{ms % 1000:03}" for ms in columns[_TIMESTAMP]]
        text = compose_insert_text(_NAMES) + to_json(columns).decode()
        # A command's text is searched for its format, which some events make very slow.
        pool.run(lambda client: client.raw_query(text))
    else:
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
    """What an insert is sent with.

    The embedded engine makes one part of it, however large: by default it cuts at 256 MB, and
    a failure between two parts would leave half of a batch. One thread does it: handing the
    work to several takes a fifth longer.

    A server gathers the inserts of all API processes into parts and answers when they are
    stored. A table that deduplicates, as replicated ones do, drops an insert that equals an
    earlier one, as two events may: the token makes each insert its own. The server says
    nothing until it is done: the client sends an insert again whose answer breaks off early.
    """
    if target.embedded:
        return {"min_insert_block_size_bytes": 0, "max_threads": 1}
    settings: dict[str, Any] = {
        "async_insert": 1,
        "wait_for_async_insert": 1,
        "insert_deduplication_token": uuid4().hex,
        "send_progress_in_http_headers": 0,
    }
    # Naming a shard makes a Distributed table write to it at once and as a whole.
    return settings | ({"insert_shard_id": shard} if shard else {})
