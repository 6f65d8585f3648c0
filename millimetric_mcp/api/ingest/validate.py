"""Parses a request's body or query string as a model of the contract."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from millimetric_mcp.contract import validation
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.filters import split_name, take_filters
from millimetric_mcp.contract.json_text import repair_json
from millimetric_mcp.contract.reads import AttributedParams, GroupColumn
from millimetric_mcp.contract.validation import FieldError
from millimetric_mcp.errors import RequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_NAME_CHARS = 128

# A "+" that was not percent-encoded arrives as a space.
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")


def read_body(model: type[ModelT], body: bytes) -> ModelT:
    """Parse a JSON body; fields that the model does not know are in ``model_extra``.

    Raises:
        RequestError: invalid_payload.
    """
    if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        invalid = FieldError("", "The body is UTF-16. Send it as UTF-8.", "json_invalid")
        raise RequestError.from_field_errors(ErrorCode.INVALID_PAYLOAD, [invalid])
    body = repair_json(body)
    try:
        # What model_validate_json calls, which is a tenth of the time of a small body.
        request: ModelT = model.__pydantic_validator__.validate_json(body, extra="allow")
        if b"NaN" in body or b"Infinity" in body:
            from_json(body, allow_inf_nan=False)
    except ValidationError as error:
        raise RequestError.from_field_errors(
            ErrorCode.INVALID_PAYLOAD, validation.list_field_errors(error)
        ) from None
    except ValueError as error:
        invalid = FieldError("", f"Invalid JSON: {error}", "json_invalid")
        raise RequestError.from_field_errors(ErrorCode.INVALID_PAYLOAD, [invalid]) from None
    return request


def list_unknown_fields(body: BaseModel) -> list[str]:
    """Return the names of a body's first 20 unknown fields, such as ``events[3].userId``."""
    names = list(body.model_extra or ())
    events: Sequence[BaseModel] = vars(body).get("events", ())
    for index, event in enumerate(events):
        if event.model_extra:
            names += [f"events[{index}].{name}" for name in event.model_extra]
    return _cut_names(names)


def list_unused_params(asked: BaseModel, names: Iterable[str]) -> list[str]:
    """Return the first 20 of a query string's names that do not change what is asked."""
    known = validation.list_names(type(asked)) - {"filters"}
    has_filters = "filters" in type(asked).model_fields
    if isinstance(asked, AttributedParams) and asked.attribution is AttributionModel.EVENT:
        known = known - {"lookback_days"}
    return _cut_names(
        name
        for name in dict.fromkeys(names)
        if name not in known and not (has_filters and split_name(name))
    )


def _cut_names(names: Iterable[str]) -> list[str]:
    return [name[:MAX_NAME_CHARS] for name in islice(names, validation.MAX_NAMED_FIELDS)]


def check_times(events: Sequence[TrackEvent], *, now: datetime, in_batch: bool) -> None:
    """Raise if an event's time is before 1970 or more than a day after ``now``.

    Raises:
        RequestError: invalid_payload, naming each event's timestamp.
    """
    errors: list[FieldError] = []
    for index, event in enumerate(events):
        if event.timestamp is None:
            continue
        try:
            validation.check_timestamp_range(event.timestamp, now=now)
        except ValueError as error:
            field = f"events[{index}].timestamp" if in_batch else "timestamp"
            errors.append(FieldError(field, str(error), "timestamp"))
    if errors:
        raise RequestError.from_field_errors(ErrorCode.INVALID_PAYLOAD, errors)


def read_params(model: type[ModelT], pairs: Sequence[tuple[str, str]]) -> ModelT:
    """Parse a query string; of a repeated parameter the first counts, of a filter all.

    Raises:
        RequestError: invalid_group_by, else invalid_params.
    """
    values: dict[str, object] = {}
    for name, value in pairs:
        values.setdefault(name, value)
    values.pop("filters", None)
    filters = take_filters(pairs)
    values |= {
        name: given for name, given in filters.items() if name not in validation.list_names(model)
    }
    for name in ("from", "to"):
        if name in values:
            values[name] = _LOST_PLUS.sub("+", str(values[name]))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = tuple(
            replace(wrong, field=wrong.field.removeprefix("filters."))
            for wrong in validation.list_field_errors(error)
        )
        if any(wrong.kind == "group_by" for wrong in errors):
            details = validation.error_details(errors) | {"allowed": list(GroupColumn)}
            raise RequestError(ErrorCode.INVALID_GROUP_BY, details=details) from None
        raise RequestError.from_field_errors(ErrorCode.INVALID_PARAMS, errors) from None
