"""The statements under ``sql/``, filled in: names from our own lists, values always bound."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from string import Template
from typing import Any, NamedTuple, TypeAlias

from millimetric_mcp.api.store import funnel, people
from millimetric_mcp.api.store.dimensions import (
    Binding,
    express,
    express_conditions,
    express_number,
    join_list,
    list_columns,
)
from millimetric_mcp.api.store.dsn import EVENTS, StoreTarget
from millimetric_mcp.api.store.relations import (
    Selection,
    read_template,
    select_events,
    to_ms,
    write_bots,
    write_conditions,
)
from millimetric_mcp.contract import reads
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.filters import FILTERS, is_property, read_conditions
from millimetric_mcp.contract.reads import Interval, Metric, WindowParams
from millimetric_mcp.contract.validation import EPOCH

_DAY_MS = 86_400_000
_MAX_COHORTS = 10_000
MAX_NAMES = 200
"""Most names of events that a description lists."""
SAMPLED_EVENTS = 1000
"""So many events of each name are looked at for their properties."""

_PROJECTIONS = (
    frozenset({"is_bot", "source", "medium", "source_rule_id"}),
    frozenset({"is_bot", "event_name", "source", "medium"}),
    frozenset({"is_bot", "event_name", "country"}),
)
"""The columns that each projection of the events' table holds beside the day."""

_BUCKETS = {
    Interval.HOUR: "toStartOfHour(timestamp)",
    Interval.DAY: "toDate(timestamp)",
    # toMonday gives a Date, which has no Monday before Thursday, 1970-01-01.
    Interval.WEEK: "toDate32(toDate(timestamp)) - toDayOfWeek(toDate(timestamp), 1)",
    Interval.MONTH: "toStartOfMonth(toDate(timestamp))",
}
_LOCAL_BUCKETS = {
    # A zone may be apart from UTC by a part of an hour.
    Interval.HOUR: "fromUnixTimestamp64Milli((intDiv(toUnixTimestamp64Milli(timestamp), 60000)"
    " - toMinute(timestamp, {zone})) * 60000, 'UTC')",
    Interval.DAY: "toDate32(timestamp, {zone})",
    Interval.WEEK: "toDate32(timestamp, {zone}) - toDayOfWeek(timestamp, 1, {zone})",
    Interval.MONTH: "toStartOfMonth(toDate32(timestamp, {zone}))",
}
_EVENTS_MEASURE = "count() AS part_events"
_VISITORS_MEASURE = "uniqCombinedState(14)(anonymous_id) AS part_visitors"
_SESSIONS_MEASURE = "uniqExact(own_session) AS part_value"
_NO_TOUCH_MEASURE = "countIf(is_no_touch) AS part_no_touch"
_COUNTED = {
    _EVENTS_MEASURE: "sum(event_count) AS part_events",
    _NO_TOUCH_MEASURE: "sumIf(event_count, is_no_touch) AS part_no_touch",
}
"""The measures where a row is several events."""
_NO_TOUCH_SHARE = "sum(sum(part_no_touch)) OVER () / sum(sum(part_events)) OVER ()"
_NUMBERS = {
    Metric.SUM: "ifNull(sumKahan(number), 0)",
    Metric.AVG: "sumKahan(number) / count(number)",
    Metric.MIN: "min(number)",
    Metric.MAX: "max(number)",
    Metric.MEDIAN: "quantileExactInclusive(0.5)(number)",
    Metric.P95: "quantileExactInclusive(0.95)(number)",
}


class Statement(NamedTuple):
    """A question as ClickHouse understands it: a text, and the values bound in it by name.

    ``columns`` are the names of a row's values; those that ``whole`` names are about the answer
    as a whole. At most ``max_rows`` rows are shown; one more is read where the answer says that
    there are more. ``is_heavy`` if it aggregates raw rows. ``timezone`` is the zone of buckets;
    without one they are shown in UTC. ``cursor`` is the one that was given, or empty; if it is
    None, the answer has no ``next``.
    """

    text: str
    values: Mapping[str, Any]
    columns: Sequence[str]
    max_rows: int
    is_heavy: bool = False
    whole: frozenset[str] = frozenset()
    timezone: str | None = None
    cursor: str | None = None


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


