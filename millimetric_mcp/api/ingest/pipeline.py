"""From a validated event to a stored one: each step fills in what the caller left open."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.enrich import Device, parse_user_agent
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.events import IDENTIFY_EVENT, IdentifyRequest, TrackEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Caller:
    """What the request itself says of its events.

    ``received_at`` is UTC; ``origin_host`` stands in where an event has no url; ``country``
    is an ISO code or empty; ``ip_hash`` is 16 bytes.
    """

    project_id: int
    received_at: datetime
    origin_host: str | None
    device: Device
    country: str
    ip_hash: bytes


def build_event(
    event: TrackEvent, caller: Caller, *, new_id: Callable[[], str] = lambda: str(uuid4())
) -> StoredEvent:
    """The event as it is stored: classified, enriched, nothing left open."""
    url, referrer = event.url, event.referrer
    attribution = classify(url, referrer, host_of(url) or caller.origin_host)
    device = caller.device
    return StoredEvent(
        project_id=caller.project_id,
        timestamp_ms=((event.timestamp or caller.received_at) - _EPOCH) // _MILLISECOND,
        event_name=event.event,
        event_id=event.event_id or "",
        anonymous_id=event.anonymous_id or new_id(),
        user_id=event.user_id or "",
        session_id=event.session_id or "",
        source=attribution.source,
        medium=attribution.medium,
        campaign=attribution.campaign or "",
        source_confidence=attribution.confidence.value,
        source_rule_id=attribution.rule_id,
        referrer=referrer or "",
        url=url or "",
        path=path_of(url) if event.path is None else event.path,
        country=caller.country,
        device_type=device.device_type,
        browser=device.browser,
        os=device.os,
        properties=event.properties or "{}",
        ip_hash=caller.ip_hash,
    )


def build_identification(request: IdentifyRequest, caller: Caller) -> StoredEvent:
    """The ``$identify`` event whose properties are the traits."""
    event = TrackEvent.model_construct(
        event=IDENTIFY_EVENT,
        anonymous_id=request.anonymous_id,
        user_id=request.user_id,
        properties=request.traits,
    )
    return build_event(event, caller)


def path_of(url: str | None) -> str:
    """The path of an absolute URL as written, ``/`` where it has none; empty without a URL."""
    if url is None:
        return ""
    _, found, rest = url.partition("://")
    if not found:
        return ""
    end = min((at for at in map(rest.find, "?#") if at >= 0), default=len(rest))
    authority, slash, path = rest[:end].partition("/")
    return slash + path or "/" if authority or slash else ""


def warm_up() -> None:
    """Loads the host tables and the User-Agent patterns, so that no first request waits."""
    classify("https://shop.example/", "https://partner.example/", None)
    parse_user_agent("Mozilla/5.0")
