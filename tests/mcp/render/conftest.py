"""Rows to render."""

from collections.abc import Callable
from typing import Any

import pytest

from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.reads import EventRow, SourceRow

EVENT = {column.name: None if column.nullable else column.example for column in SHOWN_COLUMNS} | {
    "anonymous_id": "a-1",
    "session_id": "a-1-1",
    "source": "direct",
    "medium": "direct",
    "source_rule_id": "direct",
    "path": "/",
    "country": "DE",
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
