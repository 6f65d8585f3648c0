"""What is read from the store: answers for the endpoints, its clock, its id. Calls block."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.statements import Statement, compose_for
from millimetric_mcp.contract.columns import NULLABLE_COLUMNS
from millimetric_mcp.contract.validation import EPOCH, format_timestamp
from millimetric_mcp.errors import StoreUnavailable


def read_rows(pool: ClientPool, statement: Statement) -> dict[str, Any]:
    """Return a statement's rows as an endpoint's response shows them.

    ``truncated`` is there, and true, where the limit left rows out.
    """
    found = pool.query(statement.text, statement.values)
    rows = [
        {name: _show(name, value) for name, value in zip(statement.columns, row, strict=True)}
        for row in found[: statement.max_rows]
    ]
    return {"rows": rows} | ({"truncated": True} if len(found) > len(rows) else {})


def _show(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00.000Z"
    if value == "" and name in NULLABLE_COLUMNS:
        return None
    return value


def read_clock(pool: ClientPool) -> datetime:
    """Return the store's own time in UTC, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=read_value(pool, "now"))


def read_identity(pool: ClientPool) -> str:
    """Return the store's own id. A server or cluster has the same one by every address.

    Raises:
        StoreUnavailable: this server of the cluster has no copy of it yet.
    """
    identity = str(read_value(pool, "identity"))
    if not identity:
        raise StoreUnavailable(
            "this server of the event store does not hold the store's id yet, which it "
            "fetches from the others by itself: try again in a moment"
        )
    return identity


def count_shards(pool: ClientPool) -> int:
    """Return how many shards the cluster has; 1 without a cluster."""
    cluster = pool.target.cluster
    return int(read_value(pool, "shards", {"cluster": cluster})) or 1 if cluster else 1


def read_value(pool: ClientPool, name: str, values: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Return the first value that a statement of ``sql/`` gives."""
    return pool.query(compose_for(name, pool.target), values)[0][0]
