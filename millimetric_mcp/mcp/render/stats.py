"""Stats: the table, zeros for empty buckets, and buckets that the window cuts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

from pydantic import Field

from millimetric_mcp.contract.reads import Interval, Metric, StatsRow
from millimetric_mcp.contract.validation import format_timestamp, parse_timestamp
from millimetric_mcp.errors import InvalidArguments, NextStep, UpstreamError
from millimetric_mcp.mcp.render.table import Table, divide, join_cells, percent

MAX_FILLED_ROWS = 5000

_TOO_MANY_ROWS = (
    f"fill_empty: the result would have more than {MAX_FILLED_ROWS} rows; narrow the window, "
    "group by fewer columns, or take a longer interval"
)
_LENGTHS = {
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
    Interval.WEEK: timedelta(days=7),
    Interval.MONTH: timedelta(days=31),  # the longest
}


class ShownStats(StatsRow):
    """A row of stats and its share."""

    share: float | None = Field(None, description="Of the total, 0 to 1.")


def add_shares(rows: Sequence[StatsRow], *, total: float | None) -> list[ShownStats]:
    """Return the rows with their shares of the total; without one, they have none."""
    return [
        ShownStats.model_validate(
            row.model_dump(exclude_unset=True)
            | ({"share": divide(row.value, total)} if total and row.value is not None else {})
        )
        for row in rows
    ]


def render_stats(
    rows: Sequence[StatsRow],
    *,
    metric: Metric,
    interval: Interval | None,
    group_by: Sequence[str],
) -> Table:
    """Return stats as a table; a bucket is written as its start in UTC."""
    columns = list(group_by)
    shares = [row.share for row in rows if isinstance(row, ShownStats)]
    has_share = any(share is not None for share in shares)
    zeros = ":00:00.000Z" if interval is Interval.HOUR else "T00:00:00.000Z"
    lines = [
        join_cells(
            (
                *([(row.bucket or "").removesuffix(zeros)] if interval else []),
                *(getattr(row, column) for column in columns),
                row.value,
                *([percent(getattr(row, "share", None))] if has_share else []),
            )
        )
        for row in rows
    ]
    return Table(
        [
            *(["bucket"] if interval else []),
            *columns,
            metric.value,
            *(["share"] if has_share else []),
        ],
        lines,
        advice="narrow the window, group by fewer columns, or take a longer interval",
    )


def fill_buckets(
    rows: Sequence[StatsRow], *, interval: Interval, start: datetime, end: datetime
) -> list[StatsRow]:
    """Return ``rows`` and a zero for each group in each bucket of the window that has no row.

    The groups are those of ``rows``. Don't fill rows that a limit cut short: a missing row
    would look like a zero.

    Raises:
        InvalidArguments: the result would have more than `MAX_FILLED_ROWS` rows.
    """
    found = {(_read_bucket(row), _group(row)) for row in rows}
    groups = {_group(row): row for row in rows} or {(): StatsRow(value=0)}
    buckets = check_fillable(interval, start=start, end=end, groups=len(groups))
    zeros = [
        sample.model_copy(update={"bucket": format_timestamp(bucket), "value": 0})
        for bucket, (group, sample) in product(buckets, groups.items())
        if (bucket, group) not in found
    ]
    return sorted(
        [*rows, *zeros], key=lambda row: (_read_bucket(row), -(row.value or 0), _group(row))
    )


def check_fillable(
    interval: Interval, *, start: datetime, end: datetime, groups: int = 1
) -> list[datetime]:
    """Return the starts of the window's buckets.

    Raises:
        InvalidArguments: with so many groups, `fill_buckets` would return more than
            `MAX_FILLED_ROWS` rows.
    """
    buckets: list[datetime] = []
    bucket = _floor(start, interval)
    while bucket < end and start < end:
        buckets.append(bucket)
        bucket = _next(bucket, interval)
        if len(buckets) * groups > MAX_FILLED_ROWS:
            raise InvalidArguments([_TOO_MANY_ROWS])
    return buckets


def _group(row: StatsRow) -> tuple[str, ...]:
    columns = row.model_dump(exclude={"bucket", "value"}, exclude_none=True)
    return tuple(f"{name}={value}" for name, value in columns.items())


def _read_bucket(row: StatsRow) -> datetime:
    try:
        return parse_timestamp(row.bucket)
    except ValueError:
        pass
    raise UpstreamError(
        "The API's response has a bucket that is not a time.", next_step=NextStep.CONFIGURE
    )


def _floor(moment: datetime, interval: Interval) -> datetime:
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if interval is Interval.HOUR:
        return hour
    day = hour.replace(hour=0)
    if interval is Interval.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval is Interval.MONTH else day


def _next(bucket: datetime, interval: Interval) -> datetime:
    after = bucket + _LENGTHS[interval]
    return after.replace(day=1) if interval is Interval.MONTH else after


def describe_cut_buckets(interval: Interval, *, start: datetime, end: datetime) -> str:
    """Return which of the first and last buckets the window cuts; empty if it cuts none."""
    cut = [
        name
        for name, moment in (("first", start), ("last", end))
        if _floor(moment, interval) != moment
    ]
    if not cut or start == end:
        return ""
    verb = "buckets are" if len(cut) > 1 else "bucket is"
    return f"The {' and the '.join(cut)} {verb} only partly inside the window."
