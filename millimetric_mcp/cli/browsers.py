"""Opens a page in the user's browser, so that no other user of the machine sees its URL."""

import os
import socket
import sys
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

LOOPBACK = "127.0.0.1"
MAX_WAIT_S = 30
"""Half of the time that a one-time link works: a link that is printed then can still be used."""

_REFUSED = "Run millimetric-mcp open --print, and open the link that it prints."
_CONNECTIONS = Path("/proc/net/tcp")


def open_page(
    url: str, *, start_browser: Callable[[str], bool] = webbrowser.open, wait_s: float = MAX_WAIT_S
) -> bool:
    """Open ``url``, which holds a secret; return whether the browser has it.

    On Linux a browser gets its URL as an argument, which every user can read. So it gets the
    address of a redirect, which serves this user only, for at most ``wait_s`` seconds. On macOS
    the URL goes to the browser through a pipe.
    """
    if sys.platform != "linux":
        return start_browser(url)
    has_url = Event()
    with ThreadingHTTPServer((LOOPBACK, 0), _make_handler(url, has_url)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://{LOOPBACK}:{server.server_port}/"
            return start_browser(address) and has_url.wait(wait_s)
        finally:
            server.shutdown()


def _make_handler(url: str, has_url: Event) -> type[BaseHTTPRequestHandler]:
    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/" or not _is_of_this_user(self.connection):
                self.send_error(HTTPStatus.FORBIDDEN, explain=_REFUSED)
                return
            self.send_response(HTTPStatus.SEE_OTHER)
            self.send_header("Location", url)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", "0")
            self.end_headers()
            has_url.set()

        def log_message(self, *_: object) -> None:
            """Log nothing: the output is the command's."""

    return Redirect


def _is_of_this_user(connection: socket.socket) -> bool:
    """Return whether the process at the other end runs as this user."""
    ends = [_write_end(*connection.getpeername()), _write_end(*connection.getsockname())]
    rows = (line.split() for line in _CONNECTIONS.read_text().splitlines())
    return any(row[1:3] == ends and row[7] == str(os.getuid()) for row in rows)


def _write_end(host: str, port: int) -> str:
    """Return an end of a connection as the kernel's list writes it."""
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
