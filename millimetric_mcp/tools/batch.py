"""``batch``: store many events, cut into requests the API takes at a rate it takes them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from millimetric_mcp.contract.endpoints import BATCH
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS, TrackEvent
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.tools.arguments import Arguments, check_event_times
from millimetric_mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec

MAX_EVENTS = 100_000
BURST_REQUESTS = 20
REQUEST_INTERVAL_S = 0.2
"""The API takes a burst of 20 batches, then 5 a second."""


class BatchEvent(TrackEvent):
    """One event of a batch; a field the API does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class BatchArguments(Arguments):
    """The events, in the order they are stored."""

    events: Annotated[
        tuple[BatchEvent, ...],
        Field(
            min_length=1,
            max_length=MAX_EVENTS,
            description="Fields as in track_event; above 1000 sent as several requests.",
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
    """How many events the API stored; what is stored so far is noted before each request."""
    stored = 0
    for number, start in enumerate(range(0, len(events), MAX_BATCH_EVENTS)):
        if number >= BURST_REQUESTS:
            await context.sleep(REQUEST_INTERVAL_S)
        chunk = events[start : start + MAX_BATCH_EVENTS]
        context.note(_describe(start, len(chunk), total=len(events), batch_id=batch_id))
        result = await context.client.batch(chunk)
        stored += result.count
        await context.report_progress(stored, len(events))
    return stored


def _describe(start: int, size: int, *, total: int, batch_id: str) -> str:
    if total <= MAX_BATCH_EVENTS:
        return f"The failed request held all {total} events, batch_id {batch_id}."
    before = f"events[0] to events[{start - 1}] are stored" if start else "Nothing is stored yet"
    return (
        f"{before} (batch_id {batch_id}); the failed request held events[{start}] to "
        f"events[{start + size - 1}]; nothing after it was sent. Go on from events[{start}]."
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
