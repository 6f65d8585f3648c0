"""The statements under ``sql/`` with their table and column names filled in.

Values are always bound; the names come from the contract's enums and the target alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from string import Template

from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.reads import (
    Breakdown,
    GroupColumn,
    Interval,
    Metric,
    SourcesParams,
    StatsParams,
)

_DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1)
_MAX_DAY = 65_535
"""The last day of ClickHouse's Date, 2149-06-06, counted from 1970."""

_PROJECTED = (
    frozenset({GroupColumn.EVENT_NAME, GroupColumn.SOURCE, GroupColumn.MEDIUM}),
    frozenset({GroupColumn.EVENT_NAME, GroupColumn.COUNTRY}),
)
"""The columns that each projection holds beside the day."""

_BUCKETS = {
    Interval.HOUR: "toStartOfHour(timestamp)",
    Interval.DAY: "toDate(timestamp)",
    # toMonday gives a Date, which has no Monday before Thursday, 1970-01-01.
    Interval.WEEK: "toDate32(toDate(timestamp)) - toDayOfWeek(toDate(timestamp), 1)",
    Interval.MONTH: "toStartOfMonth(toDate(timestamp))",
}
_EVENTS_MEASURE = "count() AS part_events"
_VISITORS_MEASURE = "uniqCombinedState(14)(anonymous_id) AS part_visitors"


@dataclass(frozen=True, slots=True)
class Window:
    """A window cut into its whole UTC days and what is left at its two ends.

    Days are ``first_day`` (inclusive) to ``end_day`` (exclusive); the head and the tail are
    half-open ranges of milliseconds since 1970. Any of the three may be empty.
    """

    first_day: date
    end_day: date
    head_ms: tuple[int, int]
    tail_ms: tuple[int, int]


def cut_window(start: datetime, end: datetime, *, by_day: bool) -> Window:
    """The window's parts; without ``by_day`` it is one range of raw rows."""
    start_ms, end_ms = to_ms(start), to_ms(end)
    first_day, end_day = -(-start_ms // _DAY_MS), end_ms // _DAY_MS
    if not by_day or first_day >= end_day:
        return Window(_EPOCH_DAY, _EPOCH_DAY, (start_ms, end_ms), (0, 0))
    return Window(
        _day(first_day),
        _day(end_day),
        (start_ms, first_day * _DAY_MS),
        (end_day * _DAY_MS, end_ms),
    )


def to_ms(time: datetime) -> int:
    """Milliseconds since 1970, held within the days that the engine can tell apart."""
    elapsed = time - datetime(1970, 1, 1, tzinfo=UTC)
    return min(max(elapsed // timedelta(milliseconds=1), 0), _MAX_DAY * _DAY_MS)


def _day(number: int) -> date:
    return _EPOCH_DAY + timedelta(days=number)


def has_projection(columns: Sequence[GroupColumn], interval: Interval | None) -> bool:
    """Whether whole days of such a question need no raw rows."""
    return interval is not Interval.HOUR and any(set(columns) <= held for held in _PROJECTED)


def compose_sources(params: SourcesParams) -> str:
    """The statement for ``/v1/sources``."""
    columns = "source" if params.breakdown is Breakdown.SOURCE else "source, medium"
    parts = _compose_parts("source, medium,", f"{_EVENTS_MEASURE}, {_VISITORS_MEASURE}")
    return read_statement("sources").substitute(
        columns=columns, visitors=_compose_visitors(), parts=parts
    )


def compose_stats(params: StatsParams) -> str:
    """The statement for ``/v1/stats``: bucket first, then the columns, then the value."""
    names = [column.value for column in params.group_by]
    keys = list(names)
    outer = list(names)
    order = ["value DESC", *names]
    if params.interval:
        keys.insert(0, f"{_BUCKETS[params.interval]} AS bucket")
        outer.insert(0, "bucket")
        order.insert(0, "bucket")
    measure, metric = _EVENTS_MEASURE, "sum(part_events)"
    if params.metric is Metric.UNIQUES:
        measure, metric = f"{_EVENTS_MEASURE}, {_VISITORS_MEASURE}", _compose_visitors()
    return read_statement("stats").substitute(
        keys=_listed(outer),
        metric=metric,
        parts=_compose_parts(_listed(keys), measure),
        order=", ".join(order),
    )


def _compose_visitors() -> str:
    return read_statement("visitors").substitute()


def _compose_parts(keys: str, measures: str) -> str:
    return read_statement("parts").substitute(keys=keys, measures=measures, events=EVENTS)


def _listed(names: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in names)


def compose_query() -> str:
    """The statement for ``/v1/query``."""
    columns = ", ".join(column.name for column in SHOWN_COLUMNS)
    return read_statement("query").substitute(events=EVENTS, columns=columns)


@cache
def compose_insert_text(columns: tuple[str, ...]) -> str:
    """The statement in front of events that are written as text."""
    return read_statement("insert_text").substitute(events=EVENTS, columns=", ".join(columns))


def compose_for(name: str, target: StoreTarget) -> str:
    """A maintenance statement, addressed to the tables that hold the rows."""
    cluster = target.cluster
    return read_statement(name).substitute(
        events=EVENTS,
        database=target.database,
        local=target.local_table,
        on_cluster=f"ON CLUSTER '{cluster}'" if cluster else "",
        all_parts=f"clusterAllReplicas('{cluster}', system.parts)" if cluster else "system.parts",
    )


@cache
def read_statement(name: str) -> Template:
    """A statement's text, from its file."""
    return Template((resources.files(__package__) / "sql" / f"{name}.sql").read_text())
