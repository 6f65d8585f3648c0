"""``stats``: one metric by columns and buckets of time."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.endpoints import STATS
from millimetric_mcp.contract.events import EventName
from millimetric_mcp.mcp.render import stats as render
from millimetric_mcp.mcp.render.untrusted import present
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import WindowArguments
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext
from millimetric_mcp.mcp.tools.wording import NO_COUNTRIES, count, quote
from millimetric_mcp.mcp.window import Window


class StatsArguments(WindowArguments):
    """A window, what to count in it, and how to group it."""

    metric: reads.Metric = Field(
        reads.Metric.COUNT, description="count: events; uniques: distinct visitors, an estimate."
    )
    event: EventName | None = Field(None, description="Only this event name, e.g. signup.")
    group_by: Annotated[
        reads.GroupBy,
        WithJsonSchema(
            {"type": "array", "items": {"type": "string", "enum": list(reads.GroupColumn)}}
        ),
        Field(description="Columns of the rows; absent: one row, or one a bucket."),
    ] = ()
    interval: reads.Interval | None = Field(
        None, description="Bucket width, in UTC; weeks begin on Monday; absent: one bucket."
    )
    fill_empty: bool = Field(default=False, strict=True, description="Add zeros for empty buckets.")
    limit: int = Field(100, strict=True, ge=1, le=reads.MAX_STATS_LIMIT, description="Most rows.")

    @field_validator("fill_empty")
    @classmethod
    def _check_interval(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if value and info.data.get("interval", ...) is None:
            raise ValueError('needs an interval, such as "day"')
        return value


class StatsData(read_tool.ReadData):
    """Rows by bucket, then by value; a group column without a value is absent from its row."""

    metric: reads.Metric
    total: int = Field(description="Of the whole window, as the API counts it; no sum of rows.")
    rows: list[render.ShownStats]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Rows and the total of their window; not complete if the limit cut rows off."""

    rows: list[reads.StatsRow]
    total: int
    is_complete: bool
    notes: list[str]


async def _find(
    context: ToolContext, params: StatsArguments, window: Window
) -> read_tool.Report[StatsData]:
    start, end = window.start_utc, window.end_utc
    fill = params.interval if params.fill_empty else None
    if fill:
        render.check_fillable(fill, start=start, end=end)
    with read_tool.share_timeout(context):
        counts = await _fetch(context, params, window)
    rows = counts.rows
    if fill and counts.is_complete:
        rows = render.fill_buckets(rows, interval=fill, start=start, end=end)
    has_shares = bool(params.group_by) and params.metric not in reads.PROPERTY_METRICS
    shown = render.add_shares(rows, total=counts.total if has_shares else None)
    what = "events" if params.metric is reads.Metric.COUNT else "unique visitors (estimate)"
    of = f" of {quote(params.event)}" if params.event else ""
    about = window.describe(has_buckets=params.interval is not None)
    return read_tool.Report(
        data=StatsData(
            window=read_tool.WindowData.of(window),
            metric=params.metric,
            total=counts.total,
            rows=[],
        ),
        rows=[render.ShownStats.model_validate(present(row)) for row in shown],
        receipt=[f"Total {counts.total} {what}{of}; {count(len(rows), 'row')}. {about}"],
        notes=_list_notes(params, window, counts),
        render=lambda max_rows: render.render_stats(
            shown[:max_rows],
            metric=params.metric,
            interval=params.interval,
            group_by=params.group_by,
        ),
        limit_note="" if counts.is_complete else _advise_limit(params),
        is_empty=counts.total == 0,
    )


async def _fetch(context: ToolContext, params: StatsArguments, window: Window) -> _Counts:
    """Ask for one row more than wanted, to learn whether the limit cuts any off."""
    question = reads.StatsParams(
        from_=window.start_utc,
        to=window.end_utc,
        metric=params.metric,
        group_by=params.group_by,
        interval=params.interval,
        event=params.event,
        limit=min(params.limit + 1, reads.MAX_STATS_LIMIT),
    )
    answer = await context.client.stats(question)
    rows, notes = answer.rows[: params.limit], read_tool.list_api_notes(answer)
    is_complete = not answer.truncated and len(answer.rows) < question.limit
    if not params.group_by and params.interval is None:
        return _Counts(rows, total=_read_total(rows), is_complete=True, notes=notes)
    if not rows:
        return _Counts(rows, total=0, is_complete=True, notes=notes)
    whole = question.model_copy(update={"group_by": (), "interval": None, "limit": 1})
    totals = (await context.client.stats(whole)).rows
    return _Counts(rows, total=_read_total(totals), is_complete=is_complete, notes=notes)


def _read_total(rows: list[reads.StatsRow]) -> int:
    return int(rows[0].value or 0) if rows else 0


def _list_notes(params: StatsArguments, window: Window, counts: _Counts) -> list[str]:
    notes = list(counts.notes)
    blank = [name for name in params.group_by if not all(getattr(r, name) for r in counts.rows)]
    if "country" in blank and not any(row.country for row in counts.rows):
        blank.remove(reads.GroupColumn.COUNTRY)
        notes.append(NO_COUNTRIES)
    if blank:
        notes.append(f"An empty {' or '.join(blank)} means: events without one.")
    if params.fill_empty and not counts.is_complete:
        cut = "may have cut" if params.limit == reads.MAX_STATS_LIMIT else "cut"
        notes.append(f"The limit {cut} rows off, so empty buckets are not filled.")
    if params.interval:
        notes.append(
            render.describe_cut_buckets(params.interval, start=window.start_utc, end=window.end_utc)
        )
    return list(filter(None, notes))


def _advise_limit(params: StatsArguments) -> str:
    way = (
        f"raise limit (at most {reads.MAX_STATS_LIMIT})"
        if params.limit < reads.MAX_STATS_LIMIT
        else "narrow the window, or group by fewer columns"
    )
    return f"The limit of {params.limit} rows is reached: {way}."


TOOL = Tool(
    name="stats",
    title="Statistics",
    description="Counts of events or unique visitors by columns and buckets of time, with the "
    "total and each group's share of it. Rows by bucket, then largest first. Uniques can't be "
    f"added up: ask for the grouping you need. {read_tool.VISITOR} {read_tool.UNTRUSTED}",
    params=StatsArguments,
    result=StatsData,
    endpoints=(STATS,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
    hosted_name="get_stats",
)
