"""An event as the store keeps it: what ingest hands over, column by column."""

from typing import NamedTuple


class StoredEvent(NamedTuple):
    """One event, validated, classified and enriched; an empty string is an absent value.

    ``timestamp_ms`` counts milliseconds since 1970 UTC. ``session_id`` is what the caller sent;
    the default one is derived when it is read. ``path`` is filled in from ``url``.
    ``properties`` is compact JSON text. ``ip_hash`` is 16 bytes, zeros without an address.
    """

    project_id: int
    timestamp_ms: int
    event_name: str
    event_id: str
    anonymous_id: str
    user_id: str
    session_id: str
    source: str
    medium: str
    campaign: str
    source_confidence: str
    source_rule_id: str
    referrer: str
    url: str
    path: str
    country: str
    device_type: str
    browser: str
    os: str
    properties: str
    ip_hash: bytes
