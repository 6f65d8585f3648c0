"""Event properties as columns: what many events have stands in the header, not in each row."""

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
MAX_COLUMNS = 12
MAX_NUMBER_CHARS = 24
"""As long as a float gets: only longer numbers are cut."""

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.-]{0,39}", re.ASCII)
_PLAIN_TEXT = re.compile(r'[^\s",;\\#\[{]([^",;\\\n]*[^\s",;\\])?')
_LITERAL = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|NaN|-?Infinity", re.ASCII)

Scalar = str | int | float | bool | None
Json = Scalar | list["Json"] | dict[str, "Json"]
Object = dict[str, Json]


def print_properties(texts: Sequence[str], *, cut: Callable[[str], str]) -> dict[str, list[str]]:
    """Columns of cells for the rows' JSON objects; the last one is what has no column.

    ``cut`` shortens a value, or an object that stays whole.

    A cell is JSON, a text without its quotes where it needs none; an absent property is
    empty. An object that can't be taken apart without loss stays whole, in the last column.
    """
    objects = [_parse(text) for text in texts]
    keys = _find_common_keys([value for value in objects if value is not None])
    if not keys:
        plain = ["" if text == "{}" else escape_invisible(cut(text)) for text in texts]
        return {PROPERTIES: plain}
    columns = {
        f"{PROPERTIES}.{key}": [
            _print(value[key], cut) if value and key in value else "" for value in objects
        ]
        for key in keys
    }
    rest = [_dump_rest(value, text, keys) for value, text in zip(objects, texts, strict=True)]
    if any(rest):
        columns[OTHER_PROPERTIES] = [escape_invisible(cut(text)) for text in rest]
    return columns


def _dump_rest(value: Object | None, text: str, keys: Sequence[str]) -> str:
    if value is None:
        return text
    rest = {key: part for key, part in value.items() if key not in keys}
    return _dump(rest) if rest else ""


def _parse(text: str) -> Object | None:
    try:
        value = json.loads(
            text, object_pairs_hook=_to_object, parse_float=_to_float, parse_constant=_to_float
        )
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _to_object(pairs: list[tuple[str, Json]]) -> Object:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError
    return value


def _to_float(text: str) -> float:
    """Raises ValueError where the number would be written otherwise than it was."""
    value = float(text)
    if repr(value) != text:
        raise ValueError
    return value


def _find_common_keys(objects: Sequence[Object]) -> list[str]:
    """Keys of single values that enough rows have, the most common first."""
    found = Counter(key for value in objects for key in value)
    compound = {
        key for value in objects for key, part in value.items() if isinstance(part, list | dict)
    }
    enough = max(MIN_ROWS, len(objects) * MIN_PART_OF_ROWS)
    return [
        key
        for key, rows in found.most_common()
        if rows >= enough and key not in compound and _PLAIN_KEY.fullmatch(key)
    ][:MAX_COLUMNS]


def _print(value: Json, cut: Callable[[str], str]) -> str:
    if not isinstance(value, str):
        text = _dump(value)
        return text if len(text) <= MAX_NUMBER_CHARS else cut(text)
    text = cut(value)
    is_mistakable = _LITERAL.fullmatch(text) or needs_quotes(text)
    is_plain = _PLAIN_TEXT.fullmatch(text) and not is_mistakable
    return text if is_plain and escape_invisible(text) == text else escape_invisible(_dump(text))


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
