"""The parts of statements that only questions about people, sessions and names need."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from millimetric_mcp.api.store.dimensions import (
    AT,
    IN_ORDER,
    SESSION,
    Binding,
    express,
    express_conditions,
    join_list,
    list_columns,
)
from millimetric_mcp.api.store.dsn import EVENTS
from millimetric_mcp.api.store.relations import (
    Selection,
    read_template,
    select_events,
    select_persons,
    select_visitors,
    write_conditions,
    write_named,
)
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.filters import Condition, Operator, read_conditions
from millimetric_mcp.contract.reads import (
    RETENTION_INTERVALS,
    FunnelStep,
    Interval,
    read_duration,
)

MAX_KEYS = 50
"""Most property keys shown of one event's name."""
MAX_VALUES = 10
SESSION_LEAD = timedelta(days=1)
"""How long before the window a session's first page is looked for."""

INTERVAL_NUMBERS: Mapping[Interval, str] = {
    Interval.DAY: "toDate32(timestamp, {zone})",
    # Weeks are counted from the one that begins on Monday, 1969-12-29.
    Interval.WEEK: "intDiv(toInt32(toDate32(timestamp, {zone}))"
    " - toDayOfWeek(timestamp, 1, {zone}) + 3, 7)",
    Interval.MONTH: "toYear(timestamp, {zone}) * 12 + toMonth(timestamp, {zone}) - 1",
}


_EARLIEST = {
    "earliest": "step_group",
    "earliest_group": "substring(earliest, 9)",
    "earliest_flag": "0",
}
_EARLIEST_WITH_FLAG = {
    "earliest": r"step_group, '\0', toString(is_no_touch)",
    "earliest_group": "substring(earliest, 9, length(earliest) - 10)",
    "earliest_flag": "endsWith(earliest, '1')",
}
"""A person's earliest event as a text after its time: the group, and whether it has no touch."""


def join_landing(rows: str, selection: Selection, binding: Binding) -> str:
    """Return ``rows``, which have ``own_session``, with the ``landing_path`` of each session."""
    pages = replace(selection, start=selection.start - SESSION_LEAD, conditions=())
    return read_template("landing").substitute(
        rows=rows,
        session=SESSION,
        time=IN_ORDER.format(AT),
        events=EVENTS,
        conditions=write_conditions(pages, binding, extra=["path != ''"]),
    )


def compose_funnel(
    selection: Selection,
    steps: Sequence[FunnelStep],
    *,
    within: str,
    group: str | None,
    binding: Binding,
) -> str:
    """Return the statement of a funnel."""
    later_numbers = range(2, len(steps) + 1)
    within_ms = binding.bind(read_duration(within) // timedelta(milliseconds=1), "Int64")
    flags = {
        number: " AND ".join(express_conditions(_list_conditions(step), binding))
        for number, step in enumerate(steps, 1)
    }
    times = [
        f"arraySort(groupArrayIf(own_at, step_{number})) AS all_{number}, "
        f"arrayMap((first, previous) -> arrayFirstOrNull("
        f"moment -> moment {_compare(steps, number)} previous"
        f" AND moment <= first.1 + {within_ms}, all_{number}),"
        f" firsts, times_{number - 1}) AS times_{number}"
        for number in later_numbers
    ]
    names = [f"t{number}" for number in later_numbers]
    own, _ = selection.split_conditions()
    conditions = [condition for step in steps[1:] for condition in _list_conditions(step)]
    columns = tuple(
        dict.fromkeys(column for one in conditions for column in list_columns(one.name))
    )
    is_later = " OR ".join(f"({flags[number]})" for number in later_numbers)
    extra = [f"({is_later})", *write_named([step.event for step in steps[1:]])]
    visitors = select_visitors(own, binding, extra=extra)
    return read_template("funnel").substitute(
        steps=len(steps),
        reached=", ".join(f"sumIf(weight, level >= {number})" for number in later_numbers),
        medians=", ".join(
            f"quantileExactInclusiveIf(0.5)("
            f"assumeNotNull(times[{number}] - times[{number - 1}]) / 1000, level >= {number})"
            for number in later_numbers
        ),
        best_times=", ".join(f"times_{number}[best]" for number in range(1, len(steps) + 1)),
        times=join_list(times, indent=16),
        names=", ".join(names),
        level=" + ".join(["1", *(f"isNotNull({name})" for name in names)]),
        arrays=", ".join(f"times_{number}" for number in later_numbers),
        no_later=", ".join(f"0 AS step_{number}" for number in later_numbers),
        which_later=", ".join(f"{flags[number]} AS step_{number}" for number in later_numbers),
        time=IN_ORDER.format("own_at"),
        **(_EARLIEST_WITH_FLAG if selection.is_attributed else _EARLIEST),
        first=_select_first(selection, steps[0], group, binding),
        first_of_them=_select_first(selection, steps[0], group, binding, among=visitors),
        later=select_persons(own, columns, binding, extra=extra),
    )


def _list_conditions(step: FunnelStep) -> tuple[Condition, ...]:
    named = Condition("event", Operator.EQUALS, (step.event,))
    return (named, *read_conditions(step.filters))


def _compare(steps: Sequence[FunnelStep], number: int) -> str:
    """Return how a step's moment compares with the previous one's.

    Two events of one moment are in order, unless they might be the same event.
    """
    earlier = {step.event for step in steps[: number - 1]}
    return ">" if steps[number - 1].event in earlier else ">="


def _select_first(
    selection: Selection,
    step: FunnelStep,
    group: str | None,
    binding: Binding,
    *,
    among: str = "",
) -> str:
    own, of_touch = selection.split_conditions()
    # The step's own filters are about its event, those of the question about its touch.
    rows = select_events(
        replace(selection, conditions=(*own.conditions, *of_touch)),
        list_columns(group) if group else (),
        binding,
        with_person=True,
        extra=[*express_conditions(_list_conditions(step), binding), *write_named([step.event])],
        among=among,
    )
    value = express(group, binding) if group else "''"
    is_no_touch = "is_no_touch" if selection.is_attributed else "0"
    return (
        f"SELECT person, own_at, ifNull(toString({value}), '') AS step_group,"
        f" toUInt8({is_no_touch}) AS is_no_touch\nFROM\n(\n{rows}\n)"
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
    number = INTERVAL_NUMBERS[interval].replace("{zone}", binding.bind(timezone))
    return read_template("retention").substitute(
        intervals=RETENTION_INTERVALS,
        event=binding.bind(event),
        **{"return": binding.bind(returning)},
        interval_number=number,
        persons=select_persons(wanted, ("event_name", "timestamp"), binding),
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
