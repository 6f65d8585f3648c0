"""Deletes users and expired events. Calls block until the rows are gone."""

import threading
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.reads import read_value
from millimetric_mcp.api.store.statements import compose_for
from millimetric_mcp.contract.validation import EPOCH
from millimetric_mcp.errors import StoreUnavailable

STATEMENT_TIMEOUT_S = 660
"""A little longer than the statements wait for a cluster's servers."""

FILES_TIMEOUT_S = 60
FILES_POLL_S = 0.5


def delete_users(
    pool: ClientPool,
    *,
    salt: bytes,
    cutoffs: Mapping[tuple[int, bytes], datetime],
    closing: threading.Event,
) -> None:
    """Delete users' events that arrived before each user's cutoff.

    ``cutoffs`` has a user's project id and sha256(salt || user_id). Returns when no answer
    shows the rows, the files that held them are deleted, and so is the engine's record of the
    statement (a cluster keeps its last one). It may be repeated.

    Raises:
        StoreUnavailable: the files are still there after `FILES_TIMEOUT_S`, or ``closing`` is
            set. It has to be repeated.
    """
    microsecond = timedelta(microseconds=1)
    values: dict[str, Any] = {
        "project_ids": sorted({project_id for project_id, _ in cutoffs}),
        "salt": salt.hex().upper(),
        "users": [f"{project_id} {digest.hex().upper()}" for project_id, digest in cutoffs],
        "cutoffs_us": [(cutoff - EPOCH) // microsecond for cutoff in cutoffs.values()],
    }
    _run(pool, "delete_users", values)
    if pool.target.cluster is None:
        _run(pool, "delete_mutation_record", {"user_hash": values["users"][0].split()[1]})
    _wait_for_files(pool, closing)


def _wait_for_files(pool: ClientPool, closing: threading.Event) -> None:
    """Return when the files that are outdated now are deleted."""
    statement = compose_for("outdated_parts", pool.target)
    outdated = {row[0] for row in pool.query(statement)}
    deadline_s = time.monotonic() + FILES_TIMEOUT_S
    while outdated and time.monotonic() < deadline_s:
        if closing.wait(FILES_POLL_S):
            break
        outdated &= {row[0] for row in pool.query(statement)}
    if outdated:
        raise StoreUnavailable("deleted rows are still in outdated files")


def expire(pool: ClientPool, project_id: int, *, first_day: date) -> int:
    """Delete a project's events from days before ``first_day``; return how many there were."""
    values = {"project_id": project_id, "first_day": first_day}
    count = int(read_value(pool, "count_expired", values))
    if count:
        _run(pool, "delete_expired", values)
    return count


def _run(pool: ClientPool, name: str, values: Mapping[str, Any]) -> None:
    """Run a statement of ``sql/``. The values travel in the body: they may be long."""
    statement = compose_for(name, pool.target)
    pool.run(
        lambda client: client.raw_query(statement, parameters=dict(values)),
        timeout_s=STATEMENT_TIMEOUT_S,
    )
