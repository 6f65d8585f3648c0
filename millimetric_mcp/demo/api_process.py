"""The API as a child process, and its keys, both by the product's own commands."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx

from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import DemoFailed

HOST = "127.0.0.1"
API_LOG, KEYS_LOG = "api.log", "keys.log"
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
POLL_S = 0.05
SHOWN_LOG_LINES = 12


@dataclass(frozen=True, slots=True)
class Api:
    """A running API; ``started_in_s`` is the time until it answered."""

    url: str
    data_dir: Path
    started_in_s: float
    process: "subprocess.Popen[bytes]" = field(repr=False)

    def wait(self) -> None:
        """Wait for the process to end, which it should not do.

        Raises:
            DemoFailed: always; with the end of the API's log.
        """
        code, log = self.process.wait(), self.data_dir.parent / API_LOG
        raise DemoFailed(f"the API ended with exit code {code}{quote_log(log)}")


@dataclass(frozen=True, slots=True)
class Keys:
    """A server key and a read key of one project."""

    write: str = field(repr=False)
    read: str = field(repr=False)

    def to_environment(self, host: str) -> dict[str, str]:
        """Return the MCP server's settings for these keys."""
        return {
            "MILLIMETRIC_HOST": host,
            "MILLIMETRIC_KEY": self.write,
            "MILLIMETRIC_RK": self.read,
        }


def own_command() -> tuple[str, ...]:
    """Return the command that starts this installation, independent of PATH."""
    name = "millimetric-mcp.exe" if os.name == "nt" else "millimetric-mcp"
    script = Path(sysconfig.get_path("scripts")) / name
    return (str(script),) if script.is_file() else (sys.executable, "-m", "millimetric_mcp")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without the user's own MILLIMETRIC_* settings."""
    return {name: value for name, value in environ.items() if not name.startswith("MILLIMETRIC_")}


def quote_log(log: Path) -> str:
    """Return the last lines that a child wrote to ``log``, as the end of an error message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LOG_LINES:]
    return "".join(["; it wrote:", *(f"\n  {line}" for line in lines)]) if lines else ""


@contextmanager
def run_api(directory: Path, *, environ: Mapping[str, str]) -> Iterator[Api]:
    """Run the API on a free local port, with its data and log below ``directory``.

    Raises:
        DemoFailed: it ended, or did not answer in time.
    """
    with socket.create_server((HOST, 0)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
    data_dir, log = directory / "data", directory / API_LOG
    options = ["--host", HOST, "--port", url.rpartition(":")[2], "--data-dir", str(data_dir)]
    began = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*own_command(), "api", *options, "--rate-limits", "off"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=clean_environment(environ),
            cwd=directory,
            start_new_session=True,  # a terminal's Ctrl-C goes to the demo, which ends the API
        )
    try:
        _wait_until_healthy(process, url=url, log=log)
        yield Api(url, data_dir, time.monotonic() - began, process)
    finally:
        _stop(process)


def _wait_until_healthy(process: "subprocess.Popen[bytes]", *, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                raise DemoFailed(f"the API ended with exit code {code}{quote_log(log)}")
            with suppress(httpx.TransportError):
                if client.get(f"{url}/health").is_success:
                    return
            time.sleep(POLL_S)
    raise DemoFailed(f"the API did not answer within {START_TIMEOUT_S:.0f} s{quote_log(log)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    finally:  # kill it if it did not end, or if the user pressed Ctrl-C again
        process.kill()
        process.wait()


def create_keys(api: Api, *, environ: Mapping[str, str]) -> Keys:
    """Create a server key and a read key with ``keys create`` while the API runs.

    Raises:
        DemoFailed: the command failed.
    """
    return Keys(*(_create_key(api, kind, environ=environ) for kind in (KeyKind.SK, KeyKind.RK)))


def _create_key(api: Api, kind: KeyKind, *, environ: Mapping[str, str]) -> str:
    options = ["--json", "--kind", kind.value, "--data-dir", str(api.data_dir)]
    log = api.data_dir.parent / KEYS_LOG
    with log.open("wb") as errors:
        ended = subprocess.run(  # noqa: S603 - our own command
            [*own_command(), "keys", "create", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=clean_environment(environ),
            cwd=api.data_dir.parent,
            start_new_session=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    if ended.returncode != 0:
        code = ended.returncode
        raise DemoFailed(f"'keys create' ended with exit code {code}{quote_log(log)}")
    key: str = json.loads(ended.stdout)["key"]
    return key


def end_on_sigterm_as_on_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, so that child processes are stopped."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)  # asyncio sets its own while it runs
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # a shell starts background jobs with SIGINT ignored
        raise KeyboardInterrupt
