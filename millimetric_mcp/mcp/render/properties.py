"""Event properties as columns: a key that many events have is written once, in the header."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence

from millimetric_mcp.mcp.render.table import needs_quotes
from millimetric_mcp.mcp.render.untrusted import escape_invisible

PROPERTIES = "properties"
OTHER_PROPERTIES = "other properties"
MIN_ROWS = 3
MIN_PART_OF_ROWS = 1 / 4
MAX_NUMBER_CHARS = 24
"""The longest text of a double. Only longer integers are cut."""

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.-]{0,39}", re.ASCII)
_PLAIN_TEXT = re.compile(r'[^\s",;\\#\[{]([^",;\\\n]*[^\s",;\\])?')
# Some readers of JSON, Python's among them, take the last ones for numbers too.
_LITERAL = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|NaN|-?Infinity", re.ASCII)

Json = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
Object = dict[str, Json]
Cut = Callable[[str, str], str]
"""Shortens a value of the column that is named second."""


def print_properties(texts: Sequence[str], *, max_columns: int, cut: Cut) -> dict[str, list[str]]:
    """Return columns of cells for the rows' JSON objects; an empty text is an empty object.

    A cell is a JSON value; a text has no quotes where it needs none, and an absent property is
    empty. The last column holds the objects of all properties without a column.
    """
    objects = [_parse(text) for text in texts]
    keys = _find_common_keys([value for value in objects if value is not None])[:max_columns]
    columns = {
        f"{PROPERTIES}.{key}": [
            _print(value[key], key, cut) if value and key in value else "" for value in objects
        ]
        for key in keys
    }
    rest = [_dump_rest(value, text, keys) for value, text in zip(objects, texts, strict=True)]
    if any(rest) or not keys:
        name = OTHER_PROPERTIES if keys else PROPERTIES
        columns[name] = [escape_invisible(cut(text, name)) for text in rest]
    return columns


def _dump_rest(value: Object | None, text: str, keys: Sequence[str]) -> str:
    """Return the properties without a column; ``text`` as it is if it is not an object."""
    if value is None:
        return text
    rest = {key: part for key, part in value.items() if key not in keys}
    return _dump(rest) if rest else ""


def _parse(text: str) -> Object | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _find_common_keys(objects: Sequence[Object]) -> list[str]:
    """Return the keys of single values that enough rows have, the most common first."""
    found = Counter(key for value in objects for key in value)
    compound = {
        key for value in objects for key, part in value.items() if isinstance(part, list | dict)
    }
    enough = max(MIN_ROWS, len(objects) * MIN_PART_OF_ROWS)
    return [
        key
        for key, rows in found.most_common()
        if rows >= enough and key not in compound and _PLAIN_KEY.fullmatch(key)
    ]


def _print(value: Json, key: str, cut: Cut) -> str:
    column = f"{PROPERTIES}.{key}"
    if not isinstance(value, str):
        text = _dump(value)
        return text if len(text) <= MAX_NUMBER_CHARS else cut(text, column)
    text = cut(value, column)
    is_ambiguous = _LITERAL.fullmatch(text) or needs_quotes(text)
    is_plain = _PLAIN_TEXT.fullmatch(text) and not is_ambiguous
    return text if is_plain and escape_invisible(text) == text else escape_invisible(_dump(text))


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
