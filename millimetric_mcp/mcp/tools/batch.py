"""``batch``: store many events, in requests of the size and at the rate that the API allows."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import InitErrorDetails, PydanticCustomError

from millimetric_mcp.contract.endpoints import BATCH
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.errors import CallError, UncertainWrite
from millimetric_mcp.mcp.tools.arguments import Arguments
from millimetric_mcp.mcp.tools.tool import WRITE_HINTS, Tool, ToolContext, ToolData, ToolResult
from millimetric_mcp.mcp.tools.wording import quote

MAX_EVENTS = 100_000
MAX_ERRORS = 3000
MAX_ID_CHARS = 128
"""The longest id and event name: what a person has to look for is never cut."""
MAX_REQUEST_EVENTS = 500
MAX_REQUEST_BYTES = 256_000 - len('{"events":[]}')
"""The hosted API's limits are published as 1000 events, and as 500 events and 256 KB."""
BURST_REQUESTS = 20
REQUEST_INTERVAL_S = 0.2
"""The API allows a burst of 20 batches, then 5 a second."""
MAX_RATE_WAIT_S = 30.0
"""The longest time that all requests of a batch wait for the rate limit, together."""
DEFAULT_RATE_WAIT_S = 1.0
PROGRESS_STEP = 0.001
"""Progress must grow with every notification, also if no event was stored since the last."""


def _drop_descriptions(schema: dict[str, Any]) -> None:
    # The schema of track_event describes the same fields, and is listed beside this one.
    for field in schema["properties"].values():
        field.pop("description", None)


class BatchEvent(TrackEvent, extra="forbid", json_schema_extra=_drop_descriptions):
    """One event of a batch. An unknown field is refused."""


def _validate_in_parts(
    value: object, handler: ValidatorFunctionWrapHandler
) -> tuple[BatchEvent, ...]:
    """Validate so many events at a time: each time holds the interpreter's lock."""
    if not isinstance(value, list | tuple):
        events: tuple[BatchEvent, ...] = handler(value)
        return events
    if not 1 <= len(value) <= MAX_EVENTS:
        raise ValueError(f"must hold 1 to {MAX_EVENTS} events, not {len(value)}")
    valid: list[BatchEvent] = []
    errors: list[InitErrorDetails] = []
    for start in range(0, len(value), MAX_REQUEST_EVENTS):
        try:
            valid.extend(handler(value[start : start + MAX_REQUEST_EVENTS]))
        except ValidationError as failure:
            errors.extend(_shift_errors(failure, start))
        if len(errors) > MAX_ERRORS:  # to describe each takes long
            checked = f"events after events[{start + MAX_REQUEST_EVENTS - 1}] are not checked yet"
            errors.insert(
                0, InitErrorDetails(type=PydanticCustomError("many", checked), input=None)
            )
            break
    if errors:
        raise ValidationError.from_exception_data("events", errors)
    return tuple(valid)


def _shift_errors(failure: ValidationError, start: int) -> Iterator[InitErrorDetails]:
    """Yield the errors with the index of each event among all events."""
    for error in failure.errors(include_url=False, include_input=False, include_context=False):
        index, *rest = error["loc"]
        yield InitErrorDetails(
            type=PydanticCustomError(error["type"], "{message}", {"message": error["msg"]}),
            loc=(start + int(index), *rest),
            input=None,
        )


class BatchArguments(Arguments):
    """The events, in the order in which they are stored."""

    events: Annotated[
        tuple[BatchEvent, ...],
        WrapValidator(_validate_in_parts),
        Field(
            description="Fields as in track_event; requests hold up to 500 events and 256 KB.",
            json_schema_extra={"minItems": 1, "maxItems": MAX_EVENTS},
        ),
    ]


class BatchData(ToolData):
    """All events are stored."""

    ok: Literal[True]
    count: Annotated[int, Field(ge=1)]
    batch_id: Annotated[str, Field(description="Events without event_id got {batch_id}-{index}.")]


async def _run(context: ToolContext, params: BatchArguments) -> ToolResult[BatchData]:
    upload = _Upload(context, params.events, batch_id=context.new_id())
    await upload.send()
    waited = f" Waited {upload.waited_s:g} s for the API's rate limit." if upload.waited_s else ""
    return ToolResult(
        f"Stored {upload.stored} events; batch_id {upload.batch_id}: events sent without an "
        f"event_id got {upload.batch_id}-<index>.{waited}",
        BatchData(ok=True, count=upload.stored, batch_id=upload.batch_id),
    )


