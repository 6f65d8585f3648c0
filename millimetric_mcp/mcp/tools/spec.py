"""A tool as one value: what is published of it, and what it does.

Tools handle no failure: whatever fails is raised, if need be with a note on what was done by
then, and the server turns it into an answer in one place.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from millimetric_mcp.contract.endpoints import Endpoint
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools.schema import write_input_schema, write_output_schema

if TYPE_CHECKING:
    from millimetric_mcp.client.client import MillimetricClient

ParamsT = TypeVar("ParamsT", bound=BaseModel)
ResultT = TypeVar("ResultT", bound=BaseModel)


class ToolAnswer(BaseModel):
    """A tool's structured result, or a part of one; an absent value is left out, never null."""

    model_config = ConfigDict(defer_build=True)


class ReportProgress(Protocol):
    """Tells the client what is done of the total, in events, and what is waited for."""

    async def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may use while it runs, for one caller and one call.

    ``may_read`` says whether the caller has a read key. Where ``can_ask``, ``ask`` puts a
    yes-or-no question to the client's user; its wording is asked for only when it is needed.
    ``note`` keeps a sentence that is told if the call fails from there on; the next one takes
    its place. ``now`` is in UTC; ``new_id`` makes a fresh UUID.
    """

    client: "MillimetricClient"
    timezone: str
    max_result_chars: int
    may_read: bool
    confirm_destructive: bool
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    sleep: Callable[[float], Awaitable[None]]
    can_ask: bool
    ask: Callable[[Callable[[], Awaitable[str]]], Awaitable[bool]]
    note: Callable[[str], None]
    report_progress: ReportProgress


@dataclass(frozen=True, slots=True)
class Answer(Generic[ResultT]):
    """A tool's answer: ``text`` for a model to read, ``data`` the same for a program."""

    text: str
    data: ResultT


@dataclass(frozen=True, slots=True)
class Hints:
    """The four hints a client may act on: all of them, always written out."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


@dataclass(frozen=True)
class ToolSpec(Generic[ParamsT, ResultT]):
    """A tool: its published definition, the endpoints it calls, and ``run``.

    ``scope`` is what the caller's keys must allow for the tool to be listed.
    """

    name: str
    title: str
    description: str
    params: type[ParamsT]
    result: type[ResultT]
    endpoints: tuple[Endpoint[Any, Any], ...]
    scope: Scope
    hints: Hints
    run: Callable[[ToolContext, ParamsT], Awaitable[Answer[ResultT]]]

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        return write_input_schema(self.params)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        return write_output_schema(self.result)
