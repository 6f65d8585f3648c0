"""``identify``: connect a visitor with a user."""

from typing import Literal

from pydantic import ConfigDict

from millimetric_mcp.contract.endpoints import IDENTIFY
from millimetric_mcp.contract.events import IdentifyRequest
from millimetric_mcp.mcp.tools.tool import Hints, Tool, ToolContext, ToolData, ToolResult
from millimetric_mcp.mcp.tools.wording import quote


class IdentifyArguments(IdentifyRequest):
    """A visitor and a user. An unknown field is refused."""

    model_config = ConfigDict(extra="forbid")


class IdentifyData(ToolData):
    """The ``$identify`` event is stored."""

    ok: Literal[True]


async def _run(context: ToolContext, params: IdentifyArguments) -> ToolResult[IdentifyData]:
    await context.client.identify(params)
    return ToolResult(
        f"Visitor {quote(params.anonymous_id)} is now user {quote(params.user_id)}. Earlier "
        "events are unchanged; send user_id with later ones.",
        IdentifyData(ok=True),
    )


TOOL = Tool(
    name="identify",
    title="Identify a visitor",
    description="Connect a visitor (anonymous_id) with a known user. Earlier events don't change; "
    "send user_id with later ones.",
    params=IdentifyArguments,
    result=IdentifyData,
    endpoints=(IDENTIFY,),
    hints=Hints(read_only=False, destructive=False, idempotent=False, open_world=False),
    run=_run,
)
