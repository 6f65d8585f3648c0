"""Events: the table, with what rows have in common said once."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from millimetric_mcp.contract.reads import EventRow
from millimetric_mcp.mcp.render.properties import (
    OTHER_PROPERTIES,
    PROPERTIES,
    print_properties,
)
from millimetric_mcp.mcp.render.table import Rendered, fit, print_cell, quote_words
from millimetric_mcp.mcp.render.tokens import estimate_tokens
from millimetric_mcp.mcp.render.untrusted import (
    CUT_MARK,
    MAX_CELL_CHARS,
    MAX_MARK_CHARS,
    abbreviate,
    clean,
    shorten,
)

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
MAX_ID_CHARS = 300
"""Ids are never cut, for they are what to filter by: longer than any is."""
MIN_SHARED_ROWS = 3
MAX_SHARED_PART = 1 / 4
"""Of the budget: where saying once what rows share takes more, each row says it."""
MIN_NAMED_CHARS = 20
BRIEF_ROWS = 100
BRIEF_TOKENS_A_ROW = 57
"""What a row of a brief list may cost, with its part of what stands above the rows; a list of
fewer than `BRIEF_ROWS` may cost as much in all."""
BRIEF_CELL_CHARS = (8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 120)
"""What values are cut at where a brief list would cost more: the longest that it may cost."""
LEFT_OUT_NOTE_TOKENS = 40
MIN_BRIEF_CHARS = (30, 20, 12, 8)
"""What is not a property is cut no shorter than the first of these, unless no other way is left."""

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.000|(\.\d{3}))?Z", re.ASCII)
_FRACTION = re.compile(r"\.\d{3}Z\Z", re.ASCII)
_SEE_PROPERTIES = 'fields ["timestamp","properties"]'


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
        name: None if value is None else clean(value, max_chars=_most_chars(name, max_cell_chars))
        for name, value in values.items()
    }


def _most_chars(name: str, max_cell_chars: int) -> int:
    is_whole = name in ID_COLUMNS or name == TIMESTAMP
    return max(max_cell_chars, MAX_ID_CHARS) if is_whole else max_cell_chars


def render_events(
    rows: Sequence[EventRow],
    *,
    receipt: Sequence[str],
    max_chars: int,
    columns: Sequence[str] = DEFAULT_EVENT_COLUMNS,
    max_cell_chars: int = MAX_CELL_CHARS,
    advice: str | Callable[[int], str] = "narrow the window, filter, or name fewer fields",
    max_rows: int | None = None,
    is_brief: bool = False,
) -> Rendered:
    """Events in the order given, at most ``max_rows``; what they have in common is said once.

    ``advice`` is that of `fit`.

    Times stand below their date, without milliseconds where those are zero. A value of every
    row stands above them. A repeated id is named where it first occurs, ``#1=…``, and ``#1``
    from then on. Properties that many rows have are columns.

    A brief list has no milliseconds. Where it would still cost more than it may, values are
    cut shorter, properties first; what does not fit even so are columns of properties, and
    those are left out. It says both, and how to ask for the whole.
    """
    lay_out = partial(
        _lay_out,
        rows[:max_rows],
        columns,
        receipt=receipt,
        is_brief=is_brief,
        max_note_chars=max_chars * MAX_SHARED_PART,
    )
    layout = lay_out(max_cell_chars=max_cell_chars, max_property_chars=max_cell_chars)
    for min_chars in MIN_BRIEF_CHARS if is_brief else ():
        if layout.tokens_over > 0:
            layout = _lay_out_briefly(lay_out, min_chars=min_chars, max_chars=max_cell_chars)
    return fit(
        layout.head,
        layout.lines,
        max_chars=max_chars,
        advice=advice,
        total=len(rows),
    )


Table = Mapping[str, Sequence[str]]
"""Printed cells by column, in the order of the columns and the rows."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """What stands in the rows of a list, and what is said above them."""

    table: Table
    notes: tuple[str, ...]

    @property
    def head(self) -> tuple[str, ...]:
        return (*self.notes, ",".join(self.table))

    @property
    def lines(self) -> list[str]:
        lines = [",".join(cells) for cells in zip(*self.table.values(), strict=True)]
        return _put_below_dates(lines) if TIMESTAMP in self.table else lines

    @property
    def tokens_over(self) -> int:
        """By how much all this costs more than a brief list may; negative: less."""
        lines = self.lines
        allowed = BRIEF_TOKENS_A_ROW * max(len(lines), BRIEF_ROWS)
        return estimate_tokens("\n".join((*self.head, *lines))) - allowed

    def choose_left_out(self) -> list[str]:
        """Columns of properties without which it costs what it may: few, and of no great cost."""
        over = self.tokens_over
        if over <= 0:
            return []
        over += LEFT_OUT_NOTE_TOKENS
        costs = {
            name: estimate_tokens(",".join(cells))
            for name, cells in self.table.items()
            if _is_of_properties(name)
        }
        left_out: list[str] = []
        while over > 0 and costs:
            enough = {name: cost for name, cost in costs.items() if cost >= over}
            choose, among = (min, enough) if enough else (max, costs)
            left_out.append(choose(among, key=among.__getitem__))
            over -= costs.pop(left_out[-1])
        return left_out

    def leave_out(self, names: Sequence[str]) -> "_Layout":
        """Without these columns, which it says."""
        if not names:
            return self
        note = f"Left out to be brief: {', '.join(names)}; ask for them with {_SEE_PROPERTIES}."
        kept = {name: cells for name, cells in self.table.items() if name not in names}
        return _Layout(kept, (*self.notes, note))

    def note_cut(self, *, max_cell_chars: int, max_property_chars: int) -> "_Layout":
        """Saying what is cut, if anything is, and how to ask for the whole."""
        cut = [name for name, cells in self.table.items() if any(map(_is_cut, cells))]
        others = [name for name in cut if not _is_of_properties(name)]
        said = [f"{', '.join(others)} beyond {max_cell_chars} characters"] * bool(others)
        if len(cut) > len(others):
            said.append(f"properties beyond {max_property_chars} characters")
            others.append(PROPERTIES)
        if not said:
            return self
        fields = ",".join(f'"{name}"' for name in (TIMESTAMP, *others))
        note = (
            f"Cut to be brief, marked {CUT_MARK}: {'; '.join(said)}; for the whole name fields, "
            f"such as fields [{fields}]."
        )
        return replace(self, notes=(*self.notes, note))


def _lay_out_briefly(lay_out: Callable[..., _Layout], *, min_chars: int, max_chars: int) -> _Layout:
    """What fits of a list that costs too much: as many columns first, then long values."""
    lengths = [*(length for length in BRIEF_CELL_CHARS if length < max_chars), max_chars]

    def lay_out_cut(length: int, left_out: Sequence[str]) -> _Layout:
        cuts = {"max_cell_chars": max(length, min_chars), "max_property_chars": length}
        return lay_out(**cuts).leave_out(left_out).note_cut(**cuts)

    left_out: list[str] = []
    while more := lay_out_cut(lengths[0], left_out).choose_left_out():
        left_out += more
    fitting = bisect_right(lengths, 0, key=lambda length: lay_out_cut(length, left_out).tokens_over)
    return lay_out_cut(lengths[max(fitting - 1, 0)], left_out)


def _is_of_properties(column: str) -> bool:
    return column.startswith(PROPERTIES) or column == OTHER_PROPERTIES


def _is_cut(cell: str) -> bool:
    return CUT_MARK in cell


def _lay_out(
    rows: Sequence[EventRow],
    columns: Sequence[str],
    *,
    receipt: Sequence[str],
    max_cell_chars: int,
    max_property_chars: int,
    is_brief: bool,
    max_note_chars: float,
) -> _Layout:
    table = _print_columns(
        rows,
        columns,
        max_chars=max_cell_chars,
        max_property_chars=max_property_chars,
        is_brief=is_brief,
    )
    shared = _find_shared(table)
    notes = _describe_shared(shared)
    if len("".join(notes)) > max_note_chars:
        shared, notes = {}, []
    kept = {name: cells for name, cells in table.items() if name not in shared}
    named = _name_repeated_ids(kept)
    if named != kept:
        notes.append("#1=ID names an id that comes again as #1.")
    return _Layout(named, (*receipt, *notes))


def _print_columns(
    rows: Sequence[EventRow],
    columns: Sequence[str],
    *,
    max_chars: int,
    max_property_chars: int,
    is_brief: bool,
) -> Table:
    table: dict[str, list[str]] = {}
    for name in order_columns(columns):
        values = [_value(row, name) for row in rows]
        if name == PROPERTIES:
            cut = partial(abbreviate if is_brief else shorten, max_chars=max_property_chars)
            table |= print_properties([value or "{}" for value in values], cut=cut)
            continue
        if name == TIMESTAMP and is_brief:
            values = [_FRACTION.sub("Z", value or "") for value in values]
        most_chars = _most_chars(name, max_chars)
        if is_brief and most_chars < MAX_CELL_CHARS:
            values = [abbreviate(value or "", max_chars=most_chars) for value in values]
            most_chars += MAX_MARK_CHARS
        table[name] = [print_cell(value, max_chars=most_chars) for value in values]
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
    """The columns that have one value in every row, not cut, for then they may differ.

    The first column stays a column.
    """
    return {
        name: cells[0]
        for name, cells in list(table.items())[1:]
        if len(cells) >= MIN_SHARED_ROWS and len(set(cells)) == 1 and CUT_MARK not in cells[0]
    }


def _describe_shared(shared: Mapping[str, str]) -> list[str]:
    said = [f"{name}={_print_shared(name, cell)}" for name, cell in shared.items() if cell]
    empty = [name for name, cell in shared.items() if not cell]
    parts = [", ".join(said)] * bool(said) + [f"no {', '.join(empty)}"] * bool(empty)
    return [f"Every row: {'; '.join(parts)}."] * bool(parts)


def _print_shared(name: str, cell: str) -> str:
    is_json = name in {PROPERTIES, OTHER_PROPERTIES}
    return cell if is_json else quote_words(cell)


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
