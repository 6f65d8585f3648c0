"""Events: the table, with what every row has in common said once."""

import re
from collections.abc import Sequence

from millimetric_mcp.contract.reads import EventRow
from millimetric_mcp.render.table import Rendered, fit, join_cells
from millimetric_mcp.render.untrusted import MAX_CELL_CHARS, tame

TIMESTAMP = "timestamp"
PROPERTIES = "properties"
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
MIN_ROWS_TO_HOIST = 3

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
) -> Rendered:
    """Events in the order given; what they have in common is said once, above.

    Times are shown below their date, without milliseconds where those are zero. Properties
    are JSON to the end of the line, unquoted, and nothing where they are empty.
    """
    names = order_columns(columns)
    table = [[_value(row, name) for name in names] for row in rows]
    shared = _shared_cells(names, table)
    kept = [at for at, name in enumerate(names) if name not in shared]
    lines = [
        _join([names[at] for at in kept], [cells[at] for at in kept], max_cell_chars)
        for cells in table
    ]
    notes = _describe_shared(shared)
    return fit(
        (*receipt, *notes, ",".join(names[at] for at in kept)),
        _put_below_dates(lines) if TIMESTAMP in names else lines,
        max_chars=max_chars,
        advice="narrow the window, filter, lower the limit, or name fewer fields",
    )


def _value(row: EventRow, name: str) -> str | None:
    if name == WHO:
        return _who(row)
    value: str | None = getattr(row, name)
    return None if name == PROPERTIES and value == "{}" else value


def _who(row: EventRow) -> str:
    """``user:`` marks a known person; an anonymous id that looks marked is marked as such."""
    if row.user_id:
        return f"user:{row.user_id}"
    looks_marked = row.anonymous_id.startswith(("user:", "anon:"))
    return f"anon:{row.anonymous_id}" if looks_marked else row.anonymous_id


def _shared_cells(
    names: Sequence[str], table: Sequence[Sequence[str | None]]
) -> dict[str, str | None]:
    """The columns that have one value in every row; the first column stays a column."""
    if len(table) < MIN_ROWS_TO_HOIST:
        return {}
    columns = zip(names, zip(*table, strict=True), strict=True)
    return {
        name: values[0] for at, (name, values) in enumerate(columns) if at and len(set(values)) == 1
    }


def _describe_shared(shared: dict[str, str | None]) -> list[str]:
    if not shared:
        return []
    said = [f"{name}={join_cells([value])}" for name, value in shared.items() if value]
    empty = [name for name, value in shared.items() if not value]
    parts = [", ".join(said)] * bool(said) + [f"no {', '.join(empty)}"] * bool(empty)
    return [f"Every row: {'; '.join(parts)}."]


def _join(names: Sequence[str], cells: Sequence[str | None], max_cell_chars: int) -> str:
    if names[-1] != PROPERTIES or len(names) == 1:
        return join_cells(cells, max_cell_chars=max_cell_chars)
    line = join_cells(cells[:-1], max_cell_chars=max_cell_chars)
    return f"{line},{tame(cells[-1] or '', max_chars=max_cell_chars)}"


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