def compose_left_out(project_id: int, params: WindowParams) -> Statement | None:
    """Return the statement that counts the events that ``bots=exclude`` leaves out; else None.

    They are those that the question would be about with ``bots=include``.
    """
    asked = dict(params)
    if asked.get("bots") is not reads.Bots.EXCLUDE:
        return None
    if not _take_selection(dict(asked)).split_conditions()[1]:
        asked.pop("attribution", None)  # whatever its touch is, an event counts
    filters = dict(asked.get("filters", {}))
    if isinstance(params, reads.FunnelParams) and any(step.filters for step in params.steps):
        return _compose_left_out_of_steps(project_id, asked)
    if isinstance(params, reads.FunnelParams):
        filters.setdefault("event", tuple(dict.fromkeys(step.event for step in params.steps)))
    if isinstance(params, reads.RetentionParams):
        filters.setdefault("event", tuple(dict.fromkeys((params.event, params.return_))))
    names = ("attribution", "lookback_days") if "attribution" in asked else ()
    # All of it is valid; but to read it again would refuse the event as one filter too many.
    counted = reads.StatsParams.model_construct(
        from_=params.from_,
        to=params.to,
        filters=filters,
        bots=reads.Bots.ONLY,
        **{name: asked[name] for name in names},
    )
    return compose(project_id, counted)


def _compose_left_out_of_steps(project_id: int, asked: Asked) -> Statement:
    binding, steps = Binding(), asked.pop("steps")
    selection = _take_selection({**asked, "bots": reads.Bots.ONLY})
    text = funnel.count_step_events(selection, steps, binding)
    return Statement(text, {"project_id": project_id, **binding.values}, ("value",), max_rows=1)


def _take_selection(asked: Asked) -> Selection:
    """Return the events that a question is about."""
    return Selection(
        start=asked.pop("from_"),
        end=asked.pop("to"),
        conditions=read_conditions(asked.pop("filters", {})),
        bots=asked.pop("bots"),
        **{name: asked.pop(name) for name in ("attribution", "lookback_days") if name in asked},
    )


def _compose_sources(asked: Asked) -> Statement:
    is_by_source = asked.pop("breakdown") is reads.Breakdown.SOURCE
    columns = ("source",) if is_by_source else ("source", "medium")
    limit = asked.pop("limit")
    selection = _take_selection(asked)
    parts = _compose_parts(
        selection, columns=("source", "medium"), measures=(_EVENTS_MEASURE, _VISITORS_MEASURE)
    )
    share = f",\n    {_NO_TOUCH_SHARE} AS no_touch_share" if selection.is_attributed else ""
    text = read_template("sources").substitute(
        selected=join_list(columns),
        columns=", ".join(columns),
        visitors=_compose_visitors(),
        share=share,
        parts=parts.text,
    )
    whole = ("no_touch_share",) if selection.is_attributed else ()
    return Statement(
        text,
        {**parts.values, "limit": limit},
        (*columns, "events", "uniques", "paid_share", *whole),
        max_rows=limit,
        is_heavy=parts.is_heavy,
        whole=frozenset(whole),
    )


