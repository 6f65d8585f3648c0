"""Deletes users, visitors, imports and expired events. Calls block until the rows are gone."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.reads import read_value
from millimetric_mcp.api.store.statements import compose_for, compose_people
from millimetric_mcp.contract.validation import EPOCH
from millimetric_mcp.errors import StoreUnavailable

Cutoffs: TypeAlias = Mapping[tuple[int, bytes], datetime]
"""Until when to delete the events of an id, by its project id and sha256(salt || id)."""

STATEMENT_TIMEOUT_S = 660
"""A little longer than the statements wait for a cluster's servers."""

FILES_TIMEOUT_S = 60
FILES_POLL_S = 0.5


def delete_people(
    pool: ClientPool,
    *,
    salt: bytes,
    users: Cutoffs,
    visitors: Cutoffs,
    closing: threading.Event,
) -> Counter[int]:
    """Delete events of users and visitors that arrived before each one's cutoff.

    Returns how many there were by project id, when no answer shows the rows, the files that
    held them are deleted, and so is the engine's record of the statements (a cluster keeps its
    last one). It may be repeated.

    Raises:
        StoreUnavailable: the files are still there after `FILES_TIMEOUT_S`, or ``closing`` is
            set. It has to be repeated.
    """
    deleted: Counter[int] = Counter()
    for column, cutoffs in (("user_id", users), ("anonymous_id", visitors)):
        if cutoffs:
            deleted += _delete_ids(pool, column, salt, cutoffs)
    _wait_for_files(pool, closing)
    return deleted


def _delete_ids(pool: ClientPool, column: str, salt: bytes, cutoffs: Cutoffs) -> Counter[int]:
    microsecond = timedelta(microseconds=1)
    values: dict[str, Any] = {
        "project_ids": sorted({project_id for project_id, _ in cutoffs}),
        "salt": salt.hex().upper(),
        "ids": [f"{project_id} {digest.hex().upper()}" for project_id, digest in cutoffs],
        "cutoffs_us": [(cutoff - EPOCH) // microsecond for cutoff in cutoffs.values()],
    }
    counted = pool.query(compose_people("count_people", column, pool.target), values)
    _run(pool, compose_people("delete_people", column, pool.target), values)
    if pool.target.cluster is None:
        record = {"id_hash": values["ids"][0].split()[1]}
        _run(pool, compose_for("delete_mutation_record", pool.target), record)
    return Counter({int(project_id): int(count) for project_id, count in counted})


def find_own_visitors(
    pool: ClientPool, project_id: int, *, salt: bytes, user_hash: bytes, cutoff: datetime
) -> tuple[bytes, ...]:
    """Return the hashes of the visitors that were tied to a user and to no other.

    An event with both ids ties them, if it arrived before ``cutoff``. Hashes are as in
    `delete_people`.
    """
    values = {
        "project_id": project_id,
        "salt": salt.hex().upper(),
        "user_hash": user_hash.hex().upper(),
        "cutoff_us": (cutoff - EPOCH) // timedelta(microseconds=1),
    }
    rows = pool.query(compose_for("own_visitors", pool.target), values)
    return tuple(bytes.fromhex(row[0]) for row in rows)


def count_imported(pool: ClientPool, project_id: int, *, parts: tuple[int, int]) -> int:
    """Return how many events came with ``parts``, the first and last ``import_part``."""
    values = {"project_id": project_id, "first_part": parts[0], "last_part": parts[1]}
    return int(read_value(pool, "count_imported", values))


def delete_imported(
    pool: ClientPool, project_id: int, *, parts: tuple[int, int], closing: threading.Event
) -> int:
    """Delete the events that came with ``parts``, and the files that held them; count them.

    It may be repeated.

    Raises:
        StoreUnavailable: as `delete_people` does.
    """
    count = count_imported(pool, project_id, parts=parts)
    if count:
        values = {"project_id": project_id, "first_part": parts[0], "last_part": parts[1]}
        _run(pool, compose_for("delete_imported", pool.target), values)
    _wait_for_files(pool, closing)
    return count


def count_project(pool: ClientPool, project_id: int) -> int:
    """Return how many events a project has."""
    return int(read_value(pool, "count_project", {"project_id": project_id}))


def delete_project(pool: ClientPool, project_id: int, *, closing: threading.Event) -> int:
    """Delete every event of a project, and the files that held them; return how many there were.

    It may be repeated.

    Raises:
        StoreUnavailable: as `delete_people` does.
    """
    deleted = 0
    while count := count_project(pool, project_id):  # a write may have ended meanwhile
        _run(pool, compose_for("delete_project", pool.target), {"project_id": project_id})
        deleted += count
    _wait_for_files(pool, closing)
    return deleted


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
        _run(pool, compose_for("delete_expired", pool.target), values)
    return count


def _run(pool: ClientPool, statement: str, values: Mapping[str, Any]) -> None:
    """Run a statement without rows. The values travel in the body: they may be long."""
    pool.run(
        lambda client: client.raw_query(statement, parameters=dict(values)),
        timeout_s=STATEMENT_TIMEOUT_S,
    )
