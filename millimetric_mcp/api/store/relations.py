"""The rows that a question aggregates: events of a window, with their person or touch if asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from string import Template

from millimetric_mcp.api.store.dimensions import (
    AT,
    IN_ORDER,
    SESSION,
    TOUCH_COLUMNS,
    Binding,
    express_conditions,
    join_list,
    list_columns,
)
from millimetric_mcp.api.store.dsn import EVENTS
from millimetric_mcp.contract import validation
from millimetric_mcp.contract.attribution import NO_TOUCH_RULE, AttributionModel, Confidence
from millimetric_mcp.contract.events import PAGEVIEW_EVENT
from millimetric_mcp.contract.filters import FILTERS, Condition, Operator
from millimetric_mcp.contract.reads import Bots

_DAY_MS = 86_400_000
MAX_DAY = 65_535
"""The last day of ClickHouse's Date, 2149-06-06, counted from 1970."""

_NAMED = f"NOT startsWith(event_name, '{PAGEVIEW_EVENT}')"
"""The condition of the projection ``by_name``: the engine uses it where this stands."""

_TIED_USER = """empty(tied.ties), tied.first_user,
        tied.ties[greatest(1, arrayLastIndex(tie -> tie.1 <= own_at, tied.ties))].2"""
"""The end of a condition: the user of a tied visitor at the time of an event."""

_TIED_TO_SEVERAL = "SELECT visitor FROM tied_visitors WHERE has_several"

