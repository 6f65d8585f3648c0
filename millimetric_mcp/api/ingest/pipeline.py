"""From a validated request to stored events: each step fills in what the sender left open."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import uuid4

from millimetric_mcp.api.ingest.address import host_of, read_address
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.enrich import (
    IP_HASH_BYTES,
    CountryLookup,
    VisitorDevice,
    hash_ip,
    make_visitor_id,
    parse_user_agent,
)
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.events import IDENTIFY_EVENT, IdentifyRequest, TrackEvent
from millimetric_mcp.contract.imports import ImportedEvent
from millimetric_mcp.contract.keys import KeyKind, KeyRecord
from millimetric_mcp.contract.validation import to_ms


class RequestFacts(NamedTuple):
    """What a request's headers and address say about its events.

    ``received_at`` is UTC. ``origin_host`` is used for an event without a url. ``country`` is an
    ISO code or empty. ``ip_hash`` has 16 bytes, zeros without an address. ``visitor_id`` is the
    ``anonymous_id`` of events without one; if it is None, each gets a random one.
    """

    project_id: int
    key_kind: str
    received_at: datetime
    origin_host: str | None
    device: VisitorDevice
    country: str
    ip_hash: bytes
    visitor_id: str | None


def read_request_facts(
    headers: Mapping[str, str],
    *,
    ip: str | None,
    key: KeyRecord,
    received_at: datetime,
    country_of: CountryLookup,
    ip_salt: bytes,
) -> RequestFacts:
    """Return the facts of a request; ``headers`` go by lower-case name."""
    user_agent, day = headers.get("user-agent"), received_at.date()
    visitor_id, ip_hash = None, bytes(IP_HASH_BYTES)
    if ip:
        ip_hash = hash_ip(ip, salt=ip_salt, date_utc=day)
        if key.kind is KeyKind.PK:
            visitor_id = make_visitor_id(
                ip, user_agent or "", salt=ip_salt, date_utc=day, project_id=key.project_id
            )
    return RequestFacts(
        project_id=key.project_id,
        key_kind=key.kind.value,
        received_at=received_at,
        origin_host=host_of(headers.get("origin")),
        device=parse_user_agent(user_agent),
        country=country_of(ip) if ip else "",
        ip_hash=ip_hash,
        visitor_id=visitor_id,
    )


class _Page(NamedTuple):
    """Where a url points; ``host`` is None if it has no valid one."""

    host: str | None
    path: str


_NO_PAGE = _Page(None, "")


@lru_cache(maxsize=4096)  # most events are of a few pages
def _read_page(url: str) -> _Page:
    address = read_address(url)
    if address is None:
        return _Page(None, path_of(url))
    has_path = address.scheme and address.path.startswith("/")
    return _Page(address.host, address.path if has_path else path_of(url))


def build_event(
    event: TrackEvent,
    request: RequestFacts,
    *,
    fbclid: FbclidMeaning = FbclidMeaning.PAID,
    new_id: Callable[[], str] = lambda: str(uuid4()),
) -> StoredEvent:
    """Return the event as it is stored: classified and enriched."""
    url, referrer, device = event.url, event.referrer, request.device
    page = _read_page(url) if url else _NO_PAGE
    attribution = classify(url, referrer, page.host or request.origin_host, fbclid=fbclid)
    return StoredEvent(
        project_id=request.project_id,
        timestamp_ms=to_ms(event.timestamp or request.received_at),
        event_name=event.event,
        event_id=event.event_id or "",
        anonymous_id=event.anonymous_id or request.visitor_id or new_id(),
        user_id=event.user_id or "",
        session_id=event.session_id or "",
        source=attribution.source,
        medium=attribution.medium,
        campaign=attribution.campaign or "",
        source_confidence=attribution.confidence.value,
        source_rule_id=attribution.rule_id,
        referrer=referrer or "",
        url=url or "",
        path=page.path if event.path is None else event.path,
        country=request.country,
        device_type=device.device_type,
        browser=device.browser,
        os=device.os,
        properties=event.properties or "{}",
        ip_hash=request.ip_hash,
        key_kind=request.key_kind,
        is_bot=int(device.is_bot),
    )


def build_identification(body: IdentifyRequest, request: RequestFacts) -> StoredEvent:
    """Return the ``$identify`` event whose properties are the traits."""
    event = TrackEvent.model_construct(
        event=IDENTIFY_EVENT,
        anonymous_id=body.anonymous_id,
        user_id=body.user_id,
        properties=body.traits,
    )
    return build_event(event, request)


def build_imported(
    events: Iterable[ImportedEvent],
    *,
    key: KeyRecord,
    country_of: CountryLookup,
    ip_salt: bytes,
    fbclid: FbclidMeaning,
) -> list[StoredEvent]:
    """Return past events as they are stored: address and User-Agent are used and left out."""
    visitor_key = replace(key, kind=KeyKind.PK)  # a visitor is the event's, not the importer's
    known: dict[tuple[str | None, str | None, date], RequestFacts] = {}
    stored = []
    for event in events:
        visit = event.ip, event.user_agent, event.timestamp.date()
        facts = known.get(visit)
        if facts is None:
            headers = {"user-agent": event.user_agent} if event.user_agent else {}
            facts = read_request_facts(
                headers,
                ip=event.ip,
                key=visitor_key,
                received_at=event.timestamp,
                country_of=country_of,
                ip_salt=ip_salt,
            )
            facts = facts._replace(key_kind=key.kind.value)
            known[visit] = facts
        stored.append(build_event(event, _take_given(event, facts), fbclid=fbclid))
    return stored


def _take_given(event: ImportedEvent, facts: RequestFacts) -> RequestFacts:
    """Return the facts with the country and device that the event itself names."""
    if not (event.country or event.device_type or event.browser or event.os):
        return facts
    device = facts.device
    return facts._replace(
        country=event.country or facts.country,
        device=VisitorDevice(
            event.device_type or device.device_type,
            event.browser or device.browser,
            event.os or device.os,
            is_bot=device.is_bot,
        ),
    )


def path_of(url: str | None) -> str:
    """Return the path of an absolute URL as written, ``/`` where it has none; "" without a URL."""
    if url is None:
        return ""
    _, found, rest = url.partition("://")
    if not found:
        return ""
    end = min((at for at in map(rest.find, "?#") if at >= 0), default=len(rest))
    authority, slash, path = rest[:end].partition("/")
    return slash + path or "/" if authority or slash else ""


def warm_up() -> None:
    """Load the host tables and User-Agent patterns, so that the first request is not slow."""
    classify("https://shop.example/", "https://partner.example/", None)
    parse_user_agent("Mozilla/5.0")
