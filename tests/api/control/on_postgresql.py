"""What only PostgreSQL can do to us; collected by ``scripts/test-postgres`` only."""

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
    """A connection of somebody who may do anything."""
    engine = create_engine(SERVER)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_suite_runs_on_postgresql(control_dsn):
    assert make_url(control_dsn).get_backend_name() == "postgresql"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"password": "planted-secret"}, "it refused the user or password"),
        ({"database": "planted"}, "the database, user or a table does not exist"),
        ({"host": "planted.invalid"}, "its host is not known"),
    ],
)
def test_a_server_that_lets_nobody_in_is_explained_without_the_dsn(changed, reason):
    with pytest.raises(StoreUnavailable) as failed:
        open_control(SERVER.set(**changed), pepper=PEPPER)
    assert str(failed.value).endswith(reason)
    assert "planted" not in str(failed.value)
    assert str(SERVER.password) not in str(failed.value)


def test_connections_that_the_server_ended_are_made_anew(control, operator):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    ended = operator.scalar(
        text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'millimetric-mcp'"
        )
    )
    assert ended >= 1
    assert control.find_key(new.key.prefix) == new.record


def test_a_lock_that_another_process_keeps_is_named(control, operator, monkeypatch):
    monkeypatch.setattr(control_engine, "_LOCK_WAIT_S", 1)
    lock = control_engine._ADVISORY_LOCK
    operator.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
    with pytest.raises(StoreUnavailable, match="another process holds its lock"):
        control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    operator.rollback()
    control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")


def test_a_socket_in_a_directory_will_do(operator):
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
    """A user that was given nothing."""
    operator.execute(text("CREATE ROLE reader LOGIN PASSWORD 'reader'"))
    operator.commit()
    yield "reader"
    operator.execute(text("DROP OWNED BY reader"))
    operator.execute(text("DROP ROLE reader"))
    operator.commit()


@pytest.mark.parametrize("right", [None, "USAGE", "CREATE, USAGE"])
def test_a_user_without_rights_is_told_so(control, control_dsn, operator, reader, right):
    schema = make_url(control_dsn).query["options"].partition("=")[2]
    if right:
        operator.execute(text(f"GRANT {right} ON SCHEMA {schema} TO {reader}"))
        operator.commit()
    dsn = make_url(control_dsn).set(username=reader, password=reader)
    with pytest.raises(StoreUnavailable, match="the user may not use its tables"):
        open_control(dsn, pepper=PEPPER)
