"""The log: lines on stderr, JSON or text, without key, address, query or body of any request."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.endpoints import (
    ENDPOINTS,
    HEALTH_PATH,
    LINK,
    METRICS_PATH,
    OPENAPI_PATH,
    PAGE_FILES,
    PAGE_FILES_PATH,
    PAGE_PATH,
    READINESS_PATH,
    SCRIPT_PATH,
    SIGN_IN_PATH,
)
from millimetric_mcp.errors import describe_failure
from millimetric_mcp.settings import LogFormat, LogLevel

CLIENT_CLOSED_REQUEST = 499
"""The status in the log when the client closed the connection before the response."""
UNKNOWN_PATH = "(unknown)"
KNOWN_PATHS = frozenset(
    {endpoint.path for endpoint in ENDPOINTS}
    | {HEALTH_PATH, READINESS_PATH, METRICS_PATH, OPENAPI_PATH, SCRIPT_PATH, PAGE_PATH}
    | {LINK.path, SIGN_IN_PATH}
    | {PAGE_FILES_PATH + name for name in PAGE_FILES}
    | {"/mcp", "/sse", "/messages/"}
)
MAX_WAITING_LINES = 10_000
STOP_TIMEOUT_S = 1
GATHER_S = 0.01
"""How long lines gather: to wake the thread for each would cost the requests more than all else."""
PIPE_BUF_BYTES = 4096
"""Processes that share a pipe don't mix their lines in writes up to this size."""

_LEVELS = {
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.OFF: logging.CRITICAL + 1,
}
_FAILURE_FIELDS = ("error", "trace", "reference")
_STATE_FIELDS = ("project", *_FAILURE_FIELDS)
_OWN_LOGGERS = ("millimetric_mcp", "uvicorn")


class LineWriter:
    """Writes lines to a file descriptor from a thread: a slow or closed one delays no request.

    At ``max_waiting`` lines, further ones are dropped and counted. The count gets its own line.
    """

    def __init__(self, descriptor: int, *, max_waiting: int = MAX_WAITING_LINES) -> None:
        self._descriptor = descriptor
        self._max_waiting = max_waiting
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._dropped = 0
        self._thread = Thread(target=self._drain, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        if self._lines.qsize() < self._max_waiting:
            self._lines.put(line)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Wait until every line is written, but not longer than `STOP_TIMEOUT_S`."""
        self._lines.put(None)
        self._thread.join(STOP_TIMEOUT_S)

    def _drain(self) -> None:
        while (line := self._lines.get()) is not None:
            text = line
            with suppress(Empty):
                while len(text) < PIPE_BUF_BYTES // 2 and (line := self._lines.get_nowait()):
                    text += line
            dropped, self._dropped = self._dropped, 0
            if dropped:
                text += to_json({"level": "warning", "dropped_lines": dropped}).decode() + "\n"
            with suppress(OSError):
                rest = text.encode()
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            if line is None:
                return
            if self._lines.empty():
                time.sleep(GATHER_S)


class Log:
    """Writes records at ``level`` and above as lines.

    ``observe`` gets every request's path, status and duration in seconds, whatever the level.
    """

    def __init__(
        self,
        level: LogLevel,
        write: Callable[[str], object],
        *,
        form: LogFormat = LogFormat.JSON,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._level = _LEVELS[level]
        self._write = write
        self._form = form
        self.observe = observe

    def write(self, level: int, fields: Mapping[str, object]) -> None:
        if level < self._level:
            return
        written_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        name = logging.getLevelName(level).lower()
        if self._form is LogFormat.TEXT:
            line = _write_text(time=written_at, level=name, fields=fields)
        else:
            line = to_json({"time": written_at, "level": name, **fields})
        self._write(line.decode() + "\n")

    def write_request(self, scope: Scope, *, status: int, started_s: float) -> None:
        """Write the line of a request that is over; ``started_s`` is by `time.perf_counter`.

        The request's state may hold its project, and the error and reference of a 5xx.
        """
        state = scope.get("state", {})
        duration_s = time.perf_counter() - started_s
        path = scope["path"] if scope["path"] in KNOWN_PATHS else UNKNOWN_PATH
        self.observe(path, status, duration_s)
        fields = {
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round(duration_s * 1000, 2),
        }
        for name in _STATE_FIELDS:
            if name in state:
                fields[name] = state[name]
        has_failed = status >= 500 or "error" in state
        self.write(logging.ERROR if has_failed else logging.INFO, fields)


def _write_text(*, time: str, level: str, fields: Mapping[str, object]) -> bytes:
    """Return a line for people: what is free text stands first, the rest as ``name=value``."""
    message = fields.get("message", "")
    shown = [f"{name}={_quote(value)}" for name, value in fields.items() if name != "message"]
    return " ".join(filter(None, [time, f"{level.upper():<7}", str(message), *shown])).encode()


def _quote(value: object) -> str:
    """Return a value that has an end: text of more than one word is in quotes."""
    text = str(value)
    return text if text.isprintable() and " " not in text else to_json(text).decode()


def start_log(level: LogLevel, form: LogFormat = LogFormat.JSON) -> LineWriter:
    """Send all records of `logging` to stderr as lines; return the writer of the lines."""
    if sys.stderr is None:  # closed at the start; a file opened later must not get its descriptor
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    writer = LineWriter(sys.stderr.fileno())
    logging.basicConfig(
        level=logging.WARNING, handlers=[_Handler(Log(level, writer.write, form=form))]
    )
    logging.getLogger("millimetric_mcp").setLevel(logging.INFO)
    logging.getLogger("mcp").setLevel(logging.ERROR)  # it warns of what callers did wrong
    return writer


class _Handler(logging.Handler):
    """Writes a record's message if it is ours. Other libraries' messages may quote a request."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"message": record.getMessage().rstrip()}
        if not record.name.startswith(_OWN_LOGGERS):
            fields = {"logger": record.name, "where": f"{record.funcName}:{record.lineno}"}
        if record.exc_info and record.exc_info[1]:
            fields |= describe_failure(record.exc_info[1])
        noted = {name: vars(record)[name] for name in _FAILURE_FIELDS if name in vars(record)}
        self._log.write(record.levelno, fields | noted)


def log_failure(log: logging.Logger, what: str, error: BaseException) -> str:
    """Log an unexpected error without its text; return the reference for the answer."""
    fields = describe_failure(error)
    log.error("%s: %s", what, fields["error"], extra=fields)
    return str(fields["reference"])


class RequestLog:
    """Writes a line for each request when it is over: see `Log.write_request`."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            self._log.write_request(scope, status=status, started_s=started_s)
