"""Brings the store's schema up to date, version by version.

Each step may be repeated, so several processes may do it on one store at the same time.
"""

import time
import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template
from typing import Any

from clickhouse_connect.driver.exceptions import Error

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget
from millimetric_mcp.errors import StoreError, StoreRefused

STEP_TIMEOUT_S = 600
RACE_ATTEMPTS = 5
RACE_PAUSE_S = 0.5

_VERSIONS = "schema_versions"
_EMBEDDED_SETTINGS = """,
    min_bytes_for_full_part_storage = 10485760,
    materialize_projections_on_insert = 0,
    materialize_projections_on_merge = 1,
    min_parts_to_merge_at_once = 16"""
"""Small parts are one file instead of thirty, and get their projections when they are merged: an
insert costs a third. Merging many parts at a time rewrites each event less often, at half the
cost. A server has asynchronous inserts instead, and may be too old for these settings."""

_SHARD_REPLICA = "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
_CLUSTER_REPLICA = (
    "ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')"
)
"""The same rows on every server of the cluster, whatever its shard."""

_RACES = frozenset(
    {
        57,  # TABLE_ALREADY_EXISTS
        253,  # REPLICA_ALREADY_EXISTS
        517,  # CANNOT_ASSIGN_ALTER: another one has not reached this replica yet
    }
)
"""Errors of a step that another process takes at the same moment."""


def migrate(pool: ClientPool, *, sql: Traversable | None = None) -> tuple[str, ...]:
    """Bring the schema up to date; return the versions that were applied, oldest first.

    Whether the events' table flushes its writes is set each time. ``sql`` is the folder of the
    steps; by default the package's own.

    Raises:
        StoreRefused: the schema is newer than the steps, or the cluster is unsuitable.
        StoreError: the store can't be reached, or fails a step.
    """
    sql = sql or packaged_sql()
    missing, _ = list_pending(pool, sql=sql)
    if missing:
        _create_database(pool, sql)
    for version in missing:
        _apply(pool, version, sql)
    _set_durability(pool)
    return missing


def list_pending(
    pool: ClientPool, *, sql: Traversable | None = None
) -> tuple[tuple[str, ...], bool]:
    """Return the versions that the store lacks, oldest first, and whether it has none yet.

    Raises:
        StoreRefused: the schema is newer than the steps.
        StoreError: the store can't be reached.
    """
    sql = sql or packaged_sql()
    known, applied = list_versions(sql), _list_applied(pool, sql)
    newer = sorted(applied - set(known))
    if newer:
        raise StoreRefused(
            f"the event store's schema is at {newer[-1]}, newer than this millimetric-mcp, "
            f"which knows {known[-1]}: run the newer millimetric-mcp on every machine"
        )
    return tuple(version for version in known if version not in applied), not applied


def packaged_sql() -> Traversable:
    """Return the folder of this package's statements."""
    return resources.files(__package__) / "sql"


def list_versions(sql: Traversable) -> tuple[str, ...]:
    """Return every version in ``sql``, oldest first."""
    files = [file for folder in ("migrations", "embedded") for file in (sql / folder).iterdir()]
    return tuple(sorted({file.name.removesuffix(".sql") for file in files}))


def newest_version() -> str:
    """Return the version of a store whose schema is up to date."""
    return list_versions(packaged_sql())[-1]


def render_preparation(target: StoreTarget, sql: Traversable) -> tuple[str, ...]:
    """Return the statements that create the database and the table of applied versions."""
    files = (sql / "database.sql", sql / "schema_versions.sql")
    return tuple(statement for file in files for statement in _render(file, target))


def render_migration(version: str, target: StoreTarget, sql: Traversable) -> tuple[str, ...]:
    """Return a version's statements: for every store, then for an embedded one or a cluster."""
    folders = {"migrations": True, "embedded": target.embedded, "cluster": bool(target.cluster)}
    files = (sql / folder / f"{version}.sql" for folder, is_used in folders.items() if is_used)
    return tuple(
        statement for file in files if file.is_file() for statement in _render(file, target)
    )


def render_durability(target: StoreTarget) -> tuple[str, ...]:
    """Return the statement that turns flushing of writes on or off, as ``target.fsync`` says."""
    return tuple(_render(packaged_sql() / "durability.sql", target))


