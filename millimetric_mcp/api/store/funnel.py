"""The statement of a funnel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from millimetric_mcp.api.store.dimensions import (
    IN_ORDER,
    TOUCH_COLUMNS,
    Binding,
    express,
    express_conditions,
    join_list,
    list_columns,
)
from millimetric_mcp.api.store.dsn import EVENTS
from millimetric_mcp.api.store.people import join_landing
from millimetric_mcp.api.store.relations import (
    Aggregate,
    Selection,
    group_by_person,
    group_persons,
    name_tied_visitors,
    read_template,
    select_events,
    select_persons,
    select_visitors,
    to_ms,
    write_named,
)
from millimetric_mcp.contract.filters import Condition, Operator, read_conditions
from millimetric_mcp.contract.reads import FunnelStep, read_duration

_FEW_VALUES = frozenset({*TOUCH_COLUMNS, "event_name", "country", "device_type", "browser", "os"})
"""Columns of events that have few values."""
_NEVER = 2**60
"""Later than every time in milliseconds."""
_GOES_ON = "person GLOBAL IN (SELECT person FROM later)"
"""The condition of the people who took a later step."""


class _Occurrence(Protocol):
    """An occurrence of the first step as one value: its time, then its group.

    ``value`` is its expression over an event's row. ``flag`` is that of ``is_no_touch``, if any.
    """

    @property
    def value(self) -> str: ...
    def read_time(self, value: str) -> str: ...
    def read_group(self, value: str) -> str: ...
    def read_flag(self, value: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Text:
    """As a text: whatever the group is."""

    group: str
    flag: str

    @property
    def value(self) -> str:
        flag = rf", '\0', toString({self.flag})" if self.flag else ""
        return f"concat({IN_ORDER.format('own_at')}, ifNull(toString({self.group}), ''){flag})"

    def read_time(self, value: str) -> str:
        return f"byteSwap(reinterpretAsInt64(substring({value}, 1, 8)))"

    def read_group(self, value: str) -> str:
        length = f", length({value}) - 10" if self.flag else ""
        return f"substring({value}, 9{length})"

    def read_flag(self, value: str) -> str:
        return f"endsWith({value}, '1')" if self.flag else "0"


@dataclass(frozen=True, slots=True)
class _Number:
    """As a number, which takes half of the time: the group is its place in ``groups``."""

    group: str

    @property
    def value(self) -> str:
        place = f"transform({self.group}, groups, range(length(groups)), 0)"
        return f"bitShiftLeft(toUInt128(own_at), 64) + {place}"

    def read_time(self, value: str) -> str:
        return f"toInt64(bitShiftRight({value}, 64))"

    def read_group(self, value: str) -> str:
        return f"groups[1 + toUInt64(bitAnd({value}, {2**64 - 1}))]"

    def read_flag(self, value: str) -> str:  # noqa: ARG002
        return "0"


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
    times = [_find_next(steps, number) for number in later_numbers]
    value = express(group, binding) if group else "''"
    columns = list_columns(group) if group else ()
    has_landing = group == "landing_path"
    is_own = not selection.is_attributed and not has_landing
    has_groups = is_own and _FEW_VALUES.issuperset(columns)
    occurrence: _Occurrence = (
        _Number(value)
        if has_groups
        else _Text(value, "is_no_touch" if selection.is_attributed else "")
    )
    # The page views are many: the ties of all visitors are read anyway.
    has_ties = not selection.is_attributed and not write_named([steps[0].event])
    # Little is gathered of them; unless a later step is a page view too, which nearly everybody
    # takes. Not of touches: the engine plans each use of `firsts` again, and theirs is long.
    is_apart = has_ties and bool(write_named([step.event for step in steps[1:]]))
    later = _select_later(selection, steps, binding, has_ties=has_ties)
    return read_template("funnel").substitute(
        tied_visitors=name_tied_visitors(),
        groups=_name_groups(selection, value, binding) if has_groups else "",
        # Few are grouped while the first steps are read, many before, as they take less memory.
        later=later if is_apart else _group_later(f"(\n{later}\n)", steps),
        times_of_later=f"(\n{_group_later('later', steps)}\n) AS then" if is_apart else "later",
        first=_select_first(
            selection, steps[0], columns, occurrence, binding, has_landing=has_landing
        ),
        others=read_template("funnel_others").template + "\n" if is_apart else "",
        meant=f"\n            WHERE {_GOES_ON}" if is_apart else "",
        group=occurrence.read_group("counted"),
        flag=occurrence.read_flag("counted"),
        moment=occurrence.read_time("first"),
        reached=", ".join(f"toInt64(countIf(level >= {number}))" for number in later_numbers),
        medians=", ".join(
            f"quantileExactInclusiveIf(0.5)("
            f"(times[{number}] - times[{number - 1}]) / 1000, level >= {number})"
            for number in later_numbers
        ),
        best_times=", ".join(f"times_{number}[best]" for number in range(1, len(steps) + 1)),
        times=join_list(times, indent=20),
        names=", ".join(f"t{number}" for number in range(1, len(steps) + 1)),
        level=" + ".join(["1", *(f"(t{number} <= t1 + {within_ms})" for number in later_numbers)]),
        arrays=", ".join(f"times_{number}" for number in range(1, len(steps) + 1)),
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


def _find_next(steps: Sequence[FunnelStep], number: int) -> str:
    """Return the times of a step: for each of the step before the next one, else `_NEVER`.

    Both are sorted together as numbers, whose last bit says which of the two a time is. To look
    through one list for each time of the other would take their product of memory. Lambdas name
    the lists, since the engine writes out an alias again wherever it is used.

    Two events of one moment are in order, unless they might be the same event.
    """
    earlier = {step.event for step in steps[: number - 1]}
    is_later = int(steps[number - 1].event not in earlier)
    before = f"arrayMap(at -> 2 * at + {1 - is_later}, times_{number - 1})"
    later = f"arrayMap(at -> 2 * at + {is_later}, all_{number})"
    following = f"arrayReverseFill(one -> one % 2 = {is_later}, merged)"
    of_before = f"arrayFilter((next, one) -> one % 2 != {is_later}, {following}, merged)"
    times = f"arrayMap(next -> if(next % 2 = {is_later}, intDiv(next, 2), {_NEVER}), {of_before})"
    merged = f"arraySort(arrayConcat({before}, {later}))"
    return f"arrayMap(merged -> {times}, [{merged}])[1] AS times_{number}"


def _name_groups(selection: Selection, value: str, binding: Binding) -> str:
    """Return the named list of all groups that may occur, in their order."""
    return "\n" + read_template("funnel_groups").substitute(
        value=value,
        events=EVENTS,
        start=binding.bind(to_ms(selection.start), "Int64"),
        end=binding.bind(to_ms(selection.end), "Int64"),
    )


def _select_later(
    selection: Selection, steps: Sequence[FunnelStep], binding: Binding, *, has_ties: bool
) -> str:
    """Return the events that are later steps: person, time, and which steps they are."""
    own, _ = selection.split_conditions()
    conditions = [condition for step in steps[1:] for condition in _list_conditions(step)]
    columns = dict.fromkeys(column for one in conditions for column in list_columns(one.name))
    which = [
        f"{_express_step(step, binding)} AS step_{number}" for number, step in enumerate(steps, 1)
    ]
    extra = _match_any(steps[1:], binding)
    persons = select_persons(own, tuple(columns), binding, extra=extra, has_ties=has_ties)
    return f"SELECT person, own_at, {', '.join(which[1:])}\nFROM\n(\n{persons}\n)"


def _group_later(rows: str, steps: Sequence[FunnelStep]) -> str:
    """Return the times of each person's later steps."""
    times = join_list(
        [
            f"arraySort(groupArrayIf(own_at, step_{number})) AS all_{number}"
            for number in range(2, len(steps) + 1)
        ]
    )
    return f"SELECT\n    person,{times}\nFROM {rows}\nGROUP BY person"


