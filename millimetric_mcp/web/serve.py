"""Listening, and serving an application until a signal says to stop."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from millimetric_mcp.errors import SettingsError

SHUTDOWN_GRACE_S = 2
BACKLOG = 2048


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
