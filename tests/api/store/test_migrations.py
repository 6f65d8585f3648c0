"""The schema of a store on a server: made once, brought up to date, refused when newer."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from millimetric_mcp.api.store import ClientPool, migrate
from millimetric_mcp.api.store.migrations import list_versions, packaged_sql, render_migration
from millimetric_mcp.api.store.reads import read_identity
from millimetric_mcp.errors import StoreRefused, StoreUncertain

ALL = list_versions(packaged_sql())
PROCESSES = 3
THREADS = 8


@pytest.fixture
def pool(store_target):
    pool = ClientPool(store_target)
    yield pool
    pool.close()


@pytest.fixture
def engine_database(engine_target, database):
    """A database of the test's own in the engine of this process."""
    yield replace(engine_target, database=database)
    pool = ClientPool(engine_target)
    pool.run(lambda client: client.command(f"DROP DATABASE IF EXISTS {database} SYNC"))
    pool.close()


@pytest.fixture
def later_sql(tmp_path) -> Path:
    """The steps of a later release, which has one more."""
    sql = tmp_path / "sql"
    with resources.as_file(packaged_sql()) as packaged:
        shutil.copytree(packaged, sql)
    statement = "ALTER TABLE $database.$local $on_cluster ADD COLUMN IF NOT EXISTS later UInt8"
    (sql / "migrations" / "9999_later.sql").write_text(f"-- One column more.\n{statement};\n")
    return sql


def test_the_command_says_what_it_applied(call_command, front, database):
    store = ["--store", front.dsn(database)]

    assert call_command("migrate", *store, "--json") == (0, json.dumps({"applied": ALL}) + "\n", "")
    assert call_command("migrate", *store, "--json") == (0, '{"applied": []}\n', "")
    assert call_command("migrate", *store) == (0, "up to date\n", "")


@pytest.mark.parametrize("place", ["store_target", "engine_database"])
def test_each_start_turns_flushing_on_or_off_as_its_setting_says(request, place):
    target = request.getfixturevalue(place)
    for fsync in (False, True, True, False):
        pool = ClientPool(replace(target, fsync=fsync))
        migrate(pool)
        made = pool.run(lambda client: client.command("SHOW CREATE TABLE events"))
        pool.close()

        flushed = dict(re.findall(r"(\w*fsync\w*) = (\d)", made))
        assert flushed == {
            "fsync_after_insert": str(int(fsync)),
            "fsync_part_directory": str(int(fsync)),
            "min_compressed_bytes_to_fsync_after_merge": str(int(fsync)),
        }


def test_a_store_that_is_up_to_date_is_not_changed(pool, front, database):
    migrate(pool)
    steps = front.list_statements(f"{database}.", database="")

    assert migrate(pool) == ()

    assert steps
    assert front.list_statements(f"{database}.", database="") == steps


def test_threads_that_start_at_once_leave_one_schema(store_target, ask):
    start = threading.Barrier(THREADS)

    def run(_: int) -> tuple[str, ...]:
        pool = ClientPool(store_target)
        start.wait()
        applied = migrate(pool)
        pool.close()
        return applied

    with ThreadPoolExecutor(THREADS) as executor:
        applied = list(executor.map(run, range(THREADS)))

    assert set(applied) <= {ALL, ()}
    assert ALL in applied
    assert len(ask("SELECT DISTINCT id FROM identity")) == 1
    assert ask("SELECT DISTINCT version FROM schema_versions ORDER BY version") == [
        (version,) for version in ALL
    ]


def test_a_store_keeps_its_own_id(front, database):
    def read_id(target):
        pool = ClientPool(target)
        migrate(pool)
        identity = read_identity(pool)
        pool.close()
        return identity

    first, cluster = front.target(database), front.target(f"{database}_two", cluster="two")

    ids = [read_id(target) for target in (first, cluster, first, cluster)]

    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_a_server_that_has_not_fetched_the_store_s_id_says_so(
    front, database, call_command, pool, ask
):
    migrate(pool)
    ask.command("TRUNCATE TABLE identity")

    code, _, errors = call_command("api", "--port", "0", "--store", front.dsn(database))

    assert (code, errors.count("\n")) == (1, 1)
    assert "does not hold the store's id yet" in errors


