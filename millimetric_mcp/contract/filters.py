"""Filters: which events a read looks at, by the names of query parameters.

``country=DE`` compares a column, ``country[not]=DE`` with an operator. A repeated name means: any
of its values. Filters with different names must all match.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

PROPERTY_PREFIX = "properties."
MAX_KEY_CHARS = 256
MAX_VALUES = 100
"""Most values of one filter."""
MAX_FILTERS = 20
"""Most filters of one question."""

FILTERS: Mapping[str, str] = {
    "event": "event_name",
    "source": "source",
    "medium": "medium",
    "campaign": "campaign",
    "channel": "channel",
    "country": "country",
    "device_type": "device_type",
    "browser": "browser",
    "os": "os",
    "path": "path",
    "host": "host",
    "user_id": "user_id",
    "anonymous_id": "anonymous_id",
    "source_rule_id": "source_rule_id",
    "source_confidence": "source_confidence",
    "key_kind": "key_kind",
}
"""The column that each filter compares, by the parameter's name. ``properties.KEY`` is one too."""


class Operator(StrEnum):
    """How a filter compares. Numbers are compared by the last four, texts by the others."""

    EQUALS = ""
    NOT = "not"
    PREFIX = "prefix"
    CONTAINS = "contains"
    EXISTS = "exists"
    GREATER = "gt"
    AT_LEAST = "gte"
    LESS = "lt"
    AT_MOST = "lte"


NUMERIC = frozenset({Operator.GREATER, Operator.AT_LEAST, Operator.LESS, Operator.AT_MOST})
_OF_PROPERTIES = NUMERIC | {Operator.EXISTS}
_NAME = re.compile(rf"(.+?)(?:\[({'|'.join(filter(None, Operator))})\])?", re.S)
_UNKNOWN_OPERATOR = re.compile(r".+\[[a-z]+\]", re.S)


class Condition(NamedTuple):
    """A filter taken apart: ``values`` are alternatives, except for NOT, which excludes each."""

    name: str
    operator: Operator
    values: tuple[str, ...]


def split_name(name: str) -> tuple[str, Operator] | None:
    """Return the column's name and the operator of a filter's name; None if it is no filter."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    column, operator = found[1], Operator(found[2] or "")
    if is_property(column):
        return column, operator
    return (column, operator) if column in FILTERS and operator not in _OF_PROPERTIES else None


def is_property(name: str) -> bool:
    """Return whether ``name`` is ``properties.KEY``."""
    length = len(name) - len(PROPERTY_PREFIX)
    return name.startswith(PROPERTY_PREFIX) and 0 < length <= MAX_KEY_CHARS


def read_conditions(filters: Mapping[str, tuple[str, ...]]) -> tuple[Condition, ...]:
    """Return valid filters taken apart."""
    found = ((split_name(name), values) for name, values in filters.items())
    return tuple(Condition(*split, values) for split, values in found if split)


def _read_filters(value: object) -> object:
    if not isinstance(value, Mapping):
        raise PydanticCustomError("filters", "must be an object of filters and their values")
    if len(value) > MAX_FILTERS:
        raise PydanticCustomError("filters", "must not be more than {n}", {"n": MAX_FILTERS})
    return {
        name: (name, values)
        for name, values in value.items()
        if values is not None or not (isinstance(name, str) and split_name(name))
    }


def _read_values(named: tuple[object, object]) -> tuple[str, ...]:
    name, values = named
    split = split_name(name) if isinstance(name, str) else None
    # `properties.amount[more]` is a misspelt operator rather than a key with brackets.
    if split is None or _UNKNOWN_OPERATOR.fullmatch(split[0]):
        raise PydanticCustomError(
            "filters",
            "is no filter; known: {known}, properties.KEY, each with [not], [prefix] or "
            "[contains]; properties also with [exists], [gt], [gte], [lt] or [lte]",
            {"known": ", ".join(FILTERS)},
        )
    if isinstance(values, str) and values.startswith("[") and not is_property(split[0]):
        with suppress(ValueError, RecursionError):
            values = json.loads(values)  # as some clients write a list
    many = values if isinstance(values, list | tuple) else (values,)
    if not many or len(many) > MAX_VALUES:
        raise PydanticCustomError("filters", "needs 1 to {n} values", {"n": MAX_VALUES})
    return tuple(_read_value(split[1], one) for one in many)


def _read_value(operator: Operator, value: object) -> str:
    text = _write_text(value)
    if text is None or text == "":
        raise PydanticCustomError("filters", "needs a text, a number or a boolean, not empty")
    if operator is Operator.EXISTS and text not in {"true", "false"}:
        raise PydanticCustomError("filters", "must be true or false")
    if operator in NUMERIC and not _is_number(text):
        raise PydanticCustomError("filters", "must be a number")
    return text


def _write_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text.isascii() and "_" not in text
    except ValueError:
        return False


def match_exactly(values: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """Return filters for values as they are: a text in brackets is no list, None is no filter."""
    return {name: (value,) for name, value in values.items() if value is not None}


def take_filters(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the filters among a query string's names and values."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if split_name(name):
            found[name] = (*found.get(name, ()), value)
    return found


Filters = Annotated[
    Mapping[str, Annotated[tuple[str, ...], BeforeValidator(_read_values)]],
    BeforeValidator(_read_filters),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": ["string", "number", "boolean"]},
                    {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
                ]
            },
        }
    ),
]
"""Filters by name; a value may be alone or in a list."""
