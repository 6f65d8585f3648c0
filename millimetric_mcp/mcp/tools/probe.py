"""Questions asked for an answer's sake: counts, names and first events.

A question raises what its call raises. `attempt` is where that ends: a failure never spoils
the answer that it was to explain, and is never taken for an answer of "nothing".
"""

from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio

from millimetric_mcp.contract.reads import (
    MAX_QUERY_LIMIT,
    MAX_SOURCES_LIMIT,
    MAX_STATS_LIMIT,
    Breakdown,
    GroupColumn,
    Interval,
    QueryParams,
    SourcesParams,
    StatsParams,
)
from millimetric_mcp.contract.validation import EPOCH, MAX_CLOCK_SKEW
from millimetric_mcp.errors import CallError
from millimetric_mcp.mcp.tools.spec import ToolContext

AnswerT = TypeVar("AnswerT")

RECENT = timedelta(days=30)
MAX_ASIDE_S = 3.0
MAX_ASIDE_PART = 1 / 3
"""Of a call's time-out: what the questions beside it may take, all of them together."""

UNANSWERED = "the API did not answer a follow-up question"


async def attempt(context: ToolContext, question: Awaitable[AnswerT]) -> AnswerT | None:
    """The question's answer, or None where the API gave none, or none soon."""
    aside_s = min(MAX_ASIDE_S, context.client.timeout_s * MAX_ASIDE_PART)
    with anyio.move_on_after(aside_s), suppress(CallError):
        return await question
    return None


async def count_events_of(context: ToolContext, user_id: str) -> int | None:
    """How many events of a user are known, up to 1000; None when that can't be known."""
    if not context.may_read:
        return None
    start, end = all_time(context.now())
    answer = await attempt(
        context,
        context.client.query(
            QueryParams(from_=start, to=end, user_id=user_id, limit=MAX_QUERY_LIMIT)
        ),
    )
    return len(answer.rows) if answer else None


async def list_event_names(context: ToolContext, start: datetime, end: datetime) -> list[str]:
    """The names of events in a window, most frequent first."""
    answer = await context.client.stats(
        StatsParams(from_=start, to=end, group_by=(GroupColumn.EVENT_NAME,), limit=MAX_STATS_LIMIT)
    )
    return [row.event_name for row in answer.rows if row.event_name]


async def list_sources(context: ToolContext, start: datetime, end: datetime) -> list[str]:
    """The sources of events in a window, most frequent first."""
    answer = await context.client.sources(
        SourcesParams(from_=start, to=end, breakdown=Breakdown.SOURCE, limit=MAX_SOURCES_LIMIT)
    )
    return [row.source for row in answer.rows]


async def find_first_month(context: ToolContext) -> str | None:
    """The start of the month of the first event ever, or None when there is none."""
    start, end = all_time(context.now())
    answer = await context.client.stats(
        StatsParams(from_=start, to=end, interval=Interval.MONTH, limit=1)
    )
    return answer.rows[0].bucket if answer.rows else None


async def find_last_time(
    context: ToolContext,
    start: datetime,
    end: datetime,
    *,
    event: str | None = None,
    source: str | None = None,
) -> str | None:
    """The time of a window's newest event of that name and source, or None without one."""
    question = QueryParams(from_=start, to=end, event=event, source=source, limit=1)
    answer = await context.client.query(question)
    return answer.rows[0].timestamp if answer.rows else None


def all_time(now: datetime) -> tuple[datetime, datetime]:
    """The window of every event there can be."""
    return EPOCH, now.astimezone(UTC) + MAX_CLOCK_SKEW + timedelta(minutes=1)


def recently(now: datetime) -> tuple[datetime, datetime]:
    """The last 30 days, up to and with the events of this moment."""
    return now - RECENT, now + timedelta(seconds=1)
