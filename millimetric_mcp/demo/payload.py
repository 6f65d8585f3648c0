"""Generated events as the requests that carry them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from millimetric_mcp.contract.events import MAX_BATCH_EVENTS
from millimetric_mcp.demo.devices import Device
from millimetric_mcp.demo.generator import GeneratedEvent

DAY_MS = 86_400_000

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of one POST /v1/batch and the device whose User-Agent goes with it."""

    device: Device
    count: int
    body: bytes


def cut_batches(
    events: Iterable[GeneratedEvent], *, size: int = MAX_BATCH_EVENTS
) -> Iterator[Batch]:
    """Every event once, at most ``size`` to a batch, one device each.

    A request has one User-Agent, so a server that relays its visitors' events sends those of
    one kind of device together. Memory is bounded by ``size`` events a device.
    """
    waiting: dict[Device, list[str]] = {}
    for event in events:
        texts = waiting.setdefault(event.device, [])
        texts.append(write_event(event))
        if len(texts) == size:
            yield _close(event.device, texts)
            texts.clear()
    for device, texts in waiting.items():
        if texts:
            yield _close(device, texts)


def _close(device: Device, texts: list[str]) -> Batch:
    return Batch(device, len(texts), f'{{"events":[{",".join(texts)}]}}'.encode())


def write_event(event: GeneratedEvent) -> str:
    """The event as the JSON text of POST /v1/track: what the shop knows, never a source."""
    fields = {
        "event": event.event,
        "event_id": event.event_id,
        "timestamp": write_time(event.timestamp_ms),
        "anonymous_id": event.anonymous_id,
        "user_id": event.user_id,
        "url": event.url,
        "referrer": event.referrer,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return f'{_encode(present)[:-1]},"properties":{event.properties}}}'


def write_time(timestamp_ms: int) -> str:
    """The contract's form of a time in milliseconds since 1970 UTC."""
    day, rest_ms = divmod(timestamp_ms, DAY_MS)
    rest_s, ms = divmod(rest_ms, 1000)
    rest_min, second = divmod(rest_s, 60)
    hour, minute = divmod(rest_min, 60)
    return f"{write_day(day)}T{hour:02d}:{minute:02d}:{second:02d}.{ms:03d}Z"


@lru_cache(maxsize=1024)
def write_day(days_since_1970: int) -> str:
    """The date in ISO form."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days_since_1970):%Y-%m-%d}"
