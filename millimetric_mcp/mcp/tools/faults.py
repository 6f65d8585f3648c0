"""What is wrong with an argument, as a sentence of ours: never in the words of a library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ErrorType

RULES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "no such argument",
    "string_type": "must be text",
    "string_unicode": "must hold valid Unicode text",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": "must be true or false",
    "enum": "must be {expected}",
    "tuple_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
"""A sentence for each fault that pydantic finds in our arguments; the others bring their own."""
NOT_VALID = "is not valid"
COMBINATION = "combination"
"""The kind of a fault between arguments: a right value for one of them would not mend it."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong: the argument (empty for the whole), a sentence, and pydantic's kind."""

    field: str
    message: str
    kind: str


def find_faults(error: ValidationError) -> list[FieldError]:
    """Every fault of a failed validation; what was given is never quoted."""
    return [
        FieldError(name_field(item["loc"]), _word(cast("Mapping[str, Any]", item)), item["type"])
        for item in error.errors(include_url=False, include_input=False)
    ]


def combination_fault(sentence: str) -> PydanticCustomError:
    """What a validator raises where arguments do not go together."""
    return PydanticCustomError(COMBINATION, "{sentence}", {"sentence": sentence})


def name_field(location: Sequence[int | str]) -> str:
    """Such as ``events[3].url``."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def _word(item: Mapping[str, Any]) -> str:
    kind: str = item["type"]
    if kind in RULES:
        return RULES[kind].format(**item.get("ctx", {}))
    message: str = item["msg"]
    return NOT_VALID if kind in get_args(ErrorType) else message
