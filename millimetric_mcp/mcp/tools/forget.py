"""``forget``: delete a user's or a visitor's events, once a person has agreed."""

from typing import Annotated

from pydantic import ConfigDict, Field

from millimetric_mcp.contract.endpoints import FORGET, QUERY
from millimetric_mcp.contract.events import ForgetRequest
from millimetric_mcp.contract.filters import match_exactly
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT, QueryParams
from millimetric_mcp.errors import NotAllowed
from millimetric_mcp.mcp.tools.follow_ups import all_time, attempt
from millimetric_mcp.mcp.tools.tool import WRITE_HINTS, Tool, ToolContext, ToolData, ToolResult
from millimetric_mcp.mcp.tools.wording import count, quote


class ForgetArguments(ForgetRequest):
    """The user or visitor whose events are deleted."""

    # Some clients refuse a tool whose schema has alternatives.
    model_config = ConfigDict(extra="forbid", json_schema_extra={})

    confirm: bool = Field(
        default=False,
        strict=True,
        description="True once your user has agreed. Needed if this client can't ask.",
    )


class ForgetData(ToolData):
    """The deletion is queued, or no person has agreed and nothing was sent."""

    ok: Annotated[bool, Field(description="Whether the deletion is queued.")]
    queued: Annotated[bool, Field(description="False: nothing was sent.")]
    found: Annotated[
        int | None, Field(description="Events found, up to 1000. Absent: not counted.")
    ] = None


async def _run(context: ToolContext, params: ForgetArguments) -> ToolResult[ForgetData]:
    if context.settings.confirm_destructive and context.ask is None:
        raise NotAllowed(
            "this server deletes only after a person agreed in the client, and this client can't "
            "ask; use a client that supports elicitation, or start the server without "
            "--confirm-destructive"
        )
    found: int | None = None

    async def count_and_write() -> str:
        nonlocal found
        found = await _count_events(context, params)
        return _write_question(params, found)

    if not context.client.can_write:
        pass  # The call fails for want of a key, so no person has to agree to it.
    elif context.ask is None:
        question = await count_and_write()
        if not params.confirm:
            text = f"Nothing was sent. Ask your user: {question} If yes, repeat with confirm: true."
            return ToolResult(text, ForgetData(ok=False, queued=False, found=found))
    elif not await context.ask(count_and_write):
        text = f"Declined: nothing was sent, {_name(params)} is not deleted."
        return ToolResult(text, ForgetData(ok=False, queued=False, found=found))
    await context.client.forget(
        ForgetRequest.model_construct(**params.model_dump(exclude={"confirm"}))
    )
    text = f"Queued: every event of {_name(params)} is being deleted."
    if found == 0:
        text = f"Queued, but no event of {_name(params)} was found. Check the id."
    return ToolResult(text, ForgetData(ok=True, queued=True, found=found))


def _name(params: ForgetArguments) -> str:
    if params.anonymous_id is not None:
        return f"visitor {quote(params.anonymous_id)}"
    return f"user {quote(params.user_id or '')}"


def _write_question(params: ForgetArguments, found: int | None) -> str:
    also = ", and of the visitors tied to this user and to no other" if params.linked else ""
    question = f"Delete every event of {_name(params)}{also}? This can't be undone."
    if found is None:
        return question
    or_more = " or more" if found == MAX_QUERY_LIMIT else ""
    return f"{question} Found: {count(found, 'event')}{or_more}."


async def _count_events(context: ToolContext, params: ForgetArguments) -> int | None:
    """Return how many events of the id there are, at most 1000; None if that can't be read."""
    if not context.client.can_read:
        return None
    start, end = all_time(context.now())
    ids = {"user_id": params.user_id, "anonymous_id": params.anonymous_id}
    query = QueryParams(from_=start, to=end, limit=MAX_QUERY_LIMIT, filters=match_exactly(ids))
    answer = await attempt(context, context.client.query(query))
    return None if answer is None else len(answer.rows)


TOOL = Tool(
    name="forget",
    title="Forget a user or visitor",
    description="Delete every event of a user or visitor for good (GDPR). The user is asked first.",
    params=ForgetArguments,
    result=ForgetData,
    endpoints=(FORGET, QUERY),
    hints=WRITE_HINTS.model_copy(update={"destructive_hint": True, "idempotent_hint": True}),
    run=_run,
)
