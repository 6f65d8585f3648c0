"""Servers as child processes, a real upstream on a socket, and clients of every transport."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

DEADLINE_S = 20
ANSWERS = {
    "/v1/track": (202, {"ok": True, "event_id": "evt"}),
    "/v1/stats": (200, {"applied": {"bots": "exclude"}, "metric": "count", "rows": [{"value": 7}]}),
    "/v1/sources": (
        200,
        {"applied": {"bots": "exclude"}, "breakdown": "source_medium", "rows": []},
    ),
}


class Handler(BaseHTTPRequestHandler):
    """Answers like the API; paths that its upstream holds are never answered."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        upstream = self.server.upstream
        self.rfile.read(int(self.headers.get("content-length", 0)))
        path = urlsplit(self.path).path
        upstream.keys.append(self.headers["authorization"].removeprefix("Bearer "))
        upstream.arrived.set()
        if path in upstream.held:
            self.rfile.read(1)
            self.close_connection = True
            upstream.dropped.set()
            return
        status, body = ANSWERS[path]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 - the name http.server looks for

    def log_message(self, *_args) -> None:
        """Nothing to say."""


@dataclass
class Upstream:
    """An API on a real socket, in threads; it notes the key of every request."""

    url: str
    keys: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    arrived: threading.Event = field(default_factory=threading.Event)
    dropped: threading.Event = field(default_factory=threading.Event)


@pytest.fixture(scope="module")
def upstream_of_module():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.upstream = Upstream(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.upstream
    server.shutdown()
    server.server_close()


@pytest.fixture
def upstream(upstream_of_module):
    """The module's upstream, as if nothing had been asked of it yet."""
    upstream_of_module.keys.clear()
    upstream_of_module.held.clear()
    upstream_of_module.arrived.clear()
    upstream_of_module.dropped.clear()
    return upstream_of_module


@pytest.fixture(scope="module")
def environ(upstream_of_module):
    """The environment of a child: nothing of ours but the API's address."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("MILLIMETRIC_")
    }
    return inherited | {"MILLIMETRIC_HOST": upstream_of_module.url}


@dataclass
class Child:
    """A server process; ``stderr`` grows as it writes."""

    process: subprocess.Popen
    url: str
    stderr: list[str]
    grown: threading.Condition

    async def wait_for_line(self, *, after: int) -> str:
        """The first line that it writes after so many."""

        def wait() -> str:
            with self.grown:
                assert self.grown.wait_for(lambda: len(self.stderr) > after, DEADLINE_S)
                return self.stderr[after]

        return await asyncio.to_thread(wait)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_S)


def find_url(lines: list[str]) -> str:
    """The first URL in what a server wrote, or nothing."""
    found = re.search(r"http://\S+:\d+", "".join(lines))
    return found[0] if found else ""


@pytest.fixture(scope="module")
def run_server(environ):
    """Starts a server that writes its URL; it lives as long as the module's tests."""
    children: list[Child] = []

    def start(*command: str, **variables: str) -> Child:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=environ | variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        stderr: list[str] = []
        grown = threading.Condition()

        def drain() -> None:
            for line in process.stderr:
                with grown:
                    stderr.append(line)
                    grown.notify_all()

        threading.Thread(target=drain, daemon=True).start()
        with grown:
            assert grown.wait_for(lambda: find_url(stderr), DEADLINE_S), stderr
        children.append(Child(process, find_url(stderr), stderr, grown))
        return children[-1]

    yield start
    for child in children:
        assert child.stop() == 0
        child.process.stderr.close()


@pytest.fixture(scope="module")
def serve(run_server):
    """Starts ``millimetric-mcp serve`` on a free port."""

    def start(*args: str, **variables: str) -> Child:
        return run_server("-m", "millimetric_mcp", "serve", "--port", "0", *args, **variables)

    return start


@pytest.fixture
def refuse(environ):
    """Starts a server that must not start: its exit code and what it says."""

    def start(*args: str, **variables: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "millimetric_mcp", "serve", *args],
            env=environ | variables,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return ended.returncode, ended.stderr

    return start


@asynccontextmanager
async def connect_http(url: str, headers=None, mode="auto"):
    async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@asynccontextmanager
async def connect_sse(url: str, headers=None, mode="auto"):
    async with Client(sse_client(f"{url}/sse", headers=headers), mode=mode) as client:
        yield client


WAYS = {
    "http": (connect_http, "auto"),
    "http, handshake": (connect_http, "legacy"),
    "sse": (connect_sse, "auto"),
    "sse, handshake": (connect_sse, "legacy"),
}


@pytest.fixture(params=WAYS)
def dial(request):
    """Opens a client in each way the HTTP transports can be reached, in both protocol eras."""
    open_client, mode = WAYS[request.param]
    return lambda url, headers=None: open_client(url, headers, mode)


@pytest.fixture
def initialize():
    """Sends a bare ``initialize`` to ``/mcp`` and returns the HTTP response."""

    async def post(url: str, headers=None) -> httpx.Response:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        }
        accept = {"Accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
            return await http.post(f"{url}/mcp", json=message, headers=accept | (headers or {}))

    return post
