"""The parts of statements that only questions about people, sessions and names need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    Aggregate,
    Selection,
    group_by_person,
    group_persons,
    read_template,
    select_events,
    select_persons,
    select_tied_visitors,
    select_visitors,
    widen,
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
    Interval.DAY: "toDate32({time}, {zone})",
    # Weeks are counted from the one that begins on Monday, 1969-12-29.
    Interval.WEEK: "intDiv(toInt32(toDate32({time}, {zone}))"
    " - toDayOfWeek({time}, 1, {zone}) + 3, 7)",
    Interval.MONTH: "toYear({time}, {zone}) * 12 + toMonth({time}, {zone}) - 1",
}


_GOES_ON = "person GLOBAL IN (SELECT person FROM later)"
"""The condition of the people who took a later step of a funnel."""


@dataclass(frozen=True, slots=True)
class _Occurrence:
    """An occurrence of a funnel's first step as a text: its time, its group, its flag if any."""

    group: str
    flag: str

    @property
    def text(self) -> str:
        flag = rf", '\0', toString({self.flag})" if self.flag else ""
        return f"concat({IN_ORDER.format('own_at')}, ifNull(toString({self.group}), ''){flag})"

    @staticmethod
    def read_time(text: str) -> str:
        return f"byteSwap(reinterpretAsInt64(substring({text}, 1, 8)))"

    def read_group(self, text: str) -> str:
        length = f", length({text}) - 10" if self.flag else ""
        return f"substring({text}, 9{length})"

    def read_flag(self, text: str) -> str:
        return f"endsWith({text}, '1')" if self.flag else "0"


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
    flags = {number: _express_step(step, binding) for number, step in enumerate(steps, 1)}
    all_times = [
        f"arraySort(groupArrayIf(own_at, step_{number})) AS all_{number}"
        for number in later_numbers
    ]
    times = [
        f"arrayMap((first_at, previous) -> arrayFirstOrNull("
        f"at -> at {_compare(steps, number)} previous AND at <= first_at + {within_ms},"
        f" all_{number}), times_1, times_{number - 1}) AS times_{number}"
        for number in later_numbers
    ]
    names = [f"t{number}" for number in later_numbers]
    own, _ = selection.split_conditions()
    conditions = [condition for step in steps[1:] for condition in _list_conditions(step)]
    columns = tuple(
        dict.fromkeys(column for one in conditions for column in list_columns(one.name))
    )
    extra = _match_any(steps[1:], binding)
    value = express(group, binding) if group else "''"
    occurrence = _Occurrence(value, "is_no_touch" if selection.is_attributed else "")
    # For the page views, which are many, the ties of all visitors are read anyway.
    has_ties = not selection.is_attributed and not write_named([steps[0].event])
    # If a later step is a page view, nearly everybody takes one, and to tell them apart is no use.
    is_apart = bool(write_named([step.event for step in steps[1:]]))
    return read_template("funnel").substitute(
        others=read_template("funnel_others").template + "\n" if is_apart else "",
        meant=f"\n            WHERE {_GOES_ON}" if is_apart else "",
        tied_visitors=select_tied_visitors(),
        group=occurrence.read_group("counted"),
        flag=occurrence.read_flag("counted"),
        moment=occurrence.read_time("first"),
        reached=", ".join(f"toInt64(countIf(level >= {number}))" for number in later_numbers),
        medians=", ".join(
            f"quantileExactInclusiveIf(0.5)("
            f"assumeNotNull(times[{number}] - times[{number - 1}]) / 1000, level >= {number})"
            for number in later_numbers
        ),
        best_times=", ".join(f"times_{number}[best]" for number in range(1, len(steps) + 1)),
        times=join_list(times, indent=8),
        later_times=join_list(all_times, indent=12),
        names=", ".join(names),
        level=" + ".join(["1", *(f"isNotNull({name})" for name in names)]),
        arrays=", ".join(f"times_{number}" for number in later_numbers),
        which_later=", ".join(f"{flags[number]} AS step_{number}" for number in later_numbers),
        first=_group_first(selection, steps[0], group, occurrence, binding),
        later=select_persons(own, columns, binding, extra=extra, has_ties=has_ties),
    )


def count_step_events(selection: Selection, steps: Sequence[FunnelStep], binding: Binding) -> str:
    """Return the statement that counts the events which are any of a funnel's steps."""
    extra = _match_any(steps, binding)
    rows = select_events(selection, ("event_name",), binding, extra=extra)
    return f"SELECT count() AS value\nFROM\n(\n{rows}\n)"


def _match_any(steps: Sequence[FunnelStep], binding: Binding) -> list[str]:
    """Return the conditions of the events that are any of the steps."""
    is_step = " OR ".join(f"({_express_step(step, binding)})" for step in steps)
    return [f"({is_step})", *write_named([step.event for step in steps])]


def _express_step(step: FunnelStep, binding: Binding) -> str:
    return " AND ".join(express_conditions(_list_conditions(step), binding))


def _list_conditions(step: FunnelStep) -> tuple[Condition, ...]:
    named = Condition("event", Operator.EQUALS, (step.event,))
    return (named, *read_conditions(step.filters))


def _compare(steps: Sequence[FunnelStep], number: int) -> str:
    """Return how a step's moment compares with the previous one's.

    Two events of one moment are in order, unless they might be the same event.
    """
    earlier = {step.event for step in steps[: number - 1]}
    return ">" if steps[number - 1].event in earlier else ">="


def _group_first(
    selection: Selection,
    step: FunnelStep,
    group: str | None,
    occurrence: _Occurrence,
    binding: Binding,
) -> str:
    """Return the first step of each person: the ``earliest`` of its ``occurrences``, and all of
    them if the person took a later step."""
    own, of_touch = selection.split_conditions()
    # The step's own filters are about its event, those of the question about its touch.
    wanted = replace(selection, conditions=(*own.conditions, *of_touch))
    columns = list_columns(group) if group else ()
    extra = [*express_conditions(_list_conditions(step), binding), *write_named([step.event])]
    text = occurrence.text
    may_go_on = f"own GLOBAL IN (\n{select_visitors('later')}\n)"
    aggregates = [
        Aggregate("earliest", f"min({text})"),
        Aggregate(
            "occurrences",
            of_person=f"groupArrayIf({text}, {_GOES_ON})",
            of_own=f"groupArrayIf({text}, {may_go_on})",
        ),
    ]
    has_landing = group == "landing_path"
    if not selection.is_attributed and not has_landing:
        return group_persons(wanted, columns, aggregates, binding, extra=extra)
    columns = ("own_session",) if has_landing else columns
    rows = select_events(wanted, columns, binding, with_person=True, extra=extra)
    if has_landing:
        rows = join_landing(rows, selection, binding)
    return group_by_person(rows, aggregates)


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
        tied_visitors=select_tied_visitors(),
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
