"""``track_event``: store one event."""

from typing import Annotated, Literal

from pydantic import Field

from millimetric_mcp.contract.endpoints import TRACK
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.mcp.render.untrusted import escape_invisible
from millimetric_mcp.mcp.tools.tool import WRITE_HINTS, Tool, ToolContext, ToolData, ToolResult


class TrackEventArguments(TrackEvent, extra="forbid"):
    """One event. An unknown field is refused, where the API ignores it."""


class TrackEventData(ToolData):
    """The id of the stored event."""

    ok: Literal[True]
    event_id: Annotated[str, Field(description="Yours, or a new one.")]


async def _run(context: ToolContext, params: TrackEventArguments) -> ToolResult[TrackEventData]:
    event_id = params.event_id or context.new_id()
    await context.client.track(params.model_copy(update={"event_id": event_id}))
    direct = "" if params.url or params.referrer else "; without url or referrer: direct"
    return ToolResult(
        f"Stored as event_id {escape_invisible(event_id)}{direct}.",
        TrackEventData(ok=True, event_id=event_id),
    )


TOOL = Tool(
    name="track_event",
    title="Track an event",
    description="Store one event. Source, medium and campaign are derived from url and "
    "referrer; they can't be set.",
    params=TrackEventArguments,
    result=TrackEventData,
    endpoints=(TRACK,),
    hints=WRITE_HINTS,
    run=_run,
)
