"""``batch``: store many events, cut into requests the API takes at a rate it takes them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import BATCH
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS, MAX_BODY_BYTES, TrackEvent
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.errors import ApiError, CallError, UncertainWrite
from millimetric_mcp.mcp.tools.arguments import MAX_EVENTS, Arguments
from millimetric_mcp.mcp.tools.explain import quote
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec

MAX_ID_CHARS = 128
"""As long as the API takes them: what is to be looked for is named whole."""
MAX_CHUNK_BYTES = MAX_BODY_BYTES - len('{"events":[]}')
BURST_REQUESTS = 20
REQUEST_INTERVAL_S = 0.2
"""The API takes a burst of 20 batches, then 5 a second."""
MAX_RATE_WAIT_S = 30.0
"""The longest that several requests together wait for the rate limit; progress tells of it."""
DEFAULT_RATE_WAIT_S = 1.0
PROGRESS_STEP = 0.001
"""Progress has to grow with every notification, also where no event was stored since the last."""


class BatchEvent(TrackEvent):
    """One event of a batch; a field the API does not know is refused."""

    model_config = ConfigDict(extra="forbid")


def _check_count(value: object) -> object:
    if isinstance(value, list | tuple) and not 1 <= len(value) <= MAX_EVENTS:
        raise PydanticCustomError(
            "count",
            "must hold 1 to {limit} events, not {count}",
            {"limit": MAX_EVENTS, "count": len(value)},
        )
    return value


class BatchArguments(Arguments):
    """The events, in the order they are stored."""

    events: Annotated[
        tuple[BatchEvent, ...],
        BeforeValidator(_check_count),
        Field(
            description="Fields as in track_event; above 1000 sent as several requests.",
            json_schema_extra={"minItems": 1, "maxItems": MAX_EVENTS},
        ),
    ]


class BatchAnswer(ToolAnswer):
    """Everything is stored; events sent without an id got ``{batch_id}-{index}``."""

    ok: Literal[True]
    count: Annotated[int, Field(ge=1)]
    batch_id: Annotated[str, Field(description="Events without event_id got {batch_id}-{index}.")]


async def _run(context: ToolContext, params: BatchArguments) -> Answer[BatchAnswer]:
    batch_id = context.new_id()
    course = _Course(context, _mint_ids(params.events, batch_id), batch_id)
    await _send(course)
    waited = f" Waited {course.waited_s:g} s for the API's rate limit." if course.waited_s else ""
    return Answer(
        f"Stored {course.stored} events; batch_id {batch_id}: events sent without an event_id got "
        f"{batch_id}-<index>.{waited}",
        BatchAnswer(ok=True, count=course.stored, batch_id=batch_id),
    )


@dataclass(slots=True)
class _Course:
    """A batch on its way: how much of it the API stored, and how long that had to wait."""

    context: ToolContext
    events: Sequence[TrackEvent]
    batch_id: str
    stored: int = 0
    waits: int = 0
    waited_s: float = 0.0

    async def tell(self, message: str | None = None) -> None:
        progress = self.stored + self.waits * PROGRESS_STEP
        await self.context.report_progress(progress, len(self.events), message)

    async def wait(self, wait_s: float) -> None:
        self.waits += 1
        self.waited_s += wait_s
        await self.tell(f"Waiting {wait_s:g} s for the API's rate limit")
        await self.context.sleep(wait_s)

    def may_wait(self, wait_s: float, *, size: int) -> bool:
        """One request's wait is left to the caller, who is answered at once."""
        return size < len(self.events) and self.waited_s + wait_s <= MAX_RATE_WAIT_S


