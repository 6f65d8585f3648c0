"""Exports of other analytics products, as their public documentation describes them."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic_core import from_json

from millimetric_mcp.cli.imports.event_data import (
    EVENTS_NAME,
    EventData,
    is_event_data,
    open_event_data,
)
from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.records import (
    UTC_ZONE,
    Event,
    Item,
    LeftOut,
    Reading,
    Rejected,
    join_url,
    keep_present,
    read_country,
    read_device,
    read_time,
    read_value,
)
from millimetric_mcp.cli.imports.tables import Row, read_header, read_rows
from millimetric_mcp.contract.json_text import repair_json
from millimetric_mcp.errors import ImportFailed

TOTAL_EVENT = "$total"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

ReadRow = Callable[[Row, Reading], Event | LeftOut]


def _read_items(file: SourceFile, reading: Reading, read_row: ReadRow) -> Iterator[Item]:
    for number, row, text in read_rows(file):
        if row is None:
            yield Item(number, Rejected("is not a complete row"), text)
            continue
        yield Item(number, try_reading(read_row, row, reading), text)


def try_reading(read_row: ReadRow, row: Row, reading: Reading) -> Event | LeftOut | Rejected:
    """Return the event of a row, or why there is none."""
    try:
        return read_row(row, reading)
    except KeyError as missing:
        return Rejected(f"has no field {missing.args[0]}")
    except (ValueError, TypeError, AttributeError):
        return Rejected("has a field of another form than the export's documentation says")


def _first_row(file: SourceFile) -> Row:
    if names := read_header(file):
        return dict.fromkeys(names)
    try:
        return next((row for _, row, _ in read_rows(file) if row), {})
    except ImportFailed:
        return {}


def is_umami(file: SourceFile) -> bool:
    """Return whether the columns are those of Umami's website_event, or of a table beside it."""
    names = set(read_header(file))
    return {"website_id", "session_id"} <= names and bool(
        {"url_path", "event_type"} <= names or "data_key" in names
    )


