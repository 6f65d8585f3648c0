"""``stats``: one metric by columns and buckets of time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from millimetric_mcp.contract.endpoints import STATS
from millimetric_mcp.contract.events import EventName
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import (
    MAX_STATS_LIMIT,
    GroupColumn,
    Interval,
    Metric,
    StatsParams,
    StatsRow,
)
from millimetric_mcp.mcp.render import (
    check_fillable,
    describe_cut_buckets,
    fill_buckets,
    present,
    render_stats,
)
from millimetric_mcp.mcp.tools.arguments import WindowArguments, choose_names
from millimetric_mcp.mcp.tools.explain import explain_nothing, quote
from millimetric_mcp.mcp.tools.faults import combination_fault
from millimetric_mcp.mcp.tools.reading import (
    STRANGERS,
    ReadAnswer,
    WindowAnswer,
    count,
    cut_note,
    find_window,
    fit_answer,
    keep_time,
)
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolContext, ToolSpec
from millimetric_mcp.mcp.window import Window

GroupByList = Annotated[
    tuple[GroupColumn, ...],
    BeforeValidator(partial(choose_names, allowed=list(GroupColumn))),
    WithJsonSchema({"type": "array", "items": {"type": "string", "enum": list(GroupColumn)}}),
]


class StatsArguments(WindowArguments):
    """A window, what to count in it, and how to cut it."""

    metric: Annotated[
        Metric, Field(description="count: events; uniques: distinct visitors, an estimate.")
    ] = Metric.COUNT
    event: Annotated[EventName | None, Field(description="Only this event name, e.g. signup.")] = (
        None
    )
    group_by: GroupByList = ()
    interval: Annotated[
        Interval | None, Field(description="Bucket width, in UTC; absent: one bucket.")
    ] = None
    fill_empty: Annotated[bool, Field(strict=True, description="Add zeros for empty buckets.")] = (
        False
    )
    limit: Annotated[int, Field(ge=1, le=MAX_STATS_LIMIT)] = 100

    @field_validator("fill_empty")
    @classmethod
    def _check_interval(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("interval", ...) is None:
            raise combination_fault('needs an interval, such as "day"')
        return value


class StatsAnswer(ReadAnswer):
    """Rows by bucket, then value; a group column without a value is absent from its row."""

    metric: Metric
    total: Annotated[
        int, Field(description="Of the whole window, as the API counts it; not a sum of rows.")
    ]
    rows: list[StatsRow]


@dataclass(frozen=True, slots=True)
class _Found:
    rows: list[StatsRow]
    total: int
    is_whole: bool


async def _run(context: ToolContext, params: StatsArguments) -> Answer[StatsAnswer]:
    window = find_window(context, params)
    if params.fill_empty and params.interval:
        check_fillable(params.interval, start=window.start_utc, end=window.end_utc)
    with keep_time(context):
        found = await _find(context, window, params)
    rows = found.rows
    notes = [*_note_blanks(params, rows), *_note_gaps(params, window, found)]
    if found.total == 0:
        nothing = await explain_nothing(context, window, event=params.event)
        notes.append(cut_note(context, nothing))
    if params.fill_empty and params.interval and found.is_whole:
        rows = fill_buckets(
            rows, interval=params.interval, start=window.start_utc, end=window.end_utc
        )
    found = replace(found, rows=rows)
    return _answer(context, params, window=window, found=found, notes=notes)


async def _find(context: ToolContext, window: Window, params: StatsArguments) -> _Found:
    """One row more than wanted is asked for: it tells whether the limit cuts any off."""
    question = StatsParams(
        from_=window.start_utc,
        to=window.end_utc,
        metric=params.metric,
        group_by=params.group_by,
        interval=params.interval,
        event=params.event,
        limit=min(params.limit + 1, MAX_STATS_LIMIT),
    )
    answer = await context.client.stats(question)
    rows = answer.rows[: params.limit]
    is_whole = not answer.truncated and len(answer.rows) < question.limit
    if not params.group_by and params.interval is None:
        return _Found(rows, total=rows[0].value if rows else 0, is_whole=True)
    if not rows:
        return _Found(rows, total=0, is_whole=True)
    whole = question.model_copy(update={"group_by": (), "interval": None, "limit": 1})
    totals = (await context.client.stats(whole)).rows
    return _Found(rows, total=totals[0].value if totals else 0, is_whole=is_whole)


def _note_limit(params: StatsArguments, found: _Found) -> str:
    if found.is_whole:
        return ""
    way = (
        f"raise limit (at most {MAX_STATS_LIMIT})"
        if params.limit < MAX_STATS_LIMIT
        else "narrow the window, or group by fewer columns"
    )
    return f"The limit of {params.limit} rows is reached: {way}."


def _note_blanks(params: StatsArguments, rows: Sequence[StatsRow]) -> list[str]:
    """What an empty cell stands for, which might else be taken for a total."""
    names = [name for name in params.group_by if not all(getattr(row, name) for row in rows)]
    if not names:
        return []
    return [f"An empty {' or '.join(names)} stands for events without one."]


def _note_gaps(params: StatsArguments, window: Window, found: _Found) -> list[str]:
    notes: list[str] = []
    if params.fill_empty and not found.is_whole:
        cuts = "may have cut" if params.limit == MAX_STATS_LIMIT else "cut"
        notes.append(f"The limit {cuts} rows off, so empty buckets are not filled.")
    if params.interval and (
        cut := describe_cut_buckets(params.interval, start=window.start_utc, end=window.end_utc)
    ):
        notes.append(cut)
    return notes


def _answer(
    context: ToolContext,
    params: StatsArguments,
    *,
    window: Window,
    found: _Found,
    notes: list[str],
) -> Answer[StatsAnswer]:
    rows, total = found.rows, found.total
    what = "events" if params.metric is Metric.COUNT else "unique visitors (estimate)"
    of = f" of {quote(params.event)}" if params.event else ""
    about = window.describe(has_buckets=params.interval is not None)
    return fit_answer(
        context,
        StatsAnswer(
            window=WindowAnswer.of(window),
            metric=params.metric,
            total=total,
            rows=[],
            notes=notes or None,
        ),
        [StatsRow.model_validate(present(row)) for row in rows],
        lambda max_rows: render_stats(
            rows,
            metric=params.metric,
            interval=params.interval,
            group_by=params.group_by,
            receipt=[f"Total {total} {what}{of}; {count(len(rows), 'row')}. {about}", *notes],
            max_chars=context.max_result_chars,
            max_rows=max_rows,
            limit_note=_note_limit(params, found),
        ),
    )


STATS_TOOL = ToolSpec(
    name="stats",
    title="Statistics",
    description="Counts of events or unique visitors, by columns and buckets of time, with the "
    f"total. Uniques can't be added up: ask for the grouping you need. {STRANGERS}",
    params=StatsArguments,
    result=StatsAnswer,
    endpoints=(STATS,),
    scope=Scope.READ,
    hints=Hints(read_only=True, destructive=False, idempotent=True, open_world=True),
    run=_run,
)
