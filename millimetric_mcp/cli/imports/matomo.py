"""Matomo's visits with their actions, as its reporting API writes them."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from json import JSONDecodeError, JSONDecoder
from typing import Any
from zoneinfo import ZoneInfo

from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.peers import add_parameters, try_reading
from millimetric_mcp.cli.imports.records import (
    UTC_ZONE,
    Event,
    Item,
    LeftOut,
    Reading,
    Rejected,
    keep_present,
    read_country,
    read_device,
    read_time,
    read_value,
)
from millimetric_mcp.cli.imports.tables import Row
from millimetric_mcp.contract.json_text import repair_json
from millimetric_mcp.errors import ImportFailed

READ_BYTES = 64 * 1024
MAX_OBJECT_BYTES = 16 * 1024 * 1024
_OFFSET_UNIT_S = 15 * 60
_FACTS = (
    "pageTitle",
    "eventCategory",
    "eventName",
    "eventValue",
    "goalName",
    "revenue",
    "orderId",
    "items",
    "siteSearchKeyword",
    "siteSearchCategory",
    "siteSearchCount",
)
_DIMENSION = re.compile(r"dimension\d+")


def is_matomo(file: SourceFile) -> bool:
    """Return whether the file begins as a list of Matomo's visits."""
    sample = file.sample.lstrip()
    return sample[:1] in {b"[", b"{"} and b'"idVisit"' in sample


def read_matomo(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read Matomo's visits with their actions: Live.getLastVisitsDetails in JSON.

    Matomo's reporting API, plugins/Live: a visit has actionDetails, each with type and timestamp.
    """
    for number, visit in _read_objects(file):
        details = visit.get("actionDetails") if isinstance(visit, dict) else None
        if not isinstance(details, list):
            yield Item(number, Rejected("is not a visit with actionDetails"), visit)
            continue
        offset_s = _find_offset(visit, details)
        for index, action in enumerate(details):
            read_action = partial(_read_action, visit, offset_s=offset_s, is_first=index == 0)
            yield Item(number, try_reading(read_action, action, reading), action)


def _find_offset(visit: Row, actions: Sequence[Any]) -> int | None:
    """Return how many seconds the timestamps of the actions are ahead of UTC; None: not known.

    Matomo's Date::factory adds the website's offset to the time of an action, but not to the
    visit's firstActionTimestamp. All offsets in use are multiples of 15 minutes.
    """
    try:
        ahead_s = int(actions[0]["timestamp"]) - int(visit["firstActionTimestamp"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return round(ahead_s / _OFFSET_UNIT_S) * _OFFSET_UNIT_S


def _read_time(timestamp: object, offset_s: int | None, zone: ZoneInfo) -> str:
    if offset_s is not None:
        return read_time(int(str(timestamp)) - offset_s, UTC_ZONE)
    local = datetime.fromtimestamp(int(str(timestamp)), UTC).replace(tzinfo=None)
    return read_time(local, zone)


def _read_action(
    visit: Row, action: Row, reading: Reading, *, offset_s: int | None, is_first: bool
) -> Event | LeftOut:
    kind = action["type"]
    names = {
        "action": "$pageview",
        "event": action.get("eventAction"),
        "goal": action.get("goalName"),
        "download": "download",
        "outlink": "outlink",
        "search": "search",
        "ecommerceOrder": "order",
        "ecommerceAbandonedCart": "abandoned_cart",
    }
    if not names.get(kind):
        return LeftOut("actions of other types")
    return keep_present(
        {
            "event": names[kind],
            "timestamp": _read_time(action["timestamp"], offset_s, reading.zone),
            "anonymous_id": visit["visitorId"],
            "user_id": visit.get("userId"),
            "session_id": f"matomo-{visit['idVisit']}",
            "url": _find_url(visit, action, is_first=is_first),
            "referrer": visit.get("referrerUrl") if is_first else None,
            "country": read_country(visit.get("countryCode")),
            "properties": _find_properties(action),
        }
    ) | read_device(
        visit.get("deviceType"), visit.get("browserName"), visit.get("operatingSystemName")
    )


def _find_url(visit: Row, action: Row, *, is_first: bool) -> object:
    """Return the page of an action; that of the first one has the parameters of the campaign.

    Matomo's PageUrl::excludeQueryParametersFromUrl removes them. A visit has them as its referrer,
    and with the plugin MarketingCampaignsReporting each by name.
    """
    url = action.get("url") if action["type"] != "outlink" else None
    is_campaign = visit.get("referrerType") == "campaign"
    name = visit.get("campaignName") or (visit.get("referrerName") if is_campaign else None)
    if not (is_first and name):
        return url
    return add_parameters(
        url,
        {
            "utm_source": visit.get("campaignSource") or name,
            "utm_medium": visit.get("campaignMedium"),
            "utm_campaign": name,
            "utm_term": visit.get("campaignKeyword") or visit.get("referrerKeyword"),
            "utm_content": visit.get("campaignContent"),
        },
    )


def _find_properties(action: Row) -> Event:
    names = [*_FACTS, *filter(_DIMENSION.fullmatch, action)]
    target = action.get("url") if action["type"] == "outlink" else None
    return keep_present(
        {**{name: read_value(action.get(name)) for name in names}, "outlink": target}
    )


def _read_int(digits: str) -> int | float:
    """Return the number; infinity, which is rejected later, for more digits than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return math.inf


def _read_objects(file: SourceFile) -> Iterator[tuple[int, Any]]:
    """Yield the objects of a JSON list, or one a line, without reading all at once."""
    decoder, number, buffer = JSONDecoder(parse_int=_read_int), 0, ""
    with file.text() as text:
        while block := text.read(READ_BYTES):
            buffer += block
            while rest := buffer.lstrip(" \t\r\n[,]"):
                try:
                    found, end = decoder.raw_decode(rest)
                except JSONDecodeError:
                    buffer = rest
                    break
                except RecursionError:
                    raise ImportFailed(
                        f"{file.name} nests too many lists and objects. Remove record {number + 1}."
                    ) from None
                if "\\ud" in rest[:end].lower():  # a title that was cut in the middle of an emoji
                    found = json.loads(repair_json(rest[:end].encode()), parse_int=_read_int)
                number += 1
                yield number, found
                buffer = rest[end:]
            else:
                buffer = ""
            if len(buffer) > MAX_OBJECT_BYTES:
                break
    if buffer.strip(" \t\r\n[,]"):
        yield number + 1, None
