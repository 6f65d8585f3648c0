"""Failures that only PostgreSQL has; collected by ``scripts/test-postgres`` only."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text

from millimetric_mcp.api.control import engine as control_engine
from millimetric_mcp.api.control import open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import StoreUnavailable

PEPPER = b"pepper for the tests"
SERVER = make_url(os.environ["MILLIMETRIC_TEST_CONTROL"]).set(drivername="postgresql+psycopg")


@pytest.fixture
def operator():
    """A connection with all rights."""
    engine = create_engine(SERVER)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_suite_runs_on_postgresql(control_dsn):
    assert make_url(control_dsn).get_backend_name() == "postgresql"


@pytest.mark.parametrize(
    "changed",
    [{"password": "planted-secret"}, {"database": "planted"}, {"host": "planted.invalid"}],
    ids=str,
)
def test_a_refused_connection_is_explained_without_the_dsn(changed):
    with pytest.raises(StoreUnavailable) as failed:
        open_control(SERVER.set(**changed), pepper=PEPPER)
    assert "MILLIMETRIC_CONTROL) failed: OperationalError" in str(failed.value)
    assert "planted" not in str(failed.value)
    assert str(SERVER.password) not in str(failed.value)


def test_a_key_is_found_after_the_server_ended_the_connections(control, operator):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    ended = operator.scalar(
        text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'millimetric-mcp'"
        )
    )
    assert ended >= 1
    assert control.find_keys([new.key.prefix]) == {new.key.prefix: new.record}


def test_a_write_fails_when_another_process_holds_the_lock(control, operator, monkeypatch):
    monkeypatch.setattr(control_engine, "_LOCK_WAIT_S", 1)
    lock = control_engine._ADVISORY_LOCK
    operator.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
    with pytest.raises(StoreUnavailable, match="LockNotAvailable"):
        control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    operator.rollback()
    control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")


def test_a_dsn_can_name_the_directory_of_a_socket(operator):
    directory = operator.scalar(text("SHOW unix_socket_directories"))
    here = SERVER.set(host=None, port=None).update_query_dict(
        {"host": directory, "port": str(SERVER.port)}
    )
    engine = control_engine.open_database(control_engine.parse_dsn(here))
    with engine.reading() as connection:
        assert connection.scalar(text("SELECT inet_client_addr() IS NULL"))
    engine.close()


@pytest.fixture
def reader(operator) -> Iterator[str]:
    """A user without rights."""
    operator.execute(text("CREATE ROLE reader LOGIN PASSWORD 'reader'"))
    operator.commit()
    yield "reader"
    operator.execute(text("DROP OWNED BY reader"))
    operator.execute(text("DROP ROLE reader"))
    operator.commit()


@pytest.mark.parametrize("right", [None, "USAGE", "CREATE, USAGE"])
def test_opening_fails_when_the_user_has_no_rights(control, control_dsn, operator, reader, right):
    schema = make_url(control_dsn).query["options"].partition("=")[2]
    if right:
        operator.execute(text(f"GRANT {right} ON SCHEMA {schema} TO {reader}"))
        operator.commit()
    dsn = make_url(control_dsn).set(username=reader, password=reader)
    with pytest.raises(StoreUnavailable, match=r"InsufficientPrivilege|InvalidSchemaName"):
        open_control(dsn, pepper=PEPPER)