async def _send(course: _Course) -> None:
    """Everything stored; where to go on is noted for each request that fails."""
    context, events = course.context, course.events
    for number, (start, chunk) in enumerate(_cut(events)):
        if number >= BURST_REQUESTS:
            await context.sleep(REQUEST_INTERVAL_S)
        held = _describe(start, len(chunk), total=len(events), batch_id=course.batch_id)
        context.note(f"{held} {_advise_look(events, start, size=len(chunk))}")
        try:
            course.stored += await _store(course, chunk)
        except UncertainWrite:
            raise
        except CallError as error:
            context.note(f"{held} None of them is stored: go on from events[{start}].")
            raise _renumber(error, start) from None
        await course.tell()


def _cut(events: Sequence[TrackEvent]) -> Iterator[tuple[int, Sequence[TrackEvent]]]:
    """The events of each request, as many as the API takes in one, with the first one's index."""
    start = size_bytes = 0
    for index, event in enumerate(events):
        event_bytes = _measure(event)
        if index - start == MAX_BATCH_EVENTS or size_bytes + event_bytes > MAX_CHUNK_BYTES:
            yield start, events[start:index]
            start, size_bytes = index, 0
        size_bytes += event_bytes
    yield start, events[start:]


def _measure(event: TrackEvent) -> int:
    """The bytes an event takes in a request, with the comma after it."""
    fields = event.model_dump(mode="json", exclude={"properties"}, exclude_none=True)
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + ","
    if event.properties is not None:
        text += f',"properties":{event.properties}'
    return len(text.encode())


async def _store(course: _Course, chunk: Sequence[TrackEvent]) -> int:
    """How many events the API stored of one request, which waits for the rate limit."""
    while True:
        try:
            return (await course.context.client.batch(chunk)).count
        except ApiError as error:
            wait_s = error.retry_after_s or DEFAULT_RATE_WAIT_S
            if error.code is not ErrorCode.RATE_LIMITED or not course.may_wait(
                wait_s, size=len(chunk)
            ):
                raise
            await course.wait(wait_s)


def _describe(start: int, size: int, *, total: int, batch_id: str) -> str:
    if size == total:
        return f"The failed request held all {total} events, batch_id {batch_id}."
    before = f"events[0] to events[{start - 1}] are stored" if start else "Nothing was sent before"
    return (
        f"{before} (batch_id {batch_id}); the failed request held events[{start}] to "
        f"events[{start + size - 1}]; nothing after it was sent."
    )


def _advise_look(events: Sequence[TrackEvent], start: int, *, size: int) -> str:
    """How to find out whether a request was stored, which is whole or not at all."""
    first, end = events[start], start + size
    then = f"go on from events[{end}]" if end < len(events) else "nothing is left to send"
    return (
        f"Look for event_id {quote(first.event_id or '', max_chars=MAX_ID_CHARS)} among the "
        f"events {quote(first.event, max_chars=MAX_ID_CHARS)} around its timestamp (raw_events "
        "with fields event_id and timestamp): if it is there, all of the request is stored and "
        f"{then}; if not, go on from events[{start}]."
    )


def _renumber(error: CallError, start: int) -> CallError:
    """The error with its fields counted from the batch's first event, not the request's."""
    if not isinstance(error, ApiError):
        return error
    fields = [
        re.sub(r"^events\[(\d+)\]", lambda found: f"events[{int(found[1]) + start}]", field)
        for field in error.fields
    ]
    return ApiError(
        error.code, status=error.status, fields=fields, retry_after_s=error.retry_after_s
    )


def _mint_ids(events: Sequence[TrackEvent], batch_id: str) -> list[TrackEvent]:
    return [
        event if event.event_id else event.model_copy(update={"event_id": f"{batch_id}-{index}"})
        for index, event in enumerate(events)
    ]


BATCH_TOOL = ToolSpec(
    name="batch",
    title="Store many events",
    description="Store many events at once, for imports and backfills.",
    params=BatchArguments,
    result=BatchAnswer,
    endpoints=(BATCH,),
    scope=Scope.INGEST,
    hints=Hints(read_only=False, destructive=False, idempotent=False, open_world=False),
    run=_run,
)
