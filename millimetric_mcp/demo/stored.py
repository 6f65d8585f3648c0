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
    source, medium, campaign, confidence, rule_id = event.attribution
    device = event.device
    return StoredEvent(
        project_id,
        event.timestamp_ms,
        event.event,
        event.event_id or "",
        event.anonymous_id,
        event.user_id or "",
        "",
        source,
        medium,
        campaign or "",
        confidence.value,
        rule_id,
        event.referrer or "",
        event.url,
        event.url.partition("?")[0][len(SITE) :],
        event.country,
        device.device_type,
        device.browser,
        device.os,
        event.properties,
        _hash_address(event),
    )


def _hash_address(event: GeneratedEvent) -> bytes:
    day = event.timestamp_ms // DAY_MS
    return blake2b(f"{day}{event.anonymous_id}".encode(), digest_size=16).digest()
