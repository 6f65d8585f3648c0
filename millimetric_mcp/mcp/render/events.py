"""Events as a table: what all rows share is written once, and so is a repeated id."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from millimetric_mcp.contract.reads import EventRow
from millimetric_mcp.mcp.render.properties import (
    OTHER_PROPERTIES,
    PROPERTIES,
    Cut,
    print_properties,
)
from millimetric_mcp.mcp.render.table import Table, quote_cell, quote_words
from millimetric_mcp.mcp.render.untrusted import (
    CUT_MARK,
    MAX_CELL_CHARS,
    abbreviate,
    escape_invisible,
    shorten,
)

TIMESTAMP = "timestamp"
WHO = "who"
EVENT_COLUMNS = (*EventRow.model_fields, WHO)
"""Every column of an event. ``who`` is the user_id, else the anonymous_id."""
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
MAX_WHOLE_ROWS = 25
"""A longer list in the default columns is brief, so that 100 events cost at most 6,000 tokens."""
BRIEF_CHARS: Mapping[str, int] = {
    "event_name": 24,
    "source": 24,
    "medium": 16,
    "country": 8,
    "path": 24,
    PROPERTIES: 24,
    OTHER_PROPERTIES: 1,
}
"""How long the values of a brief list are, by column."""
BRIEF_PROPERTY_CHARS = 10
MAX_BRIEF_PROPERTY_COLUMNS = 2
MAX_PROPERTY_COLUMNS = 12
ID_COLUMNS = frozenset({WHO, "event_id", "anonymous_id", "user_id", "session_id"})
MAX_ID_CHARS = 300
"""Longer than any id: ids are never cut, because they are filters of the next question."""
MIN_SHARED_ROWS = 3
MAX_SHARED_PART = 1 / 4
"""Of the characters allowed: longer shared values stay in their rows."""
MIN_NAMED_CHARS = 20

Cells = Mapping[str, Sequence[str]]
"""Printed cells by column."""

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.000|(\.\d{3}))?Z", re.ASCII)


def order_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return ``columns``, each once: the time first, the properties last."""
    outer = (TIMESTAMP, PROPERTIES)
    first, last = ([name] if name in columns else [] for name in outer)
    return (*first, *dict.fromkeys(name for name in columns if name not in outer), *last)


def present_event(
    row: EventRow,
    columns: Sequence[str] = DEFAULT_EVENT_COLUMNS,
    *,
    max_cell_chars: int = MAX_CELL_CHARS,
) -> dict[str, str | None]:
    """Return an event's columns for structured content, with texts cleaned and shortened."""
    values = {name: _value(row, name) for name in order_columns(columns)}
    return {
        name: value and escape_invisible(_cut(value, name, max_chars=max_cell_chars))
        for name, value in values.items()
    }


def render_events(
    rows: Sequence[EventRow],
    *,
    max_chars: int,
    columns: Sequence[str] | None = None,
    max_cell_chars: int = MAX_CELL_CHARS,
    max_rows: int | None = None,
    advice: str | Callable[[int], str] = "narrow the window, filter, or name fewer fields",
) -> Table:
    """Return events as a table, in the order given; at most ``max_rows`` of them.

    Each date stands once, above its times. A value that all rows share stands above the table.
    A repeated id is written once, as ``#1=ID``, and then as ``#1``. Properties that many rows
    have are columns. Without ``columns`` the default ones are shown, and a list of more than
    `MAX_WHOLE_ROWS` is brief: values are cut to `BRIEF_CHARS`, and times to the second.
    ``max_chars`` is the budget of the whole text.
    """
    is_brief = columns is None and len(rows) > MAX_WHOLE_ROWS
    cells = _print_columns(
        rows[:max_rows],
        DEFAULT_EVENT_COLUMNS if columns is None else columns,
        max_property_columns=MAX_BRIEF_PROPERTY_COLUMNS if is_brief else MAX_PROPERTY_COLUMNS,
        cut=partial(_cut_brief if is_brief else _cut, max_chars=max_cell_chars),
    )
    notes = _describe_cut(cells) if is_brief else []
    shared = _find_shared(cells)
    described = _describe_shared(shared)
    if len(described) <= max_chars * MAX_SHARED_PART:
        notes += [described] * bool(shared)
        cells = {name: values for name, values in cells.items() if name not in shared}
    named = _name_repeated_ids(cells)
    if named != cells:
        notes.append("#1=ID: an id that occurs again, as #1.")
    lines = [",".join(line) for line in zip(*named.values(), strict=True)]
    return Table([*named], _put_below_dates(lines) if TIMESTAMP in named else lines, advice, notes)


