"""A request's bytes or parameters as a model of the contract, or the error that names the field."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.reads import GroupColumn
from millimetric_mcp.contract.validation import (
    FieldError,
    check_timestamp_range,
    error_details,
    first_values,
    list_field_errors,
)
from millimetric_mcp.errors import RequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

# A "+" that was not percent-encoded arrives as a space; before an offset it can be nothing else.
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")


def read_body(model: type[ModelT], body: bytes) -> ModelT:
    """The model that a JSON body describes.

    Raises:
        RequestError: invalid_payload.
    """
    try:
        request = model.model_validate_json(body)
        if b"NaN" in body or b"Infinity" in body:
            from_json(body, allow_inf_nan=False)
    except ValidationError as error:
        raise RequestError.from_field_errors(
            ErrorCode.INVALID_PAYLOAD, list_field_errors(error)
        ) from None
    except ValueError as error:
        fault = FieldError("", f"Invalid JSON: {error}", "json_invalid")
        raise RequestError.from_field_errors(ErrorCode.INVALID_PAYLOAD, [fault]) from None
    return request


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
            faults.append(FieldError(field, str(error), "timestamp"))
    if faults:
        raise RequestError.from_field_errors(ErrorCode.INVALID_PAYLOAD, faults)


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
        faults = list_field_errors(error)
        if any(fault.kind == "group_by" for fault in faults):
            details = error_details(faults) | {"allowed": list(GroupColumn)}
            raise RequestError(ErrorCode.INVALID_GROUP_BY, details=details) from None
        raise RequestError.from_field_errors(ErrorCode.INVALID_PARAMS, faults) from None
