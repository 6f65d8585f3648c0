"""``identify``: connect a visitor with a user."""

from millimetric_mcp.contract.endpoints import IDENTIFY
from millimetric_mcp.contract.events import IdentifyRequest, IdentifyResult
from millimetric_mcp.mcp.tools.tool import WRITE_HINTS, Tool, ToolContext, ToolResult
from millimetric_mcp.mcp.tools.wording import quote


class IdentifyArguments(IdentifyRequest, extra="forbid"):
    """A visitor and a user. An unknown field is refused."""


async def _run(context: ToolContext, params: IdentifyArguments) -> ToolResult[IdentifyResult]:
    result = await context.client.identify(params)
    return ToolResult(
        f"Visitor {quote(params.anonymous_id)} is now user {quote(params.user_id)}. Earlier "
        "events are unchanged; send user_id with later ones.",
        result,
    )


TOOL = Tool(
    name="identify",
    title="Identify a visitor",
    description="Connect a visitor (anonymous_id) with a known user. Earlier events don't change; "
    "send user_id with later ones.",
    params=IdentifyArguments,
    result=IdentifyResult,
    endpoints=(IDENTIFY,),
    hints=WRITE_HINTS,
    run=_run,
)
