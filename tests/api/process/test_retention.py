"""A running API removes events past their days by itself."""

import pytest

pytestmark = pytest.mark.slow


def test_events_past_the_days_that_are_set_go_at_the_next_start(start_api):
    api = start_api()
    old, new = "2020-01-01T00:00:00Z", {"event": "x", "event_id": "new"}
    api.post("/v1/batch", {"events": [{"event": "x", "timestamp": old}, new]})
    api.terminate()

    again = start_api("--retention-days", "30")
    again.keys = api.keys

    again.wait_until(lambda: len(again.rows("/v1/query")) == 1)
    assert [row["event_id"] for row in again.rows("/v1/query")] == ["new"]
