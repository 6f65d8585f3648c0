"""Connections of the real server, in this process: heads of requests are bounded."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from millimetric_mcp.web.connections import MAX_HEAD_BYTES, BoundedHttp

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


async def early_app(scope, receive, send) -> None:
    """Answers before the body."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=BoundedHttp, lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(app) as port:
        yield port


@pytest.fixture
async def early_port() -> AsyncIterator[int]:
    async with serving(early_app) as port:
        yield port


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


async def talk_to_the_end(port: int, *packets: bytes) -> bytes:
    """Everything that is answered until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.02)
        return await asyncio.wait_for(reader.read(), TIMEOUT_S)
    finally:
        writer.close()


REFUSED = {
    "no http": ([b"GARBAGE\r\n\r\n"], b"400", b"The request is not valid HTTP/1.1."),
    "in two reads": ([b"GET / HT", b"TX/1.1\r\n\r\n"], b"400", b"The request is not valid"),
    "another version": ([b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"], b"400", b"HTTP/1.0 or HTTP/1.1"),
    "no host": ([b"GET / HTTP/1.1\r\n\r\n"], b"400", b"one Host header"),
    "a proxy's request": ([b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"], b"400", b"no proxy"),
    "a long address": ([b"GET /" + b"x" * 66_000 + b" HTTP/1.1\r\n\r\n"], b"400", b"64 KiB"),
    "a long length": ([REQUEST + b"Content-Length: " + b"9" * 20], b"413", b"payload_too_large"),
    "unknown method": ([b"FOO /v1/track HTTP/1.1\r\n\r\n"], b"405", b"method_not_allowed"),
    "unknown method elsewhere": ([b"FOO /x HTTP/1.1\r\n\r\n"], b"404", b"not_found"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_request_is_refused_with_a_line_in_the_log(port, capsys, name):
    packets, status, text = REFUSED[name]

    answer = await talk_to_the_end(port, *packets)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"content-type: application/json\r\n" in answer
    assert text in answer
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["status"] == int(status)


async def test_a_refusal_waits_for_the_answers_before_it(port):
    whole = REQUEST + b"Content-Length: 7\r\n\r\nthe end"

    answer = await talk_to_the_end(port, whole + whole + b"FOO / HTTP/1.1\r\n\r\n", b"more")

    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"400"]


async def test_a_request_to_upgrade_keeps_its_body(port):
    head = REQUEST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 7\r\n\r\n"

    answer = await talk(port, head + b"the", b" end", until=b"7\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


CHUNKS = REQUEST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param([CHUNKS + b"7\r\nthe end\r\nzz\r\n"], id="chunk"),
        pytest.param(
            [CHUNKS + b"7\r\nthe end\r\n0\r\n", *[b"X: " + b"x" * 30_000] * 3], id="trailer"
        ),
    ],
)
async def test_a_body_that_breaks_off_is_spoilt_and_its_connection_closed(port, packets):
    answer = await talk_to_the_end(port, *packets)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n8\n")  # a byte more than the body had


async def test_a_body_that_breaks_off_behind_its_answer_ends_the_connection(early_port):
    answer = await talk_to_the_end(early_port, CHUNKS, b"zz\r\n", b"more")

    assert answer.count(b"HTTP/1.1 200 ") == 1
