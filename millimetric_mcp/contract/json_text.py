"""JSON text as clients really send it: a byte order mark in front, emoji cut in two, too much."""

import re
from codecs import BOM_UTF8

MAX_JSON_VALUES = 300_000
"""The parser holds the interpreter's lock: so many values take it about 40 ms."""
DENSE_JSON_VALUES = 10_000
BYTES_PER_JSON_VALUE = 6
"""Beyond `DENSE_JSON_VALUES`, a body must have so many bytes for each value: real properties have
more, and a flood of nothing but brackets is refused before it is parsed."""

# An escaped backslash, a whole pair of surrogates, or a lone one (the group).
_ESCAPE = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def repair_json(text: bytes) -> bytes:
    r"""Return JSON text without a byte order mark, and with ``\ufffd`` for each lone surrogate.

    JavaScript writes a lone surrogate when it cuts a text in the middle of an emoji. The repaired
    text has the same length, apart from the mark.
    """
    text = text.removeprefix(BOM_UTF8)
    if rb"\ud" not in text and rb"\uD" not in text:
        return text
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], text)


def replace_surrogates(text: str) -> str:
    """Return the text with pairs of surrogates joined, and U+FFFD for each lone one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def count_json_values(text: bytes) -> int:
    """Return how many values the JSON text has, roughly and quickly: texts count too."""
    return sum(map(text.count, (b",", b"[", b"{")))


def has_too_many_values(text: bytes, *, besides: int = 0) -> bool:
    """Return whether the API refuses a body of this text, and ``besides`` more values."""
    allowed = min(DENSE_JSON_VALUES + len(text) // BYTES_PER_JSON_VALUE, MAX_JSON_VALUES)
    return count_json_values(text) + besides > allowed
