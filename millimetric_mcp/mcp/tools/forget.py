"""``forget``: delete a user's events, after asking the client's user if that is possible."""

from typing import Annotated

from pydantic import Field

from millimetric_mcp.contract.endpoints import FORGET, QUERY
from millimetric_mcp.contract.events import ForgetRequest
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT, QueryParams
from millimetric_mcp.errors import NotAllowed
from millimetric_mcp.mcp.tools.follow_ups import all_time, attempt
from millimetric_mcp.mcp.tools.tool import WRITE_HINTS, Tool, ToolContext, ToolData, ToolResult
from millimetric_mcp.mcp.tools.wording import count, quote


class ForgetArguments(ForgetRequest, extra="forbid"):
    """The user whose events are deleted."""


class ForgetData(ToolData):
    """The deletion is queued, or the person declined it and nothing was sent."""

    ok: Annotated[bool, Field(description="Whether the deletion is queued.")]
    queued: Annotated[bool, Field(description="False: declined, nothing was sent.")]


async def _run(context: ToolContext, params: ForgetArguments) -> ToolResult[ForgetData]:
    user = quote(params.user_id)
    if context.settings.confirm_destructive and context.ask is None:
        raise NotAllowed(
            "this server deletes a user only after a person agreed in the client, and this client "
            "can't ask; use a client that supports elicitation, or start the server without "
            "--confirm-destructive"
        )
    # Without a key the call fails anyway, so no person has to agree to it.
    ask = context.ask if context.client.can_write else None
    if ask and not await ask(lambda: _write_question(context, params.user_id)):
        return ToolResult(
            f"Declined: nothing was sent, user {user} is not deleted.",
            ForgetData(ok=False, queued=False),
        )
    await context.client.forget(params)
    return ToolResult(
        f"Queued: every event of user {user} is being deleted.", ForgetData(ok=True, queued=True)
    )


async def _write_question(context: ToolContext, user_id: str) -> str:
    question = f"Delete every event of user {quote(user_id)}? This can't be undone."
    if not context.client.can_read:
        return question
    start, end = all_time(context.now())
    params = QueryParams(from_=start, to=end, user_id=user_id, limit=MAX_QUERY_LIMIT)
    answer = await attempt(context, context.client.query(params))
    if answer is None:
        return question
    or_more = " or more" if len(answer.rows) == MAX_QUERY_LIMIT else ""
    return f"{question} Found: {count(len(answer.rows), 'event')}{or_more}."


TOOL = Tool(
    name="forget",
    title="Forget a user",
    description="Delete every event of a user for good (GDPR). Asks the person at the client "
    "first, if the client can ask.",
    params=ForgetArguments,
    result=ForgetData,
    endpoints=(FORGET, QUERY),
    hints=WRITE_HINTS.model_copy(update={"destructive_hint": True, "idempotent_hint": True}),
    run=_run,
)
