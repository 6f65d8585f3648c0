"""A tool as one value: what clients see of it, and what it does.

A tool catches no errors. The server turns them into error results in one place.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict

from millimetric_mcp.contract.endpoints import Endpoint
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools.json_schema import FlatJsonSchema
from millimetric_mcp.settings import AnswerSettings

if TYPE_CHECKING:
    from millimetric_mcp.client.client import MillimetricClient

ParamsT = TypeVar("ParamsT", bound=BaseModel)
DataT = TypeVar("DataT", bound=BaseModel)

READ_HINTS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
)
WRITE_HINTS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)


class ToolData(BaseModel):
    """The structured content of a tool's result. Values that are None are left out."""

    model_config = ConfigDict(defer_build=True)


class ReportProgress(Protocol):
    """Send the client how much of ``total`` is done, in events, and what the tool waits for."""

    async def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None: ...


Ask = Callable[[Callable[[], Awaitable[str]]], Awaitable[bool]]
"""Asks the client's user a yes-or-no question. Its text is built only if it is needed."""


def _no_note(_error: Exception) -> str:
    return ""


@dataclass(slots=True)
class ToolContext:
    """What a tool may use during one call of one caller.

    ``now`` returns UTC, ``new_id`` a new UUID. ``ask`` is None if the client can't ask its user.
    A tool may set ``write_failure_note``: if the call fails, its text follows the error.
    """

    client: "MillimetricClient"
    settings: AnswerSettings
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    sleep: Callable[[float], Awaitable[None]]
    report_progress: ReportProgress
    ask: Ask | None = None
    write_failure_note: Callable[[Exception], str] = field(default=_no_note)


@dataclass(frozen=True, slots=True)
class ToolResult(Generic[DataT]):
    """A tool's result twice: ``text`` for a model, ``data`` for a program."""

    text: str
    data: DataT


@dataclass(frozen=True)
class Tool(Generic[ParamsT, DataT]):
    """A tool: its published definition, the endpoints it calls, and ``run``.

    A caller sees the tool if the keys allow the scope of the first endpoint. ``hosted_name`` is
    the name of the same tool on the hosted server; calls by that name are answered too.
    ``has_view``: clients with MCP Apps show the result in a view.
    """

    name: str
    title: str
    description: str
    params: type[ParamsT]
    result: type[DataT]
    endpoints: tuple[Endpoint[Any, Any], ...]
    hints: ToolAnnotations
    run: Callable[[ToolContext, ParamsT], Awaitable[ToolResult[DataT]]]
    hosted_name: str | None = None
    has_view: bool = False

    @property
    def scope(self) -> Scope:
        """The scope that the caller's key needs."""
        return self.endpoints[0].scope

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return self.params.model_json_schema(schema_generator=FlatJsonSchema)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        """The JSON Schema of the structured content, whose None values are left out."""
        return self.result.model_json_schema(mode="serialization", schema_generator=FlatJsonSchema)
