"""The parts of statements that only questions about people, sessions and names need."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from millimetric_mcp.api.store.dimensions import (
    AT,
    IN_ORDER,
    SESSION,
    Binding,
)
from millimetric_mcp.api.store.dsn import EVENTS
from millimetric_mcp.api.store.relations import (
    Aggregate,
    Selection,
    group_persons,
    name_tied_visitors,
    read_template,
    widen,
    write_conditions,
)
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.filters import Condition, Operator
from millimetric_mcp.contract.reads import (
    RETENTION_INTERVALS,
    Interval,
)

MAX_KEYS = 50
"""Most property keys shown of one event's name."""
MAX_VALUES = 10
SESSION_LEAD = timedelta(days=1)
"""How long before the window a session's first page is looked for."""

INTERVAL_NUMBERS: Mapping[Interval, str] = {
    Interval.DAY: "toDate32({time}, {zone})",
    # Weeks are counted from the one that begins on Monday, 1969-12-29.
    Interval.WEEK: "intDiv(toInt32(toDate32({time}, {zone}))"
    " - toDayOfWeek({time}, 1, {zone}) + 3, 7)",
    Interval.MONTH: "toYear({time}, {zone}) * 12 + toMonth({time}, {zone}) - 1",
}


def join_landing(rows: str, selection: Selection, binding: Binding) -> str:
    """Return ``rows``, which have ``own_session``, with the ``landing_path`` of each session."""
    pages = widen(selection, SESSION_LEAD)
    return read_template("landing").substitute(
        rows=rows,
        session=SESSION,
        time=IN_ORDER.format(AT),
        events=EVENTS,
        conditions=write_conditions(pages, binding, extra=["path != ''"]),
    )


def compose_retention(
    selection: Selection,
    *,
    event: str,
    returning: str,
    interval: Interval,
    timezone: str,
    binding: Binding,
) -> str:
    """Return the statement of a retention table. Intervals are numbers, see `INTERVAL_NUMBERS`."""
    names = tuple(dict.fromkeys((event, returning)))
    wanted = replace(
        selection,
        conditions=(*selection.conditions, Condition("event", Operator.EQUALS, names)),
    )
    zone = binding.bind(timezone)
    cohort, number = (
        INTERVAL_NUMBERS[interval].format(time=f"fromUnixTimestamp64Milli({at}, 'UTC')", zone=zone)
        for at in ("assumeNotNull(first)", "at")
    )
    is_first, is_return = (f"event_name = {binding.bind(name)}" for name in (event, returning))
    aggregates = [
        Aggregate("first_at", f"minOrNullIf(own_at, {is_first})"),
        Aggregate("returns", f"groupArrayIf(own_at, {is_return})"),
    ]
    return read_template("retention").substitute(
        tied_visitors=name_tied_visitors(),
        intervals=RETENTION_INTERVALS,
        cohort=f"toInt32({cohort})",
        number=f"toInt32({number})",
        persons=group_persons(wanted, ("event_name",), aggregates, binding),
    )


def compose_schema(selection: Selection, binding: Binding) -> str:
    """Return the statement that describes names of events and their properties."""
    names = [column.name for column in SHOWN_COLUMNS]
    used = [
        f"max({name} != '{{}}')" if name == "properties" else f"max(toString({name}) != '')"
        for name in names
    ]
    return read_template("schema").substitute(
        names=", ".join(f"'{name}'" for name in names),
        used=", ".join(used),
        events=EVENTS,
        conditions=write_conditions(selection, binding),
        max_keys=MAX_KEYS,
        max_values=MAX_VALUES,
    )