_NO_TOUCH: Mapping[str, str] = {
    "source": "direct",
    "medium": "direct",
    "campaign": "",
    "source_rule_id": NO_TOUCH_RULE,
    "source_confidence": Confidence.LOW.value,
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events of the window ``start`` (inclusive) to ``end`` a question is about."""

    start: datetime
    end: datetime
    conditions: tuple[Condition, ...] = ()
    bots: Bots = Bots.INCLUDE
    attribution: AttributionModel = AttributionModel.EVENT
    lookback_days: int = 30

    @property
    def is_attributed(self) -> bool:
        return self.attribution is not AttributionModel.EVENT

    def split_conditions(self) -> tuple["Selection", tuple[Condition, ...]]:
        """Return the selection by the events' own columns, and the conditions on their touch."""
        if not self.is_attributed:
            return self, ()
        of_touch = {"channel", *TOUCH_COLUMNS}
        own = tuple(one for one in self.conditions if FILTERS.get(one.name) not in of_touch)
        touch = tuple(one for one in self.conditions if one not in own)
        return replace(self, conditions=own), touch


def select_events(
    selection: Selection,
    columns: Sequence[str],
    binding: Binding,
    *,
    with_person: bool = False,
    counted: bool = False,
    extra: Sequence[str] = (),
) -> str:
    """Return the statement that selects ``columns`` of the events of a selection.

    Of an attributed selection, the columns of the source are those of the touch, and
    ``is_no_touch`` says that there is none. ``own_session`` is a hash of the session. With
    ``with_person`` there are also ``person``, and ``own_at`` in milliseconds. With ``counted``
    events that are alike in all columns are one row, and ``event_count`` is their number.
    ``extra`` are more conditions on the events.
    """
    own, of_touch = selection.split_conditions()
    if not selection.is_attributed:
        return _select_own(own, columns, binding, with_person=with_person, extra=extra)
    carried = [column for column in columns if column not in TOUCH_COLUMNS]
    needed = {*columns, *(column for one in of_touch for column in list_columns(one.name))}
    last = max([2, *(at for at, name in enumerate(TOUCH_COLUMNS, 1) if name in needed)])
    touch = _Touch(last)
    if selection.attribution is AttributionModel.SESSION:
        carried = list(dict.fromkeys([*carried, "own_session"]))
        if counted and carried == ["own_session"]:
            rows = _select_sessions(own, touch, binding)
        else:
            events = _select_own(own, carried, binding, with_person=with_person, extra=extra)
            if counted:
                events = f"SELECT *, count() AS event_count\nFROM\n(\n{events}\n)\nGROUP BY ALL"
            rows = _touch_by_session(own, events, touch, binding)
    else:
        rows = _touch_by_person(own, carried, touch, binding, extra=extra)
    if not of_touch:
        return rows
    conditions = express_conditions(of_touch, binding)
    return f"SELECT *\nFROM\n(\n{rows}\n)\nWHERE {_and(conditions)}"


def _select_own(
    own: Selection,
    columns: Sequence[str],
    binding: Binding,
    *,
    with_person: bool,
    extra: Sequence[str],
) -> str:
    if with_person:
        return select_persons(own, columns, binding, extra=extra)
    return _select(
        [_name(column) for column in columns], write_conditions(own, binding, extra=extra)
    )


def _select(columns: Sequence[str], conditions: str) -> str:
    return read_template("events").substitute(
        selected=join_list(columns), events=EVENTS, conditions=conditions
    )


def select_persons(
    selection: Selection,
    columns: Sequence[str],
    binding: Binding,
    *,
    extra: Sequence[str] = (),
    among: str = "",
    has_ties: bool = False,
) -> str:
    """Return the statement that selects events with their ``person``, by their own columns.

    ``own_at`` are milliseconds since 1970. ``extra`` are more conditions on the events. With
    ``among``, a statement that selects few visitors, only their events are meant. ``has_ties``
    says that the statement has `name_tied_visitors`.
    """
    conditions = write_conditions(selection, binding, extra=extra)
    tied_among = ""
    if among:
        conditions += _write_among(among)
        tied_among = among
    elif _NAMED in conditions:
        tied_among = _select(["visitor"], _and([conditions, "person_role IN (0, 1)"]))
    return read_template("persons_few" if tied_among else "persons").substitute(
        columns="".join(f"\n    {column}," for column in columns),
        selected="".join(f"\n    {_name(column)}," for column in columns),
        events=EVENTS,
        conditions=conditions,
        tied=read_template("tied").substitute(events=EVENTS),
        tied_user=_TIED_USER,
        ties=_select_ties_of_tied() if has_ties else _select_ties(tied_among),
    )


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of a person's events, and of those of one of its users and visitors: ``own``.

    Without ``of_own`` they are the same expression.
    """

    name: str
    of_person: str
    of_own: str = ""


def group_persons(
    selection: Selection,
    columns: Sequence[str],
    aggregates: Sequence[Aggregate],
    binding: Binding,
    *,
    extra: Sequence[str] = (),
) -> str:
    """Return the statement that selects each ``person`` and ``aggregates`` of its events.

    A person may have several rows. The expressions are over ``columns``, which do not change their
    names, ``own_at`` in milliseconds, and ``person`` or ``own``: the event's own user or visitor,
    hashed. The whole statement must have `name_tied_visitors`.
    """
    conditions = write_conditions(selection, binding, extra=extra)
    if _NAMED in conditions:  # few events
        persons = select_persons(selection, columns, binding, extra=extra)
        return group_by_person(persons, aggregates)
    of_several = select_persons(
        selection,
        columns,
        binding,
        extra=[*extra, "person_role IN (0, 1)"],
        among=_TIED_TO_SEVERAL,
    )
    return read_template("persons_grouped").substitute(
        names=join_list([one.name for one in aggregates]),
        aggregates=join_list(
            [f"{one.of_own or one.of_person} AS {one.name}" for one in aggregates], indent=8
        ),
        selected="".join(f"\n            {column}," for column in columns),
        events=EVENTS,
        conditions=conditions,
        of_several=group_by_person(of_several, aggregates),
    )


def group_by_person(persons: str, aggregates: Sequence[Aggregate]) -> str:
    """Return `group_persons` of a statement that selects events with their ``person``."""
    named = join_list([f"{one.of_person} AS {one.name}" for one in aggregates])
    return f"SELECT\n    person,{named}\nFROM\n(\n{persons}\n)\nGROUP BY person"


def select_visitors(persons: str) -> str:
    """Return the statement that selects the users and visitors of ``persons``, as hashes.

    ``persons`` is a named subquery of the statement, and so is `name_tied_visitors`.
    """
    return read_template("visitors_of_persons").substitute(persons=persons)


def name_tied_visitors() -> str:
    """Return the named subquery ``tied_visitors``, which a statement shares."""
    return read_template("tied_visitors").substitute(events=EVENTS)


def _select_ties(among: str) -> str:
    return read_template("ties").substitute(events=EVENTS, among=_write_among(among))


def _select_ties_of_tied() -> str:
    return read_template("ties_of_tied").substitute(ties_of_several=_select_ties(_TIED_TO_SEVERAL))


def _write_among(visitors: str) -> str:
    return f"\n    AND visitor GLOBAL IN\n(\n{visitors}\n)" if visitors else ""


@dataclass(frozen=True, slots=True)
class _Touch:
    """The first ``width`` columns of a touch, as one text: much faster to compare than a tuple."""

    width: int

    @property
    def text(self) -> str:
        names = r", '\0', ".join(TOUCH_COLUMNS[: self.width])
        return f"concat({names})"

    def read(self, condition: str = "1") -> str:
        """Return the columns of ``found.touch``, or of no touch unless ``condition`` holds."""
        names = TOUCH_COLUMNS[: self.width]
        return join_list(
            [
                f"found.touch = '' OR NOT ({condition}) AS is_no_touch",
                r"splitByChar('\0', found.touch) AS parts",
                *(
                    f"if(is_no_touch, '{_NO_TOUCH[name]}', parts[{position}]) AS {name}"
                    for position, name in enumerate(names, 1)
                ),
            ]
        )


def _touch_by_person(
    own: Selection,
    carried: Sequence[str],
    touch: _Touch,
    binding: Binding,
    *,
    extra: Sequence[str],
) -> str:
    is_first = own.attribution is AttributionModel.FIRST_TOUCH
    lookback = binding.bind(own.lookback_days * _DAY_MS, "Int64")
    events = select_persons(own, carried, binding, extra=extra)
    shared = among = ""
    if _NAMED in write_conditions(own, binding, extra=extra):
        among = select_visitors("own_persons")
        persons = select_persons(own, (), binding, extra=extra)
        if carried:  # much, perhaps: read again
            persons = f"SELECT DISTINCT person\nFROM\n(\n{persons}\n)"
        else:
            events = "SELECT * FROM own_persons"
        shared = read_template("touches_of_few").substitute(
            tied_visitors=name_tied_visitors(), persons=persons
        )
    touches = select_persons(
        widen(own, timedelta(days=own.lookback_days)),
        TOUCH_COLUMNS[: touch.width],
        binding,
        extra=["person_role IN (1, 3)"],
        among=among,
        has_ties=bool(among),
    )
    return read_template("touched_by_person").substitute(
        shared=shared and f"{shared}\n",
        which="first" if is_first else "latest",
        touch=touch.read(f"found.at <= event.own_at AND found.at >= event.own_at - {lookback}"),
        persons=events,
        touches=read_template("touches_of_persons").substitute(touch=touch.text, persons=touches),
        nearest=f"event.own_at - {lookback} <= found.at"
        if is_first
        else "event.own_at >= found.at",
    )


def _touch_by_session(own: Selection, events: str, touch: _Touch, binding: Binding) -> str:
    return read_template("touched_by_session").substitute(
        rows=events, **_name_parts(own, touch, binding)
    )


def _select_sessions(own: Selection, touch: _Touch, binding: Binding) -> str:
    return read_template("sessions").substitute(
        conditions=write_conditions(own, binding), **_name_parts(own, touch, binding)
    )


def _name_parts(own: Selection, touch: _Touch, binding: Binding) -> dict[str, str]:
    """Return what the statements about sessions and their touches have in common."""
    return {
        "touch": touch.read(),
        "session": SESSION,
        "time": IN_ORDER.format(AT),
        "text": touch.text,
        "events": EVENTS,
        "touch_conditions": write_conditions(
            widen(own, timedelta(days=own.lookback_days)), binding, extra=["person_role IN (1, 3)"]
        ),
    }


def widen(selection: Selection, lead: timedelta) -> Selection:
    """Return the selection of what may lie before: all events of the window and of ``lead``."""
    start = max(selection.start, validation.EPOCH + lead) - lead
    return replace(selection, start=start, conditions=())


def write_conditions(selection: Selection, binding: Binding, *, extra: Sequence[str] = ()) -> str:
    """Return the conditions that a selection's events meet by their own columns."""
    start = binding.bind(to_ms(selection.start), "Int64")
    end = binding.bind(to_ms(selection.end), "Int64")
    conditions = [
        "project_id = {project_id:UInt64}",
        f"timestamp >= fromUnixTimestamp64Milli({start}, 'UTC')",
        f"timestamp < fromUnixTimestamp64Milli({end}, 'UTC')",
        *write_bots(selection.bots),
        *extra,
        *express_conditions(selection.conditions, binding),
    ]
    names = [
        one.values
        for one in selection.conditions
        if FILTERS.get(one.name) == "event_name" and one.operator is Operator.EQUALS
    ]
    return _and([*conditions, *(write_named(names[0]) if names else ())])


def write_named(names: Sequence[str]) -> list[str]:
    """Return the condition of the projection ``by_name``, if events of these names are in it."""
    return [] if any(name.startswith(PAGEVIEW_EVENT) for name in names) else [_NAMED]


def write_bots(bots: Bots) -> list[str]:
    """Return the condition on automated clients, if any."""
    return [] if bots is Bots.INCLUDE else [f"is_bot = {int(bots is Bots.ONLY)}"]


def to_ms(time: datetime) -> int:
    """Return milliseconds since 1970, within the days that ClickHouse's Date has."""
    return min(max(validation.to_ms(time), 0), MAX_DAY * _DAY_MS)


def _name(column: str) -> str:
    return f"{SESSION} AS own_session" if column == "own_session" else column


def _and(conditions: Sequence[str]) -> str:
    return "\n    AND ".join(conditions)


@cache
def read_template(name: str) -> Template:
    """Return a file of ``sql/``."""
    return Template((resources.files(__package__) / "sql" / f"{name}.sql").read_text().rstrip())
