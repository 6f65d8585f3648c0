"""Further questions to the API, whose answers explain a result or complete an argument."""

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import anyio

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.filters import MAX_FILTERS, match_exactly
from millimetric_mcp.contract.validation import EPOCH, MAX_CLOCK_SKEW
from millimetric_mcp.errors import CallError, NextStep
from millimetric_mcp.mcp.render.sources import PAID
from millimetric_mcp.mcp.tools.tool import ToolContext

AnswerT = TypeVar("AnswerT")

RECENT = timedelta(days=30)
MAX_FOLLOW_UP_S = 3.0
MAX_FOLLOW_UP_PART = 1 / 3
"""The part of the timeout that the follow-up questions of one call may take, together."""

UNANSWERED = "the API did not answer a follow-up question"


async def attempt(context: ToolContext, question: Awaitable[AnswerT]) -> AnswerT | None:
    """Return the answer, or None if the API failed or took too long.

    A failed follow-up question must not spoil the result, and None never means "nothing".
    """
    max_s = min(MAX_FOLLOW_UP_S, context.client.timeout_s * MAX_FOLLOW_UP_PART)
    with anyio.move_on_after(max_s), suppress(CallError):
        return await question
    return None


async def list_event_names(context: ToolContext, start: datetime, end: datetime) -> list[str]:
    """Return the event names of a window, most frequent first."""
    columns = (reads.GroupColumn.EVENT_NAME,)
    params = reads.StatsParams(from_=start, to=end, group_by=columns, limit=reads.MAX_STATS_LIMIT)
    rows = (await context.client.stats(params)).rows
    return [row.event_name for row in rows if row.event_name]


async def list_sources(context: ToolContext, start: datetime, end: datetime) -> list[str]:
    """Return the sources of a window, most events first."""
    params = reads.SourcesParams(
        from_=start, to=end, breakdown=reads.Breakdown.SOURCE, limit=reads.MAX_SOURCES_LIMIT
    )
    return [row.source for row in (await context.client.sources(params)).rows]


async def count_events(context: ToolContext, asked: Mapping[str, Any]) -> int:
    """Return how many events match the parameters that a tool's question has."""
    rows = (await context.client.stats(reads.StatsParams(**asked, limit=1))).rows
    return int(rows[0].value or 0) if rows else 0


async def count_by_proof(
    context: ToolContext, asked: Mapping[str, Any], *, source: str
) -> dict[str, int]:
    """Return a source's paid events by what proves them; empty if the API can't say it.

    ``asked`` are the parameters that a tool's question has.
    """
    filters = {**asked["filters"], "source": (source,), "medium": (PAID,)}
    if len(filters) > MAX_FILTERS:
        return {}
    params = reads.StatsParams(
        **{**asked, "filters": filters},
        group_by=(reads.GroupColumn.PAID_PROOF,),
        limit=reads.MAX_STATS_LIMIT,
    )
    try:
        rows = (await context.client.stats(params)).rows
    except CallError as error:
        if error.next_step is NextStep.FIX_ARGUMENTS:
            return {}
        raise
    return {row.paid_proof or "": int(row.value or 0) for row in rows}


async def has_countries(context: ToolContext, start: datetime, end: datetime) -> bool:
    """Return whether an event of a window has a country."""
    columns = (reads.GroupColumn.COUNTRY,)
    params = reads.StatsParams(from_=start, to=end, group_by=columns, limit=2)
    return any(row.country for row in (await context.client.stats(params)).rows)


async def find_first_month(context: ToolContext) -> str | None:
    """Return the start of the month of the very first event, or None without events."""
    start, end = all_time(context.now())
    params = reads.StatsParams(from_=start, to=end, interval=reads.Interval.MONTH, limit=1)
    rows = (await context.client.stats(params)).rows
    return rows[0].bucket if rows else None


async def find_last_time(
    context: ToolContext,
    start: datetime,
    end: datetime,
    *,
    event: str | None = None,
    source: str | None = None,
) -> str | None:
    """Return the time of the newest such event of a window, or None without one."""
    filters = match_exactly({"event": event, "source": source})
    params = reads.QueryParams(from_=start, to=end, filters=filters, limit=1)
    rows = (await context.client.query(params)).rows
    return rows[0].timestamp if rows else None


def all_time(now: datetime) -> tuple[datetime, datetime]:
    """Return the start and end of the window that holds every possible event."""
    return EPOCH, now.astimezone(UTC) + MAX_CLOCK_SKEW + timedelta(minutes=1)


def last_30_days(now: datetime) -> tuple[datetime, datetime]:
    """Return a window that ends just after ``now``."""
    return now - RECENT, now + timedelta(seconds=1)
