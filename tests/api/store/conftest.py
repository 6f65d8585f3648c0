"""The store on a ClickHouse server: `front.py` in a separate process, the real client."""

import asyncio
import json
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from millimetric_mcp.api.store import ClientPool, StoreTarget, parse_store_dsn

FRONT = Path(__file__).with_name("front.py")
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10


class FrontProcess:
    """A server that is started, stopped and killed, always on one port and directory."""

    user = "millimetric"
    password = "pass:w/rd@%"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _find_free_port()
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> "FrontProcess":
        self.directory.mkdir(exist_ok=True)
        place = ["--port", str(self.port), "--directory", str(self.directory)]
        self._process = subprocess.Popen(
            [sys.executable, str(FRONT), *place, "--user", self.user, *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "FRONT_PASSWORD": self.password},
        )
        output = self._process.stdout
        assert output
        assert select.select([output], [], [], START_TIMEOUT_S)[0], "the front did not start"
        assert output.readline() == f"serving on {self.port}\n"
        return self

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(STOP_TIMEOUT_S)
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def send_signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def dsn(self, database: str, *, password: str | None = None) -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"clickhouse://{self.user}:{secret}@127.0.0.1:{self.port}/{database}"

    def target(self, database: str, *, cluster: str | None = None) -> StoreTarget:
        return replace(parse_store_dsn(self.dsn(database)), cluster=cluster, fsync=False)

    def plant(self, *errors: dict[str, Any]) -> None:
        """What happens to the statements to come; instead of what was planted before."""
        self._call("errors", json.dumps(errors).encode())

    def list_statements(self, match: str, *, database: str) -> list[dict[str, Any]]:
        """The statements to a database since the server's start that hold ``match``."""
        return [
            statement
            for statement in json.loads(self._call("statements"))
            if match in statement["text"] and statement["database"] == database
        ]

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(url, body, timeout=10) as answer:
            return answer.read()


class Query:
    """Questions to a database of the front's, past the product."""

    def __init__(self, target: StoreTarget) -> None:
        self.database = target.database
        self._pool = ClientPool(target)

    def __call__(self, statement: str) -> list[tuple[Any, ...]]:
        return [
            tuple(row) for row in self._pool.run(lambda client: client.query(statement).result_rows)
        ]

    def command(self, statement: str) -> None:
        self._pool.run(lambda client: client.command(statement))

    def close(self) -> None:
        self._pool.close()


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def start_front() -> Iterator[Callable[..., FrontProcess]]:
    """Starts a server on a directory; stops it at the run's end, if it still runs."""
    started: list[FrontProcess] = []

    def start(directory: Path, *options: str) -> FrontProcess:
        started.append(FrontProcess(directory).start(*options))
        return started[-1]

    yield start
    for front in started:
        front.stop()


@pytest.fixture(scope="session")
def shared_front(
    start_front: Callable[..., FrontProcess], tmp_path_factory: pytest.TempPathFactory
) -> FrontProcess:
    """The server of this run; each test has another database."""
    return start_front(tmp_path_factory.mktemp("front"))


@pytest.fixture
def front(shared_front: FrontProcess) -> Iterator[FrontProcess]:
    """The server of this run, without errors before and after the test."""
    yield shared_front
    shared_front.plant()


@pytest.fixture
def own_front(start_front: Callable[..., FrontProcess], tmp_path: Path) -> Iterator[FrontProcess]:
    """A server that the test may stop."""
    front = start_front(tmp_path / "front")
    yield front
    front.stop()


@pytest.fixture
def database() -> str:
    return f"test_{secrets.token_hex(6)}"


@pytest.fixture
def cluster() -> str | None:
    """The cluster that the store is made on; a test module may have one."""
    return None


@pytest.fixture
def store_target(front: FrontProcess, database: str, cluster: str | None) -> StoreTarget:
    """A database of the test's own on the server, made by the product."""
    return front.target(database, cluster=cluster)


@pytest.fixture
def open_query() -> Iterator[Callable[[StoreTarget], Query]]:
    """Opens questions to a database; closes them at the test's end."""
    opened: list[Query] = []

    def open_one(target: StoreTarget) -> Query:
        opened.append(Query(target))
        return opened[-1]

    yield open_one
    for query in opened:
        query.close()


@pytest.fixture
def ask(store_target: StoreTarget, open_query: Callable[[StoreTarget], Query]) -> Query:
    """Questions to the test's database."""
    return open_query(store_target)


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    """Returns when something holds; for what the product does by itself."""

    async def wait(holds: Callable[[], bool], timeout_s: float = 30) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)

    return wait


@pytest.fixture
def call_command(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command line in this process: exit code, stdout, stderr."""
    from millimetric_mcp.cli import main  # noqa: PLC0415

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--data-dir", str(tmp_path / "data")])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    monkeypatch.setenv("MILLIMETRIC_RATE_LIMITS", "off")
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [])
    level = logger.level
    yield call
    logger.setLevel(level)
