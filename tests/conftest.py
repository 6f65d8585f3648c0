"""Fixtures that both halves of the API's tests share."""

import os
import secrets
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def restored_umask() -> Iterator[None]:
    """A command that makes its own files private leaves those of later tests as they were."""
    umask = os.umask(0o022)
    yield
    os.umask(umask)


@pytest.fixture
def control_dsn(tmp_path) -> Iterator[str]:
    """An empty control database: SQLite, or a schema of MILLIMETRIC_TEST_CONTROL's PostgreSQL."""
    server = os.environ.get("MILLIMETRIC_TEST_CONTROL")
    if not server:
        yield f"sqlite:///{tmp_path}/control.sqlite3"
        return
    from sqlalchemy import create_engine, make_url, text  # noqa: PLC0415 - the api extra may be absent

    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    schema = f"test_{secrets.token_hex(8)}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        ours = url.update_query_dict({"options": f"-csearch_path={schema}"})
        yield ours.render_as_string(hide_password=False)
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()
