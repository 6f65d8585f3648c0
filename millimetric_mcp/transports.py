"""How clients reach the server: stdio, HTTP+SSE and Streamable HTTP, and who is let in.

The HTTP transports are routes plus something that runs for as long as they are served, so
that they can be mounted beside other routes: see `HttpTransports`.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import anyio
import uvicorn
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.keys import KeyKind, parse_api_key
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.server import Caller
from millimetric_mcp.settings import Auth

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

    from millimetric_mcp.client import MillimetricClient

READ_KEY_HEADER = "Millimetric-Read-Key"
KEY_KIND_NOT_ALLOWED = "key_kind_not_allowed"
MAX_BODY_BYTES = 32 * 1024 * 1024
"""Room for the largest batch; a caller without credentials is refused before it is read."""
SHUTDOWN_GRACE_S = 2
BACKLOG = 2048
ANSWER_GRACE_S = 60
"""Longer than a call of the API takes by default: a write's fate is told even then."""
NOTIFICATIONS = "notifications/"
CANCELLED = f"{NOTIFICATIONS}cancelled"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")

_log = logging.getLogger(__name__)


class _Unanswered:
    """The requests of a client that have no answer yet, by id."""

    def __init__(self) -> None:
        self._ids: set[str | int] = set()
        self._changed = anyio.Event()

    def note_read(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._ids.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == CANCELLED:
            given_up = (message.params or {}).get("requestId")
            if isinstance(given_up, str | int):
                self._ids.discard(given_up)

    def note_written(self, item: SessionMessage) -> None:
        if isinstance(item.message, JSONRPCResponse | JSONRPCError) and item.message.id is not None:
            self._ids.discard(item.message.id)
            self._changed.set()

    async def wait_for_none(self) -> None:
        with anyio.move_on_after(ANSWER_GRACE_S):
            while self._ids:
                self._changed = anyio.Event()
                await self._changed.wait()


@dataclass(frozen=True, slots=True)
class _Answers:
    """The stream of answers, noting each one that went out."""

    inner: "WriteStream[SessionMessage]"
    unanswered: _Unanswered

    async def send(self, item: SessionMessage, /) -> None:
        await self.inner.send(item)
        self.unanswered.note_written(item)

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Unreadable(Exception):
    """A line that holds no message, with the answer its sender gets."""

    def __init__(self, code: int, sentence: str, request_id: str | int | None) -> None:
        super().__init__(sentence)
        fault = ErrorData(code=code, message=sentence)
        self.answer = JSONRPCError(jsonrpc="2.0", id=request_id, error=fault)


def _read_message(line: str) -> JSONRPCMessage:
    """The line's message.

    Raises:
        _Unreadable: it holds none; without an answer its sender might wait for ever.
    """
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        request_id = _find_id(line)
        if fault["type"] == "json_invalid":
            raise _Unreadable(PARSE_ERROR, fault["msg"], request_id) from None
        raise _Unreadable(INVALID_REQUEST, "Not a JSON-RPC message", request_id) from None
    if _lacks_only_an_id(message) and "id" in json.loads(line):
        raise _Unreadable(INVALID_REQUEST, "The id must be a string or an integer", None)
    return message


def _lacks_only_an_id(message: JSONRPCMessage) -> bool:
    """Whether it reads as a notification by nothing but the want of a usable id."""
    return isinstance(message, JSONRPCNotification) and not message.method.startswith(NOTIFICATIONS)


def _find_id(line: str) -> str | int | None:
    """The id of the request in a line that is no message, where one can be told."""
    try:
        found = json.loads(line)  # takes what the stricter reader of messages does not
        if not isinstance(found, dict) or found.keys() & {"result", "error"}:
            return None
        request_id = found.get("id")
        if isinstance(request_id, str):
            request_id.encode()  # a lone surrogate can't be sent back
    except (ValueError, RecursionError):
        return None
    is_id = isinstance(request_id, str | int) and not isinstance(request_id, bool)
    return request_id if is_id else None


@asynccontextmanager
async def _answering_to_the_end(
    lines: AsyncIterator[str], write: "WriteStream[SessionMessage]", unanswered: _Unanswered
) -> "AsyncIterator[ReadStream[SessionMessage | Exception]]":
    """The client's messages, ending only when what it asked before its end is answered."""
    send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](0)

    async def relay() -> None:
        async with send:
            async for line in lines:
                try:
                    message = _read_message(line)
                except _Unreadable as unreadable:
                    await write.send(SessionMessage(unreadable.answer))
                    continue
                unanswered.note_read(message)
                await send.send(SessionMessage(message))
            await unanswered.wait_for_none()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay)
        async with receive:
            yield receive
        tasks.cancel_scope.cancel()


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client on stdin and stdout until it is gone or a signal says to stop.

    A client that ends its input still gets the answers to what it asked.
    """
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
            lines = _read_lines(os.fdopen(os.dup(0), "rb"))
            unanswered = _Unanswered()
            # The library's own reader drops unreadable lines without a word: it gets none.
            nothing = cast("anyio.AsyncFile[str]", _read_nothing())
            async with (
                stdio_server(stdin=nothing) as (unused, write),
                unused,
                _answering_to_the_end(lines, write, unanswered) as requests,
            ):
                answers = _Answers(write, unanswered)
                await server.run(requests, answers, server.create_initialization_options())
            tasks.cancel_scope.cancel()
    except* BrokenPipeError:
        pass  # the client closed its end without a word


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    if sys.platform == "win32":  # there, signals end the process by themselves
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _read_nothing() -> AsyncIterator[str]:
    return
    yield


async def _read_lines(stdin: BinaryIO) -> AsyncIterator[str]:
    """Lines of stdin that aren't blank.

    They are read in a daemon thread: one blocked in a read must not delay the exit.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def pump() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            for line in stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, b"")

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while line := await lines.get():
        if text := line.decode("utf-8", errors="replace").strip():
            yield text


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the HTTP transports.

    ``hosts`` and ``origins`` are exact values of those headers, ``name:*`` for any port, and
    ``*`` for anything. A request without an Origin comes from no browser and is let in.
    ``token`` belongs to `Auth.TOKEN`.
    """

    auth: Auth | None = None
    token: str | None = None
    hosts: tuple[str, ...] = tuple(f"{host}:*" for host in LOOPBACK_HOSTS) + LOOPBACK_HOSTS
    origins: tuple[str, ...] = tuple(f"http://{host}:*" for host in LOOPBACK_HOSTS)


class Principal(AuthenticatedUser):
    """A caller that was let in; sessions belong to the principal that opened them.

    With `Auth.PASSTHROUGH` the keys are those that came with the request.
    """

    def __init__(
        self, *secrets: str, write_key: str | None = None, read_key: str | None = None
    ) -> None:
        digest = hashlib.sha256("\n".join(secrets).encode()).hexdigest()
        super().__init__(AccessToken(token=digest, client_id=digest, scopes=[]))
        self.write_key = write_key
        self.read_key = read_key


class _Refusal(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Guard:
    """Lets in requests with a known Host and Origin, and the credentials ``access`` asks for."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = AuthContextMiddleware(app)
        self._access = access
        self._hosts = re.compile(_write_pattern(access.hosts))
        self._origins = re.compile(_write_pattern(access.origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # RFC 9110: white space around a value is no part of it; not every HTTP parser knows.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        scope = {**scope, "headers": headers}
        request = Request(scope)
        refused = self._check_source(request.headers)
        if refused is None:
            try:
                if principal := self._admit(request):
                    scope["user"] = principal
            except _Refusal as refusal:
                refused = _answer(refusal)
        await (refused or self._app)(scope, receive, send)

    def _check_source(self, headers: Headers) -> Response | None:
        """A refusal unless every Host and Origin is a known one."""
        for host in headers.getlist("host") or [""]:
            if not self._hosts.fullmatch(host.lower()):
                _log.warning("refused a request: Host %.200r is none of --allowed-hosts", host)
                return PlainTextResponse("Invalid Host header", 421)
        for origin in headers.getlist("origin"):
            if not self._origins.fullmatch(origin.lower()):
                _log.warning("refused a request: Origin %.200r isn't allowed", origin)
                return PlainTextResponse("Invalid Origin header", 403)
        return None

    def _admit(self, request: Request) -> Principal | None:
        if self._access.auth is None:
            return None
        bearer = _read_bearer(request)
        if self._access.auth is Auth.PASSTHROUGH:
            return _admit_keys(bearer, request.headers.get(READ_KEY_HEADER))
        if not hmac.compare_digest(bearer.encode(), (self._access.token or "").encode()):
            raise _Refusal(401, ErrorCode.INVALID_API_KEY)
        return Principal(bearer)


def _write_pattern(sources: tuple[str, ...]) -> str:
    """``sources`` as a regular expression: ``:*`` stands for any port, ``*`` for anything."""
    return "|".join(_write_alternative(source.lower()) for source in sources)


def _write_alternative(source: str) -> str:
    if source == "*":
        return ".*"
    stem = source.removesuffix(":*")
    return re.escape(stem) + (":[0-9]{1,5}" if stem != source else "")


def _read_bearer(request: Request) -> str:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise _Refusal(401, ErrorCode.MISSING_BEARER_TOKEN)
    return bearer.strip()


def _admit_keys(bearer: str, beside: str | None) -> Principal:
    """The caller's own keys: an rk alone, or an sk and perhaps an rk beside it."""
    kind = _kind_of(bearer)
    if beside and _kind_of(beside) is not KeyKind.RK:
        raise _Refusal(403, KEY_KIND_NOT_ALLOWED)
    if kind is KeyKind.RK:
        return Principal(bearer, read_key=bearer)
    return Principal(bearer, beside or "", write_key=bearer, read_key=beside or None)


def _kind_of(text: str) -> KeyKind:
    key = parse_api_key(text)
    if text.startswith(f"{KeyKind.PK}_"):
        raise _Refusal(403, KEY_KIND_NOT_ALLOWED)
    if key is None:
        raise _Refusal(401, ErrorCode.MALFORMED_API_KEY)
    return key.kind


def _answer(refusal: _Refusal) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
    return JSONResponse({"error": refusal.code}, refusal.status, headers)


def find_caller_by_keys(client: "MillimetricClient") -> Callable[[Request | None], Caller]:
    """For `Auth.PASSTHROUGH`: each request's caller is who its own keys say; ours are not used."""

    def find(request: Request | None) -> Caller:
        principal = request.scope.get("user") if request is not None else None
        write_key = principal.write_key if isinstance(principal, Principal) else None
        read_key = principal.read_key if isinstance(principal, Principal) else None
        return Caller(
            client.with_keys(write_key=write_key, read_key=read_key),
            may_write=write_key is not None,
            may_read=read_key is not None,
            over_http=True,
        )

    return find


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
    server: Server[Any], *, access: Access, streamable: bool = True, sse: bool = True
) -> HttpTransports:
    """Streamable HTTP at ``/mcp`` (stateful) and HTTP+SSE at ``/sse`` and ``/messages/``."""
    manager = StreamableHTTPSessionManager(server, max_request_body_size=MAX_BODY_BYTES)

    def guard(app: ASGIApp) -> ASGIApp:
        return Guard(app, access)

    routes: list[BaseRoute] = []
    if streamable:
        routes.append(Route("/mcp", guard(_complete(StreamableHTTPASGIApp(manager)))))
    if sse:
        transport = SseServerTransport("/messages/", max_request_body_size=MAX_BODY_BYTES)
        routes.append(Route("/sse", guard(_complete(_SseApp(server, transport))), methods=["GET"]))
        routes.append(Mount("/messages", guard(transport.handle_post_message)))
    return HttpTransports(tuple(routes), manager.run)


@dataclass(frozen=True, slots=True)
class _SseApp:
    server: Server[Any]
    transport: SseServerTransport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.transport.connect_sse(scope, receive, send) as (read, write):
            await self.server.run(read, write, self.server.create_initialization_options())


def _complete(app: ASGIApp) -> ASGIApp:
    """``app``, with an end to every response: streams stop in the middle when the server stops."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        is_open = False

        async def watch(message: Message) -> None:
            nonlocal is_open
            is_open = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        await app(scope, receive, watch)
        if is_open:
            await send({"type": "http.response.body", "body": b""})

    return run


def build_http_app(transports: HttpTransports, *, access: Access) -> Starlette:
    """The transports as an application of their own, open to the allowed browser origins."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with transports.run():
            yield

    return Starlette(
        routes=list(transports.routes),
        lifespan=lifespan,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origin_regex=_write_pattern(access.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Mcp-Session-Id", "WWW-Authenticate"],
            )
        ],
    )


async def serve_http(
    app: ASGIApp, *, host: str, port: int, on_ready: Callable[[str], None]
) -> None:
    """Serve ``app`` until a signal says to stop; ``on_ready`` gets the base URL.

    Raises:
        SettingsError: nothing can listen there.
    """
    listener = listen(host, port)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    with listener, _quiet_signals():
        await _Server(config, lambda: on_ready(write_url(listener))).serve([listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._on_ready()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        SettingsError: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            [f"--host / --port: can't listen on {host}:{port}: {error.strerror or error}"]
        ) from None


def write_url(listener: socket.socket) -> str:
    """The base URL of what is served on the socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more; the second time it means nothing."""
    stops = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(stop, lambda *_: None) for stop in stops]
    try:
        yield
    finally:
        for stop, handler in zip(stops, before, strict=True):
            signal.signal(stop, handler)


def is_loopback(host: str) -> bool:
    """Whether nobody beyond this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
