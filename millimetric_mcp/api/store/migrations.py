"""The store's schema, version by version: each step idempotent, so that several processes may
bring the same store up to date at once."""

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template

from clickhouse_connect.driver.client import Client

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget

_VERSIONS = "schema_versions"
_EMBEDDED_PART_SETTINGS = (
    "min_bytes_for_full_part_storage = 10485760, "
    "materialize_projections_on_insert = 0, materialize_projections_on_merge = 1,"
)
"""Small parts are one file each instead of thirty and get their projections when merged: an
insert costs a third. A server has asynchronous inserts for that, and may be older."""

_REPLICA = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"


def migrate(pool: ClientPool) -> tuple[str, ...]:
    """Brings the schema up to date and names the versions that were applied, oldest first."""
    return pool.run(lambda client: _apply_missing(client, pool.target))


def list_versions() -> tuple[str, ...]:
    """Every version this code knows, oldest first."""
    return tuple(sorted(file.name.removesuffix(".sql") for file in _folder("migrations")))


def render_migration(version: str, target: StoreTarget) -> tuple[str, ...]:
    """The statements of a version for a target: the local table's, then a cluster's own."""
    names = _names(target)
    folders = ("migrations", "cluster") if target.cluster else ("migrations",)
    return tuple(
        Template(statement).substitute(names)
        for folder in folders
        for file in _folder(folder)
        if file.name == f"{version}.sql"
        for statement in split_statements(file.read_text())
    )


def split_statements(text: str) -> Iterator[str]:
    """The statements of a file, which end in a semicolon at a line's end."""
    return (part.strip() for part in text.split(";\n") if part.strip())


def _apply_missing(client: Client, target: StoreTarget) -> tuple[str, ...]:
    for statement in _bookkeeping(target):
        client.command(statement)
    rows = client.query(f"SELECT DISTINCT version FROM {_VERSIONS}").result_rows  # noqa: S608
    known = {row[0] for row in rows}
    missing = tuple(version for version in list_versions() if version not in known)
    for version in missing:
        for statement in render_migration(version, target):
            client.command(statement)
        client.insert(_VERSIONS, [[version]], column_names=["version"])
    return missing


def _bookkeeping(target: StoreTarget) -> Iterator[str]:
    file = resources.files(__package__) / "sql" / "schema_versions.sql"
    for statement in split_statements(file.read_text()):
        yield Template(statement).substitute(_names(target))


def _names(target: StoreTarget) -> dict[str, str]:
    on_cluster = f"ON CLUSTER '{target.cluster}'" if target.cluster else ""
    return {
        "database": target.database,
        "events": EVENTS,
        "local": target.local_table,
        "versions": _VERSIONS,
        "cluster": target.cluster or "",
        "on_cluster": on_cluster,
        "merge_tree": f"ReplicatedMergeTree({_REPLICA})" if target.cluster else "MergeTree",
        "part_settings": _EMBEDDED_PART_SETTINGS if target.embedded else "",
        "fsync": "1" if target.fsync else "0",
    }


def _folder(name: str) -> list[Traversable]:
    folder = resources.files(__package__) / "sql" / name
    return sorted(folder.iterdir(), key=lambda file: file.name)
