"""Batches on their way: few at a time, at the API's pace, each once."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from millimetric_mcp.demo.generator import generate
from millimetric_mcp.demo.payload import Batch, cut_batches
from millimetric_mcp.demo.sender import CONNECTIONS, MAX_ATTEMPTS, send_batches
from millimetric_mcp.errors import DemoFailed

END = datetime(2026, 5, 16, tzinfo=UTC)
KEY = "sk_test_AbCd1234_" + "s" * 40

Handler = Callable[[httpx.Request], httpx.Response]


def _batches(count: int, size: int = 10) -> list[Batch]:
    return list(cut_batches(generate(seed=1, end=END, events=count), size=size))


def _accept(request: httpx.Request) -> httpx.Response:
    count = len(json.loads(request.content)["events"])
    return httpx.Response(202, json={"ok": True, "count": count})


async def _send(batches: list[Batch] | Iterator[Batch], transport: httpx.AsyncBaseTransport) -> int:
    sent: list[int] = []
    await asyncio.wait_for(
        send_batches(
            batches, url="http://api.test", key=KEY, on_sent=sent.append, transport=transport
        ),
        timeout=20,
    )
    return sum(sent)


async def test_every_batch_arrives_once_with_its_key_and_its_devices_user_agent() -> None:
    batches, requests = _batches(500), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return _accept(request)

    assert await _send(batches, httpx.MockTransport(handle)) == 500
    assert sorted((request.headers["User-Agent"], request.content) for request in requests) == (
        sorted((batch.device.user_agent, batch.body) for batch in batches)
    )
    assert {request.url.path for request in requests} == {"/v1/batch"}
    assert {request.headers["Authorization"] for request in requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_api_is_asked_again_after_the_time_it_names(status: int) -> None:
    loop, refused = asyncio.get_running_loop(), dict[bytes, float]()

    def handle(request: httpx.Request) -> httpx.Response:
        if request.content not in refused:
            refused[request.content] = loop.time()
            return httpx.Response(status, headers={"Retry-After": "0.2"}, json={"error": "x"})
        assert loop.time() - refused[request.content] >= 0.2
        return _accept(request)

    batches = _batches(60)
    assert await _send(batches, httpx.MockTransport(handle)) == 60
    assert len(refused) == len(batches)


async def test_an_api_that_stays_busy_is_given_up() -> None:
    asked = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(503, headers={"Retry-After": "0"})

    with pytest.raises(DemoFailed, match="still busy"):
        await _send(_batches(10)[:1], httpx.MockTransport(handle))
    assert asked == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(401, json={"error": "invalid_api_key"}), "401 invalid_api_key"),
        (httpx.Response(500, text="Traceback: secret"), "with 500$"),
        (httpx.Response(500, json={"error": "made up: secret"}), "with 500$"),
        (httpx.Response(202, json={"ok": True, "count": 1}), "with 202$"),
        (httpx.Response(202, text="<html>login</html>"), "with 202$"),
        (httpx.Response(202, json=["secret"]), "with 202$"),
    ],
    ids=["refused", "not-json", "unknown-code", "wrong-count", "html", "list"],
)
async def test_any_other_answer_ends_the_sending_and_its_text_is_not_repeated(
    response: httpx.Response, said: str
) -> None:
    asked = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(response.status_code, content=response.content)

    with pytest.raises(DemoFailed, match=said) as caught:
        await _send(_batches(200)[:1], httpx.MockTransport(handle))
    assert "secret" not in str(caught.value)
    assert asked == 1


async def test_a_broken_connection_is_not_tried_again_as_the_events_may_be_stored() -> None:
    asked = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise httpx.ReadError("gone", request=request)

    with pytest.raises(DemoFailed, match="ReadError"):
        await _send(_batches(10)[:1], httpx.MockTransport(handle))
    assert asked == 1


async def test_batches_are_made_only_as_connections_become_free() -> None:
    made, answered = 0, 0

    def make() -> Iterator[Batch]:
        nonlocal made
        for batch in _batches(800):
            made += 1
            assert made - answered <= CONNECTIONS
            yield batch

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal answered
        await asyncio.sleep(0)
        answered += 1
        return _accept(request)

    assert await _send(make(), httpx.MockTransport(handle)) == 800
    assert made > 3 * CONNECTIONS
