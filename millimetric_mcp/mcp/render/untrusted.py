"""Texts from visitors: invisible and control characters become visible escapes."""

import re

from pydantic import BaseModel

MAX_CELL_CHARS = 200
CUT_MARK = "…"
MAX_MARK_CHARS = 12
"""The longest mark that `shorten` adds, with room to spare."""

Cell = str | int | float | None

_INVISIBLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls, escape sequences, line ends
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line ends, direction
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags and variation selectors, which hide text
    "]"
)
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_invisible(value: str) -> str:
    r"""Return ``value`` with each invisible, control or direction character as a visible escape.

    Escapes are those of JSON (``\n``, ``\u202e``, pairs beyond U+FFFF), so JSON text stays the
    same JSON. Other characters do not change. U+FE0F, which colours emoji, stays.
    """
    if value.isascii() and value.isprintable():
        return value
    return _INVISIBLE.sub(lambda match: _escape(match[0]), value)


def _escape(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def shorten(value: str, *, max_chars: int) -> str:
    """Return ``value``, cut with a mark that counts the missing characters: ``…[+123]``."""
    missing = len(value) - max_chars
    return value if missing <= 0 else f"{value[:max_chars]}{CUT_MARK}[+{missing}]"


def abbreviate(value: str, *, max_chars: int) -> str:
    """Return ``value``, cut with the mark ``…``, which costs fewer tokens than `shorten`'s."""
    return value if len(value) <= max_chars else f"{value[: max_chars - 1]}{CUT_MARK}"


def clean(value: str, *, max_chars: int) -> str:
    """Return ``value``, shortened, with invisible characters escaped."""
    if len(value) <= max_chars and value.isascii() and value.isprintable():
        return value  # the common case
    return escape_invisible(shorten(value, max_chars=max_chars))


def present(row: BaseModel, *, max_cell_chars: int = MAX_CELL_CHARS) -> dict[str, Cell]:
    """Return a row's set fields for structured content, with its texts cleaned."""
    given = row.model_fields_set
    return {
        name: clean(value, max_chars=max_cell_chars) if isinstance(value, str) else value
        for name, value in (vars(row) | (row.model_extra or {})).items()
        if name in given
    }