def _print_columns(
    rows: Sequence[EventRow], columns: Sequence[str], *, max_property_columns: int, cut: Cut
) -> Cells:
    table: dict[str, list[str]] = {}
    for name in order_columns(columns):
        values = [_value(row, name) or "" for row in rows]
        if name == PROPERTIES:
            table |= print_properties(values, max_columns=max_property_columns, cut=cut)
        else:
            table[name] = [quote_cell(escape_invisible(cut(value, name))) for value in values]
    return table


def _cut(value: str, name: str, *, max_chars: int) -> str:
    is_whole = name in ID_COLUMNS or name == TIMESTAMP
    return shorten(value, max_chars=max(max_chars, MAX_ID_CHARS) if is_whole else max_chars)


def _cut_brief(value: str, name: str, *, max_chars: int) -> str:
    if name in ID_COLUMNS:
        return _cut(value, name, max_chars=max_chars)
    if name == TIMESTAMP:
        return _cut(re.sub(r"\.\d{3}Z\Z", "Z", value), name, max_chars=max_chars)
    width = BRIEF_CHARS.get(name, BRIEF_PROPERTY_CHARS)
    return abbreviate(value, max_chars=min(width, max_chars))


def _value(row: EventRow, name: str) -> str | None:
    """Return a column; a user in ``who`` is marked, and so is a visitor that looks marked."""
    if name != WHO:
        value: str | None = getattr(row, name)
        return value
    if row.user_id:
        return f"user:{row.user_id}"
    looks_marked = row.anonymous_id.startswith(("user:", "anon:"))
    return f"anon:{row.anonymous_id}" if looks_marked else row.anonymous_id


def _describe_cut(table: Cells) -> list[str]:
    """Return a note on the cut values, and how to get whole ones; empty if nothing is cut."""
    cut = [name for name, cells in table.items() if any(CUT_MARK in cell for cell in cells)]
    if not cut:
        return []
    fields = dict.fromkeys(PROPERTIES if PROPERTIES in name else name for name in cut)
    listed = ",".join(f'"{name}"' for name in (TIMESTAMP, *fields))
    return [f"{CUT_MARK} marks cut values. To get them whole, name fields: [{listed}]."]


def _find_shared(table: Cells) -> dict[str, str]:
    """Return the columns, but the first, that have one value in all rows.

    Cut values are not compared: what is missing may differ.
    """
    return {
        name: cells[0]
        for name, cells in list(table.items())[1:]
        if len(cells) >= MIN_SHARED_ROWS and len(set(cells)) == 1 and CUT_MARK not in cells[0]
    }


def _describe_shared(shared: Mapping[str, str]) -> str:
    given = [
        f"{name}={cell if name in {PROPERTIES, OTHER_PROPERTIES} else quote_words(cell)}"
        for name, cell in shared.items()
        if cell
    ]
    empty = [name for name, cell in shared.items() if not cell]
    parts = [", ".join(given)] * bool(given) + [f"no {', '.join(empty)}"] * bool(empty)
    return f"Every row: {'; '.join(parts)}."


def _name_repeated_ids(table: Cells) -> Cells:
    """Return the table with numbers for long ids that occur again."""
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
    """Return the lines with their times alone, the first of each day below its date."""
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
