"""Batches: every event once, one device each, never more than the contract allows."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from millimetric_mcp.contract.events import MAX_BATCH_EVENTS, BatchRequest
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.demo.generator import generate
from millimetric_mcp.demo.payload import cut_batches, write_event, write_time

END = datetime(2026, 5, 16, 14, 37, tzinfo=UTC)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_every_event_is_in_exactly_one_batch_of_its_own_device(size: int) -> None:
    events = list(generate(seed=7, end=END, events=3_000))
    expected = Counter((event.device.user_agent, write_event(event)) for event in events)
    found: Counter[tuple[str, str]] = Counter()
    for batch in cut_batches(events, size=size):
        sent = json.loads(batch.body)["events"]
        assert 1 <= len(sent) == batch.count <= size
        texts = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in sent]
        found.update((batch.device.user_agent, text) for text in texts)
    assert found == expected


def test_batches_are_valid_requests_of_the_contract() -> None:
    for batch in cut_batches(generate(seed=7, end=END, events=4_000)):
        request = BatchRequest.model_validate_json(batch.body)
        assert len(request.events) == batch.count <= MAX_BATCH_EVENTS


def test_no_events_make_no_batches() -> None:
    assert list(cut_batches([])) == []


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 999000, tzinfo=UTC),
        datetime(2026, 5, 16, 19, 0, 0, 7000, tzinfo=UTC),
    ],
    ids=str,
)
def test_times_are_written_in_the_contracts_form(moment: datetime) -> None:
    timestamp_ms = int(moment.timestamp()) * 1000 + moment.microsecond // 1000
    assert write_time(timestamp_ms) == format_timestamp(moment)
