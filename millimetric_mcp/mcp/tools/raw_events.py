"""``raw_events``: single events, newest first."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model

from millimetric_mcp.contract.endpoints import QUERY
from millimetric_mcp.contract.events import EventName, ShortId, UserId
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT, EventRow, QueryParams
from millimetric_mcp.contract.validation import format_timestamp, parse_timestamp
from millimetric_mcp.mcp.render import (
    DEFAULT_EVENT_COLUMNS,
    EVENT_COLUMNS,
    MAX_CELL_CHARS,
    present_event,
    render_events,
)
from millimetric_mcp.mcp.tools.arguments import SourceName, WindowArguments, choose_names
from millimetric_mcp.mcp.tools.explain import explain_nothing
from millimetric_mcp.mcp.tools.reading import (
    STRANGERS,
    ReadAnswer,
    WindowAnswer,
    count,
    cut_note,
    find_window,
    fit_answer,
)
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolAnswer, ToolContext, ToolSpec
from millimetric_mcp.mcp.window import Window

MAX_CHOSEN_CELL_CHARS = 2048
"""Values of columns that were asked for by name are cut later: they are what is wanted."""
TIGHT_CELL_CHARS = (MAX_CELL_CHARS, 30)
"""What values are cut at, in turn, where otherwise not even the first event would fit."""


Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
FieldNames = Annotated[
    tuple[str, ...],
    BeforeValidator(partial(choose_names, allowed=EVENT_COLUMNS, at_least=1)),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "enum": list(EVENT_COLUMNS)},
            "minItems": 1,
        }
    ),
]


class RawEventsArguments(WindowArguments):
    """A window, which of its events, and which of their columns."""

    event: EventName | None = None
    source: SourceName | None = None
    medium: SourceName | None = None
    country: Country | None = None
    user_id: Annotated[
        UserId | None,
        Field(description="Events sent with it; earlier ones have an anonymous_id only."),
    ] = None
    anonymous_id: ShortId | None = None
    fields: Annotated[
        FieldNames | None,
        Field(description=f"Columns; default {', '.join(DEFAULT_EVENT_COLUMNS)}."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_QUERY_LIMIT)] = 20


if TYPE_CHECKING:

    class RawEventRow(ToolAnswer):
        """The columns asked for: for type checkers."""

else:
    RawEventRow = create_model(
        "RawEventRow",
        __base__=ToolAnswer,
        __doc__="The columns asked for; one without a value is absent.",
        **dict.fromkeys(EventRow.model_fields, (str | None, None)),
        who=(str | None, Field(None, description="user:<user_id>, else the anonymous_id.")),
    )


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
    if not answer.rows:
        filters = _list_filters(params)
        event = filters.pop("event", None)
        nothing = await explain_nothing(context, window, event=event, filters=filters)
        notes.append(cut_note(context, nothing))
    return _answer(context, params, window=window, rows=answer.rows, notes=notes)


def _note_limit(rows: Sequence[EventRow], window: Window, *, limit: int) -> str:
    """The way to what is older than ``rows``; empty where there is nothing."""
    if len(rows) < limit:
        return ""
    if goes_on := _continue_at(rows[-1], rows, window):
        way = f"{goes_on} (that last millisecond's rows come again)"
    elif limit < MAX_QUERY_LIMIT:
        way = f"raise limit (at most {MAX_QUERY_LIMIT})"
    else:
        return f"The limit of {limit} is reached within one millisecond: filter to see the others."
    return f"The limit of {limit} is reached; for older events {way}."


def _advise_rest(rows: Sequence[EventRow], window: Window, *, shown: int) -> str:
    """The way to the rows after so many shown ones, and to whatever is older than all.

    Past a first event that does not fit, its whole millisecond is left out.
    """
    goes_on = _continue_at(rows[shown], rows, window) if 0 < shown < len(rows) else ""
    if not goes_on:
        passing = _pass_window(rows[shown], window, later_ms=0) if shown < len(rows) else ""
        past = f"filter, name fewer fields, or leave out that millisecond's rows: {passing}"
        return past if passing else _CHOOSE_LESS
    comes_again = rows[shown].timestamp == rows[shown - 1].timestamp
    return f"{goes_on} (that millisecond's rows come again)" if comes_again else goes_on


_CHOOSE_LESS = "filter, or name fewer fields"


def _continue_at(row: EventRow, rows: Sequence[EventRow], window: Window) -> str:
    """How to ask for ``row`` and what is older; empty where time alone can't say it.

    Other events may share the row's millisecond, so all of it belongs to what follows.
    """
    return "" if row.timestamp == rows[0].timestamp else _pass_window(row, window, later_ms=1)


def _pass_window(row: EventRow, window: Window, *, later_ms: int) -> str:
    """The arguments that end the window so long after ``row``; empty where its time is none."""
    with suppress(ValueError):
        to = parse_timestamp(row.timestamp) + timedelta(milliseconds=later_ms)
        return f"pass from={format_timestamp(window.start_utc)} to={format_timestamp(to)}"
    return ""


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
    longest = MAX_CHOSEN_CELL_CHARS if params.fields else MAX_CELL_CHARS
    answer = _fit(context, params, window=window, rows=rows, notes=notes, max_cell_chars=longest)
    for max_cell_chars in (chars for chars in TIGHT_CELL_CHARS if chars < longest):
        if answer.data.rows or not rows:
            break
        tight = f"Values are cut at {max_cell_chars} characters: the first event is a long one."
        answer = _fit(
            context,
            params,
            window=window,
            rows=rows,
            notes=[*notes, tight],
            max_cell_chars=max_cell_chars,
        )
    return answer


def _fit(
    context: ToolContext,
    params: RawEventsArguments,
    *,
    window: Window,
    rows: list[EventRow],
    notes: list[str],
    max_cell_chars: int,
) -> Answer[RawEventsAnswer]:
    columns = params.fields or DEFAULT_EVENT_COLUMNS
    tells_time = bool(rows) and "timestamp" in columns and not window.is_utc
    zone = "; times are UTC" if tells_time else ""
    return fit_answer(
        context,
        RawEventsAnswer(window=WindowAnswer.of(window), rows=[], notes=notes or None),
        [
            RawEventRow.model_validate(present_event(row, columns, max_cell_chars=max_cell_chars))
            for row in rows
        ],
        lambda max_rows: render_events(
            rows,
            receipt=[
                f"{count(len(rows), 'event')}, newest first{zone}. {window.describe()}",
                *notes,
            ],
            max_chars=context.max_result_chars,
            columns=params.fields,
            max_cell_chars=max_cell_chars,
            advice=lambda shown: _advise_rest(rows, window, shown=shown),
            limit_note=_note_limit(rows, window, limit=params.limit),
            max_rows=max_rows,
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
