"""Questions to the client's user, in the way of the connection's protocol era.

Handshake versions send a request and wait for its answer. 2026-07-28 ends the call with the
question, and the client calls again with the answer, beside a state that the server sealed
for the same arguments and the same principal.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from millimetric_mcp.errors import NotAllowed

_KEY = "confirm"
_ASKED = "asked"
_FORM: dict[str, Any] = {"type": "object", "properties": {}}
"""Nothing to fill in: accepting is the answer."""


class QuestionPending(Exception):
    """The call ends with a question; ``result`` carries it to the client."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        question = ElicitRequest(
            params=ElicitRequestFormParams(message=message, requested_schema=_FORM)
        )
        self.result = InputRequiredResult(input_requests={_KEY: question}, request_state=_ASKED)


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the user at the other end of one tool call."""

    ctx: ServerRequestContext[Any, Any]
    params: CallToolRequestParams

    @property
    def can_ask(self) -> bool:
        """Whether the client said that it puts forms to its user."""
        capabilities = self.ctx.session.client_capabilities
        elicitation = capabilities.elicitation if capabilities else None
        if elicitation is None or (elicitation.form is None and elicitation.url is not None):
            return False
        return self._is_modern or self.ctx.session.can_send_request

    async def ask(self, word: Callable[[], Awaitable[str]]) -> bool:
        """Whether the user agreed; declining and dismissing are the same.

        Raises:
            QuestionPending: the client has to ask first and call again.
            NotAllowed: the client said that it can ask, and failed to.
        """
        if not self._is_modern:
            return await self._ask_now(await word())
        response = (self.params.input_responses or {}).get(_KEY)
        if self.params.request_state != _ASKED or not isinstance(response, ElicitResult):
            raise QuestionPending(await word())
        return response.action == "accept"

    async def _ask_now(self, message: str) -> bool:
        try:
            answer = await self.ctx.session.elicit_form(
                message, _FORM, related_request_id=self.ctx.request_id
            )
        except (MCPError, ValidationError):
            pass
        else:
            return answer.action == "accept"
        raise NotAllowed(
            "the client says that it can ask its user, and could not be asked; nothing was sent"
        )

    @property
    def _is_modern(self) -> bool:
        return self.ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
