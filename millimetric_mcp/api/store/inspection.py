"""Looks at the whole event store for damage. Blocks: every file is read."""

from typing import Any

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.reads import read_identity, read_value
from millimetric_mcp.api.store.statements import compose_for


def inspect(pool: ClientPool) -> dict[str, Any]:
    """Return the store's id, whether its files are sound, and each project's number of events.

    ``broken_parts`` counts what the engine found broken before, and put aside.
    """
    return {
        "id": read_identity(pool),
        "is_sound": bool(read_value(pool, "check_table")),
        "broken_parts": int(read_value(pool, "broken_parts")),
        "projects": [list(row) for row in pool.query(compose_for("count_projects", pool.target))],
    }
