"""Refusals over HTTP: the API's error shape, ``{"error": code}``, and one line of the log each."""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import describe_exception

PATHS = frozenset({"/mcp", "/sse", "/messages/"})
MAX_QUOTED_CHARS = 200

_CODES: Mapping[int, ErrorCode] = {
    400: ErrorCode.INVALID_PARAMS,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.PAYLOAD_TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    500: ErrorCode.INTERNAL_ERROR,
}

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is not served: ``beside`` stands next to the code in the body,
    ``noted`` in the log alone."""

    status: int
    code: str
    beside: Mapping[str, object] = field(default_factory=dict)
    noted: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str] | None = None) -> "Refusal":
        """The refusal that a bare status means."""
        other = HTTPStatus(status).phrase.lower().replace(" ", "_")
        return cls(status, _CODES.get(status, other), headers=headers or {})


def answer(request: Request, refusal: Refusal) -> Response:
    """The refusal's response, after a line in the log."""
    note(request, refusal)
    challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse(
        {"error": refusal.code, **refusal.beside}, refusal.status, {**refusal.headers, **challenge}
    )


def note(request: Request, refusal: Refusal) -> None:
    """One line of JSON in the log, without key, address, query or body."""
    path = request.scope["path"]
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "method": request.method,
        "path": path if path in PATHS else "(unknown)",
        "status": refusal.status,
        "error": refusal.code,
        **{name: text[:MAX_QUOTED_CHARS] for name, text in refusal.noted.items()},
    }
    _log.warning("%s", json.dumps(fields, separators=(",", ":")))


class Plain:
    """``app``, whose own refusals are told like all others, and whose responses have an end.

    What is JSON already is a message of the protocol and stays. A fault is logged by its type
    and place alone, for its text may quote what a caller sent.

    Raises:
        Refusal: instead of a response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Watched(send)
        try:
            await self._app(scope, receive, response.send)
        except ClientDisconnect:
            return
        except Refusal as refusal:
            response.refused = refusal
        except asyncio.CancelledError:  # the server's end; what was written by then, nobody knows
            response.refused = Refusal(502, ErrorCode.UPSTREAM_FAILED)
        except Exception as fault:  # noqa: BLE001 - told below, and to the caller
            noted = {"fault": describe_exception(fault)}
            response.refused = Refusal(500, ErrorCode.INTERNAL_ERROR, noted=noted)
        await response.end(Request(scope))


class _Watched:
    """A response on its way, kept back where it is a refusal."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_begun = self._is_open = False
        self.refused: Refusal | None = None

    async def send(self, message: Message) -> None:
        is_start = message["type"] == "http.response.start"
        if is_start:
            self.refused = _find_refusal(message)
        if self.refused is None:
            self._is_begun, self._is_open = True, is_start or message.get("more_body", False)
            await self._send(message)

    async def end(self, request: Request) -> None:
        if self.refused is not None and not self._is_begun:
            raise self.refused
        if self.refused is not None:
            note(request, self.refused)
        if self._is_open:  # a stream stops in the middle when the server stops
            await self._send({"type": "http.response.body", "body": b""})


def _find_refusal(start: Message) -> Refusal | None:
    """The refusal that the beginning of a response is; None for what has a body of its own."""
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in start.get("headers", ())
    }
    if start["status"] < 400 or headers.get("content-type", "").startswith("application/json"):
        return None
    kept = {name: value for name, value in headers.items() if name == "allow"}
    return Refusal.of(start["status"], kept)