def _compose_stats(asked: Asked) -> Statement:
    columns: tuple[str, ...] = asked.pop("group_by")
    interval, limit = asked.pop("interval"), asked.pop("limit")
    metric, key, timezone = asked.pop("metric"), asked.pop("property_"), asked.pop("timezone")
    selection = _take_selection(asked)
    measures, value = _measure(metric)
    parts = _compose_parts(
        selection,
        columns=columns,
        measures=measures,
        interval=interval,
        timezone=timezone,
        key=key,
    )
    keys = ("bucket", *columns) if interval else columns
    names = [_alias(name) for name in keys]
    whole = {
        **({"skipped": "sum(sum(part_skipped)) OVER ()"} if key else {}),
        **({"no_touch_share": _NO_TOUCH_SHARE} if selection.is_attributed else {}),
    }
    answers = [f"{value} AS value", *(f"{found} AS {name}" for name, found in whole.items())]
    ordered = [*(["bucket"] if interval else []), "value DESC", *names[bool(interval) :]]
    text = read_template("stats").substitute(
        selected=join_list([*names, *answers]),
        groups=f"GROUP BY {', '.join(names)}\n" if names else "",
        parts=parts.text,
        order=", ".join(ordered),
    )
    return Statement(
        text,
        {**parts.values, "limit": limit + 1},
        (*keys, "value", *whole),
        max_rows=limit,
        is_heavy=parts.is_heavy,
        whole=frozenset(whole),
        timezone=timezone,
    )


def _measure(metric: Metric) -> tuple[tuple[str, ...], str]:
    """Return what each part measures, and the metric over all parts."""
    match metric:
        case Metric.COUNT:
            return (_EVENTS_MEASURE,), "sum(part_events)"
        case Metric.UNIQUES:
            return (_EVENTS_MEASURE, _VISITORS_MEASURE), _compose_visitors()
        case Metric.SESSIONS:
            return (_EVENTS_MEASURE, _SESSIONS_MEASURE), "sum(part_value)"
        case _:
            skipped = "countIf(isNull(number)) AS part_skipped"
            number = f"{_NUMBERS[metric]} AS part_value"
            return (_EVENTS_MEASURE, number, skipped), "any(part_value)"


def _compose_query(asked: Asked) -> Statement:
    names = tuple(column.name for column in SHOWN_COLUMNS)
    limit, order = asked.pop("limit"), asked.pop("order")
    cursor, binding = asked.pop("before") or asked.pop("after"), Binding()
    asked.pop("after", None)
    selection = _take_selection(asked)
    is_oldest = order is reads.Order.OLDEST
    extra, skipped = _place_after(cursor, binding, is_oldest=is_oldest) if cursor else ([], 0)
    # A cursor needs a total order; computing one for every question would be slow.
    is_paged = order is not None or cursor is not None
    places = [f"{expression} AS {name}" for name, expression in _PLACE.items()]
    text = read_template("query").substitute(
        events=EVENTS,
        columns=", ".join(names),
        place="".join(f",\n    {place}" for place in places) if is_paged else "",
        conditions=write_conditions(selection, binding, extra=extra),
        way="ASC" if is_oldest else "DESC",
        last=f"row_hash {'ASC' if is_oldest else 'DESC'}" if is_paged else "event_id",
    )
    return Statement(
        text,
        {**binding.values, "skipped": skipped, "limit": limit + int(is_paged)},
        (*names, *(_PLACE if is_paged else ())),
        max_rows=limit,
        cursor=(cursor or "") if is_paged else None,
    )


_PLACE = {
    "row_at": "toUnixTimestamp64Milli(timestamp)",
    "row_arrived_at": "toUnixTimestamp64Micro(received_at)",
    # By the table's name, because the row shows another session_id than the table holds.
    "row_hash": f"cityHash64({', '.join(f'stored.{column.name}' for column in SHOWN_COLUMNS)})",
}
"""The place of an event among others. Only events that are alike in everything share one."""
PLACE_COLUMNS = tuple(_PLACE)


