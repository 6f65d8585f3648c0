"""The statements under ``sql/``, filled in: names from our own lists, values always bound."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from string import Template
from typing import Any, NamedTuple, TypeAlias

from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget
from millimetric_mcp.contract import reads, validation
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.reads import FILTERS, Interval, WindowParams
from millimetric_mcp.contract.validation import EPOCH

_DAY_MS = 86_400_000
_MAX_DAY = 65_535
"""The last day of ClickHouse's Date, 2149-06-06, counted from 1970."""

_PROJECTIONS = (
    frozenset({"event_name", "source", "medium"}),
    frozenset({"event_name", "country"}),
)
"""The columns that each projection of the events' table holds beside the day."""

_BUCKETS = {
    Interval.HOUR: "toStartOfHour(timestamp)",
    Interval.DAY: "toDate(timestamp)",
    # toMonday gives a Date, which has no Monday before Thursday, 1970-01-01.
    Interval.WEEK: "toDate32(toDate(timestamp)) - toDayOfWeek(toDate(timestamp), 1)",
    Interval.MONTH: "toStartOfMonth(toDate(timestamp))",
}
_EVENTS_MEASURE = "count() AS part_events"
_VISITORS_MEASURE = "uniqCombinedState(14)(anonymous_id) AS part_visitors"


class Statement(NamedTuple):
    """A question as ClickHouse understands it: a text, and the values bound in it by name.

    ``columns`` are the names of a row's values. At most ``max_rows`` rows are shown; one more is
    read where the answer says that there are more. ``is_heavy`` if it aggregates raw rows.
    """

    text: str
    values: Mapping[str, Any]
    columns: Sequence[str]
    max_rows: int
    is_heavy: bool = False


Asked: TypeAlias = dict[str, Any]
"""Parameters by name. A composer takes out each one that it uses."""


def compose(project_id: int, params: WindowParams) -> Statement:
    """Return the statement that answers ``params`` for a project.

    Raises:
        TypeError: the statement does not use a parameter, so its answer would be wrong.
    """
    asked: Asked = dict(params)
    compose_one = next(one for model, one in _COMPOSERS.items() if isinstance(params, model))
    statement = compose_one(asked)
    if asked:
        names = ", ".join(asked)
        raise TypeError(f"the statement for {type(params).__name__} does not use {names}")
    return statement._replace(values={"project_id": project_id, **statement.values})


def _compose_sources(asked: Asked) -> Statement:
    is_by_source = asked.pop("breakdown") is reads.Breakdown.SOURCE
    columns = ("source",) if is_by_source else ("source", "medium")
    limit = asked.pop("limit")
    parts = _compose_parts(asked, columns=("source", "medium"), has_visitors=True)
    text = _read("sources").substitute(
        selected=_list(columns),
        columns=", ".join(columns),
        visitors=_compose_visitors(),
        parts=parts.text,
    )
    return Statement(
        text,
        {**parts.values, "limit": limit},
        (*columns, "events", "uniques", "paid_share"),
        max_rows=limit,
        is_heavy=parts.is_heavy,
    )


def _compose_stats(asked: Asked) -> Statement:
    columns = tuple(column.value for column in asked.pop("group_by"))
    interval, limit = asked.pop("interval"), asked.pop("limit")
    has_visitors = asked.pop("metric") is reads.Metric.UNIQUES
    parts = _compose_parts(asked, columns=columns, has_visitors=has_visitors, interval=interval)
    keys = ("bucket", *columns) if interval else columns
    metric = _compose_visitors() if has_visitors else "sum(part_events)"
    text = _read("stats").substitute(
        selected=_list([*keys, f"{metric} AS value"]),
        parts=parts.text,
        order=", ".join([*(["bucket"] if interval else []), "value DESC", *columns]),
    )
    return Statement(
        text,
        {**parts.values, "limit": limit + 1},
        (*keys, "value"),
        max_rows=limit,
        is_heavy=parts.is_heavy,
    )


def _compose_query(asked: Asked) -> Statement:
    names = tuple(column.name for column in SHOWN_COLUMNS)
    filters, conditions = _take_filters(asked)
    text = _read("query").substitute(events=EVENTS, columns=", ".join(names), filters=conditions)
    limit = asked.pop("limit")
    window = {"from_ms": to_ms(asked.pop("from_")), "to_ms": to_ms(asked.pop("to"))}
    return Statement(text, {**window, **filters, "limit": limit}, names, max_rows=limit)


