"""Generated events as requests, and sending them through POST /v1/batch."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from millimetric_mcp.contract.endpoints import BATCH
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.demo.generator import GeneratedEvent
from millimetric_mcp.demo.shop import Device
from millimetric_mcp.errors import DemoFailed

CONNECTIONS = 4
TIMEOUT_S = 30.0

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one POST /v1/batch as JSON texts, and the device that sends them."""

    device: Device
    events: list[str]

    @property
    def body(self) -> bytes:
        return f'{{"events":[{",".join(self.events)}]}}'.encode()


def cut_batches(
    events: Iterable[GeneratedEvent], *, size: int = MAX_BATCH_EVENTS
) -> Iterator[Batch]:
    """Yield all events in batches of at most ``size``.

    A request has one User-Agent, so the events of a batch come from one device.
    """
    waiting: dict[Device, list[str]] = defaultdict(list)
    for event in events:
        waiting[event.device].append(write_event(event))
        if len(waiting[event.device]) == size:
            yield Batch(event.device, waiting.pop(event.device))
    for device, texts in waiting.items():
        yield Batch(device, texts)


def write_event(event: GeneratedEvent) -> str:
    """Return the event as the JSON body of POST /v1/track."""
    fields = {
        "event": event.event,
        "event_id": event.event_id,
        "timestamp": write_time(event.timestamp_ms),
        "anonymous_id": event.anonymous_id,
        "user_id": event.user_id,
        "url": event.url,
        "referrer": event.referrer,
    }
    present = {name: value for name, value in fields.items() if value}
    return f'{_encode(present)[:-1]},"properties":{event.properties}}}'


def write_time(timestamp_ms: int) -> str:
    """Return milliseconds since 1970 UTC in the API's form."""
    return format_timestamp(datetime.fromtimestamp(timestamp_ms / 1000, UTC))


async def send_batches(
    batches: Iterable[Batch],
    *,
    url: str,
    key: str,
    on_sent: Callable[[int], None],
    transport: httpx.AsyncBaseTransport | None = None,
) -> None:
    """Send every batch once, over a few connections; ``on_sent`` gets its number of events.

    Raises:
        DemoFailed: the API did not accept a batch, or the connection failed.
    """
    waiting = iter(batches)

    async def send_waiting(client: httpx.AsyncClient) -> None:
        for batch in waiting:
            await _send(client, batch)
            on_sent(len(batch.events))

    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False
    ) as client:
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(CONNECTIONS):
                    workers.create_task(send_waiting(client))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None


async def _send(client: httpx.AsyncClient, batch: Batch) -> None:
    # A batch is not sent again: it may be stored already, and then its events count twice.
    headers = {"User-Agent": batch.device.user_agent}
    try:
        response = await client.post(BATCH.path, content=batch.body, headers=headers)
    except httpx.TransportError as error:
        raise DemoFailed(f"sending a batch failed: {type(error).__name__}") from None
    if response.status_code != BATCH.status:
        raise DemoFailed(f"the API answered a batch with status {response.status_code}")