def _place_after(cursor: str, binding: Binding, *, is_oldest: bool) -> tuple[list[str], int]:
    """Return the conditions of the events from the cursor's place on, and how many to skip."""
    at, arrived_at, row_hash, skipped = (int(part) for part in cursor.split("."))
    sign = ">=" if is_oldest else "<="
    moment = binding.bind(at, "Int64")
    place = [moment, binding.bind(arrived_at, "Int64"), binding.bind(row_hash, "UInt64")]
    conditions = [
        f"timestamp {sign} fromUnixTimestamp64Milli({moment}, 'UTC')",
        f"({', '.join(_PLACE.values())}) {sign} ({', '.join(place)})",
    ]
    return conditions, skipped


def _compose_funnel(asked: Asked) -> Statement:
    binding, limit = Binding(), asked.pop("limit")
    group = next(iter(asked.pop("group_by")), None)
    steps, within = asked.pop("steps"), asked.pop("within")
    selection = _take_selection(asked)
    text = funnel.compose_funnel(selection, steps, within=within, group=group, binding=binding)
    return Statement(
        text,
        {**binding.values, "limit": limit + 1},
        ("group", "people", "medians", "no_touch_share"),
        max_rows=limit,
        is_heavy=True,
        whole=frozenset({"no_touch_share"} if selection.is_attributed else ()),
    )


def _compose_retention(asked: Asked) -> Statement:
    binding = Binding()
    event, returning = asked.pop("event"), asked.pop("return_")
    interval, timezone = asked.pop("interval"), asked.pop("timezone")
    text = people.compose_retention(
        _take_selection(asked),
        event=event,
        returning=returning,
        interval=interval,
        timezone=timezone or "UTC",
        binding=binding,
    )
    columns = ("cohort", "people", "returned", "now_ms")
    return Statement(text, binding.values, columns, max_rows=_MAX_COHORTS, is_heavy=True)


def _compose_schema(asked: Asked) -> Statement:
    binding = Binding()
    text = people.compose_schema(_take_selection(asked), binding)
    return Statement(
        text,
        {**binding.values, "limit": MAX_NAMES + 1, "sampled": SAMPLED_EVENTS},
        ("event_name", "events", "first_seen", "last_seen", "properties", "left_out", "columns"),
        max_rows=MAX_NAMES,
        is_heavy=True,
        whole=frozenset({"columns"}),
    )


_COMPOSERS: Mapping[type[WindowParams], Callable[[Asked], Statement]] = {
    reads.SourcesParams: _compose_sources,
    reads.StatsParams: _compose_stats,
    reads.QueryParams: _compose_query,
    reads.FunnelParams: _compose_funnel,
    reads.RetentionParams: _compose_retention,
    reads.SchemaParams: _compose_schema,
}


class _Parts(NamedTuple):
    """The rows to aggregate, by part of the window."""

    text: str
    values: Mapping[str, Any]
    is_heavy: bool


def _compose_parts(
    selection: Selection,
    *,
    columns: Sequence[str],
    measures: Sequence[str],
    interval: Interval | None = None,
    timezone: str | None = None,
    key: str | None = None,
) -> _Parts:
    """Return the groups of a window by columns and bucket."""
    used = {*columns, *(FILTERS.get(one.name, one.name) for one in selection.conditions)}
    if selection.bots is not reads.Bots.INCLUDE:
        used.add("is_bot")
    is_plain = set(measures) <= {_EVENTS_MEASURE, _VISITORS_MEASURE}
    has_days = (
        is_plain
        and not selection.is_attributed
        and timezone is None
        and interval is not Interval.HOUR
        and any(held >= used for held in _PROJECTIONS)
    )
    if has_days:
        return _compose_days(selection, columns=columns, measures=measures, interval=interval)
    return _compose_rows(
        selection,
        columns=columns,
        measures=measures,
        interval=interval,
        timezone=timezone,
        key=key,
    )


