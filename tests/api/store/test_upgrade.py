"""An embedded store is kept as it was until an upgrade has succeeded.

Each step runs in a separate process, since a process has one engine.
"""

import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from millimetric_mcp.api.store.migrations import list_versions, packaged_sql

pytestmark = pytest.mark.slow

OPEN = """
import sys
from pathlib import Path
from millimetric_mcp.api.store import embedded_target, keeping_copy, open_upgraded
target = embedded_target(Path(sys.argv[1]))
with keeping_copy(target):
    pool, applied = open_upgraded(target, sql=Path(sys.argv[2]))
if "--fill" in sys.argv:
    rows = f"SELECT 1, toString(number) FROM numbers({sys.argv[-1]})"
    pool.query(f"INSERT INTO events (project_id, event_id) {rows}")
print(*applied, pool.query("SELECT count(), groupBitXor(cityHash64(event_id)) FROM events")[0])
pool.close()
"""

BUILD = """
import os, sys, threading
from pathlib import Path
from millimetric_mcp.api.store import embedded_target, open_upgraded, report_building
PROJECTIONS = "SELECT count() FROM system.projection_parts WHERE active AND name = 'by_person'"
pool, applied = open_upgraded(embedded_target(Path(sys.argv[1])))
print(*applied, *pool.query(PROJECTIONS)[0], *pool.query("SELECT count() FROM events")[0])
if "--kill" in sys.argv:
    sys.stdout.flush()
    os._exit(0)
report_building(pool, print, closing=threading.Event())
print(*pool.query(PROJECTIONS)[0])
pool.close()
"""
OLDER_ROWS = 1_000_000


def open_store(store: Path, sql: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(OPEN, str(store), str(sql), *options)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def now_sql(tmp_path) -> Path:
    sql = tmp_path / "now"
    with resources.as_file(packaged_sql()) as packaged:
        shutil.copytree(packaged, sql)
    return sql


@pytest.fixture
def later_sql(tmp_path, now_sql) -> Path:
    """The steps of a later release, whose last one fails after it has changed the rows."""
    sql = tmp_path / "later"
    shutil.copytree(now_sql, sql)
    (sql / "migrations" / "9998_lose.sql").write_text(
        "ALTER TABLE $database.$local DELETE WHERE event_id != '0' SETTINGS mutations_sync = 2;\n"
    )
    (sql / "migrations" / "9999_fail.sql").write_text("ALTER TABLE nothing DROP COLUMN x;\n")
    return sql


def test_a_failed_upgrade_leaves_a_copy_that_the_version_before_opens(tmp_path, now_sql, later_sql):
    store = tmp_path / "store"
    before = open_store(store, now_sql, "--fill", "9").stdout.rpartition("(")[2]

    failed = open_store(store, later_sql)
    again = open_store(store, later_sql)

    copy = store / "before-upgrade"
    assert failed.returncode == again.returncode == 1
    assert f"The event store as it was is in {copy}" in failed.stderr
    moved = copy.rename(tmp_path / "moved")
    assert open_store(moved, now_sql).stdout.rpartition("(")[2] == before
    assert before.startswith("9, ")


def test_the_copy_is_deleted_when_the_upgrade_has_succeeded(tmp_path, now_sql, later_sql):
    store = tmp_path / "store"
    open_store(store, now_sql, "--fill", "9")
    assert open_store(store, later_sql).returncode == 1
    (later_sql / "migrations" / "9999_fail.sql").write_text("SELECT 1;\n")

    done = open_store(store, later_sql)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("9999_fail (1, ")
    assert not list(store.glob("before-upgrade*"))


def test_a_new_store_and_one_that_is_up_to_date_are_not_copied(tmp_path, now_sql):
    store = tmp_path / "store"
    store.mkdir()
    (store / "before-upgrade.unfinished").mkdir()

    open_store(store, now_sql)
    open_store(store, now_sql)

    assert [path.name for path in store.glob("before-upgrade*")] == ["before-upgrade.unfinished"]


def test_an_upgrade_answers_before_older_events_are_prepared_and_goes_on_after_a_kill(
    tmp_path, now_sql
):
    store, newer = tmp_path / "store", list(list_versions(now_sql)[5:])
    for version in newer:
        for file in now_sql.glob(f"*/{version}.sql"):
            file.unlink()
    open_store(store, now_sql, "--fill", str(OLDER_ROWS))

    killed = run(BUILD, str(store), "--kill")
    done = run(BUILD, str(store))

    assert killed.stdout == f"{' '.join(newer)} 0 {OLDER_ROWS}\n", killed.stderr
    before, *said, after = done.stdout.splitlines()
    assert before == f"0 {OLDER_ROWS}"
    assert said[0].startswith("upgrade of the event store: ")
    assert f" of {OLDER_ROWS:,} events are prepared." in said[0]
    assert said[-1] == "upgrade of the event store: done"
    assert after == "1"
