"""``stats``: one metric by columns and buckets of time."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.endpoints import STATS
from millimetric_mcp.contract.events import EventName
from millimetric_mcp.contract.filters import Filters
from millimetric_mcp.errors import UnknownExtension
from millimetric_mcp.mcp.render import stats as render
from millimetric_mcp.mcp.render.untrusted import present
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import ATTRIBUTION_HINT, FILTERS_HINT, AttributedArguments
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext
from millimetric_mcp.mcp.tools.wording import NO_COUNTRIES, advise_limit, count, quote
from millimetric_mcp.mcp.window import Window


class StatsArguments(AttributedArguments):
    """A window, what to count in it, and how to group it."""

    metric: reads.Metric = Field(
        reads.Metric.COUNT,
        description="count: events; uniques: distinct visitors, an estimate; sessions; the others "
        "are of the property's numbers.",
    )
    property_: reads.PropertyKey | None = Field(
        None,
        validate_default=True,
        alias="property",
        description="For sum, avg, min, max, median, p95: e.g. amount.",
    )
    filters: Annotated[Filters, WithJsonSchema({"type": "object"})] = Field(
        default_factory=dict, description=FILTERS_HINT
    )
    attribution: AttributionModel = Field(AttributionModel.EVENT, description=ATTRIBUTION_HINT)
    event: EventName | None = Field(None, description="Only this event name, e.g. signup.")
    group_by: Annotated[
        reads.GroupBy,
        WithJsonSchema({"type": "array", "items": {"type": "string"}}),
        Field(description=f"Columns of the rows: {', '.join(reads.GroupColumn)}, properties.KEY."),
    ] = ()
    interval: reads.Interval | None = Field(
        None,
        description="Bucket width, in timezone if named, else the project's (UTC); weeks begin on "
        "Monday.",
    )
    fill_empty: bool = Field(default=False, strict=True, description="Add zeros for empty buckets.")
    limit: int = Field(100, strict=True, ge=1, le=reads.MAX_STATS_LIMIT, description="Most rows.")

    @field_validator("property_")
    @classmethod
    def _check_property(cls, key: str | None, info: ValidationInfo) -> str | None:
        reads.check_property(key, info.data.get("metric"))
        return key

    @field_validator("fill_empty")
    @classmethod
    def _check_interval(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if value and info.data.get("interval", ...) is None:
            raise ValueError('needs an interval, such as "day"')
        return value


class StatsData(read_tool.ReadData):
    """Rows by bucket, then by value; a group column without a value is absent from its row."""

    metric: reads.Metric
    total: reads.Number | None = Field(
        description="Of the whole window, as the API counts it; no sum of rows."
    )
    skipped: int | None = Field(None, description="Events without a number in the property.")
    no_touch_share: float | None = None
    rows: list[render.ShownStats]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Rows and the total of their window; not complete if the limit cut rows off."""

    rows: list[reads.StatsRow]
    total: reads.Number | None
    is_complete: bool
    answer: reads.StatsResult
    has_utc_buckets: bool


async def _find(
    context: ToolContext, params: StatsArguments, window: Window
) -> read_tool.ReadAnswer[StatsData]:
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
    what = _name_metric(params)
    of = f" of {quote(params.event)}" if params.event else ""
    about = window.describe(has_buckets=counts.has_utc_buckets)
    return read_tool.ReadAnswer(
        data=StatsData(
            window=read_tool.WindowData.of(window),
            metric=params.metric,
            total=counts.total,
            skipped=counts.answer.skipped,
            no_touch_share=counts.answer.no_touch_share,
            rows=[],
        ),
        rows=[render.ShownStats.model_validate(present(row)) for row in shown],
        receipt=[
            f"Total {counts.total} {what}{of}; {count(len(rows), 'row')}. {about}",
            *params.describe_attribution(counts.answer.no_touch_share, columns=params.group_by),
        ],
        notes=_list_notes(params, window, counts),
        render=lambda max_rows: render.render_stats(
            shown[:max_rows],
            metric=params.metric,
            interval=params.interval,
            group_by=params.group_by,
        ),
        limit_note="" if counts.is_complete else _note_limit(params.limit),
        is_empty=not counts.rows or counts.total == 0,
    )


