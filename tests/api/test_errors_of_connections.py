"""Connections that break during a request, and other protocols: on the ASGI level."""

import json
from typing import Any

import pytest

EVENT = b'{"event":"x"}'


def make_scope(api, **fields: Any) -> dict[str, Any]:
    key = api.keys["sk"].encode()
    headers = [(b"authorization", b"Bearer " + key), (b"content-type", b"application/json")]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/track",
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.1", 1),
    } | fields


def receiving(*messages: dict[str, Any]):
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


async def test_a_connection_that_closes_during_a_body_gets_no_response_and_a_line(quick_api):
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await quick_api.app(
        make_scope(quick_api),
        receiving(
            {"type": "http.request", "body": EVENT[:5], "more_body": True},
            {"type": "http.disconnect"},
        ),
        send,
    )

    [line] = [json.loads(line) for line in quick_api.log]
    assert (line["status"], line["project"], "error" in line) == (499, "default", False)
    assert (sent, quick_api.store.events) == ([], [])


async def test_a_response_that_fails_is_not_sent_twice(quick_api):
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            raise OSError("the connection broke")

    await quick_api.app(
        make_scope(quick_api), receiving({"type": "http.request", "body": EVENT}), send
    )

    [line] = [json.loads(line) for line in quick_api.log]
    assert sent == ["http.response.start", "http.response.body"]
    assert (line["status"], line["error"].partition(" ")[0]) == (202, "OSError")


async def test_a_websocket_is_closed_without_a_line(quick_api):
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    scope = make_scope(quick_api, type="websocket", subprotocols=[])
    await quick_api.app(scope, receiving({"type": "websocket.connect"}), send)

    assert sent == ["websocket.close"]
    assert quick_api.log == []


async def test_an_error_outside_a_request_reaches_the_server(quick_api):
    async def send(message: dict[str, Any]) -> None:
        raise OSError("the connection broke")

    scope = make_scope(quick_api, type="websocket", subprotocols=[])
    with pytest.raises(OSError, match="the connection broke"):
        await quick_api.app(scope, receiving({"type": "websocket.connect"}), send)
