"""A request's bytes or parameters as a model of the contract, or the error that names the field."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.reads import GroupColumn
from millimetric_mcp.contract.validation import (
    ExactNumber,
    Fault,
    check_timestamp_range,
    details_of,
    first_values,
    list_faults,
)
from millimetric_mcp.errors import RequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

# A "+" that was not percent-encoded arrives as a space; before an offset it can be nothing else.
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")


_LONG_RUN = b"0" * 17
_ZEROS_FOR_DIGITS = bytes.maketrans(b"0123456789.", b"0" * 11)
_RUN = re.compile(rb"[0-9.]+")
_COMMAS_FOR_BRACKETS = bytes.maketrans(b"[]{}:E", b",,,,,e")
_OF_NUMBERS = b"0123456789.+- \t\r\n"

_SENTENCES = {
    "model_type": "Input should be an object",
    "tuple_type": "Input should be a valid array",
}
"""What a model says of JSON text, where it says it in Python's words of Python's values."""


def read_body(model: type[ModelT], body: bytes) -> ModelT:
    """The model that a JSON body describes; numbers in free-form objects keep their value.

    Raises:
        RequestError: invalid_payload.
    """
    try:
        if _has_long_fraction(body) or _has_exponent(body):
            from_json(body, allow_inf_nan=False)
            return model.model_validate(json.loads(body, parse_float=ExactNumber))
        request = model.model_validate_json(body)
        if b"NaN" in body or b"Infinity" in body:
            from_json(body, allow_inf_nan=False)
    except ValidationError as error:
        faults = [
            replace(fault, sentence=_SENTENCES.get(fault.kind, fault.sentence))
            for fault in list_faults(error)
        ]
        raise RequestError.from_faults(ErrorCode.INVALID_PAYLOAD, faults) from None
    except ValueError as error:
        fault = Fault("", f"Invalid JSON: {error}", "json_invalid")
        raise RequestError.from_faults(ErrorCode.INVALID_PAYLOAD, [fault]) from None
    return request


def _has_long_fraction(body: bytes) -> bool:
    """Whether there may be a number with a fraction that a float rounds: of 16 digits or more."""
    runs = body.translate(_ZEROS_FOR_DIGITS)
    start = runs.find(_LONG_RUN)
    while start >= 0:
        run = _RUN.match(body, start)
        if run is None or b"." in run[0]:
            return True
        start = runs.find(_LONG_RUN, run.end())
    return False


def _has_exponent(body: bytes) -> bool:
    """Whether there may be a number with an exponent: all that is left of one is the letter."""
    return b",e," in body.translate(_COMMAS_FOR_BRACKETS, _OF_NUMBERS)


def check_times(events: Sequence[TrackEvent], *, now: datetime, in_batch: bool) -> None:
    """Nothing, where every event's time lies between 1970 and a day from ``now``.

    Raises:
        RequestError: invalid_payload, naming each event's timestamp.
    """
    faults = []
    for index, event in enumerate(events):
        if event.timestamp is None:
            continue
        try:
            check_timestamp_range(event.timestamp, now=now)
        except ValueError as error:
            field = f"events[{index}].timestamp" if in_batch else "timestamp"
            faults.append(Fault(field, str(error), "timestamp"))
    if faults:
        raise RequestError.from_faults(ErrorCode.INVALID_PAYLOAD, faults)


def read_params(model: type[ModelT], pairs: Iterable[tuple[str, str]]) -> ModelT:
    """The model that a query string describes; of a repeated parameter the first counts.

    Raises:
        RequestError: invalid_group_by, else invalid_params.
    """
    values = dict(first_values(pairs))
    for name in ("from", "to"):
        if name in values:
            values[name] = _LOST_PLUS.sub("+", values[name])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = list_faults(error)
        if any(fault.kind == "group_by" for fault in faults):
            details = details_of(faults) | {"allowed": list(GroupColumn)}
            raise RequestError(ErrorCode.INVALID_GROUP_BY, details=details) from None
        raise RequestError.from_faults(ErrorCode.INVALID_PARAMS, faults) from None