def _compose_days(
    selection: Selection,
    *,
    columns: Sequence[str],
    measures: Sequence[str],
    interval: Interval | None,
) -> _Parts:
    """Return the groups of a window's whole UTC days, and of its two ends."""
    binding = Binding()
    conditions = [*write_bots(selection.bots), *express_conditions(selection.conditions, binding)]
    bucket = [f"{_BUCKETS[interval]} AS bucket"] if interval else []
    text = read_template("parts").substitute(
        events=EVENTS,
        selected=join_list([*bucket, *columns, *measures], indent=8),
        filters="".join(f"\n        AND {condition}" for condition in conditions),
    )
    window = split_window(selection.start, selection.end)
    return _Parts(text, {**window, **binding.values}, is_heavy=False)


def _compose_rows(
    selection: Selection,
    *,
    columns: Sequence[str],
    measures: Sequence[str],
    interval: Interval | None,
    timezone: str | None,
    key: str | None,
) -> _Parts:
    """Return the groups of a window's events."""
    binding = Binding()
    needed = [column for name in columns for column in list_columns(name)]
    needed += ["timestamp"] if interval else []
    needed += ["properties"] if key else []
    needed += ["anonymous_id"] if _VISITORS_MEASURE in measures else []
    has_landing = "landing_path" in columns
    if has_landing or any("own_session" in measure for measure in measures):
        needed.append("own_session")
    is_counted = (
        selection.attribution is AttributionModel.SESSION
        and not key
        and set(measures) <= {_EVENTS_MEASURE, _SESSIONS_MEASURE}
    )
    if selection.is_attributed:
        measures = (*measures, _NO_TOUCH_MEASURE)
    if is_counted:
        measures = [_COUNTED.get(measure, measure) for measure in measures]
    columns_needed = tuple(dict.fromkeys(needed)) or ("timestamp",)
    rows = select_events(selection, columns_needed, binding, counted=is_counted)
    if has_landing:
        rows = people.join_landing(rows, selection, binding)
    dimensions = [
        f"{express(name, binding, timezone=timezone)} AS {_alias(name)}" for name in columns
    ]
    if interval:
        zone = binding.bind(timezone) if timezone else ""
        buckets = _LOCAL_BUCKETS if timezone else _BUCKETS
        dimensions.insert(0, f"{buckets[interval].replace('{zone}', zone)} AS bucket")
    number = f",\n{express_number(key, binding)} AS number" if key else ""
    text = read_template("rows").substitute(
        selected=join_list([*dimensions, *measures]), number=number, rows=rows
    )
    return _Parts(text, binding.values, is_heavy=True)


def _alias(name: str) -> str:
    return "property_text" if is_property(name) else name


def _compose_visitors() -> str:
    return read_template("visitors").substitute().replace("\n", "\n    ")


def split_window(start: datetime, end: datetime) -> dict[str, Any]:
    """Return the bounds of a window's whole UTC days and of what is left at its two ends.

    Starts are inclusive, ends exclusive; days are days since 1970. Each part may be empty.
    """
    start_ms, end_ms = to_ms(start), to_ms(end)
    first_day, end_day = -(-start_ms // _DAY_MS), end_ms // _DAY_MS
    if first_day >= end_day:
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


@cache
def compose_insert_rows(columns: tuple[str, ...]) -> str:
    """Return the statement in front of events that are written as rows of text."""
    return read_template("insert_rows").substitute(events=EVENTS, columns=", ".join(columns)) + "\n"


def compose_for(name: str, target: StoreTarget) -> str:
    """Return a maintenance statement for the tables of ``target`` that hold the rows."""
    cluster = target.cluster
    return read_template(name).substitute(
        events=EVENTS,
        database=target.database,
        local=target.local_table,
        on_cluster=f"ON CLUSTER '{cluster}'" if cluster else "",
        all_parts=f"clusterAllReplicas('{cluster}', system.parts)" if cluster else "system.parts",
        people="$people",
    )


def compose_people(name: str, column: str, target: StoreTarget) -> str:
    """Return a maintenance statement about the ids of ``column``: users or visitors."""
    people = read_template("people").substitute(column=column).replace("\n", "\n    ")
    return Template(compose_for(name, target)).substitute(people=people)
