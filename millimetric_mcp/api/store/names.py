"""The names that a project's events have. Calls block."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.relations import to_ms
from millimetric_mcp.api.store.statements import compose_for

TIMEOUT_S = 120
"""Ten million events take 3 seconds of one processor."""

_MAX_GROUPS = 1_000_000
"""Of more names of one kind some are left out, so that the statement's memory is bounded."""


class StoredName(NamedTuple):
    """An event name, a source with its ``medium``, or a campaign.

    ``kind`` is ``event names``, ``sources`` or ``campaigns``. ``is_of_browsers`` if only browser
    keys sent events with the name.
    """

    kind: str
    name: str
    medium: str
    is_of_browsers: bool


def list_names(
    pool: ClientPool,
    project_id: int,
    *,
    except_events: Collection[str],
    source_rules: Collection[str],
    since: datetime,
    limit: int,
) -> Sequence[StoredName]:
    """Return what `Store.list_names` does."""
    values = {
        "project_id": project_id,
        "except_events": sorted(except_events),
        "source_rules": sorted(source_rules),
        "since_ms": to_ms(since),
        "limit": limit,
    }
    settings = {
        "max_execution_time": TIMEOUT_S,
        "max_rows_to_group_by": _MAX_GROUPS,
        "group_by_overflow_mode": "any",
    }
    rows = pool.query(compose_for("names", pool.target), values, settings=settings)
    return [
        StoredName(kind, name, medium, bool(is_of_browsers))
        for kind, name, medium, is_of_browsers in rows
    ]