def _render(file: Traversable, target: StoreTarget) -> Iterator[str]:
    """Yield the statements of a file; each ends in a semicolon at the end of a line."""
    names = _names(target)
    for statement in file.read_text().split(";\n"):
        if statement.strip():
            yield Template(statement.strip()).substitute(names)


def _names(target: StoreTarget) -> dict[str, str]:
    cluster = target.cluster or ""
    identity = f"{target.database}.identity"
    return {
        "database": target.database,
        "events": EVENTS,
        "local": target.local_table,
        "versions": _VERSIONS,
        "all_identities": f"clusterAllReplicas('{cluster}', {identity})" if cluster else identity,
        "cluster": cluster,
        "on_cluster": f"ON CLUSTER '{cluster}'" if cluster else "",
        "merge_tree": _SHARD_REPLICA if cluster else "MergeTree",
        "merge_tree_everywhere": _CLUSTER_REPLICA if cluster else "MergeTree",
        "embedded_settings": _EMBEDDED_SETTINGS if target.embedded else "",
        "fsync": "1" if target.fsync else "0",
        **_list_passthrough(),
    }


def _list_passthrough() -> dict[str, str]:
    """Return the payment and sign-in pages as lists of texts."""
    file = resources.files("millimetric_mcp.api") / "data" / "passthrough.toml"
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        f"passthrough_{kind}": ", ".join(f"'{name}'" for name in tables[kind])
        for kind in ("domains", "hosts")
    }


def _list_applied(pool: ClientPool, sql: Traversable) -> frozenset[str]:
    """Return the versions applied to the store; none in a new one."""
    bound = {"database": pool.target.database, "versions": _VERSIONS}
    if not _count(pool, sql / "schema_exists.sql", bound):
        return frozenset()
    [statement] = _render(sql / "applied_versions.sql", pool.target)
    return frozenset(row[0] for row in pool.query(statement))


def _create_database(pool: ClientPool, sql: Traversable) -> None:
    if pool.target.cluster:
        _check_cluster(pool, pool.target.cluster, sql)
    elif _count(pool, sql / "database_exists.sql", {"database": pool.target.database}):
        # CREATE DATABASE needs a right that the user may not have.
        return _run_steps(pool, _render(sql / "schema_versions.sql", pool.target))
    return _run_steps(pool, render_preparation(pool.target, sql))


def _check_cluster(pool: ClientPool, cluster: str, sql: Traversable) -> None:
    bound = {"cluster": cluster}
    if not _count(pool, sql / "cluster_replicas.sql", bound):
        raise StoreRefused(f"--cluster: the event store has no cluster named {cluster}")
    if _count(pool, sql / "cluster_doubled_shards.sql", bound):
        raise StoreRefused(
            f"--cluster: in {cluster} each write would go to every replica of a shard by itself. "
            "Set <internal_replication>true</internal_replication> in its configuration."
        )


def _apply(pool: ClientPool, version: str, sql: Traversable) -> None:
    _run_steps(pool, render_migration(version, pool.target, sql))
    pool.run(
        lambda client: client.insert(
            _VERSIONS, [[version]], column_names=["version"], column_type_names=["String"]
        )
    )


def _set_durability(pool: ClientPool) -> None:
    """Turn flushing of writes on or off, if the events' table differs from the target."""
    target = pool.target
    bound = {
        "database": target.database,
        "table": target.local_table,
        "wanted": f"fsync_after_insert = {_names(target)['fsync']}",
    }
    if _count(pool, packaged_sql() / "durability_differs.sql", bound):
        _run_steps(pool, render_durability(target))


def _count(pool: ClientPool, file: Traversable, bound: dict[str, Any]) -> int:
    """Return a count; the database need not exist."""
    statement = file.read_text()
    answer = pool.run(
        lambda client: client.command(statement, parameters=bound, use_database=False)
    )
    return int(str(answer))


def _run_steps(pool: ClientPool, statements: Iterable[str]) -> None:
    for statement in statements:
        _run_step(pool, statement)


def _run_step(pool: ClientPool, statement: str) -> None:
    for attempts_left in reversed(range(RACE_ATTEMPTS)):
        try:
            pool.run(
                lambda client: client.command(statement, use_database=False),
                timeout_s=STEP_TIMEOUT_S,
            )
        except StoreError as error:
            cause = error.__cause__
            is_race = isinstance(cause, Error) and cause.code in _RACES
            if not (attempts_left and is_race):
                raise
            time.sleep(RACE_PAUSE_S)
        else:
            return
