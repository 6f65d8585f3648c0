"""What the benchmarks send and load."""

import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from urllib.parse import parse_qs, urlsplit

from bench.data import (
    DAYS,
    END,
    WINDOW,
    Loading,
    find_loading,
    fingerprint_schema,
    make_batch_requests,
    make_events,
    make_track_requests,
    mark_loaded,
    store_event,
    write_window,
)
from millimetric_mcp.contract.events import BatchRequest, TrackEvent


def read_body(request):
    return request.partition(b"\r\n\r\n")[2]


def test_single_events_are_valid_and_carry_the_key():
    requests = make_track_requests(20, "sk_test")
    assert len(requests) == 20
    for request in requests:
        TrackEvent.model_validate_json(read_body(request))
        assert b"\r\nauthorization: Bearer sk_test\r\n" in request


def test_batches_are_full_and_valid():
    (request,) = make_batch_requests(1, "sk_test")
    assert len(BatchRequest.model_validate_json(read_body(request)).events) == 1000


def test_events_are_the_same_every_time():
    assert list(make_events(50)) == list(make_events(50))


def test_events_lie_in_the_past_so_that_every_api_takes_them():
    times_ms = [event.timestamp_ms for event in make_events(200)]
    assert END - timedelta(days=DAYS) <= datetime.fromtimestamp(min(times_ms) / 1000, UTC)
    assert datetime.fromtimestamp(max(times_ms) / 1000, UTC) < END < datetime.now(UTC)


def test_the_window_is_thirty_days_that_begin_and_end_within_a_day():
    start, end = WINDOW
    assert end - start == timedelta(days=30)
    assert start.time() == end.time() != datetime.min.time()


def test_a_question_names_the_window_in_the_contracts_form():
    asked = parse_qs(write_window(limit=20))
    assert asked == {
        "from": ["2026-01-01T10:30:00Z"],
        "to": ["2026-01-31T10:30:00Z"],
        "limit": ["20"],
    }


def test_the_busiest_part_of_the_data_lies_in_the_window():
    inside = sum(
        WINDOW[0].timestamp() * 1000 <= event.timestamp_ms < WINDOW[1].timestamp() * 1000
        for event in islice(make_events(2000), 2000)
    )
    assert inside > 1900


def test_a_loaded_directory_is_known_by_its_marker(tmp_path):
    loading = Loading(events=100, project_id=7, schema=fingerprint_schema(), took_s=1.5)
    mark_loaded(tmp_path, loading)
    assert find_loading(tmp_path, events=100) == loading


def test_a_directory_of_another_size_or_schema_is_not_used(tmp_path):
    assert find_loading(tmp_path, events=100) is None
    mark_loaded(tmp_path, Loading(events=100, project_id=7, schema="old", took_s=1.5))
    assert find_loading(tmp_path, events=100) is None
    mark_loaded(tmp_path, Loading(100, 7, fingerprint_schema(), 1.5))
    assert find_loading(tmp_path, events=200) is None


def test_a_broken_marker_is_ignored(tmp_path):
    for text in ("", "[]", json.dumps({"events": 100}), "{"):
        (tmp_path / "loaded.json").write_text(text)
        assert find_loading(tmp_path, events=100) is None


def test_stored_events_hold_what_the_api_derives():
    for event in make_events(2_000):
        stored = store_event(event, project_id=4)
        assert stored.path == urlsplit(event.url).path
        assert (stored.source, stored.medium, stored.campaign or None) == event.attribution[:3]
        assert (stored.project_id, stored.timestamp_ms) == (4, event.timestamp_ms)
        assert len(stored.ip_hash) == 16
        assert stored.device_type == event.device.device_type


def test_stored_address_hash_of_a_visitor_changes_each_day():
    hashes = {}
    for event in make_events(5_000):
        day = event.timestamp_ms // 86_400_000
        stored = store_event(event, project_id=1)
        hashes.setdefault((event.anonymous_id, day), set()).add(stored.ip_hash)
    assert all(len(found) == 1 for found in hashes.values())
    assert len(set().union(*hashes.values())) == len(hashes)
