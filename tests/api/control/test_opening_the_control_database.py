import os
import socket
import sqlite3
import stat
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, inspect, text

from millimetric_mcp.api.control import DeletionKind, check_control, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import SettingsError, StoreUnavailable

PEPPER = b"pepper for the tests"
SALT = b"salt for the tests!!"
NOW = datetime(2026, 5, 16, 19, tzinfo=UTC)


def run_sql(dsn: str, statement: str) -> None:
    engine = create_engine(dsn)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_key_is_found_after_opening_again(control_dsn):
    first = open_control(control_dsn, pepper=PEPPER)
    new = first.create_key(kind=KeyKind.RK, env=KeyEnv.LIVE, project="shop")
    first.close()
    second = open_control(control_dsn, pepper=PEPPER)
    assert second.find_keys([new.key.prefix]) == {new.key.prefix: new.record}
    second.close()


def test_a_database_of_a_newer_version_is_refused(control, control_dsn):
    run_sql(control_dsn, "INSERT INTO millimetric_schema VALUES (1000)")
    with pytest.raises(SettingsError, match=r"newer millimetric-mcp created .* Upgrade with: pip"):
        open_control(control_dsn, pepper=PEPPER)


def make_older(dsn: str) -> None:
    run_sql(dsn, "ALTER TABLE millimetric_forgets DROP COLUMN kind")
    run_sql(dsn, "ALTER TABLE millimetric_projects DROP COLUMN timezone")
    run_sql(dsn, "DELETE FROM millimetric_schema WHERE version >= 5")


def read_schema(dsn: str) -> tuple[int, bool, bool]:
    """Return the version, and whether the columns of `make_older` are there."""
    engine = create_engine(dsn)
    with engine.begin() as connection:
        version = connection.scalar(text("SELECT max(version) FROM millimetric_schema"))
        columns = {
            table: {column["name"] for column in inspect(connection).get_columns(table)}
            for table in ("millimetric_forgets", "millimetric_projects")
        }
    engine.dispose()
    return (
        version,
        "kind" in columns["millimetric_forgets"],
        "timezone" in columns["millimetric_projects"],
    )


def test_an_older_database_is_refused_unless_it_may_be_upgraded(control, control_dsn):
    control.close()
    make_older(control_dsn)

    check_control(control_dsn, pepper=PEPPER)
    with pytest.raises(SettingsError, match=r"an older millimetric-mcp created .* Start the API"):
        open_control(control_dsn, pepper=PEPPER)

    assert read_schema(control_dsn) == (4, False, False)
    open_control(control_dsn, pepper=PEPPER, upgrade=True).close()
    open_control(control_dsn, pepper=PEPPER).close()
    assert read_schema(control_dsn)[1:] == (True, True)


def test_a_failed_upgrade_leaves_the_database_as_it_was(control, control_dsn):
    control.close()
    make_older(control_dsn)
    run_sql(control_dsn, "ALTER TABLE millimetric_projects RENAME TO elsewhere")

    with pytest.raises(StoreUnavailable):
        open_control(control_dsn, pepper=PEPPER, upgrade=True)

    run_sql(control_dsn, "ALTER TABLE elsewhere RENAME TO millimetric_projects")
    assert read_schema(control_dsn) == (4, False, False)


def test_a_check_refuses_what_opening_would_refuse_and_changes_nothing(tmp_path):
    dsn = f"sqlite:///{tmp_path}/control.sqlite3"
    check_control(dsn, pepper=PEPPER, ip_salt=SALT)
    open_control(dsn, pepper=PEPPER).close()
    check_control(dsn, pepper=PEPPER, ip_salt=SALT)
    open_control(dsn, pepper=PEPPER, ip_salt=PEPPER).close()  # the check has set no salt
    with pytest.raises(SettingsError, match="MILLIMETRIC_PEPPER"):
        check_control(dsn, pepper=SALT)
    with pytest.raises(SettingsError, match="MILLIMETRIC_IP_SALT"):
        check_control(dsn, pepper=PEPPER, ip_salt=SALT)
    run_sql(dsn, "INSERT INTO millimetric_schema VALUES (1000)")
    with pytest.raises(SettingsError, match="a newer millimetric-mcp"):
        check_control(dsn, pepper=PEPPER)