def _select_first(
    selection: Selection,
    step: FunnelStep,
    columns: Sequence[str],
    occurrence: _Occurrence,
    binding: Binding,
    *,
    has_landing: bool,
) -> str:
    """Return each person's occurrences of the first step: the ``earliest``, and those ``gathered``.

    Those are all; of page views none if the person took no later step. A person may have several
    rows.
    """
    own, of_touch = selection.split_conditions()
    # The step's own filters are about its event, those of the question about its touch.
    wanted = replace(selection, conditions=(*own.conditions, *of_touch))
    extra = [*express_conditions(_list_conditions(step), binding), *write_named([step.event])]
    value = occurrence.value
    may_go_on = f"own GLOBAL IN (\n{select_visitors('later')}\n)"
    aggregates = [
        Aggregate("earliest", f"min({value})"),
        Aggregate("gathered", f"groupArray({value})")
        if write_named([step.event])
        else Aggregate(
            "gathered",
            of_person=f"groupArrayIf({value}, {_GOES_ON})",
            of_own=f"groupArrayIf({value}, {may_go_on})",
        ),
    ]
    if not selection.is_attributed and not has_landing:
        return group_persons(wanted, columns, aggregates, binding, extra=extra)
    columns = ("own_session",) if has_landing else columns
    rows = select_events(wanted, columns, binding, with_person=True, extra=extra)
    if has_landing:
        rows = join_landing(rows, selection, binding)
    return group_by_person(rows, aggregates)
