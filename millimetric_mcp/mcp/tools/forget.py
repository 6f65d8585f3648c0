"""``forget``: erase a user, after asking where the client can ask."""

from typing import Annotated

from pydantic import ConfigDict, Field

from millimetric_mcp.contract.endpoints import FORGET, QUERY
from millimetric_mcp.contract.events import ForgetRequest
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT
from millimetric_mcp.errors import NotAllowed
from millimetric_mcp.mcp.tools.explain import quote
from millimetric_mcp.mcp.tools.probe import count_events_of
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec


class ForgetArguments(ForgetRequest):
    """Whom to erase."""

    model_config = ConfigDict(extra="forbid")


class ForgetAnswer(ToolAnswer):
    """The erasure is queued, or the user declined it and nothing was sent."""

    ok: Annotated[bool, Field(description="Whether the erasure is queued.")]
    queued: Annotated[bool, Field(description="False: declined, nothing was sent.")]


async def _run(context: ToolContext, params: ForgetArguments) -> Answer[ForgetAnswer]:
    user = quote(params.user_id)
    if context.confirm_destructive and not context.can_ask:
        raise NotAllowed(
            "this server erases a user only after its client asked a person, and this client "
            "can't ask; use a client that supports elicitation, or start the server without "
            "--confirm-destructive"
        )
    # Nobody is asked to agree to what then lacks a key.
    asks = context.can_ask and context.client.can_write
    if asks and not await context.ask(lambda: _word_question(context, params.user_id)):
        return Answer(
            f"Declined: nothing was sent, {user} is not erased.",
            ForgetAnswer(ok=False, queued=False),
        )
    await context.client.forget(params)
    return Answer(
        f"Queued: every event of {user} is being erased.", ForgetAnswer(ok=True, queued=True)
    )


async def _word_question(context: ToolContext, user_id: str) -> str:
    known = await count_events_of(context, user_id)
    found = {
        None: "",
        0: " No event of this user is known.",
        MAX_QUERY_LIMIT: f" {MAX_QUERY_LIMIT} events or more are known.",
        1: " 1 event is known.",
    }.get(known, f" {known} events are known.")
    return f"Erase every event of user {quote(user_id)}? This can't be undone.{found}"


FORGET_TOOL = ToolSpec(
    name="forget",
    title="Forget a user",
    description="Erase every event of a user for good (GDPR). Asks the person at the client "
    "first, where it can.",
    params=ForgetArguments,
    result=ForgetAnswer,
    endpoints=(FORGET, QUERY),
    scope=Scope.FORGET,
    hints=Hints(read_only=False, destructive=True, idempotent=True, open_world=False),
    run=_run,
)