async def _fetch(context: ToolContext, params: StatsArguments, window: Window) -> _Counts:
    """Ask for one row more than wanted, to learn whether the limit cuts any off."""
    question = reads.StatsParams(
        **read_tool.ask(params, window),
        metric=params.metric,
        property=params.property_,
        group_by=params.group_by,
        interval=params.interval,
        timezone=_choose_zone(params, window),
        limit=min(params.limit + 1, reads.MAX_STATS_LIMIT),
    )
    try:
        answer = await context.client.stats(question)
    except UnknownExtension as error:
        if error.names != ("timezone",) or not params.interval:
            raise
        question = question.model_copy(update={"timezone": None})
        answer = await context.client.stats(question)
    if params.fill_empty and answer.project_timezone:
        question = question.model_copy(update={"timezone": "UTC"})
        answer = await context.client.stats(question)
    rows = answer.rows[: params.limit]
    is_complete = not answer.truncated and len(answer.rows) < question.limit
    about: dict[str, Any] = {
        "answer": answer,
        "has_utc_buckets": bool(params.interval)
        and (question.timezone or answer.project_timezone or "UTC") == "UTC",
    }
    if not params.group_by and params.interval is None:
        return _Counts(rows, _read_total(rows), is_complete=True, **about)
    if not rows:
        return _Counts(rows, 0, is_complete=True, **about)
    whole = question.model_copy(
        update={"group_by": (), "interval": None, "timezone": None, "limit": 1}
    )
    totals = (await context.client.stats(whole)).rows
    return _Counts(rows, _read_total(totals), is_complete=is_complete, **about)


def _read_total(rows: list[reads.StatsRow]) -> reads.Number | None:
    return rows[0].value if rows else 0


def _choose_zone(params: StatsArguments, window: Window) -> str | None:
    """Return the zone of buckets, hours and weekdays, if a zone was asked for and is not UTC.

    None means the project's own zone, else UTC. Empty buckets are filled in UTC.
    """
    has_zone = params.interval or not reads.LOCAL_COLUMNS.isdisjoint(params.group_by)
    asked = params.timezone and has_zone and not params.fill_empty
    return None if not asked or window.is_utc else window.timezone


def _name_metric(params: StatsArguments) -> str:
    if params.property_:
        return f"{params.metric} of {quote(params.property_)}"
    names = {
        reads.Metric.COUNT: "events",
        reads.Metric.UNIQUES: "unique visitors (estimate)",
        reads.Metric.SESSIONS: "sessions",
    }
    return names[params.metric]


def _list_notes(params: StatsArguments, window: Window, counts: _Counts) -> list[str]:
    notes = read_tool.list_api_notes(counts.answer)
    if counts.answer.skipped:
        skipped = count(counts.answer.skipped, "event")
        notes.append(f"{skipped} without a number in {quote(params.property_ or '')} skipped.")
    blank = [name for name in params.group_by if not all(getattr(r, name) for r in counts.rows)]
    if "country" in blank and not any(row.country for row in counts.rows):
        blank.remove(reads.GroupColumn.COUNTRY)
        notes.append(NO_COUNTRIES)
    if blank:
        notes.append(f"An empty {' or '.join(blank)} counts the events without one.")
    if params.fill_empty and not counts.is_complete:
        cut = "may have cut" if params.limit == reads.MAX_STATS_LIMIT else "cut"
        notes.append(f"The limit {cut} rows off, so empty buckets are not filled.")
    if params.interval and counts.has_utc_buckets:
        notes.append(
            render.describe_cut_buckets(params.interval, start=window.start_utc, end=window.end_utc)
        )
    return list(filter(None, notes))


def _note_limit(limit: int) -> str:
    way = advise_limit(
        limit,
        most=reads.MAX_STATS_LIMIT,
        otherwise="narrow the window, or group by fewer columns",
    )
    return f"The limit of {limit} rows is reached: {way}."


TOOL = Tool(
    name="stats",
    title="Statistics",
    description="Events, unique visitors, sessions, or a property's numbers (revenue: metric sum, "
    "property amount) by columns and buckets of time, with the total and each group's share. "
    "Rows by bucket, then largest first. Uniques can't be added up: ask for the grouping you need. "
    f"{read_tool.VISITOR} {read_tool.UNTRUSTED}",
    params=StatsArguments,
    result=StatsData,
    endpoints=(STATS,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
    has_view=True,
    hosted_name="get_stats",
)
