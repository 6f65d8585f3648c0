"""``raw_events``: single events, newest first."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, create_model

from millimetric_mcp.contract.endpoints import QUERY
from millimetric_mcp.contract.events import EventName, ShortId, UserId
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT, EventRow, QueryParams
from millimetric_mcp.contract.validation import format_timestamp, parse_timestamp
from millimetric_mcp.mcp.render import events as render
from millimetric_mcp.mcp.render.untrusted import MAX_CELL_CHARS
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import QuestionArguments, SourceName
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext, ToolData
from millimetric_mcp.mcp.tools.wording import count
from millimetric_mcp.mcp.window import Window

CELL_CHARS = (2048, MAX_CELL_CHARS, 30)
"""Where values are cut: late if the columns were asked for by name, earlier if the first event
would take more than half of the budget."""


def _check_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or not set(names) <= set(render.EVENT_COLUMNS):
        raise ValueError(f"must be a list of names among {', '.join(render.EVENT_COLUMNS)}")
    return names


_COLUMNS_SCHEMA = {"type": "array", "items": {"type": "string", "enum": list(render.EVENT_COLUMNS)}}


class RawEventsArguments(QuestionArguments):
    """A window, and which events and columns of it."""

    event: EventName | None = Field(None, description="Only this event name.")
    source: SourceName | None = Field(None, description="Only this source.")
    medium: SourceName | None = Field(None, description="E.g. paid, organic, social.")
    country: str | None = Field(None, pattern=r"^[A-Z]{2}$", description="ISO code, e.g. DE.")
    user_id: UserId | None = Field(
        None, description="Events sent with it; earlier ones have an anonymous_id only."
    )
    anonymous_id: ShortId | None = Field(None, description="Only this visitor.")
    fields: Annotated[
        Annotated[tuple[str, ...], AfterValidator(_check_columns), WithJsonSchema(_COLUMNS_SCHEMA)]
        | None,
        Field(description=f"Columns; default {', '.join(render.DEFAULT_EVENT_COLUMNS)}."),
    ] = None
    limit: int = Field(20, strict=True, ge=1, le=MAX_QUERY_LIMIT, description="Most rows.")


if TYPE_CHECKING:

    class RawEventRow(ToolData):
        """The columns asked for: for type checkers."""

else:
    RawEventRow = create_model(
        "RawEventRow",
        __base__=ToolData,
        __doc__="The columns asked for; one without a value is absent.",
        **dict.fromkeys(EventRow.model_fields, (str | None, None)),
        who=(str | None, Field(None, description="user:<user_id>, else the anonymous_id.")),
    )


class RawEventsData(read_tool.ReadData):
    """Events, newest first."""

    rows: list[RawEventRow]


async def _find(
    context: ToolContext, params: RawEventsArguments, window: Window
) -> read_tool.ReadAnswer[RawEventsData]:
    question = QueryParams(**read_tool.ask(params, window), limit=params.limit)
    answer = await context.client.query(question)
    events, notes = answer.rows, read_tool.list_api_notes(answer)
    columns = params.fields or render.DEFAULT_EVENT_COLUMNS
    max_cell_chars = _choose_cell_chars(context, params, events)
    if max_cell_chars < (CELL_CHARS[0] if params.fields else CELL_CHARS[1]):
        notes.append(f"Values are cut at {max_cell_chars} characters: the first event is long.")
    zone = "; times are UTC" if events and "timestamp" in columns and not window.is_utc else ""
    return read_tool.ReadAnswer(
        data=RawEventsData(window=read_tool.WindowData.of(window), rows=[]),
        rows=[
            RawEventRow.model_validate(
                render.present_event(row, columns, max_cell_chars=max_cell_chars)
            )
            for row in events
        ],
        receipt=[f"{count(len(events), 'event')}, newest first{zone}. {window.describe()}"],
        notes=notes,
        render=lambda max_rows: render.render_events(
            events,
            max_rows=max_rows,
            max_chars=context.settings.max_result_chars,
            columns=params.fields,
            max_cell_chars=max_cell_chars,
            advice=partial(_advise_rest, events, window),
        ),
        limit_note=_note_limit(events, window, params.limit),
        is_empty=not events,
    )


def _choose_cell_chars(
    context: ToolContext, params: RawEventsArguments, events: Sequence[EventRow]
) -> int:
    columns = params.fields or render.DEFAULT_EVENT_COLUMNS
    widths = CELL_CHARS if params.fields else CELL_CHARS[1:]
    for width in widths:
        first = [
            str(render.present_event(row, columns, max_cell_chars=width)) for row in events[:1]
        ]
        if sum(map(len, first)) <= context.settings.max_result_chars / 2:
            return width
    return widths[-1]


def _note_limit(events: Sequence[EventRow], window: Window, limit: int) -> str:
    """Return how to get older events than these; empty if there are none."""
    if len(events) < limit:
        return ""
    if way := _continue_at(events[-1], events, window):
        way += " (it repeats the rows of that last millisecond)"
    elif limit < MAX_QUERY_LIMIT:
        way = f"raise limit (at most {MAX_QUERY_LIMIT})"
    else:
        return f"The limit of {limit} is reached within one millisecond: filter to see the others."
    return f"The limit of {limit} is reached; there may be more: for older events {way}."


def _advise_rest(events: Sequence[EventRow], window: Window, shown: int) -> str:
    """Return how to get the events that did not fit.

    If the first event does not fit, its whole millisecond has to be left out.
    """
    way = _continue_at(events[shown], events, window) if shown else ""
    if way:
        comes_again = events[shown].timestamp == events[shown - 1].timestamp
        return f"{way} (it repeats the rows of that millisecond)" if comes_again else way
    past = _write_window(events[shown], window, later_ms=0)
    if not past:
        return "filter, or name fewer fields"
    return f"filter, name fewer fields, or leave out that millisecond's rows: {past}"


def _continue_at(row: EventRow, events: Sequence[EventRow], window: Window) -> str:
    """Return the window of ``row`` and older events; empty if all have the same time.

    Other events may share the row's millisecond, so the window holds all of it.
    """
    is_first = row.timestamp == events[0].timestamp
    return "" if is_first else _write_window(row, window, later_ms=1)


def _write_window(row: EventRow, window: Window, *, later_ms: int) -> str:
    """Return the arguments of a window that ends just after ``row``; empty if it has no time."""
    with suppress(ValueError):
        to = parse_timestamp(row.timestamp) + timedelta(milliseconds=later_ms)
        return f"pass from={format_timestamp(window.start_utc)} to={format_timestamp(to)}"
    return ""


TOOL = Tool(
    name="raw_events",
    title="Raw events",
    description=f"Single events with their attribution, newest first. {read_tool.UNTRUSTED}",
    params=RawEventsArguments,
    result=RawEventsData,
    endpoints=(QUERY,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
    hosted_name="query_events",
)
