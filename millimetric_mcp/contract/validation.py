"""Checks that the request models share, and validation errors as fields and sentences."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError, to_json

from millimetric_mcp.contract.json_text import replace_surrogates

MAX_PROPERTIES_BYTES = 8192
MAX_CLOCK_SKEW = timedelta(hours=24)
MAX_NAMED_FIELDS = 20
"""In the ``details`` of an error."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?!24)\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)", re.A
)
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# Nearly every URL; only the others are parsed.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,4})?(?:[/?#].*)?", re.S)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.+)", re.S)
_HOST_SCHEMES = frozenset({"http", "https", "ws", "wss", "ftp"})
_PLAIN_SENTENCES = {
    # pydantic's own sentences name types of Python
    "tuple_type": "Input should be a valid list",
    "model_type": "Input should be a valid object",
}
_NO_ZONE_NAMES = re.compile(r"localtime|posixrules|Factory|(?:posix|right)/.*")


def is_zone_name(name: str) -> bool:
    """Return False for names of zone files that are not IANA time zones, such as localtime."""
    return _NO_ZONE_NAMES.fullmatch(name) is None


def find_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of an IANA name; None if there is none of that name."""
    try:
        return ZoneInfo(name) if is_zone_name(name) else None
    except (KeyError, ValueError, OSError):
        return None


def parse_timestamp(value: object) -> datetime:
    """Parse an ISO 8601 text with an offset or ``Z``; return UTC, cut to milliseconds."""
    try:
        if isinstance(value, str) and _ISO_8601.fullmatch(value):
            value = datetime.fromisoformat(value.upper().replace(",", "."))
        if isinstance(value, datetime) and value.tzinfo:
            return cut_to_ms(value if value.tzinfo is UTC else value.astimezone(UTC))
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError(
        "timestamp", "must be an ISO 8601 time with an offset, such as 2026-05-16T19:00:00.000Z"
    )


def cut_to_ms(value: datetime) -> datetime:
    """Return the time without the microseconds after its last whole millisecond."""
    too_fine_us = value.microsecond % 1000
    return value.replace(microsecond=value.microsecond - too_fine_us) if too_fine_us else value


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Return a day's first moment in UTC. Where clocks skip midnight, it is later than 0:00."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def to_ms(value: datetime) -> int:
    """Return whole milliseconds since 1970 of a time with a zone."""
    since = value - EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def format_timestamp(value: datetime) -> str:
    """Write a UTC time in the contract's form: ``2026-05-16T19:00:00.000Z``."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def check_timestamp_range(value: datetime, *, now: datetime) -> None:
    """Raise ValueError for an event time before 1970 or more than 24 hours after ``now``."""
    if value < EPOCH:
        raise ValueError("must not be before 1970-01-01T00:00:00Z")
    if value > now + MAX_CLOCK_SKEW:
        raise ValueError("must not be more than 24 hours in the future")


def check_absolute_url(value: str) -> str:
    """Return ``value`` unchanged; raise if it is not an absolute URL."""
    if _PLAIN_URL.fullmatch(value) or _is_absolute_url(value):
        return value
    raise PydanticCustomError(
        "url", "must be an absolute URL, such as https://shop.example/?utm_source=facebook"
    )


def _is_absolute_url(value: str) -> bool:
    match = _SCHEME.fullmatch(value)
    if match is None or match[1].lower() not in _HOST_SCHEMES:
        return match is not None
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) and not any(char in str(host) for char in " <>^|%\\")


def compact_object(value: object, info: ValidationInfo) -> str:
    """Return a JSON object as compact JSON text; raise if it exceeds 8192 bytes in UTF-8."""
    if not isinstance(value, dict):
        raise PydanticCustomError("object", "must be a JSON object")
    text = _write_parsed(value) if info.mode == "json" else None
    if text is None:
        text = _write_object(value)
    if len(text) > MAX_PROPERTIES_BYTES:
        raise PydanticCustomError(
            "too_large",
            "must be at most {limit} bytes as compact JSON in UTF-8",
            {"limit": MAX_PROPERTIES_BYTES},
        )
    return text.decode()


def _write_parsed(value: dict[str, Any]) -> bytes | None:
    """Return what came from JSON text as text again, four times as fast as `_write_object`.

    None if it may hold what that function treats in its own way: surrogates, numbers without an
    end, very deep objects.
    """
    try:
        text = to_json(value, inf_nan_mode="constants")
    except ValueError:
        return None
    return None if b"NaN" in text or b"Infinity" in text else text


def _write_object(value: dict[str, Any]) -> bytes:
    try:
        text = _COMPACT.encode(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError(
            "number", "must hold finite numbers only, of at most 4300 digits"
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        return replace_surrogates(text).encode()


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with a field of a request; ``field`` is empty for the request itself."""

    field: str
    message: str
    kind: str


def list_field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Return every error of a failed validation; the input is not quoted."""
    items = error.errors(include_url=False, include_input=False)
    # A list is short too once its invalid items are left out.
    within = {item["loc"][0] for item in items if len(item["loc"]) > 1}
    return tuple(
        FieldError(_field_name(item["loc"]), _describe(item["type"], item["msg"]), item["type"])
        for item in items
        if not (item["type"] == "too_short" and item["loc"] and item["loc"][0] in within)
    )


def _describe(kind: str, message: str) -> str:
    sentence = _PLAIN_SENTENCES.get(kind, message.removeprefix("Value error, "))
    return sentence.replace("Tuple should", "List should").replace(" after validation", "")


def _field_name(location: Iterable[int | str]) -> str:
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name.removesuffix("_")  # of fields such as property_, named so because of a built-in


def list_names(model: type[BaseModel]) -> set[str]:
    """Return the names that a request has for a model's fields."""
    return {field.alias or name for name, field in model.model_fields.items()}


def error_details(errors: Sequence[FieldError]) -> dict[str, Any]:
    """Return the ``details`` of an error body: sentences by field, and about the request.

    They name at most `MAX_NAMED_FIELDS` fields, and then say how many more are invalid.
    """
    by_field: dict[str, list[str]] = {}
    for error in errors:
        by_field.setdefault(error.field, []).append(error.message)
    form_errors = by_field.pop("", [])
    if (unnamed := len(by_field) - MAX_NAMED_FIELDS) > 0:
        form_errors = [*form_errors, f"{unnamed} more fields are invalid"]
        by_field = dict(islice(by_field.items(), MAX_NAMED_FIELDS))
    return {"fieldErrors": by_field, "formErrors": form_errors}
