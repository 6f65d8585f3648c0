"""Events: the table, with what rows have in common said once."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from millimetric_mcp.contract.reads import EventRow
from millimetric_mcp.render.properties import PROPERTIES, print_properties
from millimetric_mcp.render.table import Rendered, fit, print_cell
from millimetric_mcp.render.untrusted import MAX_CELL_CHARS, tame

TIMESTAMP = "timestamp"
WHO = "who"
EVENT_COLUMNS = (*EventRow.model_fields, WHO)
"""Every column events can be shown with; ``who`` is the user_id, else the anonymous_id."""
DEFAULT_EVENT_COLUMNS = (
    TIMESTAMP,
    "event_name",
    WHO,
    "source",
    "medium",
    "country",
    "path",
    PROPERTIES,
)
ID_COLUMNS = frozenset({WHO, "event_id", "anonymous_id", "user_id", "session_id"})
MIN_SHARED_ROWS = 3
MAX_SHARED_PART = 1 / 4
"""Of the budget: where saying once what rows share takes more, each row says it."""
MIN_NAMED_CHARS = 20

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.000|(\.\d{3}))Z", re.ASCII)


def order_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """``columns``, each once, as events are shown: the time first, the properties last."""
    outer = (TIMESTAMP, PROPERTIES)
    first, last = ([name] if name in columns else [] for name in outer)
    return (*first, *dict.fromkeys(name for name in columns if name not in outer), *last)


def present_event(
    row: EventRow,
    columns: Sequence[str] = DEFAULT_EVENT_COLUMNS,
    *,
    max_cell_chars: int = MAX_CELL_CHARS,
) -> dict[str, str | None]:
    """An event's columns for structured content: texts harmless and cut as in the text."""
    values = {name: _value(row, name) for name in order_columns(columns)}
    return {
        name: None if value is None else tame(value, max_chars=max_cell_chars)
        for name, value in values.items()
    }


def render_events(
    rows: Sequence[EventRow],
    *,
    receipt: Sequence[str],
    max_chars: int,
    columns: Sequence[str] = DEFAULT_EVENT_COLUMNS,
    max_cell_chars: int = MAX_CELL_CHARS,
    advise: Callable[[int], str] = lambda _shown: "narrow the window, filter, or name fewer fields",
) -> Rendered:
    """Events in the order given; what they have in common is said once.

    ``advise`` words how to get the rows after so many shown ones.

    Times stand below their date, without milliseconds where those are zero. A value of every
    row stands above them. A repeated id is named where it first occurs, ``#1=…``, and ``#1``
    from then on. Properties that many rows have are columns.
    """
    table = _print_columns(rows, columns, max_chars=max_cell_chars)
    shared = _find_shared(table)
    notes = _describe_shared(shared)
    if len("".join(notes)) > max_chars * MAX_SHARED_PART:
        shared, notes = {}, []
    kept = {name: cells for name, cells in table.items() if name not in shared}
    named = _name_repeated_ids(kept)
    if named != kept:
        notes.append("#1=ID names an id that comes again as #1.")
    lines = [",".join(cells) for cells in zip(*named.values(), strict=True)]
    return fit(
        (*receipt, *notes, ",".join(named)),
        _put_below_dates(lines) if TIMESTAMP in named else lines,
        max_chars=max_chars,
        advice=advise,
    )


Table = Mapping[str, Sequence[str]]
"""Printed cells by column, in the order of the columns and the rows."""


def _print_columns(rows: Sequence[EventRow], columns: Sequence[str], *, max_chars: int) -> Table:
    table: dict[str, list[str]] = {}
    for name in order_columns(columns):
        values = [_value(row, name) for row in rows]
        if name == PROPERTIES:
            table |= print_properties([value or "{}" for value in values], max_chars=max_chars)
        else:
            table[name] = [print_cell(value, max_chars=max_chars) for value in values]
    return table


def _value(row: EventRow, name: str) -> str | None:
    if name == WHO:
        return _who(row)
    value: str | None = getattr(row, name)
    return value


def _who(row: EventRow) -> str:
    """``user:`` marks a known person; an anonymous id that looks marked is marked as such."""
    if row.user_id:
        return f"user:{row.user_id}"
    looks_marked = row.anonymous_id.startswith(("user:", "anon:"))
    return f"anon:{row.anonymous_id}" if looks_marked else row.anonymous_id


def _find_shared(table: Table) -> dict[str, str]:
    """The columns that have one value in every row; the first column stays a column."""
    return {
        name: cells[0]
        for name, cells in list(table.items())[1:]
        if len(cells) >= MIN_SHARED_ROWS and len(set(cells)) == 1
    }


def _describe_shared(shared: Mapping[str, str]) -> list[str]:
    said = [f"{name}={cell}" for name, cell in shared.items() if cell]
    empty = [name for name, cell in shared.items() if not cell]
    parts = [", ".join(said)] * bool(said) + [f"no {', '.join(empty)}"] * bool(empty)
    return [f"Every row: {'; '.join(parts)}."] * bool(parts)


def _name_repeated_ids(table: Table) -> Table:
    """Long ids that come again, named at their first place; what looks so is quoted already."""
    ids = [name for name in table if name in ID_COLUMNS]
    places = Counter(cell for name in ids for cell in table[name])
    numbers: dict[str, int] = {}
    named = {name: list(cells) for name, cells in table.items()}
    for at in range(len(next(iter(table.values()), []))):
        for name in ids:
            cell = table[name][at]
            if len(cell) < MIN_NAMED_CHARS or places[cell] == 1:
                continue
            is_new = cell not in numbers
            number = numbers.setdefault(cell, len(numbers) + 1)
            named[name][at] = f"#{number}={cell}" if is_new else f"#{number}"
    return named


def _put_below_dates(lines: Sequence[str]) -> list[str]:
    """Lines that begin with a time, that time shortened, each day's first below its date."""
    result, last_date = [], ""
    for line in lines:
        match = _TIMESTAMP.match(line)
        date, shown = match[1] if match else "", line
        if match:
            shown = f"{match[2]}{match[3] or ''}{line[match.end() :]}"
            if date != last_date:
                shown = f"{date}\n{shown}"
        last_date = date
        result.append(shown)
    return result