def read_umami(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read Umami's export: website_event with the properties of event_data, if that is beside it.

    Umami's db/clickhouse/schema.sql; event_type 1 is a page view and 2 a custom event.
    """
    if is_event_data(file) and file.find_beside(EVENTS_NAME):
        # Its rows are a part of the events.
        items = _read_items(file, reading, lambda row, _: keep_present(row))
        yield from (item for item in items if isinstance(item.found, Rejected))
        return
    with open_event_data(file) as event_data:
        yield from _read_items(file, reading, partial(_read_umami_row, event_data))


def _read_umami_row(event_data: EventData, row: Row, reading: Reading) -> Event | LeftOut:
    if "data_key" in row:
        whose = "events without website_event" if "event_id" in row else "sessions"
        return LeftOut(f"values of Umami's {whose}")
    kind = str(row["event_type"])
    if kind not in {"1", "2"}:
        return LeftOut("records that are no events")
    domain = row.get("referrer_domain")
    referrer = f"https://{domain}{row.get('referrer_path') or '/'}" if domain else None
    if referrer and (query := row.get("referrer_query")):
        referrer += f"?{query}"
    return keep_present(
        {
            "event": row["event_name"] if kind == "2" else "$pageview",
            "event_id": row.get("event_id"),
            "timestamp": read_time(row["created_at"], UTC_ZONE),
            "anonymous_id": row["session_id"],
            "user_id": row.get("distinct_id"),
            "session_id": row.get("visit_id"),
            "url": join_url(row.get("hostname"), row["url_path"], row.get("url_query"), reading),
            "referrer": referrer,
            "country": read_country(row.get("country")),
            "properties": keep_present(
                {name: row.get(name) for name in ("page_title", "tag", "language", "screen")}
            )
            | (event_data.find(row.get("event_id")) if kind == "2" else {}),
        }
    ) | read_device(row.get("device"), row.get("browser"), row.get("os"))


def is_posthog(file: SourceFile) -> bool:
    """Return whether the fields are those of PostHog's events."""
    return {"uuid", "event", "distinct_id", "properties"} <= set(_first_row(file))


def read_posthog(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read PostHog's batch export of events, in JSON lines or Parquet.

    PostHog's documentation of batch exports, model "events"; properties may be JSON in a text.
    """
    return _read_items(file, reading, _read_posthog_row)


def _read_posthog_row(row: Row, _: Reading) -> Event | LeftOut:
    name = row["event"]
    if name.startswith("$") and name not in {"$pageview", "$screen", "$identify"}:
        return LeftOut("internal events of PostHog")
    sent = _read_object(row["properties"])
    distinct_id, device_id = row["distinct_id"], sent.get("$device_id")
    user_id = sent.get("$user_id") or (None if _is_anonymous(distinct_id, sent) else distinct_id)
    referrer = sent.get("$referrer")
    return keep_present(
        {
            "event": name,
            "event_id": row["uuid"],
            "timestamp": read_time(row["timestamp"], UTC_ZONE),
            "anonymous_id": device_id or distinct_id,
            "user_id": user_id,
            "session_id": sent.get("$session_id"),
            "url": sent.get("$current_url"),
            "referrer": referrer if referrer != "$direct" else None,
            "ip": sent.get("$ip"),
            "user_agent": sent.get("$raw_user_agent"),
            "country": read_country(sent.get("$geoip_country_code")),
            "properties": keep_present({"screen_name": sent.get("$screen_name")})
            | {key: value for key, value in sent.items() if not key.startswith("$")},
        }
    ) | read_device(sent.get("$device_type"), sent.get("$browser"), sent.get("$os"))


def _is_anonymous(distinct_id: str, sent: Mapping[str, Any]) -> bool:
    """Return whether a distinct_id of PostHog is that of a device, not of a person.

    Browsers say it. Older ones use the device's id until the person is identified. A server names
    no device: its distinct_id is the person's, unless it has the form of a browser's.
    """
    if isinstance(is_identified := sent.get("$is_identified"), bool):
        return not is_identified
    if device_id := sent.get("$device_id"):
        return bool(distinct_id == device_id)
    return _UUID.fullmatch(distinct_id) is not None


def is_ga4(file: SourceFile) -> bool:
    """Return whether the fields are those of Google Analytics' export to BigQuery."""
    return {"event_timestamp", "event_name", "event_params"} <= set(_first_row(file))


def read_ga4(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read Google Analytics' events, exported to BigQuery and from there to JSON or Parquet.

    Google's "BigQuery Export schema": times are microseconds in UTC, parameters are a list.
    """
    return _read_items(file, reading, _read_ga4_row)


_GA4_AUTOMATIC = frozenset({"session_start", "first_visit", "user_engagement", "first_open"})
_GA4_OWN_PARAMS = frozenset(
    {"page_location", "page_referrer", "entrances", "ignore_referrer"}
    | {"batch_ordering_id", "batch_page_id"}
)


def _read_ga4_row(row: Row, _: Reading) -> Event | LeftOut:
    name = row["event_name"]
    if name in _GA4_AUTOMATIC:
        return LeftOut("automatic events of Google Analytics")
    params = {item["key"]: _read_ga4_value(item["value"]) for item in row["event_params"] or ()}
    visitor, session = row.get("user_pseudo_id"), params.get("ga_session_id")
    if not (visitor or row.get("user_id")):
        return LeftOut("events without a visitor, sent without consent")
    collected = row.get("collected_traffic_source") or {}
    clicked = {key: collected.get(key) for key in ("gclid", "dclid")}
    device = row.get("device") or {}
    browser = device.get("browser") or (device.get("web_info") or {}).get("browser")
    ecommerce = row.get("ecommerce") or {}
    own = {
        key: value
        for key, value in params.items()
        if key not in _GA4_OWN_PARAMS
        and not key.startswith(("ga_", "engage", "debug_", "session_"))
    }
    own |= {key: ecommerce.get(key) for key in ("transaction_id", "purchase_revenue")}
    own["country_name"] = (row.get("geo") or {}).get("country")  # it has no code
    return keep_present(
        {
            "event": "$pageview" if name == "page_view" else name,
            "timestamp": read_time(f"{int(row['event_timestamp']):016}", UTC_ZONE),
            "anonymous_id": visitor,
            "user_id": row.get("user_id"),
            "session_id": f"{visitor}-{session}" if visitor and session else None,
            "url": add_parameters(params.get("page_location"), clicked),
            "referrer": params.get("page_referrer"),
            "properties": keep_present(own),
        }
    ) | read_device(device.get("category"), browser, device.get("operating_system"))


def _read_ga4_value(value: Mapping[str, Any]) -> object:
    for kind in ("string_value", "int_value", "double_value", "float_value"):
        if (found := value.get(kind)) is not None:
            # BigQuery writes whole numbers as texts in JSON.
            return int(found) if kind == "int_value" else found
    return None


def add_parameters(url: object, parameters: Mapping[str, object]) -> object:
    """Return the URL with the parameters that have a value, and that it has not yet."""
    given = {name: text for name, text in parameters.items() if text}
    if not (given and url and isinstance(url, str)):
        return url
    parts = urlsplit(url)
    there = {name for name, _ in parse_qsl(parts.query)}
    added = urlencode({name: text for name, text in given.items() if name not in there})
    return parts._replace(query="&".join(filter(None, (parts.query, added)))).geturl()


def is_plausible(file: SourceFile) -> bool:
    """Return whether it is a table of Plausible's export."""
    return (file.member or file.name).rpartition("/")[2].startswith("imported_")


def read_plausible(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read Plausible's export: totals a day, each as one `TOTAL_EVENT`, if they were asked for.

    Plausible's "Export your website stats": CSV files named imported_TABLE_FROM_TO.csv.
    """
    if not reading.keeps_totals:
        raise ImportFailed(
            f"{file.name} has Plausible's totals by day, not events: they can't be shown by "
            "visitor or source. --totals stores each row as one event named $total."
        )
    table = (file.member or file.name).rpartition("/")[2].removeprefix("imported_")
    table = table.removesuffix(".csv").rstrip("0123456789_")

    def read_row(row: Row, _: Reading) -> Event:
        return {
            "event": TOTAL_EVENT,
            "timestamp": read_time(row["date"], UTC_ZONE),
            "anonymous_id": "plausible",
            "properties": {
                "aggregated": True,
                "from": "plausible",
                "table": table,
                **{name: read_value(value) for name, value in row.items() if value != ""},
            },
        }

    yield from _read_items(file, reading, read_row)


def find_totals(file: SourceFile) -> str | None:
    """Return whose report it is, if the file has totals instead of events; else None."""
    text = file.sample[:2000].decode("utf-8", "replace").lower()
    if text.startswith("# ---") or "engaged sessions" in text.partition("\n")[0]:
        return "Google Analytics"
    return "Matomo" if "nb_visits" in text else None


def _read_object(value: object) -> dict[str, Any]:
    found = from_json(repair_json(value.encode())) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise TypeError
    return found
