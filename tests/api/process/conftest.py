"""The API as a separate process: started, stopped and killed on real sockets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from lz4 import block as lz4

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
LZ4_HEADER = re.compile(rb"\x82(.{4})(.{4})", re.DOTALL)
MAX_BLOCK_BYTES = 16 * 1024 * 1024
WINDOW = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@dataclass
class ApiProcess:
    """A ``millimetric-mcp api`` child; ``keys`` are those of its first start, by variable."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    stderr_file: Path
    url: str = ""
    keys: dict[str, str] = field(default_factory=dict)

    def post(
        self,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Posts ``body`` as JSON, or ``content`` as it is."""
        content = json.dumps(body).encode() if content is None else content
        own = self._bearer("MILLIMETRIC_KEY") | {"Content-Type": "application/json"}
        headers = own | dict(headers or {})
        return httpx.post(self.url + path, content=content, headers=headers, timeout=30)

    def get(self, path: str, **params: object) -> httpx.Response:
        return httpx.get(
            self.url + path,
            params=WINDOW | params,
            headers=self._bearer("MILLIMETRIC_RK"),
            timeout=30,
        )

    def rows(self, path: str, **params: object) -> list[dict[str, object]]:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    def stderr(self) -> str:
        return self.stderr_file.read_text()

    def list_files(self) -> list[Path]:
        """Every file of the data directory but sockets; directories may go, as old parts do."""
        walk = os.walk(self.data_dir)
        paths = (Path(directory, name) for directory, _, names in walk for name in names)
        return [path for path in paths if not path.is_socket()]

    def find_files(self, marker: bytes) -> list[Path]:
        """The files of the data directory with the marker in them, plain or compressed."""
        return [
            path for path in self.list_files() if any(marker in text for text in _read_all(path))
        ]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline_s, self.stderr()
            time.sleep(0.1)

    def _bearer(self, variable: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[variable]}"}


@pytest.fixture
def start_api(tmp_path: Path) -> Iterator[Callable[..., ApiProcess]]:
    """Starts the API on a free port, again and again on one data directory; ends what is left."""
    with _starting_in(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """One API for all tests of a module that neither stop it nor mind each other's events."""
    with _starting_in(tmp_path_factory.mktemp("api")) as start:
        yield start()


@pytest.fixture
def start_api_in() -> Callable[[Path], AbstractContextManager[Callable[..., ApiProcess]]]:
    """As `start_api`, in a directory of the test's choice, to the end of a block."""
    return _starting_in


@contextmanager
def _starting_in(directory: Path) -> Iterator[Callable[..., ApiProcess]]:
    started: list[ApiProcess] = []
    data_dir = directory / "data"

    def start(*options: str, wait: bool = True) -> ApiProcess:
        stderr_file = directory / f"stderr-{len(started)}"
        command = [sys.executable, "-m", "millimetric_mcp", "api", "--port", "0"]
        with stderr_file.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    *command,
                    *("--data-dir", str(data_dir), "--keys-dir", str(directory / "keys")),
                    *options,
                ],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, "MILLIMETRIC_RATE_LIMITS": "off"},
            )
        api = ApiProcess(process, data_dir, stderr_file)
        started.append(api)
        if wait:
            _wait_until_it_serves(api)
        return api

    try:
        yield start
    finally:
        for api in started:
            if api.process.poll() is None:
                api.kill()


def _wait_until_it_serves(api: ApiProcess) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        assert api.process.poll() is None, api.stderr()
        announced = re.search(r"http://127\.0\.0\.1:\d+", api.stderr())
        if announced and _serves(announced[0]):
            api.url = announced[0]
            for file in api.data_dir.with_name("keys").glob("*.env"):
                api.keys |= dict(
                    re.findall(r"(MILLIMETRIC_\w+)=(\w\w_live_[\w-]+)", file.read_text())
                )
            return
        time.sleep(0.05)
    raise AssertionError(f"the API did not start: {api.stderr()}")


def _serves(url: str) -> bool:
    try:
        return httpx.get(url + "/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _read_all(path: Path) -> Iterator[bytes]:
    """A file's bytes as they are, and each compressed block in it, wherever it starts."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    yield content
    for match in re.finditer(re.escape(ZSTD_FRAME), content):
        yield _inflate_zstd(content[match.start() :])
    for match in LZ4_HEADER.finditer(content):
        packed, unpacked = (int.from_bytes(match[group], "little") for group in (1, 2))
        if 9 < packed <= len(content) and unpacked <= MAX_BLOCK_BYTES:
            yield _inflate_lz4(content[match.end() : match.start() + packed], unpacked)


def _inflate_zstd(content: bytes) -> bytes:
    try:
        return zstd.ZstdDecompressor().decompress(content, MAX_BLOCK_BYTES)
    except zstd.ZstdError:
        return b""


def _inflate_lz4(content: bytes, size: int) -> bytes:
    try:
        return lz4.decompress(content, uncompressed_size=size)
    except lz4.LZ4BlockError:
        return b""


COMMAND_TIMEOUT_S = 120


@pytest.fixture
def no_api(tmp_path: Path) -> ApiProcess:
    """Where no API answers."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(STOP_TIMEOUT_S)
    return ApiProcess(process, tmp_path, tmp_path / "stderr", url="http://127.0.0.1:9")


@pytest.fixture
def start_command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command in the test's directory, with the API's URL and keys."""

    def start(api: ApiProcess, command: str, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "millimetric_mcp", command, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **api.keys, "MILLIMETRIC_HOST": api.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run_command(start_command: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple]:
    """Runs a command to its end, which has the code ``code``; returns what it printed."""

    def run(api: ApiProcess, command: str, *arguments: object, code: int = 0) -> tuple[str, str]:
        process = start_command(api, command, *arguments)
        stdout, stderr = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == code, (stdout, stderr)
        assert "Traceback" not in stderr
        return stdout, stderr

    return run
