"""The MCP server over HTTP: Streamable HTTP, and HTTP+SSE for older clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE
from mcp_types import jsonrpc_message_adapter
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError
from millimetric_mcp.mcp.access import Access, AccessError, Guard, write_pattern
from millimetric_mcp.web.app import build_web_app
from millimetric_mcp.web.bodies import BodyBuffer, count_json_values
from millimetric_mcp.web.cors import Cors
from millimetric_mcp.web.log import Log

MAX_BODY_BYTES = DEFAULT_MAX_REQUEST_BODY_SIZE
MAX_JSON_VALUES = 100_000
"""The SDK parses on the event loop: so many values take it about 25 ms."""
LARGE_BODY_BYTES = 64 * 1024
MAX_SESSIONS = 1000
"""Of each transport; a session takes memory."""
SESSION_IDLE_S = 15 * 60


@dataclass(frozen=True, slots=True)
class HttpTransports:
    """The routes of the HTTP transports; ``run`` is entered while they are served."""

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
    """Return Streamable HTTP at ``/mcp``, and HTTP+SSE at ``/sse`` and ``/messages/``."""
    manager = StreamableHTTPSessionManager(
        server, max_sessions=max_sessions, session_idle_timeout=SESSION_IDLE_S
    )
    buffer = BodyBuffer(max_held_bytes=16 * MAX_BODY_BYTES)

    def guard(app: ASGIApp) -> ASGIApp:
        return Guard(_CheckBody(app, buffer), access)

    routes: list[BaseRoute] = []
    if streamable:
        routes.append(Route("/mcp", guard(StreamableHTTPASGIApp(manager))))
    if sse:
        transport = SseServerTransport("/messages/")
        streams = _Streams(server, transport, max_sessions)
        routes.append(Route("/sse", guard(streams), methods=["GET"]))
        routes.append(Mount("/messages", guard(transport.handle_post_message)))
    return HttpTransports(tuple(routes), manager.run)


class _Streams:
    """The GET half of HTTP+SSE: a session is as long as its stream. The SDK doesn't limit them."""

    def __init__(
        self, server: Server[Any], transport: SseServerTransport, max_sessions: int
    ) -> None:
        self._server = server
        self._transport = transport
        self._free = max_sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._free:
            raise RequestError(AccessError.TOO_MANY_SESSIONS, status=503)
        self._free -= 1
        try:
            async with self._transport.connect_sse(scope, receive, send) as (read, write):
                options = self._server.create_initialization_options()
                await self._server.run(read, write, options)
        finally:
            self._free += 1


class _CheckBody:
    """Gives ``app`` the whole body of a POST, after its size is checked.

    A large body that is not a message is refused here: the SDK quotes it, which takes long.
    """

    def __init__(self, app: ASGIApp, buffer: BodyBuffer) -> None:
        self._app = app
        self._buffer = buffer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        async with self._buffer.read(request, request.headers, max_bytes=MAX_BODY_BYTES) as body:
            if count_json_values(body) > MAX_JSON_VALUES:
                raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
            if len(body) > LARGE_BODY_BYTES:
                await asyncio.to_thread(_check_message, body)
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, receive_again, send)


def _check_message(body: bytes) -> None:
    """Raise if the body is no message. pydantic's own reader of JSON takes ten times as long."""
    try:
        jsonrpc_message_adapter.validate_python(from_json(body), by_name=False)
    except ValueError:  # a ValidationError too
        raise RequestError(ErrorCode.INVALID_PAYLOAD) from None


def build_http_app(transports: HttpTransports, *, access: Access, log: Log) -> Starlette:
    """Return an application of the transports that the allowed browser origins may call."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with transports.run():
            yield

    cors = Middleware(
        Cors,
        prefix="/",
        allow_origin_regex=write_pattern(access.origins),
        allow_methods=["GET", "POST", "DELETE"],
        expose_headers=["Mcp-Session-Id", "WWW-Authenticate"],
    )
    return build_web_app(transports.routes, lifespan=lifespan, log=log, cors=cors)
