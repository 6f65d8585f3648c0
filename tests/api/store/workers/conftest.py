"""``millimetric-mcp api`` with several workers, as a child on real sockets."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15
WINDOW = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


class Deployment:
    """The API's processes; every call has a new connection, so that any may answer it."""

    def __init__(self, store: str, directory: Path, *, workers: int) -> None:
        self.database = store.rpartition("/")[2]
        self.data_dir = directory / "data"
        self.workers = workers
        self._stderr_file = directory / "stderr"
        options = ["--port", "0", "--workers", str(workers), "--data-dir", str(self.data_dir)]
        options += ["--keys-dir", str(self.data_dir.with_name("keys"))]
        with self._stderr_file.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "millimetric_mcp", "api", *options],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={
                    **os.environ,
                    "MILLIMETRIC_STORE": store,
                    "MILLIMETRIC_RATE_LIMITS": "off",
                },
            )
        self.keys: dict[str, str] = {}
        self.url = ""

    def wait_until_it_serves(self) -> "Deployment":
        wait_for(lambda: self._find_url() and self._count_serving() == self.workers, self)
        for file in self.data_dir.with_name("keys").glob("*.env"):
            self.keys |= dict(re.findall(r"(MILLIMETRIC_\w+)=(\w\w_live_[\w-]+)", file.read_text()))
        return self

    def post(self, path: str, body: object, *, key: str = "MILLIMETRIC_KEY") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys.get(key, key)}"}
        return httpx.post(self.url + path, json=body, headers=headers, timeout=30)

    def rows(self, path: str, **params: object) -> list[dict[str, object]]:
        headers = {"Authorization": f"Bearer {self.keys['MILLIMETRIC_RK']}"}
        answer = httpx.get(self.url + path, params=WINDOW | params, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    def count_events(self) -> int:
        return sum(int(str(row["value"])) for row in self.rows("/v1/stats"))

    def run_keys(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "millimetric_mcp", "keys", *arguments]
        directory = ["--data-dir", str(self.data_dir)]
        return subprocess.run(
            [*command, *directory], check=True, capture_output=True, text=True, timeout=30
        ).stdout

    def list_workers(self) -> list[int]:
        """The process ids of the workers, without multiprocessing's own helper."""
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in _read_command(child)]

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Nobody else answers meanwhile; for less than the supervisor's patience of 5 s."""
        others = [other for other in self.list_workers() if other != worker]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    def terminate(self) -> tuple[int, float]:
        """The exit code after SIGTERM, and the seconds it took."""
        started_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S), time.monotonic() - started_s

    def end(self) -> None:
        """Whatever is left of it."""
        left = [self.process.pid, *self.list_workers()] if self.process.poll() is None else []
        for process in left:
            os.kill(process, signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    def read_stderr(self) -> str:
        return self._stderr_file.read_text()

    def _find_url(self) -> bool:
        assert self.process.poll() is None, self.read_stderr()
        announced = re.search(r"http://127\.0\.0\.1:\d+", self.read_stderr())
        self.url = announced[0] if announced else ""
        return bool(announced)

    def _count_serving(self) -> int:
        """How many workers wait for connections."""
        return sum(_awaits_connections(worker) for worker in self.list_workers())


def wait_for(
    holds: Callable[[], object], deployment: Deployment, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Returns when it holds; a deployment that is slower has its log shown."""
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, deployment.read_stderr()
        time.sleep(0.05)


def _read_command(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _awaits_connections(process: int) -> bool:
    """Whether a listening socket is among what the process's event loop waits for."""
    try:
        return _find_awaited_listener(Path(f"/proc/{process}"))
    except OSError:  # it is opening and closing files
        return False


def _find_awaited_listener(process: Path) -> bool:
    connections = [line.split() for line in (process / "net/tcp").read_text().splitlines()]
    listening = {f"socket:[{columns[9]}]" for columns in connections if columns[3] == "0A"}
    links = {file.name: os.readlink(file) for file in (process / "fd").iterdir()}
    loops = [name for name, link in links.items() if link == "anon_inode:[eventpoll]"]
    awaited = "".join((process / "fdinfo" / loop).read_text() for loop in loops)
    return any(
        re.search(rf"tfd:\s+{name}\s", awaited) for name, link in links.items() if link in listening
    )


@pytest.fixture(scope="module")
def module_front(start_front, tmp_path_factory: pytest.TempPathFactory):
    """A server for this module's tests to stop and start."""
    return start_front(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="module")
def start_deployment(
    module_front, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Deployment]]:
    """Starts the API on a new database; ends what is left."""
    started: list[Deployment] = []

    def start(*, workers: int) -> Deployment:
        directory = tmp_path_factory.mktemp("deployment")
        store = module_front.dsn(f"workers_{len(started)}")
        started.append(Deployment(store, directory, workers=workers))
        return started[-1].wait_until_it_serves()

    yield start
    for deployment in started:
        deployment.end()


@pytest.fixture(scope="module")
def shared_deployments() -> list[Deployment]:
    """The one that tests share while it lives: four processes start for seconds."""
    return []


@pytest.fixture
def deployment(
    start_deployment: Callable[..., Deployment], shared_deployments: list[Deployment]
) -> Deployment:
    """Four workers, with whatever earlier tests left in their store."""
    if not shared_deployments or shared_deployments[-1].process.poll() is not None:
        shared_deployments.append(start_deployment(workers=4))
    return shared_deployments[-1]


@pytest.fixture
def wait_for_it(deployment: Deployment) -> Callable[..., None]:
    """Returns when something holds; for what the deployment does by itself."""

    def wait(holds: Callable[[], object], timeout_s: float = 30) -> None:
        wait_for(holds, deployment, timeout_s)

    return wait


@pytest.fixture
def ask_deployment(deployment: Deployment, module_front, open_query) -> Any:
    """Questions to the deployment's database, past the API."""
    return open_query(module_front.target(deployment.database))
