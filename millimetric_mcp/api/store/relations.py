"""The rows that a question aggregates: events of a window, with their person or touch if asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from string import Template

from millimetric_mcp.api.store.dimensions import (
    SESSION,
    TOUCH_COLUMNS,
    Binding,
    express_conditions,
    join_list,
)
from millimetric_mcp.api.store.dsn import EVENTS
from millimetric_mcp.contract import validation
from millimetric_mcp.contract.attribution import NO_TOUCH_RULE, AttributionModel, Confidence
from millimetric_mcp.contract.filters import FILTERS, Condition
from millimetric_mcp.contract.reads import Bots

_DAY_MS = 86_400_000
MAX_DAY = 65_535
"""The last day of ClickHouse's Date, 2149-06-06, counted from 1970."""

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
    extra: Sequence[str] = (),
) -> str:
    """Return the statement that selects ``columns`` of the events of a selection.

    Of an attributed selection, the columns of the source are those of the touch. ``own_session``
    is a hash of the session. With ``with_person`` there are also ``person``, and ``own_at`` in
    milliseconds. ``extra`` are more conditions on the events.
    """
    own, of_touch = selection.split_conditions()
    if not selection.is_attributed:
        return _select_own(own, columns, binding, with_person=with_person, extra=extra)
    carried = [column for column in columns if column not in TOUCH_COLUMNS]
    if selection.attribution is AttributionModel.SESSION:
        carried = list(dict.fromkeys([*carried, "own_session"]))
        events = _select_own(own, carried, binding, with_person=with_person, extra=extra)
        rows = _touch_by_session(own, events, binding)
    else:
        rows = _touch_by_person(own, carried, binding, extra=extra)
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
    return read_template("events").substitute(
        selected=join_list([_name(column) for column in columns]),
        events=EVENTS,
        conditions=write_conditions(own, binding, extra=extra),
    )


def select_persons(
    selection: Selection, columns: Sequence[str], binding: Binding, *, extra: Sequence[str] = ()
) -> str:
    """Return the statement that selects events with their ``person``, by their own columns.

    ``own_at`` are milliseconds since 1970. ``extra`` are more conditions on the events.
    """
    return read_template("persons").substitute(
        columns=join_list([*columns, "own_at"]),
        selected="".join(f"\n        {_name(column)}," for column in columns),
        events=EVENTS,
        conditions=write_conditions(selection, binding, extra=extra),
        ties=read_template("ties").substitute(events=EVENTS),
    )


def _touch_by_person(
    own: Selection, carried: Sequence[str], binding: Binding, *, extra: Sequence[str]
) -> str:
    is_first = own.attribution is AttributionModel.FIRST_TOUCH
    lookback = binding.bind(own.lookback_days * _DAY_MS, "Int64")
    touches = select_persons(_widen(own), TOUCH_COLUMNS, binding, extra=["person_role IN (1, 3)"])
    # Only the touches of persons who are asked about, unless that is nearly everybody.
    wanted = select_persons(own, (), binding, extra=extra) if own.conditions or extra else ""
    return read_template("touched_by_person").substitute(
        which="first" if is_first else "latest",
        touch=_write_touch(
            f"found.at <= event.own_at AND found.at >= event.own_at - {lookback}",
            lambda position: f"found.touch.{position}",
        ),
        persons=select_persons(own, carried, binding, extra=extra),
        touches=read_template("touches_of_persons").substitute(
            touch=", ".join(TOUCH_COLUMNS),
            persons=touches,
            wanted=f"\nWHERE person GLOBAL IN (SELECT person FROM\n(\n{wanted}\n))"
            if wanted
            else "",
        ),
        nearest=f"event.own_at - {lookback} <= found.at"
        if is_first
        else "event.own_at >= found.at",
    )


def _touch_by_session(own: Selection, events: str, binding: Binding) -> str:
    return read_template("touched_by_session").substitute(
        touch=_write_touch("1", lambda position: f"found.touch.{position + 1}"),
        rows=events,
        session=SESSION,
        names=", ".join(TOUCH_COLUMNS),
        events=EVENTS,
        touch_conditions=write_conditions(_widen(own), binding, extra=["person_role IN (1, 3)"]),
    )


def _write_touch(condition: str, element: Callable[[int], str]) -> str:
    """Return the touch's columns; those of no touch unless it is found and ``condition`` holds."""
    found = f"{element(1)} != '' AND {condition}"
    return join_list(
        [
            f"if({found}, {element(position)}, '{_NO_TOUCH[name]}') AS {name}"
            for position, name in enumerate(TOUCH_COLUMNS, 1)
        ]
    )


def _widen(selection: Selection) -> Selection:
    """Return the selection of the touches: the window and the look-back before it."""
    lookback = timedelta(days=selection.lookback_days)
    start = max(selection.start - lookback, validation.EPOCH)
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
    return _and(conditions)


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
