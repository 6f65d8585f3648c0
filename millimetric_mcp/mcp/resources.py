"""Resources: recent events, event names and the attribution rules, without a tool call."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import mcp_types as types

from millimetric_mcp.contract import reads
from millimetric_mcp.mcp.render.events import DEFAULT_EVENT_COLUMNS, present_event
from millimetric_mcp.mcp.render.untrusted import MAX_CELL_CHARS, clean
from millimetric_mcp.mcp.tools.follow_ups import all_time, last_30_days
from millimetric_mcp.mcp.tools.read_tool import UNTRUSTED
from millimetric_mcp.mcp.tools.tool import ToolContext

RECENT_EVENTS = 100
# More events rather than all columns: URLs are long.
_COLUMNS = (*DEFAULT_EVENT_COLUMNS, "event_id", "campaign")

_RULES_HEAD = """\
# How an event gets its source and medium

The first rule that matches decides. It sees the event's own url and referrer only; an event
without them is direct. An event's `source_rule_id` names its rule.

| rule id | matches if | source / medium | confidence |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: what clients see of it, and ``read``, which returns its JSON or Markdown."""

    published: types.Resource
    needs_read_key: bool
    read: Callable[[ToolContext], Awaitable[str]]


async def _read_recent_events(context: ToolContext) -> str:
    start, end = all_time(context.now())
    answer = await context.client.query(reads.QueryParams(from_=start, to=end, limit=RECENT_EVENTS))
    rows = (present_event(row, _COLUMNS) for row in answer.rows)
    present = ({k: v for k, v in row.items() if v is not None} for row in rows)
    return _dump(present, max_chars=context.settings.max_result_chars)


async def _read_event_names(context: ToolContext) -> str:
    start, end = last_30_days(context.now())
    columns = (reads.GroupColumn.EVENT_NAME,)
    answer = await context.client.stats(
        reads.StatsParams(from_=start, to=end, group_by=columns, limit=reads.MAX_STATS_LIMIT)
    )
    rows = (
        {"event_name": clean(row.event_name or "", max_chars=MAX_CELL_CHARS), "events": row.value}
        for row in answer.rows
    )
    return _dump(rows, max_chars=context.settings.max_result_chars)


async def _read_rules(_context: ToolContext) -> str:
    from millimetric_mcp.contract.rules import RULES  # noqa: PLC0415 - only this resource reads it

    rows = (
        f"| `{rule.rule_id}` | {rule.fires_when} | {rule.result} | {rule.confidence} |\n"
        for rule in RULES
    )
    return _RULES_HEAD + "".join(rows)


def _dump(rows: Iterable[Mapping[str, object]], *, max_chars: int) -> str:
    """Return as many whole rows as fit, and the number of rows that are left out."""
    texts = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]
    ends = accumulate(len(text) + 1 for text in texts)
    room = max_chars - len('{"rows":[],"left_out":1000}')
    shown = sum(end <= room for end in ends)
    left_out = len(texts) - shown
    rest = f',"left_out":{left_out}' if left_out else ""
    return f'{{"rows":[{",".join(texts[:shown])}]{rest}}}'


RESOURCES: tuple[Resource, ...] = (
    Resource(
        types.Resource(
            uri="events://recent",
            name="recent_events",
            title="Recent events",
            description=f"The last {RECENT_EVENTS} events, or as many as fit, newest first; long "
            f"values are cut. {UNTRUSTED}",
            mime_type="application/json",
        ),
        needs_read_key=True,
        read=_read_recent_events,
    ),
    Resource(
        types.Resource(
            uri="schema://events",
            name="event_names",
            title="Event names",
            description="Event names of the last 30 days with their counts, most frequent first. "
            f"{UNTRUSTED}",
            mime_type="application/json",
        ),
        needs_read_key=True,
        read=_read_event_names,
    ),
    Resource(
        types.Resource(
            uri="source://rules",
            name="source_rules",
            title="Attribution rules",
            description="The rules that derive source and medium, in order.",
            mime_type="text/markdown",
        ),
        needs_read_key=False,
        read=_read_rules,
    ),
)
