"""Questions to the client's user, in the way of each protocol version.

Versions with a handshake send a request and wait for its response. Version 2026-07-28 ends the
call with the question. The client then calls again with the answer and a state that the server
sealed for the same arguments and the same caller.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from millimetric_mcp.errors import NotAllowed

_KEY = "confirm"
_ASKED = "asked"
_FORM: dict[str, Any] = {"type": "object", "properties": {}}
"""An empty form: to accept it is the answer."""

Context = ServerRequestContext[Any, Any]
WriteQuestion = Callable[[], Awaitable[str]]


class QuestionPending(Exception):
    """The call ends with a question. ``result`` carries it to the client."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        question = types.ElicitRequest(
            params=types.ElicitRequestFormParams(message=message, requested_schema=_FORM)
        )
        self.result = types.InputRequiredResult(
            input_requests={_KEY: question}, request_state=_ASKED
        )


def find_ask(
    ctx: Context, params: types.CallToolRequestParams
) -> Callable[[WriteQuestion], Awaitable[bool]] | None:
    """Return how to ask the user, or None if the client can't show a form.

    The function returns whether the user agreed; declining and closing the form are the same.
    """
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return None
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return partial(_ask_in_result, params)
    return partial(_ask_in_request, ctx) if ctx.session.can_send_request else None


async def _ask_in_result(params: types.CallToolRequestParams, write: WriteQuestion) -> bool:
    response = (params.input_responses or {}).get(_KEY)
    if params.request_state != _ASKED or not isinstance(response, types.ElicitResult):
        raise QuestionPending(await write())
    return response.action == "accept"


async def _ask_in_request(ctx: Context, write: WriteQuestion) -> bool:
    message = await write()
    try:
        answer = await ctx.session.elicit_form(message, _FORM, related_request_id=ctx.request_id)
    except (MCPError, ValidationError):
        pass
    else:
        return answer.action == "accept"
    raise NotAllowed("the client failed to ask its user, although it says it can; nothing was sent")
