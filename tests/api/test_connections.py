"""Connections of the real server, in this process: what their limits refuse and allow."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn

from millimetric_mcp.web.connections import MAX_HEAD_BYTES, LimitedHttp
from millimetric_mcp.web.serve import configure

TIMEOUT_S = 10
PART = b"x" * 16_384
LARGE_BYTES = 64 * 1024 * 1024
REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\n"
EMPTY = REQUEST + b"Content-Length: 0\r\n\r\n"
CHUNKED = REQUEST + b"Transfer-Encoding: chunked\r\n\r\n"


class ImpatientHttp(LimitedHttp):
    """Waits a tenth of a second for the rest of a request."""

    max_wait_s = 0.1


async def app(scope, receive, send) -> None:
    """Answers with the size of the body and the names of the headers, or much at ``/large``."""
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(LARGE_BYTES)})
        return
    size_bytes, message = 0, {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        size_bytes += len(message.get("body", b""))
    names = sorted(name.decode() for name, _ in scope["headers"])
    body = json.dumps({"bytes": size_bytes, "headers": names}).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(http: type[LimitedHttp], *, max_connections: int = 100) -> AsyncIterator[int]:
    config = configure(app)
    config.http, config.lifespan, config.port = http, "off", 0
    config.limit_concurrency = max_connections
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(LimitedHttp) as port:
        yield port


@pytest.fixture
async def impatient_port() -> AsyncIterator[int]:
    async with serving(ImpatientHttp) as port:
        yield port


async def talk(port: int, *packets: bytes, until: bytes | None = b"}") -> bytes:
    """Returns the answer up to ``until``, or to the end; each packet is one read of the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.02)
        reading = reader.read() if until is None else reader.readuntil(until)
        return await asyncio.wait_for(reading, TIMEOUT_S)
    finally:
        writer.close()


def read_body(answer: bytes) -> dict:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def test_a_head_longer_than_the_limit_is_refused_before_it_ends(port):
    packets = [PART] * (MAX_HEAD_BYTES // len(PART) + 1)

    answer = await talk(port, REQUEST + b"X: ", *packets, until=None)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'\r\n\r\n{"error": "invalid_payload"}')


async def test_a_response_that_is_not_read_is_given_up(impatient_port):
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient_port)
    writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1)  # nothing is read: the buffers of both ends are full

    try:
        rest = await asyncio.wait_for(reader.read(), TIMEOUT_S)
    except ConnectionResetError:
        rest = b""

    writer.close()
    assert len(rest) < LARGE_BYTES


async def test_a_large_response_that_is_read_slowly_is_complete(impatient_port):
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient_port)
    writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    size_bytes = 0
    while part := await asyncio.wait_for(reader.read(1024 * 1024), TIMEOUT_S):
        size_bytes += len(part)
        await asyncio.sleep(0.001)

    writer.close()
    assert size_bytes > LARGE_BYTES


async def test_a_long_head_is_served_within_the_limit(port):
    answer = await talk(port, REQUEST + b"X: ", PART, PART, b"\r\n", b"Content-Length: 0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_bodies_don_t_count_as_a_head(port):
    body = b"x" * (3 * MAX_HEAD_BYTES)
    whole = REQUEST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = REQUEST + b"Content-Length: 7\r\n\r\nthe end"

    answer = await talk(port, whole, whole + last[:9], last[9:], until=b'"bytes": 7')

    assert answer.count(b"HTTP/1.1 200 ") == 3


async def test_trailers_are_ignored(port):
    answer = await talk(port, CHUNKED, b"3\r\nend\r\n0\r\n", b"Origin: https://a.test\r\n\r\n")

    assert read_body(answer) == {"bytes": 3, "headers": ["host", "transfer-encoding"]}


async def test_trailers_without_end_are_refused(port):
    answer = await talk(port, CHUNKED + b"3\r\nend\r\n0\r\nX: ", *[PART] * 6, until=None)

    assert b"HTTP/1.1 200 " not in answer


async def test_a_request_to_upgrade_keeps_its_body(port):
    head = REQUEST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 7\r\n\r\n"

    answer = await talk(port, head + b"the", b" end")

    assert read_body(answer) == {"bytes": 7, "headers": ["connection", "content-length", "host"]}


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param([b"GARBAGE\r\n\r\n"], id="no-http"),
        pytest.param([b"GET / HT", b"TX/1.1\r\n\r\n"], id="in-two-reads"),
        pytest.param([b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"], id="proxy"),
        pytest.param([b"GET /" + b"x" * 66_000 + b" HTTP/1.1\r\n\r\n"], id="long-address"),
        pytest.param([CHUNKED, b"zz\r\n"], id="broken-chunk"),
    ],
)
async def test_a_malformed_request_gets_400_and_one_line_without_its_text(port, caplog, packets):
    caplog.set_level(logging.INFO, "millimetric_mcp")

    answer = await talk(port, *packets, until=None)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'\r\n\r\n{"error": "invalid_payload"}')
    assert b"connection: close\r\n" in answer
    assert caplog.messages == ["a malformed HTTP request was refused"]


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"GET /hea"], id="half-a-head"),
        pytest.param([REQUEST + b"Content-Length: 7\r\n\r\nthe"], id="half-a-body"),
        pytest.param([EMPTY, b"GET /"], id="half-a-second-head"),
        pytest.param([EMPTY, b"\r\n"], id="a-line-feed-after-a-request"),
    ],
)
async def test_an_unfinished_request_is_closed_after_the_wait(impatient_port, packets):
    answer = await asyncio.wait_for(talk(impatient_port, *packets, until=None), 2)

    assert answer.count(b"HTTP/1.1 ") == packets.count(EMPTY)


async def test_a_kept_alive_connection_stays_open_beyond_the_wait(impatient_port):
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient_port)
    for _ in range(2):
        writer.write(EMPTY)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.5)
    writer.close()


async def test_a_new_connection_is_served_while_idle_ones_take_every_place():
    async with serving(LimitedHttp, max_connections=5) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        answer = await talk(port, EMPTY)

        assert answer.startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.1)
        assert sum(reader.at_eof() for reader, _ in idle) >= 15
        for _, writer in idle:
            writer.close()


async def send_at_once(port: int) -> bytes:
    """The status of a request that has arrived before the server accepts its connection."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(EMPTY)
        client.setblocking(False)
        return (await asyncio.get_running_loop().sock_recv(client, 100))[9:12]


def test_requests_that_arrive_with_their_connections_are_served_beside_idle_ones():
    async def send_beside_idle_ones() -> list[bytes]:
        async with serving(LimitedHttp, max_connections=5) as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            statuses = []
            for _ in range(6):
                statuses.append(await send_at_once(port))
                idle.append(await asyncio.open_connection("127.0.0.1", port))
            for _, writer in idle:
                writer.close()
            return statuses

    with asyncio.Runner(loop_factory=configure(app).get_loop_factory()) as runner:
        assert runner.run(send_beside_idle_ones()) == [b"200"] * 6
