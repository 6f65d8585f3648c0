"""Fixtures that both halves of the API's tests share."""

import os
import secrets
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest


class _NotFound(BaseHTTPRequestHandler):
    """Answers as the API does to a path that it does not have."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"error":"not_found"}'
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def older_api_url() -> Iterator[str]:
    """The address of an API that has none of the paths that are asked for."""
    with HTTPServer(("127.0.0.1", 0), _NotFound) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


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
