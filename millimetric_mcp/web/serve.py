"""The HTTP server: listening, and serving an application until a signal ends it."""

import asyncio
import errno
import gc
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.contract.endpoints import HEALTH_PATH, METRICS_PATH, READINESS_PATH
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.web.connections import LimitedHttp

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

BACKLOG = 2048
MAX_CONNECTIONS = 10_000
KEEP_ALIVE_S = 65
"""Longer than usual load balancers keep an idle connection."""
SHUTDOWN_GRACE_S = 3
_PATHS_OF_MONITORS = frozenset({HEALTH_PATH, READINESS_PATH, METRICS_PATH})


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one.

    Raises:
        SettingsError: the address can't be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    is_dual = host == "::" and socket.has_dualstack_ipv6()  # every address, IPv4 ones too
    try:
        listener = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=is_dual
        )
    except OSError as error:
        raise SettingsError([_describe_bind_error(error, host, port)]) from None
    # Connections inherit it. asyncio's own loop sets it on sockets of `getaddrinfo` only, and an
    # answer on a kept-alive connection would wait 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _describe_bind_error(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {port} of {host} is in use. Stop the other process, or choose a port "
                "with --port."
            )
        case errno.EACCES:
            return f"Port {port} needs more rights. Choose a port above 1023 with --port."
    reason = error.strerror or type(error).__name__
    return f"--host / --port: can't listen on {host}:{port}: {reason}"


def write_url(listener: socket.socket) -> str:
    """Return the base URL of what is served on the socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configure(
    app: ASGIApp | str, *, workers: int = 1, trusted_proxies: Sequence[str] = ()
) -> uvicorn.Config:
    """Return the server's configuration; an ``app`` given by name is built in each worker."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        http=LimitedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        workers=workers,
        backlog=BACKLOG,
        limit_concurrency=_limit_connections(),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


def _limit_connections() -> int:
    """Raise the limit of open files as far as allowed, and return half of it, or 10,000."""
    if resource is None:
        return MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft // 2, MAX_CONNECTIONS)


async def serve(
    config: uvicorn.Config,
    listener: socket.socket,
    *,
    on_ready: Callable[[], None],
    idle_stop_s: float = 0,
) -> None:
    """Serve until a signal, or ``idle_stop_s`` seconds after the last request (0: no such limit).

    Requests for health and metrics do not count. ``on_ready`` is called when requests are answered.
    """
    await asyncio.sleep(0)  # a Ctrl-C from before is raised here, and not in the application
    await _Server(config, on_ready, idle_stop_s).serve([listener])


class _Use:
    """The application, and the time since it was last used."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - as uvicorn's configuration has it
        self._app = app
        self._running = 0
        self._ended_at_s = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PATHS_OF_MONITORS:
            await self._app(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            self._ended_at_s = time.monotonic()

    @property
    def idle_s(self) -> float:
        return 0.0 if self._running else time.monotonic() - self._ended_at_s


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], idle_stop_s: float
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._idle_stop_s = idle_stop_s
        self._use = _Use(config.app)
        if idle_stop_s:
            config.app = self._use

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called ten times a second."""
        is_idle = 0 < self._idle_stop_s < self._use.idle_s
        return await super().on_tick(counter) or is_idle

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What exists now lives as long as the process. The collector went through all of it again
        # and again, which took a fifth of the time of a large body.
        gc.collect()
        gc.freeze()
        if not self.should_exit:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End with exit code 0: uvicorn's own method raises the signal again at the end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it is ending
