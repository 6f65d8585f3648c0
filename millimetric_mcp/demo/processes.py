"""The demo's child processes, started by the product's own commands: the API and the MCP server."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult

from millimetric_mcp.errors import DemoFailed

HOST = "127.0.0.1"
COMMAND = (sys.executable, "-m", "millimetric_mcp")
"""The command that starts this package, whatever PATH holds."""
API_LOG, MCP_LOG = "api.log", "mcp.log"
TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
POLL_S = 0.05
SHOWN_LOG_LINES = 12


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """A running API; ``started_in_s`` is the time until it answered."""

    url: str
    data_dir: Path
    started_in_s: float
    process: "subprocess.Popen[bytes]" = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """A server key and a read key of one project."""

    write: str = field(repr=False)
    read: str = field(repr=False)

    def to_settings(self, host: str) -> dict[str, str]:
        """Return the MCP server's settings for these keys."""
        keys = {"MILLIMETRIC_KEY": self.write, "MILLIMETRIC_RK": self.read}
        return {"MILLIMETRIC_HOST": host, **keys}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without the user's own MILLIMETRIC_* settings."""
    return {name: value for name, value in environ.items() if not name.startswith("MILLIMETRIC_")}


def quote_log(log: Path) -> str:
    """Return the last lines that a child wrote to ``log``, as the end of an error message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LOG_LINES:]
    return "".join(["; it wrote:", *(f"\n  {line}" for line in lines)]) if lines else ""


@contextmanager
def run_api(
    directory: Path, *, environ: Mapping[str, str], options: Sequence[str] = ()
) -> Iterator[ApiProcess]:
    """Run the API on a free local port, with its data and log below ``directory``.

    ``options`` are more options of the command.

    Raises:
        DemoFailed: it ended, or did not answer in time.
    """
    with socket.create_server((HOST, 0)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
    data_dir, log = directory / "data", directory / API_LOG
    place = ["--host", HOST, "--port", url.rpartition(":")[2], "--data-dir", str(data_dir)]
    place += ["--keys-dir", str(directory / "keys")]  # not among the user's own
    began = time.monotonic()
    command = [*COMMAND, "api", *place, "--rate-limits", "off", *options]
    with (
        log.open("wb") as errors,
        _run_child(
            command, stdout=subprocess.DEVNULL, stderr=errors, environ=environ, cwd=directory
        ) as process,
    ):
        _wait_until_healthy(process, url=url, log=log)
        yield ApiProcess(url, data_dir, time.monotonic() - began, process)


@contextmanager
def _run_child(
    command: Sequence[str],
    *,
    stdout: int,
    stderr: int | IO[bytes],
    environ: Mapping[str, str],
    cwd: Path,
) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a child process, and end it in the end.

    If the user presses Ctrl-C while it starts, that counts afterwards. Otherwise nothing would end
    the child, and it would write files after the demo has removed them.
    """
    pressed: list[int] = []
    process = None
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=clean_environment(environ),
                cwd=cwd,
                start_new_session=True,  # a terminal's Ctrl-C goes to the demo, which ends it
            )
        finally:
            signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt
        yield process
    finally:
        if process is not None:
            with process:  # closes its pipes
                _stop(process)


def wait_for_end(api: ApiProcess) -> None:
    """Wait until the API ends, which it should not do; always raises `DemoFailed`."""
    code, log = api.process.wait(), api.data_dir.parent / API_LOG
    raise DemoFailed(f"the API ended with exit code {code}{quote_log(log)}")


def _wait_until_healthy(process: "subprocess.Popen[bytes]", *, url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                raise DemoFailed(f"the API ended with exit code {code}{quote_log(log)}")
            with suppress(httpx.TransportError):
                if client.get(f"{url}/health").is_success:
                    return
            time.sleep(POLL_S)
    raise DemoFailed(f"the API did not answer within {TIMEOUT_S:.0f} s{quote_log(log)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    finally:  # kill it if it did not end, or if the user pressed Ctrl-C again
        process.kill()
        process.wait()


def create_keys(api: ApiProcess, *, environ: Mapping[str, str]) -> Keys:
    """Create a server key and a read key with ``keys create`` while the API runs.

    Raises:
        DemoFailed: the command failed.
    """
    keys = []
    for kind in ("sk", "rk"):
        options = ["--json", "--kind", kind, "--data-dir", str(api.data_dir)]
        with _run_child(
            [*COMMAND, "keys", "create", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            environ=environ,
            cwd=api.data_dir.parent,
        ) as process:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        if process.returncode != 0:
            message = errors.decode(errors="replace").strip()
            raise DemoFailed(f"'keys create' failed: {message}")
        keys.append(json.loads(output)["key"])
    return Keys(*keys)


@asynccontextmanager
async def connect_agent(
    api: ApiProcess, keys: Keys, *, environ: Mapping[str, str], on_question: Callable[[str], None]
) -> AsyncIterator[Client]:
    """Start ``millimetric-mcp`` on stdio and yield a client that is connected to it.

    ``on_question`` gets each question that the server asks its user; the client says yes.

    Raises:
        DemoFailed: the server did not start, or the connection broke.
    """

    async def accept(
        context: ClientRequestContext,  # noqa: ARG001 - the SDK's signature
        params: ElicitRequestParams,
    ) -> ElicitResult:
        on_question(params.message)
        return ElicitResult(action="accept", content={})

    command, *arguments = COMMAND
    server = StdioServerParameters(
        command=command,
        args=arguments,
        env=clean_environment(environ) | keys.to_settings(api.url),
        cwd=api.data_dir.parent,
    )
    log = api.data_dir.parent / MCP_LOG
    failure: Exception | None = None
    with log.open("w", encoding="utf-8") as errors:
        try:
            async with Client(
                stdio_client(server, errlog=errors),
                read_timeout_seconds=TIMEOUT_S,
                elicitation_callback=accept,
            ) as client:
                try:
                    yield client
                except Exception as error:  # noqa: BLE001 - raised below; here it would be wrapped
                    failure = error
        except (MCPError, ExceptionGroup):
            failure = DemoFailed(f"the MCP server failed{quote_log(log)}")
    if failure is not None:
        raise failure


def end_on_sigterm_as_on_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, so that child processes are stopped."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
