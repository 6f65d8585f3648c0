"""The listening socket: IPv6 and IPv4 with ``--host ::``, and each client's own address."""

import socket
import subprocess
import sys

import httpx
import pytest

from millimetric_mcp.web.serve import listen, write_url

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio, json
from millimetric_mcp.web.serve import configure, listen, serve, write_url

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    body = json.dumps(scope["client"][0]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

config = configure(app, trusted_proxies=["127.0.0.1/32"])
listener = listen("::", 0)
asyncio.run(serve(config, listener, on_ready=lambda: print(listener.getsockname()[1], flush=True)))
"""


@pytest.fixture
def port():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as server:
        yield int(server.stdout.readline())
        server.terminate()


def test_every_address_is_listened_on_and_an_ipv4_client_has_its_ipv4_address(port):
    forwarded = {"X-Forwarded-For": "81.2.69.160"}
    over_ipv6 = httpx.get(f"http://[::1]:{port}/", headers=forwarded)
    over_ipv4 = httpx.get(f"http://127.0.0.1:{port}/")
    by_a_proxy = httpx.get(f"http://127.0.0.1:{port}/", headers=forwarded)
    assert (over_ipv6.json(), over_ipv4.json()) == ("::1", "127.0.0.1")
    assert by_a_proxy.json() == "81.2.69.160"


FORWARDED = {
    "81.2.69.160:51234": "81.2.69.160",
    "[2a02:8108::1]:443": "2a02:8108::1",
    "[2a02:8108::1]": "2a02:8108::1",
    "unknown, 81.2.69.160": "81.2.69.160",
    "8.8.8.8, 81.2.69.160": "81.2.69.160",
    "8.8.8.8, 81.2.69.160, 127.0.0.1": "81.2.69.160",
}


def test_the_address_that_a_proxy_names_is_read_in_every_form(port):
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        found = {
            value: client.get("/", headers={"X-Forwarded-For": value}).json() for value in FORWARDED
        }
    assert found == FORWARDED


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements():
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_loopback_address_of_ipv6_is_listened_on_alone():
    with listen("::1", 0) as listener:
        assert write_url(listener).startswith("http://[::1]:")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
