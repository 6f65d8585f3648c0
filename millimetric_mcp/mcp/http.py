"""The MCP server over HTTP: Streamable HTTP, and HTTP+SSE for older clients."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.json_text import count_json_values, repair_json
from millimetric_mcp.errors import RequestError
from millimetric_mcp.mcp.access import Access, AccessCheck, AccessError, write_pattern
from millimetric_mcp.mcp.messages import Unreadable, read_message
from millimetric_mcp.web.app import build_web_app
from millimetric_mcp.web.bodies import BodyBuffer
from millimetric_mcp.web.cors import Cors
from millimetric_mcp.web.log import Log

MAX_BODY_BYTES = DEFAULT_MAX_REQUEST_BODY_SIZE
MAX_JSON_VALUES = 40_000
"""The SDK parses on the event loop: so many values take it about 10 ms."""
LARGE_BODY_BYTES = 64 * 1024
MAX_SESSIONS = 1000
"""Of each transport; a session takes memory."""
SESSION_IDLE_S = 15 * 60
RPC_METHOD = "millimetric.rpc_method"
"""Where the scope of a POST has the method of its message."""
JSON_ACCEPT = "application/json"
STREAM_ACCEPT = "application/json, text/event-stream"


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
    has_sessions: bool = True,
    max_sessions: int = MAX_SESSIONS,
) -> HttpTransports:
    """Return Streamable HTTP at ``/mcp``, and HTTP+SSE at ``/sse`` and ``/messages/``.

    Without sessions, each request to ``/mcp`` stands alone, so any process may answer it.
    """
    mcp = _StreamableHttp(server, max_sessions=max_sessions if has_sessions else 0)
    buffer = BodyBuffer(max_held_bytes=16 * MAX_BODY_BYTES)

    def check_access(app: ASGIApp) -> ASGIApp:
        return AccessCheck(_ReadBody(app, buffer), access)

    routes: list[BaseRoute] = []
    if streamable:
        methods = ["GET", "POST", "DELETE"] if has_sessions else ["POST"]
        routes.append(Route("/mcp", check_access(mcp), methods=methods))
    if sse:
        transport = SseServerTransport("/messages/")
        streams = _SseStreams(server, transport, max_sessions)
        routes.append(Route("/sse", check_access(streams), methods=["GET"]))
        routes.append(Mount("/messages", check_access(transport.handle_post_message)))
    return HttpTransports(tuple(routes), mcp.run)


class _StreamableHttp:
    """Streamable HTTP with sessions, and beside it requests that stand alone.

    A request stands alone if it names no session and opens none. It is answered with plain JSON,
    unless the client asks for a stream, and no session would give it one. While too many sessions
    are open, `initialize` stands alone too: anybody may open sessions where keys are the API's.
    """

    def __init__(self, server: Server[Any], *, max_sessions: int) -> None:
        self._has_sessions = max_sessions > 0
        self._streams = StreamableHTTPSessionManager(
            server,
            stateless=not self._has_sessions,
            max_sessions=max_sessions or None,
            session_idle_timeout=SESSION_IDLE_S,
        )
        self._plain = StreamableHTTPSessionManager(server, stateless=True, json_response=True)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._streams.run())
            await stack.enter_async_context(self._plain.run())
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = MutableHeaders(raw=list(scope["headers"]))
        scope = {**scope, "headers": headers.raw}
        # No events are kept: a client that comes back gets a new stream.
        del headers[LAST_EVENT_ID_HEADER]
        manager = self._streams
        if scope["method"] == "POST":
            is_streamed = self._is_streamed(headers, method=scope[RPC_METHOD])
            # The SDK refuses clients that don't name exactly what it would send.
            headers["Accept"] = STREAM_ACCEPT if is_streamed else JSON_ACCEPT
            manager = self._streams if is_streamed else self._plain
            if is_streamed and MCP_SESSION_ID_HEADER not in headers:
                await self._open_session(scope, await receive(), receive, send)
                return
        await manager.handle_request(scope, receive, send)

    async def _open_session(
        self, scope: Scope, request: Message, receive: Receive, send: Send
    ) -> None:
        """Answer a complete ``request``; without a session if the SDK refuses another one."""
        is_refused = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal is_refused
            is_refused |= message.get("status") == HTTPStatus.SERVICE_UNAVAILABLE
            if not is_refused:
                await send(message)

        await self._streams.handle_request(scope, _replay(request, receive), send_unless_refused)
        if is_refused:
            MutableHeaders(scope=scope)["Accept"] = JSON_ACCEPT
            await self._plain.handle_request(scope, _replay(request, receive), send)

    def _is_streamed(self, headers: Headers, *, method: str | None) -> bool:
        accept = headers.get("accept", "").lower()
        names_stream = "text/event-stream" in accept
        uses_session = MCP_SESSION_ID_HEADER in headers or method == "initialize"
        if self._has_sessions and uses_session:
            return names_stream or "*/*" in accept
        is_modern = headers.get(MCP_PROTOCOL_VERSION_HEADER) in MODERN_PROTOCOL_VERSIONS
        return names_stream and (is_modern or not self._has_sessions)


class _SseStreams:
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


class _ReadBody:
    """Gives ``app`` the whole body of a POST, after its type and size are checked.

    A body without a type is JSON.

    A body that is not a message is refused here: the SDK would quote it. The scope gets the method
    of the message, or None.
    """

    def __init__(self, app: ASGIApp, buffer: BodyBuffer) -> None:
        self._app = app
        self._buffer = buffer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(raw=list(scope["headers"]))
        media_type = headers.setdefault("Content-Type", JSON_ACCEPT).partition(";")[0]
        if media_type.strip().lower() != JSON_ACCEPT:
            raise RequestError(ErrorCode.UNSUPPORTED_MEDIA_TYPE)
        scope = {**scope, "headers": headers.raw}
        request = Request(scope, receive)
        body = await self._buffer.read(request, request.headers, max_bytes=MAX_BODY_BYTES)
        try:
            if count_json_values(body) > MAX_JSON_VALUES:
                raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
            is_large = len(body) > LARGE_BODY_BYTES
            text, method = await anyio.to_thread.run_sync(_read, body) if is_large else _read(body)
        except Unreadable as unreadable:
            answer = unreadable.answer.model_dump(mode="json", by_alias=True)
            await JSONResponse(answer, status_code=400)(scope, receive, send)
            return
        finally:
            self._buffer.release(body)
        message: Message = {"type": "http.request", "body": text, "more_body": False}
        await self._app({**scope, RPC_METHOD: method}, _replay(message, receive), send)


def _replay(message: Message, receive: Receive) -> Receive:
    """Return a channel that gives ``message``, then what comes from ``receive``."""
    messages = [message]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _read(body: bytes) -> tuple[bytes, str | None]:
    """Return the repaired JSON text of a message, and its method.

    Raises:
        Unreadable: the body is no message.
    """
    text = repair_json(body)
    return text, getattr(read_message(text), "method", None)


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
