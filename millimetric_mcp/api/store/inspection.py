"""How large the store is, and whether it is damaged. Calls block."""

import shutil
from pathlib import Path
from typing import Any

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.journal import DAMAGED
from millimetric_mcp.api.store.reads import read_identity, read_value
from millimetric_mcp.api.store.statements import compose_for
from millimetric_mcp.api.store.writers import JOURNAL_DIR


def measure(pool: ClientPool) -> dict[str, float]:
    """Return the embedded store's size and work now, by the name of the metric. Quick."""
    statement = compose_for("measure", pool.target)
    [row] = pool.run(lambda client: list(client.query(statement).named_results()))
    measured = {name: float(value or 0) for name, value in row.items()}
    return measured | {"disk_free_bytes": shutil.disk_usage(pool.target.address).free}


def inspect(pool: ClientPool) -> dict[str, Any]:
    """Read every file; return the store's id, whether all are undamaged, and each project's events.

    ``broken_parts`` counts what the engine found broken before, and put aside, and
    ``damaged_journals`` the files of the journal that were kept because of wrong lines.
    """
    return {
        "id": read_identity(pool),
        "is_sound": bool(read_value(pool, "check_table")),
        "broken_parts": int(read_value(pool, "broken_parts")),
        "damaged_journals": len(
            list(Path(pool.target.address, JOURNAL_DIR).rglob(f"*{DAMAGED}"))
            if pool.target.embedded
            else ()
        ),
        "projects": [list(row) for row in pool.query(compose_for("count_projects", pool.target))],
    }
