"""A small HTTP/1.1 server whose answers a test decides."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Upstream:
    """What arrived, and on how many connections; ``pieces`` is how an answer is written,
    with a pause before each."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    answered: int = 0
    pieces: Callable[[bytes], list[bytes]] = lambda answer: [answer]
    pause_s: float = 0.0
    status: int = 202


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        """A generator that stops early resets its connections."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        upstream = self.server.upstream
        upstream.connections.add(self.client_address)
        upstream.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        upstream.keys.append(self.headers["authorization"])
        head = f"HTTP/1.1 {upstream.status} x\r\nContent-Length: 11\r\n\r\n"
        pieces = upstream.pieces(head.encode() + b'{"ok":true}')
        for number, piece in enumerate(pieces, start=1):
            time.sleep(upstream.pause_s)
            upstream.answered += number == len(pieces)
            self.wfile.write(piece)
        self.close_connection = not pieces

    def log_message(self, *_args: object) -> None:
        """Nothing to say."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Server(("127.0.0.1", 0), Handler)
    server.upstream = Upstream(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.upstream
    server.shutdown()
    server.server_close()
