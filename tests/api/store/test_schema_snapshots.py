"""Snapshots of the statements that create the schema and maintain it.

A cluster's statements can't all run here, so the engine only parses them.
After a wanted change: ``MILLIMETRIC_UPDATE_SNAPSHOTS=1 scripts/test -k snapshot``
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from millimetric_mcp.api.store import ClientPool, embedded_target, parse_store_dsn
from millimetric_mcp.api.store.migrations import (
    list_versions,
    packaged_sql,
    render_durability,
    render_migration,
    render_preparation,
)
from millimetric_mcp.api.store.statements import compose_for, compose_people

SNAPSHOTS = Path(__file__).parents[2] / "snapshots" / "store"
UPDATE = "MILLIMETRIC_UPDATE_SNAPSHOTS"
SERVER = parse_store_dsn("clickhouse://host:8123/millimetric")
TARGETS = {
    "embedded": embedded_target(Path("/srv/store")),
    "server": SERVER,
    "cluster": replace(SERVER, cluster="analytics"),
}
MAINTENANCE = [
    "count_expired",
    "own_visitors",
    "count_project",
    "delete_project",
    "now",
    "outdated_parts",
    "delete_expired",
    "shards",
    "names",
]


def list_schema(name):
    target, sql = TARGETS[name], packaged_sql()
    return [
        *render_preparation(target, sql),
        *(
            step
            for version in list_versions(sql)
            for step in render_migration(version, target, sql)
        ),
    ]


def list_maintenance():
    target = TARGETS["cluster"]
    composed = [compose_for(name, target).strip() for name in MAINTENANCE]
    composed += [
        compose_people(name, column, target)
        for name, column in (("count_people", "user_id"), ("delete_people", "anonymous_id"))
    ]
    return [*composed, *render_durability(target)]


def check_snapshot(name, statements):
    lines = (";\n\n".join(statements) + ";").splitlines()
    path, text = SNAPSHOTS / f"{name}.sql", "".join(f"{line.rstrip()}\n" for line in lines)
    if os.environ.get(UPDATE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", TARGETS)
def test_a_schema_equals_its_snapshot(name):
    check_snapshot(f"schema-{name}", list_schema(name))


def test_a_cluster_s_maintenance_statements_equal_their_snapshot():
    check_snapshot("maintenance-cluster", list_maintenance())


@pytest.mark.parametrize("statement", [*list_schema("cluster"), *list_maintenance()])
def test_the_engine_parses_a_cluster_s_statements(statement, shared_front):
    pool = ClientPool(shared_front.target("default"))
    quoted = f"$statement${statement}$statement$"

    [[parsed]] = pool.run(
        lambda client: client.query(f"SELECT formatQuerySingleLine({quoted})").result_rows
    )

    pool.close()
    assert ("ON CLUSTER analytics" in parsed) == ("ON CLUSTER" in statement)


def test_a_cluster_s_tables_are_created_and_altered_on_the_cluster():
    made = [text for text in list_schema("cluster") if "CREATE" in text or "ALTER" in text]

    assert len(made) == len(list_schema("cluster")) - 1  # a row is inserted, once for all
    assert all("ON CLUSTER 'analytics'" in statement for statement in made)
