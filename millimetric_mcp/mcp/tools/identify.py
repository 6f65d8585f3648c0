"""``identify``: tie a visitor to a known person."""

from typing import Literal

from pydantic import ConfigDict

from millimetric_mcp.contract.endpoints import IDENTIFY
from millimetric_mcp.contract.events import IdentifyRequest
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools.explain import quote
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec


class IdentifyArguments(IdentifyRequest):
    """A visitor and a person; a field the API does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class IdentifyAnswer(ToolAnswer):
    """The ``$identify`` event is stored."""

    ok: Literal[True]


async def _run(context: ToolContext, params: IdentifyArguments) -> Answer[IdentifyAnswer]:
    await context.client.identify(params)
    return Answer(
        f"{quote(params.anonymous_id)} is now {quote(params.user_id)}; earlier events are "
        "unchanged, send user_id with later ones.",
        IdentifyAnswer(ok=True),
    )


IDENTIFY_TOOL = ToolSpec(
    name="identify",
    title="Identify a visitor",
    description="Tie a visitor to a known person. History is not rewritten; send user_id with "
    "later events.",
    params=IdentifyArguments,
    result=IdentifyAnswer,
    endpoints=(IDENTIFY,),
    scope=Scope.INGEST,
    hints=Hints(read_only=False, destructive=False, idempotent=False, open_world=False),
    run=_run,
)