def test_processes_that_start_at_once_all_succeed(front, database, tmp_path, ask):
    command = [sys.executable, "-m", "millimetric_mcp", "migrate", "--json"]
    options = ["--store", front.dsn(database), "--data-dir", str(tmp_path / "data")]
    processes = [
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]

    outputs = [process.communicate(timeout=30)[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert list(ALL) in [json.loads(output)["applied"] for output in outputs]
    assert ask("SELECT count() FROM events") == [(0,)]


async def test_an_older_store_is_brought_up_to_date_and_keeps_its_events(api, pool, ask, later_sql):
    await api.post("/v1/track", {"event": "x", "anonymous_id": "u1"})

    applied = await asyncio.to_thread(migrate, pool, sql=later_sql)

    assert applied == ("9999_later",)
    assert ask("SELECT anonymous_id, later FROM events") == [("u1", 0)]
    assert (await api.post("/v1/track", {"event": "x"})).status_code == 202
    assert await asyncio.to_thread(migrate, pool, sql=later_sql) == ()


def test_a_newer_store_is_refused_and_not_changed(pool, front, database, call_command, later_sql):
    migrate(pool, sql=later_sql)
    before = len(front.list_statements("", database=database))

    with pytest.raises(StoreRefused, match="9999_later, newer than this millimetric-mcp"):
        migrate(pool)
    code, _, errors = call_command("api", "--port", "0", "--store", front.dsn(database))

    assert code == 1
    assert errors == (
        "millimetric-mcp: the event store's schema is at 9999_later, newer than this "
        f"millimetric-mcp, which knows {ALL[-1]}: run the newer millimetric-mcp on every machine\n"
    )
    statements = front.list_statements("", database=database)[before:]
    assert all("SELECT" in statement["text"] for statement in statements)


@pytest.mark.parametrize("code", [57, 253, 517])
def test_a_step_is_repeated_if_another_process_takes_it_too(code, pool, front):
    front.plant({"database": "", "match": "CREATE TABLE", "kind": "refuse", "code": code})

    assert migrate(pool) == ALL


def test_a_failed_step_is_named_and_repeated_at_the_next_start(pool, front):
    front.plant(
        {
            "database": "",
            "match": "CREATE TABLE",
            "kind": "refuse",
            "code": 159,
            "name": "TIMEOUT_EXCEEDED",
        }
    )

    with pytest.raises(StoreUncertain, match="TIMEOUT_EXCEEDED"):
        migrate(pool)

    assert migrate(pool) == ALL


def test_a_user_without_the_right_to_create_databases_can_use_an_existing_one(
    pool, front, database
):
    front.plant(
        {
            "database": "",
            "match": "CREATE DATABASE",
            "kind": "refuse",
            "code": 497,
            "name": "ACCESS_DENIED",
        }
    )
    pool.run(lambda client: client.command(f"create database {database}", use_database=False))

    assert migrate(pool) == ALL


def test_a_server_gets_only_settings_that_old_servers_know(front, database):
    """Releases of the last years; what newer ones know is for the embedded engine."""
    for version in ALL:
        for statement in render_migration(version, front.target(database), packaged_sql()):
            _, _, settings = statement.partition("\nSETTINGS\n")
            assert set(re.findall(r"(\w+) = ", settings)) <= {
                "cleanup_delay_period",
                "cleanup_delay_period_random_add",
                "finished_mutations_to_keep",
                "fsync_after_insert",
                "fsync_part_directory",
                "max_cleanup_delay_period",
                "min_compressed_bytes_to_fsync_after_merge",
                "old_parts_lifetime",
            }
