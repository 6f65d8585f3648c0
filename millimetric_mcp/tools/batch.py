"""``batch``: store many events, cut into requests the API takes at a rate it takes them."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from millimetric_mcp.contract.endpoints import BATCH
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS, TrackEvent
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.errors import ApiError, CallError, UncertainWrite
from millimetric_mcp.render import neutralise
from millimetric_mcp.tools.arguments import Arguments, check_event_times
from millimetric_mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec

MAX_EVENTS = 100_000
BURST_REQUESTS = 20
REQUEST_INTERVAL_S = 0.2
"""The API takes a burst of 20 batches, then 5 a second."""


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
    check_event_times(
        ((f"events[{index}].timestamp", event) for index, event in enumerate(params.events)),
        now=context.now(),
    )
    batch_id = context.new_id()
    count = await _send(context, _mint_ids(params.events, batch_id), batch_id)
    return Answer(
        f"Stored {count} events; batch_id {batch_id}: events sent without an event_id got "
        f"{batch_id}-<index>.",
        BatchAnswer(ok=True, count=count, batch_id=batch_id),
    )


async def _send(context: ToolContext, events: Sequence[TrackEvent], batch_id: str) -> int:
    """How many events the API stored; where to go on is noted for each request that fails."""
    stored = 0
    for number, start in enumerate(range(0, len(events), MAX_BATCH_EVENTS)):
        if number >= BURST_REQUESTS:
            await context.sleep(REQUEST_INTERVAL_S)
        chunk = events[start : start + MAX_BATCH_EVENTS]
        held = _describe(start, len(chunk), total=len(events), batch_id=batch_id)
        context.note(f"{held} {_advise_look(events, start, size=len(chunk))}")
        try:
            result = await context.client.batch(chunk)
        except UncertainWrite:
            raise
        except CallError as error:
            context.note(f"{held} None of them is stored: go on from events[{start}].")
            raise _renumber(error, start) from None
        stored += result.count
        await context.report_progress(stored, len(events))
    return stored


def _describe(start: int, size: int, *, total: int, batch_id: str) -> str:
    if total <= MAX_BATCH_EVENTS:
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
        f'Look for event_id "{neutralise(first.event_id or "")}" among the events '
        f'"{neutralise(first.event)}" around its timestamp (raw_events with fields event_id and '
        f"timestamp): if it is there, all of the request is stored and {then}; "
        f"if not, go on from events[{start}]."
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