class _Upload:
    """A batch that is being sent: how many events are stored, and how long it waited."""

    def __init__(
        self, context: ToolContext, events: Sequence[TrackEvent], *, batch_id: str
    ) -> None:
        self.context = context
        self.batch_id = batch_id
        self.events = events
        self.stored = self.waits = 0
        self.waited_s = 0.0

    async def send(self) -> None:
        """Send all events. If a request fails, the context has a note about where to go on."""
        for number, (start, part) in enumerate(self._cut()):
            if number >= BURST_REQUESTS:
                await self.context.sleep(REQUEST_INTERVAL_S)
            self.context.write_failure_note = partial(self._advise, start, len(part))
            # A single request does not wait: its caller gets the error at once.
            may_wait = len(part) < len(self.events)
            result = await self.context.client.batch(
                part, first_index=start, on_rate_limit=self._wait if may_wait else None
            )
            self.stored += result.count
            await self._report()

    async def _wait(self, error: CallError) -> bool:
        wait_s = error.retry_after_s or DEFAULT_RATE_WAIT_S
        if self.waited_s + wait_s > MAX_RATE_WAIT_S:
            return False
        self.waits += 1
        self.waited_s += wait_s
        await self._report(f"Waiting {wait_s:g} s for the API's rate limit")
        await self.context.sleep(wait_s)
        return True

    async def _report(self, message: str | None = None) -> None:
        done = self.stored + self.waits * PROGRESS_STEP
        await self.context.report_progress(done, len(self.events), message)

    def _advise(self, start: int, size: int, error: Exception) -> str:
        """Return what is stored and where to go on, after a request of ``size`` events failed."""
        end, total, batch_id = start + size, len(self.events), self.batch_id
        if size == total:
            held = f"The failed request held all {total} events, batch_id {batch_id}."
        else:
            before = (
                f"events[0] to events[{start - 1}] are stored"
                if start
                else "No event was sent before"
            )
            held = (
                f"{before} (batch_id {batch_id}); the failed request held events[{start}] to "
                f"events[{end - 1}]; nothing after it was sent."
            )
        if isinstance(error, CallError) and not isinstance(error, UncertainWrite):
            return f"{held} None of them is stored: go on from events[{start}]."
        first = self._name(start)
        then = f"go on from events[{end}]" if end < total else "nothing is left to send"
        return (
            f"{held} Look for event_id {quote(first.event_id or '', max_chars=MAX_ID_CHARS)} among "
            f"the events {quote(first.event, max_chars=MAX_ID_CHARS)} around its timestamp "
            "(raw_events with fields event_id and timestamp): if it is there, all of the request "
            f"is stored and {then}; if not, go on from events[{start}]."
        )

    def _cut(self) -> Iterator[tuple[int, Sequence[TrackEvent]]]:
        """Yield the events of each request, as many as one may hold, and the first one's index."""
        part: list[TrackEvent] = []
        size_bytes = 0
        for index in range(len(self.events)):
            event = self._name(index)
            event_bytes = _measure(event)
            if len(part) == MAX_REQUEST_EVENTS or size_bytes + event_bytes > MAX_REQUEST_BYTES:
                yield index - len(part), part
                part, size_bytes = [], 0
            part.append(event)
            size_bytes += event_bytes
        yield len(self.events) - len(part), part

    def _name(self, index: int) -> TrackEvent:
        """Return an event with its id."""
        event = self.events[index]
        if event.event_id:
            return event
        return event.model_copy(update={"event_id": f"{self.batch_id}-{index}"})


def _measure(event: TrackEvent) -> int:
    """Return the bytes of an event in a request, with the comma after it."""
    fields = event.model_dump(mode="json", exclude={"properties"}, exclude_none=True)
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + ","
    if event.properties is not None:
        text += f',"properties":{event.properties}'
    return len(text.encode())


TOOL = Tool(
    name="batch",
    title="Store many events",
    description="Store many events at once, for imports and backfills.",
    params=BatchArguments,
    result=BatchData,
    endpoints=(BATCH,),
    hints=WRITE_HINTS,
    run=_run,
)
