"""Connections of the real server, in this process: heads of requests are bounded."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import uvicorn

from millimetric_mcp.api.connections import MAX_HEAD_BYTES, BoundedHttp

TIMEOUT_S = 10
REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def app(scope, receive, send) -> None:
    """Answers with how many bytes the body had."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"%d\n" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=BoundedHttp, lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


async def talk(port: int, *packets: bytes, until: bytes) -> bytes:
    """What is answered up to and with ``until``; each packet is one read of the server's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.02)
        return await asyncio.wait_for(reader.readuntil(until), TIMEOUT_S)
    finally:
        writer.close()


async def test_a_head_longer_than_the_limit_is_refused_before_it_ends(port, capsys):
    part = b"x" * 16_384

    answer = await talk(
        port, REQUEST + b"X: ", *[part] * (MAX_HEAD_BYTES // len(part) + 1), until=b"}}"
    )

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "invalid_payload"
    [line] = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["path"], json.loads(line)["status"]) == ("(unknown)", 400)


async def test_a_long_head_within_the_limit_is_served(port):
    part = b"x" * 16_384

    answer = await talk(
        port, REQUEST + b"X: ", part, part, b"\r\n", b"Content-Length: 0\r\n\r\n", until=b"0\n"
    )

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_is_not_counted_nor_the_head_of_the_request_before(port):
    body = b"x" * (3 * MAX_HEAD_BYTES)
    whole = REQUEST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = REQUEST + b"Content-Length: 7\r\n\r\nthe end"

    answer = await talk(port, whole, whole + last[:9], last[9:], until=b"7\n")

    assert answer.count(b"HTTP/1.1 200 ") == 3
