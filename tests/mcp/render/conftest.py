"""Rows to render."""

from collections.abc import Callable
from typing import Any

import pytest

from millimetric_mcp.contract.reads import EventRow, SourceRow

EVENT = {
    "timestamp": "2026-05-16T19:00:00.000Z",
    "event_name": "signup",
    "event_id": None,
    "anonymous_id": "a-1",
    "user_id": None,
    "session_id": "a-1-1",
    "source": "direct",
    "medium": "direct",
    "campaign": None,
    "source_confidence": "high",
    "source_rule_id": "direct",
    "referrer": None,
    "url": None,
    "path": "/",
    "country": "DE",
    "device_type": "",
    "browser": "",
    "os": "",
    "properties": "{}",
}


@pytest.fixture(scope="session")
def event() -> Callable[..., EventRow]:
    """An event with some fields changed; unchecked, as a hostile upstream would have them."""

    def build(**changes: Any) -> EventRow:
        return EventRow.model_construct(**(EVENT | changes))

    return build


@pytest.fixture(scope="session")
def source() -> Callable[..., SourceRow]:
    """A row of sources."""

    def build(source: str, medium: str | None, events: int, uniques: int | None = None) -> Any:
        return SourceRow(
            source=source,
            medium=medium,
            events=events,
            uniques=events if uniques is None else uniques,
            paid_share=1.0 if medium == "paid" else 0.0,
        )

    return build
