"""Generated events as batches, and sending them."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from millimetric_mcp.contract.events import MAX_BATCH_EVENTS, BatchRequest
from millimetric_mcp.demo.batches import (
    CONNECTIONS,
    Batch,
    cut_batches,
    send_batches,
    write_event,
    write_time,
)
from millimetric_mcp.demo.generator import generate
from millimetric_mcp.errors import DemoFailed

END = datetime(2026, 5, 16, 14, 37, tzinfo=UTC)
KEY = "sk_test_AbCd1234_" + "s" * 40


def make_batches(count: int, size: int = 10) -> list[Batch]:
    return list(cut_batches(generate(seed=1, end=END, events=count), size=size))


def accept(request: httpx.Request) -> httpx.Response:
    count = len(json.loads(request.content)["events"])
    return httpx.Response(202, json={"ok": True, "count": count})


async def send(batches: list[Batch] | Iterator[Batch], transport: httpx.AsyncBaseTransport) -> int:
    sent: list[int] = []
    async with asyncio.timeout(20):
        await send_batches(
            batches, url="http://api.test", key=KEY, on_sent=sent.append, transport=transport
        )
    return sum(sent)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_hold_every_event_once_with_its_device(size: int) -> None:
    events = list(generate(seed=7, end=END, events=3_000))
    found: Counter[tuple[str, str]] = Counter()
    for batch in cut_batches(events, size=size):
        sent = json.loads(batch.body)["events"]
        assert 1 <= len(sent) == len(batch.events) <= size
        texts = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in sent]
        found.update((batch.device.user_agent, text) for text in texts)
    assert found == Counter((event.device.user_agent, write_event(event)) for event in events)


def test_batches_are_valid_requests() -> None:
    for batch in cut_batches(generate(seed=7, end=END, events=4_000)):
        request = BatchRequest.model_validate_json(batch.body)
        assert len(request.events) == len(batch.events) <= MAX_BATCH_EVENTS


def test_batches_are_none_without_events() -> None:
    assert list(cut_batches([])) == []


@pytest.mark.parametrize(
    ("timestamp_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_778_958_000_007, "2026-05-16T19:00:00.007Z"),
    ],
)
def test_times_are_written_to_the_millisecond(timestamp_ms: int, text: str) -> None:
    assert write_time(timestamp_ms) == text


async def test_sending_posts_every_batch_once_with_key_and_user_agent() -> None:
    batches, requests = make_batches(500), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return accept(request)

    assert await send(batches, httpx.MockTransport(handle)) == 500
    assert sorted((request.headers["User-Agent"], request.content) for request in requests) == (
        sorted((batch.device.user_agent, batch.body) for batch in batches)
    )
    assert {request.url.path for request in requests} == {"/v1/batch"}
    assert {request.headers["Authorization"] for request in requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("status", [200, 401, 500, 503])
async def test_sending_fails_without_retry_when_a_batch_is_not_accepted(status: int) -> None:
    requests = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return httpx.Response(status, text="secret")

    with pytest.raises(DemoFailed, match=f"with status {status}$"):
        await send(make_batches(200)[:1], httpx.MockTransport(handle))
    assert requests == 1


async def test_sending_fails_without_retry_when_the_connection_breaks() -> None:
    requests = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        raise httpx.ReadError("gone", request=request)

    with pytest.raises(DemoFailed, match="ReadError"):
        await send(make_batches(10)[:1], httpx.MockTransport(handle))
    assert requests == 1


async def test_sending_creates_a_batch_only_when_a_connection_is_free() -> None:
    created, answered = 0, 0

    def create() -> Iterator[Batch]:
        nonlocal created
        for batch in make_batches(800):
            created += 1
            assert created - answered <= CONNECTIONS
            yield batch

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal answered
        await asyncio.sleep(0)
        answered += 1
        return accept(request)

    assert await send(create(), httpx.MockTransport(handle)) == 800
    assert created > 3 * CONNECTIONS
