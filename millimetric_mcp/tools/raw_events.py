"""``raw_events``: single events, newest first."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from millimetric_mcp.contract.endpoints import QUERY
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT, EventRow, QueryParams
from millimetric_mcp.contract.validation import format_timestamp, parse_timestamp
from millimetric_mcp.render import (
    DEFAULT_EVENT_COLUMNS,
    EVENT_COLUMNS,
    MAX_CELL_CHARS,
    present_event,
    render_events,
)
from millimetric_mcp.tools.arguments import WindowArguments, choose_names
from millimetric_mcp.tools.explain import explain_nothing
from millimetric_mcp.tools.reading import (
    STRANGERS,
    ReadAnswer,
    WindowAnswer,
    count,
    find_window,
)
from millimetric_mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec
from millimetric_mcp.window import Window

MAX_CHOSEN_CELL_CHARS = 2048
"""Values of columns that were asked for by name are cut later: they are what is wanted."""


Filter = Annotated[str | None, Field(min_length=1)]
FieldNames = Annotated[
    tuple[str, ...],
    BeforeValidator(partial(choose_names, allowed=EVENT_COLUMNS)),
    WithJsonSchema({"type": "array", "items": {"type": "string", "enum": list(EVENT_COLUMNS)}}),
]


class RawEventsArguments(WindowArguments):
    """A window, which of its events, and which of their columns."""

    event: Filter = None
    source: Filter = None
    medium: Filter = None
    country: Filter = None
    user_id: Filter = None
    anonymous_id: Filter = None
    fields: Annotated[
        FieldNames | None,
        Field(description=f"Columns; default {', '.join(DEFAULT_EVENT_COLUMNS)}."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_QUERY_LIMIT)] = 20


class RawEventRow(ToolAnswer):
    """The columns asked for; one without a value is absent. ``properties`` is JSON text."""

    timestamp: str | None = None
    event_name: str | None = None
    who: Annotated[str | None, Field(description="user:<user_id>, else the anonymous_id.")] = None
    event_id: str | None = None
    anonymous_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    source_confidence: str | None = None
    source_rule_id: str | None = None
    referrer: str | None = None
    url: str | None = None
    path: str | None = None
    country: str | None = None
    device_type: str | None = None
    browser: str | None = None
    os: str | None = None
    properties: str | None = None


class RawEventsAnswer(ReadAnswer):
    """Events, newest first."""

    rows: list[RawEventRow]


async def _run(context: ToolContext, params: RawEventsArguments) -> Answer[RawEventsAnswer]:
    window = find_window(context, params)
    answer = await context.client.query(
        QueryParams(
            from_=window.start_utc, to=window.end_utc, limit=params.limit, **_list_filters(params)
        )
    )
    notes: list[str] = []
    if len(answer.rows) == params.limit:
        notes.append(_note_limit(answer.rows, limit=params.limit))
    if not answer.rows:
        filters = _list_filters(params)
        event = filters.pop("event", None)
        notes.append(await explain_nothing(context, window, event=event, filters=filters))
    return _answer(context, params, window=window, rows=answer.rows, notes=notes)


def _note_limit(rows: Sequence[EventRow], *, limit: int) -> str:
    goes_on = _continue_after(rows)
    can_raise = limit < MAX_QUERY_LIMIT
    ways = [f"raise limit (at most {MAX_QUERY_LIMIT})"] * can_raise + [goes_on] * bool(goes_on)
    if ways:
        return f"The limit of {limit} is reached; for older events {', or '.join(ways)}."
    return f"The limit of {limit} is reached within one millisecond: filter to see the others."


def _continue_after(rows: Sequence[EventRow]) -> str:
    """How to get what is older than ``rows``; empty where their time alone can't say it.

    Further events may share the oldest row's millisecond: it belongs to what follows.
    """
    if not rows or rows[0].timestamp == rows[-1].timestamp:
        return ""
    with suppress(ValueError):
        to = parse_timestamp(rows[-1].timestamp) + timedelta(milliseconds=1)
        return f"pass to={format_timestamp(to)} (that last millisecond's rows come again)"
    return ""


def _advise_rest(rows: Sequence[EventRow]) -> str:
    goes_on = _continue_after(rows)
    return f"{goes_on}, or name fewer fields" if goes_on else "filter, or name fewer fields"


def _list_filters(params: RawEventsArguments) -> dict[str, str]:
    names = ("event", "source", "medium", "country", "user_id", "anonymous_id")
    values = {name: getattr(params, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _answer(
    context: ToolContext,
    params: RawEventsArguments,
    *,
    window: Window,
    rows: list[EventRow],
    notes: list[str],
) -> Answer[RawEventsAnswer]:
    columns = params.fields or DEFAULT_EVENT_COLUMNS
    max_cell_chars = MAX_CHOSEN_CELL_CHARS if params.fields else MAX_CELL_CHARS
    tells_time = bool(rows) and "timestamp" in columns and window.timezone != "UTC"
    zone = "; times are UTC" if tells_time else ""
    rendered = render_events(
        rows,
        receipt=[
            f"{count(len(rows), 'event')}, newest first{zone}. {window.describe()}",
            *notes,
        ],
        max_chars=context.max_result_chars,
        columns=columns,
        max_cell_chars=max_cell_chars,
        advise=lambda shown: _advise_rest(rows[:shown]),
    )
    return Answer(
        rendered.text,
        RawEventsAnswer(
            window=WindowAnswer.of(window),
            rows=[
                RawEventRow.model_validate(
                    present_event(row, columns, max_cell_chars=max_cell_chars)
                )
                for row in rows[: rendered.shown]
            ],
            left_out=rendered.left_out or None,
            notes=notes or None,
        ),
    )


RAW_EVENTS = ToolSpec(
    name="raw_events",
    title="Raw events",
    description=f"Single events with their attribution, newest first. {STRANGERS}",
    params=RawEventsArguments,
    result=RawEventsAnswer,
    endpoints=(QUERY,),
    scope=Scope.READ,
    hints=Hints(read_only=True, destructive=False, idempotent=True, open_world=True),
    run=_run,
)
