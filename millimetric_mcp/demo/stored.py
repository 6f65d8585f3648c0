"""Generated events as the store would keep them, had they come from their visitors' browsers.

The benchmarks fill stores of millions of events this way. Country and address hash are the
visitor's own, so the columns cost what they cost in production.
"""

from hashlib import blake2b

from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.demo.generator import GeneratedEvent
from millimetric_mcp.demo.payload import DAY_MS
from millimetric_mcp.demo.shop import SITE


def store_event(event: GeneratedEvent, *, project_id: int) -> StoredEvent:
    """The row of one event; its attribution is the generator's, no classifier runs."""
    attribution, device = event.attribution, event.device
    return StoredEvent(
        project_id=project_id,
        timestamp_ms=event.timestamp_ms,
        event_name=event.event,
        event_id=event.event_id or "",
        anonymous_id=event.anonymous_id,
        user_id=event.user_id or "",
        session_id="",
        source=attribution.source,
        medium=attribution.medium,
        campaign=attribution.campaign or "",
        source_confidence=attribution.confidence.value,
        source_rule_id=attribution.rule_id,
        referrer=event.referrer or "",
        url=event.url,
        path=event.url.partition("?")[0][len(SITE) :],
        country=event.country,
        device_type=device.device_type,
        browser=device.browser,
        os=device.os,
        properties=event.properties,
        ip_hash=_hash_address(event),
    )


def _hash_address(event: GeneratedEvent) -> bytes:
    day = event.timestamp_ms // DAY_MS
    return blake2b(f"{day}{event.anonymous_id}".encode(), digest_size=16).digest()
