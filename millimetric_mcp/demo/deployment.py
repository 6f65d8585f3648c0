"""A deployment for the length of a walk-through: the API as its own process, and its keys.

Everything is started the way a user would start it: by the product's own commands.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import httpx

from millimetric_mcp.contract.keys import KeyKind, parse_api_key
from millimetric_mcp.errors import DemoFailed

HOST = "127.0.0.1"
API_LOG = "api.log"
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
POLL_S = 0.05
TOLD_LINES = 12


@dataclass(frozen=True, slots=True)
class Api:
    """A running API: its base URL, its data directory and how long it took to answer."""

    url: str
    data_dir: Path
    started_in_s: float
    process: "subprocess.Popen[bytes]" = field(repr=False)

    def wait(self) -> None:
        """Returns when the process has ended.

        Raises:
            DemoFailed: always, as nobody asked it to end; with what it wrote to stderr.
        """
        code = self.process.wait()
        raise DemoFailed(_tell("the API ended", code=code, lines=_read_tail(self.data_dir.parent)))


@dataclass(frozen=True, slots=True)
class Keys:
    """A server key and a read key of one project."""

    write: str = field(repr=False)
    read: str = field(repr=False)


def own_command() -> tuple[str, ...]:
    """How this installation's ``millimetric-mcp`` is started, whatever PATH says."""
    name = "millimetric-mcp.exe" if os.name == "nt" else "millimetric-mcp"
    script = Path(sysconfig.get_path("scripts")) / name
    return (str(script),) if script.is_file() else (sys.executable, "-m", "millimetric_mcp")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without our own settings: the user's deployment is none of the demo's."""
    return {name: value for name, value in environ.items() if not name.startswith("MILLIMETRIC_")}


@contextmanager
def run_api(directory: Path, *, environ: Mapping[str, str]) -> Iterator[Api]:
    """The API on a free port of this machine with its data in ``directory``, until the end.

    Raises:
        DemoFailed: it ended or stayed silent; with what it wrote to stderr.
    """
    port, data_dir = _find_free_port(), directory / "data"
    url = f"http://{HOST}:{port}"
    arguments = ["api", "--host", HOST, "--port", str(port), "--data-dir", str(data_dir)]
    began = time.monotonic()
    with (directory / API_LOG).open("wb") as errors:
        process = _start(
            [*arguments, "--rate-limits", "off"],
            environ=environ,
            directory=directory,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        _await_health(process, url=url, directory=directory)
        yield Api(url, data_dir, time.monotonic() - began, process)
    finally:
        _stop(process)


def create_keys(api: Api, *, environ: Mapping[str, str]) -> Keys:
    """A new server key and a new read key, made while the API runs.

    Raises:
        DemoFailed: the command failed; with what it wrote to stderr.
    """
    arguments = ["keys", "create", "--json", "--data-dir", str(api.data_dir), "--kind"]
    with ExitStack() as stack:
        running = []
        for kind in (KeyKind.SK, KeyKind.RK):
            process = _start(
                [*arguments, kind.value],
                environ=environ,
                directory=api.data_dir.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(_stop, process)
            running.append(process)
        write, read = (_read_key(process) for process in running)
    return Keys(write, read)


def _start(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    directory: Path,
    stdout: int,
    stderr: int | IO[bytes],
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own command, our own arguments
        [*own_command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=clean_environment(environ),
        cwd=directory,
        start_new_session=True,  # Ctrl-C is ours to handle: a child ends when we end it
    )


def _read_key(process: "subprocess.Popen[bytes]") -> str:
    try:
        made, complaint = process.communicate(timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"'keys create' took longer than {COMMAND_TIMEOUT_S:.0f} s") from None
    try:
        key = json.loads(made)["key"]
    except (ValueError, TypeError, KeyError):
        key = ""
    if process.returncode != 0 or not isinstance(key, str) or parse_api_key(key) is None:
        lines = complaint.decode(errors="replace").splitlines()
        raise DemoFailed(_tell("'keys create' failed", code=process.returncode, lines=lines))
    return key


def _find_free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _await_health(process: "subprocess.Popen[bytes]", *, url: str, directory: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                lines = _read_tail(directory)
                raise DemoFailed(_tell("the API ended", code=process.returncode, lines=lines))
            try:
                if client.get(f"{url}/health").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(POLL_S)
    what = f"the API was not ready in {START_TIMEOUT_S:.0f} s"
    raise DemoFailed(_tell(what, code=None, lines=_read_tail(directory)))


def _read_tail(directory: Path) -> Sequence[str]:
    return (directory / API_LOG).read_text(errors="replace").splitlines()


def _tell(what: str, *, code: int | None, lines: Sequence[str]) -> str:
    ending = f" with exit code {code}" if code is not None else ""
    shown = "".join(f"\n  {line}" for line in lines[-TOLD_LINES:])
    return f"{what}{ending}{'; it wrote:' if shown else ''}{shown}"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:  # it hangs, or a second Ctrl-C came
            process.kill()
            process.wait()


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP unwind the program as Ctrl-C does, so nothing is left behind."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # a shell's background jobs ignore SIGINT
        raise KeyboardInterrupt
