"""Rows of cells as comma-separated lines, whole ones only, within a budget of characters."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from millimetric_mcp.mcp.render.untrusted import (
    MAX_CELL_CHARS,
    MAX_MARK_CHARS,
    Cell,
    clean,
    shorten,
)

_NEEDS_QUOTES = re.compile(r'[,";]|^[\s#]|\s$|:\s|\s.*\.$')
"""What would end a cell, look like a reference, or look like a line of the receipt."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text within its budget, holding the first ``shown`` rows; ``left_out`` did not fit.

    ``note`` is what the text says of what is not in it.
    """

    text: str
    shown: int
    left_out: int
    note: str = ""


def fit(
    head: Sequence[str],
    lines: Sequence[str],
    *,
    max_chars: int,
    advice: str | Callable[[int], str],
    total: int | None = None,
) -> Rendered:
    """As many whole ``lines`` under ``head`` as fit; the note on the rest stands before them.

    ``advice`` says how to get the rest. Where it depends on how many are shown, it is asked
    with that; of all of them, it is a whole sentence, or empty where nothing follows. ``total``
    counts rows that have no line here, as they fit in no case. A head that is too long by
    itself is cut, with a mark.
    """
    *receipt, header = head
    total = len(lines) if total is None else total

    def note(shown: int) -> str:
        how = advice(shown) if callable(advice) else advice if shown < total else ""
        if shown == total:
            return how
        return f"Only the first {shown} of {total} rows fit here; for the rest {how}."

    def write(shown: int) -> str:
        said = [note(shown)] if note(shown) else []
        return "\n".join((*receipt, *said, header, *lines[:shown]))

    if total == len(lines) and len(whole := write(total)) <= max_chars:
        return Rendered(whole, total, 0, note(total))
    longest = max(map(note, range(total)), key=len, default="")
    room = max_chars - len("\n".join((*receipt, longest, header))) - 1
    ends = accumulate(len(line) + 1 for line in lines[: max(total - 1, 0)])
    shown = sum(end <= room + 1 for end in ends)
    text = write(shown)
    if len(text) > max_chars:
        text = shorten(text, max_chars=max_chars - MAX_MARK_CHARS)
    return Rendered(text, shown, total - shown, note(shown))


def join_cells(cells: Iterable[Cell], *, max_cell_chars: int = MAX_CELL_CHARS) -> str:
    return ",".join(print_cell(cell, max_chars=max_cell_chars) for cell in cells)


def print_cell(value: Cell, *, max_chars: int) -> str:
    """A cell of comma-separated text: harmless, short, and in quotes where it needs them."""
    if not isinstance(value, str):
        return "" if value is None else str(value)
    if len(value) <= max_chars and _PLAIN.fullmatch(value):
        return value
    return _quote(clean(value, max_chars=max_chars))


_PLAIN = re.compile(r"(?!#)[!#-+\--:<-~]+")
"""Most cells: what is harmless and needs no quotes, told in one look."""


def needs_quotes(text: str) -> bool:
    """Whether the text would not be taken for a cell."""
    return _NEEDS_QUOTES.search(text) is not None


def print_word(value: str, *, max_chars: int) -> str:
    """A value inside a sentence: in quotes unless it is one word, which can't pose as more."""
    return quote_words(print_cell(value, max_chars=max_chars))


def quote_words(cell: str) -> str:
    """A printed cell as it may stand inside a sentence."""
    return cell if cell.startswith('"') or _WORD.fullmatch(cell) else f'"{cell}"'


_WORD = re.compile(r"[\w.$/:?&+@~-]+")


def _quote(text: str) -> str:
    if needs_quotes(text):
        return '"' + text.replace('"', '""') + '"'
    return text
