"""Rows of cells as comma-separated lines, cut to a number of characters by whole rows."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from millimetric_mcp.mcp.render.untrusted import (
    MAX_CELL_CHARS,
    MAX_MARK_CHARS,
    Cell,
    clean,
    shorten,
)

_NEEDS_QUOTES = re.compile(r'[,";]|^[\s#]|\s$|:\s|\s.*\.$')
"""What ends a cell, or looks like a reference to an id, or like a line above the table."""
_PLAIN = re.compile(r"(?!#)[!#-+\--:<-~]+")
"""Most cells: ASCII without spaces, which needs no quotes."""
_WORD = re.compile(r"[\w.$/:?&+@~-]+")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as lines, with ``notes`` on how to read them.

    ``advice`` says how to get rows that don't fit; a function gets the number of rows shown.
    """

    columns: Sequence[str]
    lines: Sequence[str]
    advice: str | Callable[[int], str]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text with the first ``shown`` rows; ``left_out`` rows did not fit.

    ``note`` is the sentence of the text that says how to get more rows; empty if there is none.
    """

    text: str
    shown: int
    left_out: int
    note: str = ""


def write_table(
    table: Table,
    *,
    receipt: Sequence[str],
    max_chars: int,
    total: int | None = None,
    limit_note: str = "",
) -> Rendered:
    """Return the receipt, the notes, the column names and as many whole lines as fit.

    The lines are the first of ``total`` rows; by default, they are all. If rows are missing from
    the text, a note above the table gives the advice on how to get them. If all rows are there,
    the note is ``limit_note``. A receipt longer than ``max_chars`` is cut.
    """
    lines, advice = table.lines, table.advice
    total = len(lines) if total is None else total

    def note(shown: int) -> str:
        if shown == total:
            return limit_note
        how = advice(shown) if callable(advice) else advice
        return f"These are the first {shown} of {total} rows. To get the rest: {how}."

    def write(shown: int) -> str:
        notes = [note(shown)] if note(shown) else []
        head = (*receipt, *table.notes, *notes, ",".join(table.columns))
        return "\n".join((*head, *lines[:shown]))

    shown = len(lines)
    if len(write(shown)) > max_chars:
        shown = max(bisect_right(range(shown), max_chars, key=lambda n: len(write(n))) - 1, 0)
        while shown and len(write(shown)) > max_chars:  # notes differ in length
            shown -= 1
    text = write(shown)
    if len(text) > max_chars:
        text = shorten(text, max_chars=max_chars - MAX_MARK_CHARS)
    return Rendered(text, shown, total - shown, note(shown))


def join_cells(cells: Iterable[Cell]) -> str:
    """Return a line of the table."""
    return ",".join(map(print_cell, cells))


def print_cell(value: Cell) -> str:
    """Return a cell: cleaned, and in quotes where it needs them."""
    if isinstance(value, str):
        return quote_cell(clean(value, max_chars=MAX_CELL_CHARS))
    return "" if value is None else str(value)


def quote_cell(text: str) -> str:
    """Return ``text``, in quotes where it could be read as more or other than one cell."""
    if _PLAIN.fullmatch(text) or not needs_quotes(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def needs_quotes(text: str) -> bool:
    return _NEEDS_QUOTES.search(text) is not None


def quote_words(cell: str) -> str:
    """Return a printed cell for use inside a sentence: in quotes unless it is one word."""
    return cell if cell.startswith('"') or _WORD.fullmatch(cell) else f'"{cell}"'


def divide(part: float, total: float) -> float:
    """Return a share with six digits."""
    return float(f"{part / total:.6g}")


def percent(share: float | None) -> str | None:
    """Return a share with one decimal, or with more if it would round to 0 % or 100 %."""
    if share is None:
        return None
    for decimals in range(1, 7):
        shown = decimal(share * 100, decimals)
        if shown not in {"0", "100"} or share in {0.0, 1.0}:
            break
    return f"{shown}%"


def decimal(number: float, decimals: int) -> str:
    """Return a number with so many decimals at most."""
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
