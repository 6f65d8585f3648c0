"""The server over HTTP: Streamable HTTP, and HTTP+SSE for older clients.

The transports are routes plus something that runs for as long as they are served, so that
they can be mounted beside other routes: see `HttpTransports`.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.mcp.access import Access, Guard, write_pattern
from millimetric_mcp.mcp.messages import Unreadable, read_message
from millimetric_mcp.web.refusals import Plain, Refusal, answer

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Room for the largest batch; a caller without credentials is refused before it is read."""
MAX_SESSIONS = 1000
"""Of each transport. Whoever may connect can open sessions, and each of them takes memory."""
SESSION_IDLE_S = 15 * 60
TOO_MANY_SESSIONS = "too_many_sessions"


@dataclass(frozen=True, slots=True)
class HttpTransports:
    """The routes of the HTTP transports; ``run`` must be entered while they are served.

    To serve them beside other routes::

        mcp = build_http_transports(server, access=access)
        Starlette(routes=[*mcp.routes, Mount("/", other)], lifespan=lambda _: mcp.run())
    """

    routes: tuple[BaseRoute, ...]
    run: Callable[[], AbstractAsyncContextManager[None]]


def build_http_transports(
    server: Server[Any],
    *,
    access: Access,
    streamable: bool = True,
    sse: bool = True,
    max_sessions: int = MAX_SESSIONS,
) -> HttpTransports:
    """Streamable HTTP at ``/mcp`` (stateful) and HTTP+SSE at ``/sse`` and ``/messages/``."""
    manager = StreamableHTTPSessionManager(
        server,
        max_request_body_size=MAX_BODY_BYTES,
        max_sessions=max_sessions,
        session_idle_timeout=SESSION_IDLE_S,
    )

    def guard(app: ASGIApp) -> ASGIApp:
        return Guard(Plain(app), access)

    routes: list[BaseRoute] = []
    if streamable:
        routes.append(Route("/mcp", guard(_Readable(StreamableHTTPASGIApp(manager)))))
    if sse:
        transport = SseServerTransport("/messages/", max_request_body_size=MAX_BODY_BYTES)
        routes.append(
            Route("/sse", guard(_Streams(server, transport, max_sessions)), methods=["GET"])
        )
        routes.append(Mount("/messages", guard(_Inbox(transport))))
    return HttpTransports(tuple(routes), manager.run)


class _Streams:
    """The GET half of HTTP+SSE: a session lives as long as its stream."""

    def __init__(
        self, server: Server[Any], transport: SseServerTransport, max_sessions: int
    ) -> None:
        self._server = server
        self._transport = transport
        self._free = max_sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._free:
            raise Refusal(503, TOO_MANY_SESSIONS)
        self._free -= 1
        try:
            async with self._transport.connect_sse(scope, receive, send) as (read, write):
                options = self._server.create_initialization_options()
                await self._server.run(read, write, options)
        finally:
            self._free += 1


class _Readable:
    """``app``, which gets a POST only where its body holds a message.

    What holds none is answered here: the library would quote it, in the log or in its answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await _read_body(Request(scope, receive))
        try:
            read_message(body)
        except Unreadable as unreadable:
            fault = unreadable.answer.model_dump(mode="json", by_alias=True, exclude_unset=True)
            await JSONResponse(fault, 400)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


class _Inbox:
    """The POST half of HTTP+SSE."""

    def __init__(self, transport: SseServerTransport) -> None:
        self._deliver = _Readable(transport.handle_post_message)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        session_id = request.query_params.get("session_id", "")
        if request.method != "POST":
            raise Refusal(405, ErrorCode.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        if not re.fullmatch("[0-9a-f]{32}", session_id):
            raise Refusal(400, ErrorCode.INVALID_PARAMS, beside={"details": _BAD_SESSION_ID})
        await self._deliver(scope, receive, send)


_BAD_SESSION_ID = {
    "fieldErrors": {"session_id": ["must be the one that GET /sse gave"]},
    "formErrors": [],
}


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, ErrorCode.PAYLOAD_TOO_LARGE)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def build_http_app(transports: HttpTransports, *, access: Access) -> Starlette:
    """The transports as an application of their own, open to the allowed browser origins."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with transports.run():
            yield

    app = Starlette(
        routes=list(transports.routes),
        lifespan=lifespan,
        exception_handlers={HTTPException: _answer_http_error},
        middleware=[
            Middleware(
                _Cors,
                allow_origin_regex=write_pattern(access.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                allow_private_network=True,
                expose_headers=["Mcp-Session-Id", "WWW-Authenticate"],
            )
        ],
    )
    # A redirect would go to whatever Host the request names, before anybody looked at it.
    app.router.redirect_slashes = False
    return app


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return answer(request, Refusal.of(error.status_code, error.headers))


class _Cors(CORSMiddleware):
    """A preflight is refused for its origin or its method, in the shape of every refusal."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        is_known = self.is_allowed_origin(request_headers["origin"])
        refusal = Refusal.of(405) if is_known else Refusal(403, ErrorCode.ORIGIN_NOT_ALLOWED)
        request = Request({"type": "http", "method": "OPTIONS", "path": "", "headers": []})
        return answer(request, refusal)
