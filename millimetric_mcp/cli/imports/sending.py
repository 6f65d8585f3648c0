"""Sends a file's events in numbered parts, which the API stores once."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from millimetric_mcp.cli.imports.records import Event, Item, LeftOut, Rejected
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.events import MAX_BODY_BYTES
from millimetric_mcp.contract.imports import MAX_IMPORT_EVENTS, ImportedEvent
from millimetric_mcp.contract.validation import MAX_CLOCK_SKEW, list_field_errors
from millimetric_mcp.errors import CallError, NextStep, UncertainWrite

PART_EVENTS = MAX_IMPORT_EVENTS
PARALLEL_REQUESTS = 2
MAX_PART_BYTES = MAX_BODY_BYTES - 1024
"""Of the events; the rest of the body is shorter than 1 kB."""
PATIENCE_S = 240.0
"""Longer than a part that got no answer stays claimed."""
PAUSE_S = 1.0

_EVENTS = TypeAdapter(list[ImportedEvent])


@dataclass(slots=True)
class ImportCounts:
    """What became of a file's records, counted."""

    events: int = 0
    stored: int = 0
    repeated: int = 0
    rejected: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None


OnRejected = Callable[[Item], object]


def cut_parts(
    items: Iterable[Item], counts: ImportCounts, on_rejected: OnRejected, *, size: int = PART_EVENTS
) -> Iterator[list[Event]]:
    """Yield the valid events in lists of ``size``, the last one shorter; count everything else."""
    waiting: list[Item] = []
    for item in items:
        if isinstance(item.found, LeftOut):
            counts.left_out[item.found.why] = counts.left_out.get(item.found.why, 0) + 1
        elif isinstance(item.found, Rejected):
            counts.rejected += 1
            on_rejected(item)
        else:
            waiting.append(item)
            if len(waiting) == size:
                waiting = _check(waiting, counts, on_rejected)
                if len(waiting) == size:
                    yield _take(waiting, counts)
                    waiting = []
    if waiting := _check(waiting, counts, on_rejected):
        yield _take(waiting, counts)


def _check(items: list[Item], counts: ImportCounts, on_rejected: OnRejected) -> list[Item]:
    """Return the items that the API accepts."""
    wrong: dict[int, str] = {}
    try:
        events = _EVENTS.validate_python([item.found for item in items])
    except ValidationError as error:
        for found in list_field_errors(error):
            place, _, name = found.field.removeprefix("[").partition("]")
            wrong.setdefault(int(place), f"{name.removeprefix('.')}: {found.message}")
        return _check(_reject(items, wrong, counts, on_rejected), counts, on_rejected)
    latest = datetime.now(UTC) + MAX_CLOCK_SKEW - timedelta(minutes=1)
    for index, event in enumerate(events):
        if event.timestamp > latest or event.timestamp.year < 1970:
            wrong[index] = "timestamp: must be between 1970 and 24 hours from now"
    times = [event.timestamp for index, event in enumerate(events) if index not in wrong]
    if times:
        counts.first = min(counts.first or times[0], *times)
        counts.last = max(counts.last or times[0], *times)
    return _reject(items, wrong, counts, on_rejected)


def _reject(
    items: list[Item], wrong: Mapping[int, str], counts: ImportCounts, on_rejected: OnRejected
) -> list[Item]:
    """Report the items that are wrong, by index, and return the others."""
    for index, reason in wrong.items():
        counts.rejected += 1
        on_rejected(items[index]._replace(found=Rejected(reason)))
    return [item for index, item in enumerate(items) if index not in wrong]


def _take(items: list[Item], counts: ImportCounts) -> list[Event]:
    events: list[Any] = [item.found for item in items]
    counts.events += len(events)
    return events


def write_parts(parts: Iterable[list[Event]]) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each part's events, and their JSON; large parts are halved."""
    for events in parts:
        text = to_json(events)
        if len(text) <= MAX_PART_BYTES:
            yield len(events), text
        else:
            middle = len(events) // 2
            yield from write_parts([events[:middle], events[middle:]])


async def send_parts(
    client: MillimetricClient,
    import_id: str,
    parts: Iterable[list[Event]],
    *,
    done: frozenset[int],
    counts: ImportCounts,
    on_part: Callable[[], object],
) -> None:
    """Send every part that is not ``done``, a few at a time.

    Raises:
        CallError: a part could not be sent.
    """
    waiting = enumerate(write_parts(parts))

    async def send_waiting() -> None:
        for chunk, (count, events) in waiting:
            if chunk in done:
                counts.repeated += count
            else:
                start = to_json({"import_id": import_id, "chunk": chunk}).removesuffix(b"}")
                await _send(client, start + b',"events":' + events + b"}", counts)
            on_part()

    try:
        async with asyncio.TaskGroup() as senders:
            for _ in range(PARALLEL_REQUESTS):
                senders.create_task(send_waiting())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _send(client: MillimetricClient, body: bytes, counts: ImportCounts) -> None:
    deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            result = await client.import_part(body)
        except CallError as error:
            # The API stores a part once, so a part without an answer may be sent again.
            may_repeat = isinstance(error, UncertainWrite) or error.next_step is NextStep.WAIT
            if not may_repeat or asyncio.get_running_loop().time() > deadline_s:
                raise
            await asyncio.sleep(error.retry_after_s or PAUSE_S)
            continue
        if result.duplicate:
            counts.repeated += result.count
        else:
            counts.stored += result.count
        return
