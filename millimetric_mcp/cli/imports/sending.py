"""Sends a file's events in numbered parts, which the API stores once."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from millimetric_mcp.cli.imports.records import Event, Item, LeftOut, Rejected
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import MAX_BODY_BYTES
from millimetric_mcp.contract.imports import MAX_IMPORT_EVENTS, ImportedEvent
from millimetric_mcp.contract.json_text import has_too_many_values
from millimetric_mcp.contract.validation import MAX_CLOCK_SKEW, list_field_errors, parse_timestamp
from millimetric_mcp.errors import ApiError, CallError, ImportFailed, NextStep, UncertainWrite

PART_EVENTS = MAX_IMPORT_EVENTS
PARALLEL_REQUESTS = 2
MAX_PART_BYTES = MAX_BODY_BYTES - 1024
"""Of the events; the rest of the body is shorter than 1 kB."""
HEAD_VALUES = 3
"""JSON values of the rest of the body."""
TOO_DEEP = "properties: nest too many objects and lists"
TOO_LARGE = "is larger than a request to the API"
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
) -> Iterator[list[Item]]:
    """Yield what was read as events in lists of ``size``, the last one shorter; count the rest."""
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
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def check_part(
    items: Sequence[Item], counts: ImportCounts, on_rejected: OnRejected
) -> Sequence[Item]:
    """Return the items that the API accepts; report the others."""
    wrong: dict[int, str] = {}
    try:
        events = _EVENTS.validate_python([item.found for item in items])
    except ValidationError as error:
        for found in list_field_errors(error):
            place, _, name = found.field.removeprefix("[").partition("]")
            wrong.setdefault(int(place), f"{name.removeprefix('.')}: {found.message}")
        return check_part(_reject(items, wrong, counts, on_rejected), counts, on_rejected)
    latest = datetime.now(UTC) + MAX_CLOCK_SKEW - timedelta(minutes=1)
    for index, event in enumerate(events):
        if event.timestamp > latest or event.timestamp.year < 1970:
            wrong[index] = "timestamp: must be between 1970 and 24 hours from now"
    if not _is_readable(items):
        wrong |= {index: TOO_DEEP for index, item in enumerate(items) if not _is_readable([item])}
    return _reject(items, wrong, counts, on_rejected)


def _is_readable(items: Sequence[Item]) -> bool:
    """Return whether a parser reads the events in a body, where they nest deeper."""
    try:
        from_json(b'{"events":' + _write_events(items) + b"}")
    except ValueError:
        return False
    return True


def _reject(
    items: Sequence[Item], wrong: Mapping[int, str], counts: ImportCounts, on_rejected: OnRejected
) -> Sequence[Item]:
    """Report the items that are wrong, by index, and return the others."""
    for index, reason in wrong.items():
        counts.rejected += 1
        on_rejected(items[index]._replace(found=Rejected(reason)))
    return [item for index, item in enumerate(items) if index not in wrong]


def count_events(items: Sequence[Item], counts: ImportCounts) -> list[Event]:
    """Return the events of items that the API accepts, counted."""
    events: list[Any] = [item.found for item in items]
    times = [parse_timestamp(event["timestamp"]) for event in events]
    if times:
        counts.first = min(counts.first or times[0], *times)
        counts.last = max(counts.last or times[0], *times)
    counts.events += len(events)
    return events


class Sender:
    """Sends the parts of one file that are not ``done``, each with its number.

    The API checks the events. Only in a part that it refuses the wrong ones are looked for here,
    which takes as long as reading them.
    """

    def __init__(
        self,
        client: MillimetricClient,
        import_id: str,
        *,
        done: frozenset[int],
        counts: ImportCounts,
        on_rejected: OnRejected,
    ) -> None:
        self._client = client
        self._import_id = import_id
        self._done = done
        self._counts = counts
        self._on_rejected = on_rejected

    async def send(self, parts: Iterable[Sequence[Item]], on_part: Callable[[], object]) -> None:
        """Send parts, a few at a time.

        Raises:
            CallError: a part could not be sent.
            ImportFailed: the file can't be read, or the API refuses a part that is valid here.
        """
        waiting = enumerate(self._write_parts(parts))

        async def send_waiting() -> None:
            for chunk, (items, text) in waiting:
                if chunk in self._done:
                    self._counts.repeated += len(count_events(self._check(items), self._counts))
                else:
                    await self._send_valid(chunk, items, text)
                on_part()

        failed: Exception | None = None
        try:
            async with asyncio.TaskGroup() as senders:
                for _ in range(PARALLEL_REQUESTS):
                    senders.create_task(send_waiting())
        except ExceptionGroup as group:
            failed = group.exceptions[0]
        if failed is not None:
            raise failed  # raised above, it would have the group that holds it as its context

    def _write_parts(
        self, parts: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[Sequence[Item], bytes]]:
        """Yield each part, and its events as JSON; large parts are halved.

        An event that is too large alone is rejected.
        """
        for items in parts:
            text = _write_events(items)
            if _fits_request(text):
                yield items, text
            elif len(items) == 1:
                _reject(items, {0: TOO_LARGE}, self._counts, self._on_rejected)
            else:
                middle = len(items) // 2
                yield from self._write_parts([items[:middle], items[middle:]])

    def _check(self, items: Sequence[Item]) -> Sequence[Item]:
        return check_part(items, self._counts, self._on_rejected)

    async def _send_valid(self, chunk: int, items: Sequence[Item], text: bytes) -> None:
        try:
            await self._send(chunk, text)
        except ApiError as error:
            if error.code is not ErrorCode.INVALID_PAYLOAD:
                raise
            valid = self._check(items)
            if len(valid) == len(items):
                raise ImportFailed(
                    f"The API refuses a part from record {items[0].place} to {items[-1].place}, in "
                    "which this command finds nothing wrong. Use an API of the same version, and "
                    "check the clocks of both machines."
                ) from None
            items = valid
            if items:
                await self._send(chunk, _write_events(items))
        count_events(items, self._counts)

    async def _send(self, chunk: int, text: bytes) -> None:
        start = to_json({"import_id": self._import_id, "chunk": chunk}).removesuffix(b"}")
        body = start + b',"events":' + text + b"}"
        deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                result = await self._client.import_part(body)
            except CallError as error:
                # The API stores a part once, so a part without an answer may be sent again.
                may_repeat = isinstance(error, UncertainWrite) or error.next_step is NextStep.WAIT
                if not may_repeat or asyncio.get_running_loop().time() > deadline_s:
                    raise
                await asyncio.sleep(error.retry_after_s or PAUSE_S)
                continue
            if result.duplicate:
                self._counts.repeated += result.count
            else:
                self._counts.stored += result.count
            return


def _fits_request(text: bytes) -> bool:
    return len(text) <= MAX_PART_BYTES and not has_too_many_values(text, besides=HEAD_VALUES)


def _write_events(items: Sequence[Item]) -> bytes:
    return to_json([item.found for item in items])
