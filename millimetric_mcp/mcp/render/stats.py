"""Stats: the table, empty buckets filled in, buckets that the window cuts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

from millimetric_mcp.contract.reads import GroupColumn, Interval, Metric, StatsRow
from millimetric_mcp.contract.validation import format_timestamp, parse_timestamp
from millimetric_mcp.errors import InvalidArguments, NextStep, UpstreamError
from millimetric_mcp.mcp.render.table import Rendered, fit, join_cells

MAX_FILLED_ROWS = 5000


def render_stats(
    rows: Sequence[StatsRow],
    *,
    metric: Metric,
    interval: Interval | None,
    group_by: Sequence[GroupColumn],
    receipt: Sequence[str],
    max_chars: int,
    max_rows: int | None = None,
    limit_note: str = "",
) -> Rendered:
    """Stats rows under their columns; a bucket is written as its start in UTC.

    ``limit_note`` says how to get more than ``rows``, where all of those fit.
    """
    columns = [column.value for column in group_by]
    lines = [
        join_cells(
            (
                *([_bucket(row.bucket, interval)] if interval else []),
                *(getattr(row, column) for column in columns),
                row.value,
            )
        )
        for row in rows[:max_rows]
    ]
    head = ",".join((*(["bucket"] if interval else []), *columns, metric.value))
    advice = "narrow the window, group by fewer columns, or take a longer interval"
    return fit(
        (*receipt, head),
        lines,
        max_chars=max_chars,
        advice=lambda shown: advice if shown < len(rows) else limit_note,
        total=len(rows),
    )


def _bucket(bucket: str | None, interval: Interval) -> str | None:
    zeros = ":00:00.000Z" if interval is Interval.HOUR else "T00:00:00.000Z"
    return bucket and bucket.removesuffix(zeros)


def fill_buckets(
    rows: Sequence[StatsRow], *, interval: Interval, start: datetime, end: datetime
) -> list[StatsRow]:
    """``rows`` with a zero for every group in every bucket of the window that has none.

    Groups are those that occur in ``rows``; without groups there is one. Rows that a limit cut
    short must not be filled: a missing row would look like a zero.

    Raises:
        InvalidArguments: more than `MAX_FILLED_ROWS` rows would come out.
    """
    found = {(_read_bucket(row), _group(row)) for row in rows}
    groups = {_group(row): row for row in rows} or {(): StatsRow(value=0)}
    buckets = check_fillable(interval, start=start, end=end, groups=len(groups))
    zeros = [
        sample.model_copy(update={"bucket": format_timestamp(bucket), "value": 0})
        for bucket, (group, sample) in product(buckets, groups.items())
        if (bucket, group) not in found
    ]
    return sorted([*rows, *zeros], key=lambda row: (_read_bucket(row), -row.value, _group(row)))


def check_fillable(
    interval: Interval, *, start: datetime, end: datetime, groups: int = 1
) -> list[datetime]:
    """The window's buckets, where so many groups leave few enough rows to be filled.

    Raises:
        InvalidArguments: more than `MAX_FILLED_ROWS` rows would come out.
    """
    buckets = _list_buckets(interval, start, end, most=MAX_FILLED_ROWS // groups + 1)
    if len(buckets) * groups > MAX_FILLED_ROWS:
        fault = (
            f"fill_empty: more than {MAX_FILLED_ROWS} rows would come out; narrow the window, "
            "group by fewer columns, or take a longer interval"
        )
        raise InvalidArguments([fault])
    return buckets


def _group(row: StatsRow) -> tuple[str, ...]:
    return tuple(getattr(row, column) or "" for column in GroupColumn)


def _read_bucket(row: StatsRow) -> datetime:
    try:
        return parse_timestamp(row.bucket)
    except ValueError:
        pass
    raise UpstreamError(
        "The API's answer has a bucket that is not a time.", next_step=NextStep.CONFIGURE
    )


def _list_buckets(
    interval: Interval, start: datetime, end: datetime, *, most: int
) -> list[datetime]:
    buckets: list[datetime] = []
    bucket = _floor(start, interval)
    while bucket < end and start < end and len(buckets) < most:
        buckets.append(bucket)
        bucket = _next(bucket, interval)
    return buckets


def _floor(moment: datetime, interval: Interval) -> datetime:
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if interval is Interval.HOUR:
        return hour
    day = hour.replace(hour=0)
    if interval is Interval.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval is Interval.MONTH else day


def _next(bucket: datetime, interval: Interval) -> datetime:
    if interval is Interval.MONTH:
        return (bucket + timedelta(days=31)).replace(day=1)
    lengths = {
        Interval.HOUR: timedelta(hours=1),
        Interval.DAY: timedelta(days=1),
        Interval.WEEK: timedelta(days=7),
    }
    return bucket + lengths[interval]


def describe_cut_buckets(interval: Interval, *, start: datetime, end: datetime) -> str:
    """Which outer buckets the window covers in part only; empty where it cuts none."""
    cut = [
        name
        for name, moment in (("first", start), ("last", end))
        if _floor(moment, interval) != moment
    ]
    if not cut or start == end:
        return ""
    verb = "buckets are" if len(cut) > 1 else "bucket is"
    return f"The {' and the '.join(cut)} {verb} only partly inside the window."
