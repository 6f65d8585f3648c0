"""The request log: one JSON line a request, without key, address, query or body."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.endpoints import ENDPOINTS, HEALTH_PATH, OPENAPI_PATH
from millimetric_mcp.errors import describe_exception

CLIENT_CLOSED_REQUEST = 499
"""What the log says of a request whose caller hung up before an answer."""

UNKNOWN = "(unknown)"
KNOWN_PATHS = frozenset({endpoint.path for endpoint in ENDPOINTS} | {HEALTH_PATH, OPENAPI_PATH})

Write = Callable[[str], object]


def write_line(
    *, method: str, path: str, status: int, duration_ms: float, write: Write, **more: str
) -> None:
    """Writes a request's line; a path that is not ours is not told."""
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "method": method,
        "path": path if path in KNOWN_PATHS else UNKNOWN,
        "status": status,
        "duration_ms": round(duration_ms, 2),
    }
    write(to_json(fields | more).decode() + "\n")


class RequestLog:
    """Writes each request's line when it is over.

    A fault is logged by its type and place alone: its text and its traceback may quote what
    a caller sent.
    """

    def __init__(self, app: ASGIApp, write: Write = sys.stderr.write) -> None:
        self._app = app
        self._write = write

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
            write_line(
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=(time.perf_counter() - started_s) * 1000,
                write=self._write,
                **_describe(scope.get("state", {})),
            )


def _describe(state: dict[str, Any]) -> dict[str, str]:
    project, fault = state.get("project"), state.get("fault")
    described = {} if project is None else {"project": project}
    return described if fault is None else described | {"fault": describe_exception(fault)}
