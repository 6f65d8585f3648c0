"""What readers yield, and how they read times, numbers and names of devices."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from millimetric_mcp.errors import ImportFailed

Event: TypeAlias = dict[str, Any]
"""The fields of an imported event; absent ones are left out."""


class LeftOut(NamedTuple):
    """A record that is no event on purpose; ``why`` names its group, such as "assets"."""

    why: str


class Rejected(NamedTuple):
    """A record that can't be read; ``reason`` is a sentence without what the record holds."""

    reason: str


class Item(NamedTuple):
    """What became of one record; ``place`` counts lines or rows from 1. ``text`` is the record."""

    place: int
    found: Event | LeftOut | Rejected
    text: object


UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read: ``site`` is put in front of paths, ``zone`` is that of times without one.

    ``columns`` are those of a table, by field of the event.
    """

    site: str | None = None
    zone: ZoneInfo = UTC_ZONE
    columns: Mapping[str, str] | None = None
    keeps_bots: bool = False
    keeps_assets: bool = False
    keeps_totals: bool = False


_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?")
_UNIX = re.compile(r"\d{9,10}(?:\.\d+)?|\d{13}(?:\.\d+)?|\d{16}")
_UNITS = {13: 1e3, 16: 1e6}


def read_time(value: object, zone: ZoneInfo) -> str:
    """Return a time as ISO 8601 with an offset.

    ``value`` is ISO 8601, with or without an offset, or a Unix time in seconds, milliseconds or
    microseconds.

    Raises:
        ValueError: it is no time.
    """
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=zone)).isoformat()
    text = str(value).strip()
    if _UNIX.fullmatch(text):
        seconds = float(text) / _UNITS.get(len(text.partition(".")[0]), 1)
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    try:
        # Caddy's time_format wall has slashes.
        time = datetime.fromisoformat(text.removesuffix(" UTC").replace("/", "-"))
    except ValueError:
        raise ValueError("timestamp: is not an ISO 8601 or Unix time") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC if text.endswith(" UTC") else zone)
    return time.isoformat()


def read_value(text: object) -> object:
    """Return the number that a text writes, else the text."""
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def keep_present(fields: Mapping[str, Any]) -> Event:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


def join_url(host: str | None, path: str, query: str | None, reading: Reading) -> str | None:
    """Return the URL of a page: the site of the options, else ``host`` over https."""
    site = reading.site or (f"https://{host}" if host else None)
    if site is None:
        raise ImportFailed(
            "This file does not name the website. Add --site https://YOUR-SITE to the command."
        )
    return f"{site}{path}?{query}" if query else f"{site}{path}"


_DEVICES = {
    "desktop": "desktop",
    "laptop": "desktop",
    "mobile": "mobile",
    "smartphone": "mobile",
    "phablet": "mobile",
    "feature phone": "mobile",
    "tablet": "tablet",
}
_BROWSERS = (
    ("edg", "edge"),
    ("opera", "opera"),
    ("crios", "chrome"),
    ("chrom", "chrome"),
    ("fxios", "firefox"),
    ("firefox", "firefox"),
    ("safari", "safari"),
    ("ios", "safari"),
)
_SYSTEMS = (
    ("windows", "windows"),
    ("ipad", "ios"),
    ("ios", "ios"),
    ("mac", "macos"),
    ("os x", "macos"),
    ("android", "android"),
    ("linux", "linux"),
    ("ubuntu", "linux"),
)


def read_device(device: object, browser: object, system: object) -> Event:
    """Return the device fields in the API's words; other words are left out."""
    return keep_present(
        {
            "device_type": _DEVICES.get(str(device).lower()),
            "browser": _find(_BROWSERS, browser),
            "os": _find(_SYSTEMS, system),
        }
    )


def _find(words: tuple[tuple[str, str], ...], text: object) -> str | None:
    lowered = str(text).lower()
    return next((word for part, word in words if part in lowered), None)


def read_country(code: object) -> str | None:
    """Return an ISO code in upper case; None for other texts."""
    text = str(code).upper()
    is_code = re.fullmatch("[A-Z]{2}", text) and text not in {"XX", "ZZ", "T1"}
    return text if is_code else None
