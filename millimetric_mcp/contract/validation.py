"""Checks shared by every request model, and a model's faults as fields and sentences."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

MAX_PROPERTIES_BYTES = 8192
MAX_CLOCK_SKEW = timedelta(hours=24)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?!24)\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)", re.A
)
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,4})?(?:[/?#].*)?", re.S)
"""What nearly every URL looks like; the others are parsed."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.+)", re.S)
_HOST_SCHEMES = frozenset({"http", "https", "ws", "wss", "ftp"})


_NO_ZONE_NAMES = re.compile(r"localtime|posixrules|Factory|(?:posix|right)/.*")


def is_zone_name(name: str) -> bool:
    """False for what zone files are called beside the names that IANA gives."""
    return _NO_ZONE_NAMES.fullmatch(name) is None


def parse_timestamp(value: object) -> datetime:
    """The UTC time an ISO 8601 text with an offset or ``Z`` names, cut to milliseconds."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _timestamp_error()
        return _cut_to_ms(value.astimezone(UTC))
    if not isinstance(value, str) or _ISO_8601.fullmatch(value) is None:
        raise _timestamp_error()
    try:
        return _cut_to_ms(datetime.fromisoformat(value.upper().replace(",", ".")).astimezone(UTC))
    except (ValueError, OverflowError):
        raise _timestamp_error() from None


def _cut_to_ms(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _timestamp_error() -> PydanticCustomError:
    return PydanticCustomError(
        "timestamp", "must be an ISO 8601 time with an offset, such as 2026-05-16T19:00:00.000Z"
    )


def format_timestamp(value: datetime) -> str:
    """The contract's form of a UTC time: ``2026-05-16T19:00:00.000Z``."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def check_timestamp_range(value: datetime, *, now: datetime) -> None:
    """Refuse an event time before 1970 or more than 24 hours after ``now`` (ours).

    Raises:
        ValueError: with the sentence for the caller.
    """
    if value < EPOCH:
        raise ValueError("must not be before 1970-01-01T00:00:00Z")
    if value > now + MAX_CLOCK_SKEW:
        raise ValueError("must not be more than 24 hours in the future")


def check_absolute_url(value: str) -> str:
    """``value`` unchanged when it parses as an absolute URL."""
    if _PLAIN_URL.fullmatch(value):
        return value
    match = _SCHEME.fullmatch(value)
    if match is None:
        raise _url_error()
    if match[1].lower() in _HOST_SCHEMES:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise _url_error() from None
        if not host or any(char in host for char in " <>^|%\\"):
            raise _url_error()
    return value


def _url_error() -> PydanticCustomError:
    return PydanticCustomError(
        "url", "must be an absolute URL, such as https://shop.example/?utm_source=facebook"
    )


def compact_object(value: object) -> str:
    """``value``, a JSON object, as compact JSON text of at most 8192 bytes in UTF-8."""
    if not isinstance(value, dict):
        raise PydanticCustomError("object", "must be a JSON object")
    try:
        text = _COMPACT.encode(value)
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise PydanticCustomError("text", "must hold valid Unicode text") from None
    except (ValueError, RecursionError):
        raise PydanticCustomError(
            "number", "must hold finite numbers only, of at most 4300 digits"
        ) from None
    if size_bytes > MAX_PROPERTIES_BYTES:
        raise PydanticCustomError(
            "too_large",
            "must be at most {limit} bytes as compact JSON in UTF-8",
            {"limit": MAX_PROPERTIES_BYTES},
        )
    return text


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: the field (empty for the whole) and a sentence."""

    field: str
    message: str
    kind: str


def list_field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Every fault of a failed validation; the rejected input itself is never quoted."""
    return tuple(
        FieldError(_field_name(item["loc"]), _sentence(item["msg"]), item["type"])
        for item in error.errors(include_url=False, include_input=False)
    )


def _field_name(location: Iterable[int | str]) -> str:
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def error_details(faults: Sequence[FieldError]) -> dict[str, Any]:
    """The ``details`` of an error body: sentences by field, and those about the whole."""
    fields: dict[str, list[str]] = {}
    for fault in faults:
        if fault.field:
            fields.setdefault(fault.field, []).append(fault.message)
    return {
        "fieldErrors": fields,
        "formErrors": [fault.message for fault in faults if not fault.field],
    }


def first_values(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Query parameters as a mapping; of repeated ones the first counts."""
    values: dict[str, str] = {}
    for name, value in pairs:
        values.setdefault(name, value)
    return values
