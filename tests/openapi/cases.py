"""What OpenAPI can't say of a valid request: a window's order, and how old an event may be."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import schemathesis

_TIMES = ("from", "to")
_STORABLE_YEARS = range(1971, datetime.now(UTC).year)


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: Any) -> Any:
    """``from`` before ``to``, where both are times."""
    if not isinstance(query, dict):
        return query
    start, end = (_read_time(query.get(name)) for name in _TIMES)
    if start and end and start > end:
        query = {**query, "from": query["to"], "to": query["from"]}
    return _mend_combinations(query)


def _mend_combinations(query: dict[str, Any]) -> dict[str, Any]:
    """A property with a metric that needs it, and one cursor with its order."""
    repaired = dict(query)
    if "property" in repaired:
        repaired["metric"] = "sum"
    elif repaired.get("metric") not in {None, "count", "uniques", "sessions"}:
        repaired["metric"] = "count"
    if "after" in repaired:
        repaired.pop("before", None)
        repaired["order"] = "oldest"
    elif "before" in repaired:
        repaired["order"] = "newest"
    return repaired


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Events of times that the API stores, and ``linked`` only with a user."""
    if isinstance(body, dict) and "anonymous_id" in body and "event" not in body:
        body.pop("linked", None)
    for event in _list_events(body):
        time = _read_time(event.get("timestamp"))
        if time and time.year not in _STORABLE_YEARS:
            event["timestamp"] = event["timestamp"].replace(event["timestamp"][:4], "2024", 1)
    return body


def _list_events(body: Any) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        events = body.get("events")
        candidates = [body, *(events if isinstance(events, list) else [])]
        yield from (event for event in candidates if isinstance(event, dict))


def _read_time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