def test_deletions_of_an_older_database_are_claimed_by_any_store(control, control_dsn):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    asked = {
        "project_id": new.record.project_id,
        "kind": DeletionKind.USER,
        "id_to_delete": "u",
        "cutoff": NOW,
        "requested_at": NOW,
    }
    older = control.deletions.add(store="a", **asked)
    run_sql(control_dsn, "ALTER TABLE millimetric_forgets DROP COLUMN store")
    run_sql(control_dsn, "ALTER TABLE millimetric_forgets DROP COLUMN kind")
    run_sql(control_dsn, "DELETE FROM millimetric_schema WHERE version >= 2")

    upgraded = open_control(control_dsn, pepper=PEPPER, upgrade=True)
    upgraded.deletions.add(store="a", **asked)

    assert upgraded.deletions.claim(store="b", now=NOW, lease_s=60) == (older,)
    upgraded.close()


@pytest.mark.parametrize(
    ("changed", "variable"),
    [
        pytest.param({"pepper": b"planted pepper!!"}, "MILLIMETRIC_PEPPER", id="pepper"),
        pytest.param({"ip_salt": b"planted ip salt!"}, "MILLIMETRIC_IP_SALT", id="ip salt"),
    ],
)
def test_opening_fails_when_the_deployment_has_another_secret(control_dsn, changed, variable):
    open_control(control_dsn, pepper=PEPPER, ip_salt=SALT).close()
    with pytest.raises(SettingsError) as refused:
        open_control(control_dsn, **{"pepper": PEPPER, "ip_salt": SALT} | changed)
    (sentence,) = refused.value.errors
    assert f"Set {variable} to the same value on every machine" in sentence
    assert "planted" not in sentence


def test_opening_without_an_ip_salt_sets_none(control_dsn):
    open_control(control_dsn, pepper=PEPPER).close()
    open_control(control_dsn, pepper=PEPPER, ip_salt=SALT).close()
    open_control(control_dsn, pepper=PEPPER).close()
    with pytest.raises(SettingsError, match="MILLIMETRIC_IP_SALT"):
        open_control(control_dsn, pepper=PEPPER, ip_salt=PEPPER)


def test_one_process_sets_the_pepper_when_several_start_together(race, control_dsn):
    outputs = race("settle_pepper", control_dsn)
    assert sorted(output.strip() for output in outputs) == ["refused"] * 3 + ["settled"]


@pytest.mark.parametrize("rest", ["5432/db?bogus=1", "5432/db?sslmode=banana", "99999/db"], ids=str)
def test_a_dsn_that_the_driver_refuses_is_not_quoted(rest):
    with pytest.raises(StoreUnavailable, match="MILLIMETRIC_CONTROL") as failed:
        open_control(f"postgresql://user:planted-secret@127.0.0.1:{rest}", pepper=PEPPER)
    assert "planted" not in str(failed.value)