_COMPOSERS: Mapping[type[WindowParams], Callable[[Asked], Statement]] = {
    reads.SourcesParams: _compose_sources,
    reads.StatsParams: _compose_stats,
    reads.QueryParams: _compose_query,
}


def _take_filters(asked: Asked) -> tuple[dict[str, str], str]:
    """Return the filters that were given, and their conditions."""
    taken = {name: asked.pop(name) for name in FILTERS if name in asked}
    given = {name: value for name, value in taken.items() if value is not None}
    conditions = (f"\n    AND {FILTERS[name]} = {{{name}:String}}" for name in given)
    return given, "".join(conditions)


class _Parts(NamedTuple):
    """The rows to aggregate, by part of the window."""

    text: str
    values: Mapping[str, Any]
    is_heavy: bool


def _compose_parts(
    asked: Asked, *, columns: Sequence[str], has_visitors: bool, interval: Interval | None = None
) -> _Parts:
    """Return the rows of a window by columns and bucket: whole UTC days, and its two ends."""
    filters, conditions = _take_filters(asked)
    used = {*columns, *(FILTERS[name] for name in filters)}
    has_days = interval is not Interval.HOUR and any(held >= used for held in _PROJECTIONS)
    bucket = [f"{_BUCKETS[interval]} AS bucket"] if interval else []
    measures = [_EVENTS_MEASURE, *([_VISITORS_MEASURE] if has_visitors else [])]
    text = _read("parts").substitute(
        events=EVENTS,
        selected=_list([*bucket, *columns, *measures]).replace("\n", "\n    "),
        filters=conditions.replace("\n", "\n    "),
    )
    window = split_window(asked.pop("from_"), asked.pop("to"), has_days=has_days)
    return _Parts(text, {**window, **filters}, is_heavy=not has_days)


def _compose_visitors() -> str:
    return _read("visitors").substitute().replace("\n", "\n    ")


def _list(selected: Sequence[str]) -> str:
    return "".join(f"\n    {item}," for item in selected).removesuffix(",")


def split_window(start: datetime, end: datetime, *, has_days: bool) -> dict[str, Any]:
    """Return the bounds of a window's whole UTC days and of what is left at its two ends.

    Starts are inclusive, ends exclusive; days are days since 1970. Each part may be empty.
    Without ``has_days`` the first end is the whole window.
    """
    start_ms, end_ms = to_ms(start), to_ms(end)
    first_day, end_day = -(-start_ms // _DAY_MS), end_ms // _DAY_MS
    if not has_days or first_day >= end_day:
        first_day = end_day = 0
        head, tail = (start_ms, end_ms), (0, 0)
    else:
        head, tail = (start_ms, first_day * _DAY_MS), (end_day * _DAY_MS, end_ms)
    return {
        "first_day": EPOCH.date() + timedelta(days=first_day),
        "end_day": EPOCH.date() + timedelta(days=end_day),
        "head_from_ms": head[0],
        "head_to_ms": head[1],
        "tail_from_ms": tail[0],
        "tail_to_ms": tail[1],
    }


def to_ms(time: datetime) -> int:
    """Return milliseconds since 1970, within the days that ClickHouse's Date has."""
    return min(max(validation.to_ms(time), 0), _MAX_DAY * _DAY_MS)


@cache
def compose_insert_rows(columns: tuple[str, ...]) -> str:
    """Return the statement in front of events that are written as rows of text."""
    return _read("insert_rows").substitute(events=EVENTS, columns=", ".join(columns)) + "\n"


def compose_for(name: str, target: StoreTarget) -> str:
    """Return a maintenance statement for the tables of ``target`` that hold the rows."""
    cluster = target.cluster
    return _read(name).substitute(
        events=EVENTS,
        database=target.database,
        local=target.local_table,
        on_cluster=f"ON CLUSTER '{cluster}'" if cluster else "",
        all_parts=f"clusterAllReplicas('{cluster}', system.parts)" if cluster else "system.parts",
        people="$people",
    )


def compose_people(name: str, column: str, target: StoreTarget) -> str:
    """Return a maintenance statement about the ids of ``column``: users or visitors."""
    people = _read("people").substitute(column=column).replace("\n", "\n    ")
    return Template(compose_for(name, target)).substitute(people=people)


@cache
def _read(name: str) -> Template:
    return Template((resources.files(__package__) / "sql" / f"{name}.sql").read_text().rstrip())
