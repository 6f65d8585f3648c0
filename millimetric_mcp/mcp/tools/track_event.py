"""``track_event``: store one event."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from millimetric_mcp.contract.endpoints import TRACK
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.render import escape_invisible
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec


class TrackEventArguments(TrackEvent):
    """One event; a field the API does not know is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")


class TrackEventAnswer(ToolAnswer):
    """The stored event's id: the caller's own, or the one minted for it."""

    ok: Literal[True]
    event_id: Annotated[str, Field(description="The caller's, or one minted here.")]


async def _run(context: ToolContext, params: TrackEventArguments) -> Answer[TrackEventAnswer]:
    event_id = params.event_id or context.new_id()
    await context.client.track(params.model_copy(update={"event_id": event_id}))
    direct = "" if params.url or params.referrer else "; without url or referrer: direct"
    return Answer(
        f"Stored as event_id {escape_invisible(event_id)}{direct}.",
        TrackEventAnswer(ok=True, event_id=event_id),
    )


TRACK_EVENT = ToolSpec(
    name="track_event",
    title="Track an event",
    description="Store one event. Source, medium and campaign are derived from url and "
    "referrer; they can't be set.",
    params=TrackEventArguments,
    result=TrackEventAnswer,
    endpoints=(TRACK,),
    scope=Scope.INGEST,
    hints=Hints(read_only=False, destructive=False, idempotent=False, open_world=False),
    run=_run,
)
