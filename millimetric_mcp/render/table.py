"""Rows of cells as comma-separated lines, whole ones only, within a budget of characters."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from millimetric_mcp.render.untrusted import MAX_CELL_CHARS, Cell, tame


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text within its budget, holding the first ``shown`` rows; ``left_out`` did not fit."""

    text: str
    shown: int
    left_out: int


def fit(
    head: Sequence[str],
    lines: Sequence[str],
    *,
    max_chars: int,
    advice: str | Callable[[int], str],
) -> Rendered:
    """As many whole ``lines`` under ``head`` as fit; the note on the rest stands before them.

    ``advice`` says how to get the rest, where it depends on them after so many shown ones.
    """
    text = "\n".join((*head, *lines))
    if len(text) <= max_chars:
        return Rendered(text, len(lines), 0)
    *receipt, header = head
    total = len(lines)

    def note(shown: int) -> str:
        how = advice if isinstance(advice, str) else advice(shown)
        return f"Only the first {shown} of {total} rows fit here; for the rest {how}."

    longest = max(map(note, range(total + 1)), key=len)
    room = max_chars - len("\n".join((*head, longest))) - 1
    shown = 0
    while shown < total and len(lines[shown]) <= room:
        room -= len(lines[shown]) + 1
        shown += 1
    text = "\n".join((*receipt, note(shown), header, *lines[:shown]))
    return Rendered(text, shown, total - shown)


def join_cells(cells: Iterable[Cell], *, max_cell_chars: int = MAX_CELL_CHARS) -> str:
    return ",".join(print_cell(cell, max_chars=max_cell_chars) for cell in cells)


def print_cell(value: Cell, *, max_chars: int) -> str:
    """A cell of comma-separated text: harmless, short, and in quotes where it needs them."""
    if value is None:
        return ""
    return _quote(tame(value, max_chars=max_chars)) if isinstance(value, str) else str(value)


def _quote(text: str) -> str:
    if re.search(r'[,";]|^[\s#]|\s$', text):
        return '"' + text.replace('"', '""') + '"'
    return text