@pytest.mark.parametrize(
    ("dsn", "sentence"),
    [
        ("control.sqlite3", "is not a DSN. Write sqlite:///FILE or postgresql://"),
        ("mysql://planted-secret@host/db", "must begin with sqlite:/// or postgresql://"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///control.sqlite3?bogus=1", "the only parameter allowed after the file name"),
        ("sqlite:///control.sqlite3?timeout=soon", "is timeout, in s"),
        ("sqlite:///control.sqlite3?timeout=1&timeout=2", "is timeout, in s"),
        (
            "sqlite:////nowhere/at/all/control.sqlite3",
            "control.sqlite3: No such file",
        ),
        ("postgresql://user:planted-secret@host:port/db", "is not a DSN"),
    ],
)
def test_an_invalid_dsn_is_explained_without_its_password(dsn, sentence):
    with pytest.raises(SettingsError) as refused:
        open_control(dsn, pepper=PEPPER)
    assert sentence in str(refused.value)
    assert "MILLIMETRIC_CONTROL" in str(refused.value)
    assert "planted-secret" not in str(refused.value)


def test_postgresql_names_the_extra_when_its_driver_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'millimetric-mcp\[api,postgres\]'"):
        open_control("postgresql://127.0.0.1/none", pepper=PEPPER)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_opening_is_unavailable_when_the_server_refuses_connections(scheme):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(StoreUnavailable) as failed:
            open_control(f"{scheme}://user:planted-secret@127.0.0.1:{port}/db", pepper=PEPPER)
    assert "MILLIMETRIC_CONTROL) failed: OperationalError. Check that it runs" in str(failed.value)
    assert "planted-secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_opening_is_unavailable_when_the_file_is_not_a_database(tmp_path):
    path = tmp_path / "control.sqlite3"
    path.write_bytes(b"something else entirely, long enough to look at" * 100)
    with pytest.raises(StoreUnavailable, match="SQLITE_NOTADB"):
        open_control(f"sqlite:///{path}", pepper=PEPPER)


def test_a_look_up_is_unavailable_when_the_database_fails(control, control_dsn):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    run_sql(control_dsn, "ALTER TABLE millimetric_keys RENAME TO elsewhere")
    with pytest.raises(StoreUnavailable) as failed:
        control.find_keys([new.key.prefix])
    assert "select" not in str(failed.value).lower()


def test_a_write_fails_and_a_read_succeeds_when_another_process_holds_the_lock(tmp_path):
    dsn = f"sqlite:///{tmp_path}/control.sqlite3?timeout=0.1"
    control = open_control(dsn, pepper=PEPPER)
    other = sqlite3.connect(tmp_path / "control.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started_s = time.monotonic()
    with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
        control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    assert time.monotonic() - started_s < 5
    assert control.list_keys() == ()  # readers don't wait for a writer
    other.close()
    control.close()


def test_opening_waits_until_another_process_has_read_the_file(tmp_path):
    reader = sqlite3.connect(tmp_path / "control.sqlite3", isolation_level=None)
    reader.executescript("CREATE TABLE theirs (x); BEGIN; SELECT * FROM theirs")
    opened: list[object] = []
    dsn = f"sqlite:///{tmp_path}/control.sqlite3?timeout=0.01"
    opener = threading.Thread(target=lambda: opened.append(open_control(dsn, pepper=PEPPER)))
    opener.start()
    opener.join(0.3)
    assert opened == []
    reader.execute("COMMIT")
    opener.join(10)
    opened[0].close()
    reader.close()


def test_a_sqlite_database_is_readable_by_its_owner_only(tmp_path):
    before = os.umask(0)
    try:
        control = open_control(f"sqlite:///{tmp_path}/control.sqlite3", pepper=PEPPER)
        control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    control.close()
    assert modes == dict.fromkeys(
        ("control.sqlite3", "control.sqlite3-shm", "control.sqlite3-wal"), 0o600
    )


def test_many_threads_use_one_control_database(control):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    found = []

    def work(number: int) -> None:
        control.create_key(kind=KeyKind.RK, env=KeyEnv.LIVE, project=f"project {number % 3}")
        found.extend(control.find_keys([new.key.prefix]).values())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [new.record] * 12
    assert len(control.list_keys()) == 13


@pytest.mark.parametrize("is_replaced", [False, True], ids=["deleted", "replaced"])
def test_a_deletion_is_refused_when_the_file_in_use_is_gone(tmp_path, is_replaced):
    path = tmp_path / "control.sqlite3"
    opened = open_control(f"sqlite:///{path}", pepper=PEPPER)
    new = opened.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    for file in tmp_path.iterdir():
        file.unlink()
    if is_replaced:
        path.touch()

    with pytest.raises(StoreUnavailable, match=r"deleted or replaced .* Put .* back"):
        opened.deletions.add(
            store="a",
            project_id=new.record.project_id,
            kind=DeletionKind.USER,
            id_to_delete="u",
            cutoff=NOW,
            requested_at=NOW,
        )

    opened.close()
