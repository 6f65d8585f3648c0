"""The local API: one for all agents of this machine, started by the first that needs it."""

import fcntl
import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from platformdirs import user_config_path, user_data_path

from millimetric_mcp.cli.installation import EXTRAS, has_extra, own_command, write_install_command
from millimetric_mcp.cli.running import RunningApi, find_running_api
from millimetric_mcp.errors import LocalApiFailed, SettingsError
from millimetric_mcp.settings import LOCAL_HOST

LOG_FILE = "api.log"
LOCK_FILE = "start.lock"
CONTROL_FILE = "control.sqlite3"
IDLE_STOP_S = 3600
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

_POLL_S = 0.05
_REQUEST_TIMEOUT_S = 5
_SHOWN_LOG_LINES = 5
_MAX_LOG_BYTES = 1_000_000
_KEY_LINE = re.compile(r"^(MILLIMETRIC_(?:KEY|RK))=(\S+)$", re.MULTILINE)
# Settings of the agent's own server, or of an API that is more than this machine's.
_NOT_PASSED_ON = frozenset(
    f"MILLIMETRIC_{name}"
    for name in ("HOST", "KEY", "RK", "PK", "API_BIND", "STORE", "CLUSTER", "CONTROL", "WORKERS")
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalApi:
    """Where the local API keeps its data, and this user its keys."""

    data_dir: Path
    keys_file: Path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> "LocalApi":
        """Return the places on this platform; MILLIMETRIC_DATA_DIR chooses another directory."""
        default = user_data_path("millimetric", appauthor=False)
        data_dir = Path(environ.get("MILLIMETRIC_DATA_DIR") or default).absolute()
        name = "local"
        if data_dir != default:
            name += f"-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]}"
        return cls(data_dir, user_config_path("millimetric", appauthor=False) / f"{name}.env")

    @property
    def log_file(self) -> Path:
        return self.data_dir / LOG_FILE

    def find_running(self) -> RunningApi | None:
        """Return the API that runs on the data directory, or None."""
        return find_running_api(self.data_dir)


@dataclass(frozen=True, slots=True)
class Connection:
    """The URL and the keys of the local API."""

    url: str
    write_key: str = field(repr=False)
    read_key: str = field(repr=False)


def connect(local: LocalApi, *, environ: Mapping[str, str]) -> Connection:
    """Return the local API's URL and keys; start it, and create its keys, if they are missing.

    If several processes do so at once, one starts it and the others wait for it.

    Raises:
        SettingsError: the api extra is missing, or a directory can't be used.
        LocalApiFailed: the API did not start.
    """
    if not has_extra("api"):
        sentence = f"--local needs the api extra ({EXTRAS['api'][1]}). Install it with: "
        raise SettingsError([sentence + write_install_command("api")])
    with _take_turns(local.data_dir):
        keys = read_keys(local.keys_file)
        if not (local.data_dir / CONTROL_FILE).exists():
            keys = _create_keys(local, environ)  # before the API starts, which would create others
        url = _find_answering(local) or _start(local, environ)
        # After the API has started, which upgrades an older database.
        if keys is None or not _is_accepted(url, keys["MILLIMETRIC_RK"]):
            keys = _create_keys(local, environ)
    return Connection(url, keys["MILLIMETRIC_KEY"], keys["MILLIMETRIC_RK"])


def stop(local: LocalApi) -> bool:
    """Stop the local API and wait for its end; return False if none runs.

    Raises:
        LocalApiFailed: it did not end in time.
    """
    running = _wait_for(local.find_running, lambda api: api is None or api.pid > 0, STOP_TIMEOUT_S)
    if running is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    _wait_for(local.find_running, lambda api: api is None or api.pid != running.pid, STOP_TIMEOUT_S)
    return True


def is_healthy(url: str) -> bool:
    """Return whether an API answers at the URL, and its store too."""
    return _get_status(url, "/health") == http.HTTPStatus.OK


@contextmanager
def _take_turns(data_dir: Path) -> Iterator[None]:
    """Let one process at a time run the block."""
    with _naming("MILLIMETRIC_DATA_DIR"):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        sentence = f"{setting}: can't create or read {error.filename}: {error.strerror}."
        raise SettingsError([sentence]) from None


def _find_answering(local: LocalApi) -> str | None:
    """Return the URL of the running API, or None. Wait for one that starts or ends."""

    def look() -> str | None:
        running = local.find_running()
        if running is None:
            return None
        return running.url if running.url and is_healthy(running.url) else ""

    return _wait_for(look, lambda url: url != "", START_TIMEOUT_S)


def _start(local: LocalApi, environ: Mapping[str, str]) -> str:
    """Start the API in a new session, wait until it answers, and return its URL."""
    passed_on = {name: value for name, value in environ.items() if name not in _NOT_PASSED_ON}
    defaults = {"MILLIMETRIC_IDLE_STOP_S": str(IDLE_STOP_S), "MILLIMETRIC_LOG_LEVEL": "warning"}
    data_dir = {"MILLIMETRIC_DATA_DIR": str(local.data_dir)}
    log = os.open(local.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if os.fstat(log).st_size > _MAX_LOG_BYTES:
        os.truncate(log, 0)
    try:
        # The shell ends at once, so the API is no child of an agent, which may end its children.
        shell = subprocess.run(  # noqa: S603 - our own command
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *own_command(), "api", *_port(environ)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**defaults, **passed_on, **data_dir},
            cwd=local.data_dir,
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(log)
    pid = int(shell.stdout)

    def look() -> str:
        running = local.find_running()
        if running is None and not _is_alive(pid):
            raise LocalApiFailed(f"The local API did not start. {_quote_log(local.log_file)}")
        return running.url if running else ""

    return _wait_for(look, bool, START_TIMEOUT_S)


def _port(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the option for any free port if another program uses the usual one."""
    if environ.get("MILLIMETRIC_API_PORT"):
        return ()
    try:
        socket.create_server(("127.0.0.1", urlsplit(LOCAL_HOST).port or 0)).close()
    except OSError:
        return ("--port", "0")
    return ()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _quote_log(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])


def _wait_for(look: Callable[[], T], is_done: Callable[[T], bool], timeout_s: float) -> T:
    deadline_s = time.monotonic() + timeout_s
    while not is_done(found := look()):
        if time.monotonic() > deadline_s:
            raise LocalApiFailed(
                f"The local API neither answered nor ended within {timeout_s:.0f} seconds. "
                "Look at it with: millimetric-mcp local status"
            )
        time.sleep(_POLL_S)
    return found


def _get_status(url: str, path: str, headers: Mapping[str, str] | None = None) -> int | None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_REQUEST_TIMEOUT_S)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status
    return None


def _is_accepted(url: str, read_key: str) -> bool:
    headers = {"Authorization": f"Bearer {read_key}"}
    return _get_status(url, "/v1/query", headers) != http.HTTPStatus.UNAUTHORIZED


def read_keys(file: Path) -> dict[str, str] | None:
    """Return both keys by variable, or None if the file does not have them."""
    with _naming(str(file)):
        try:
            if file.stat().st_mode & 0o077:
                raise SettingsError([f"Other users can read {file}. Run: chmod 600 {file}"])
            keys = dict(_KEY_LINE.findall(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
    return keys if len(keys) == 2 else None


def _create_keys(local: LocalApi, environ: Mapping[str, str]) -> dict[str, str]:
    from millimetric_mcp.cli.keys import create_local_keys  # noqa: PLC0415 - loads the database

    with _naming(str(local.keys_file)):
        local.keys_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        local.keys_file.unlink(missing_ok=True)
    create_local_keys(local.keys_file, data_dir=local.data_dir, environ=environ)
    keys = read_keys(local.keys_file)
    if keys is None:
        raise LocalApiFailed(f"{local.keys_file} holds no keys. Remove it, and try again.")
    return keys
