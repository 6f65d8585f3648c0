"""The API on machines of several time zones: every time it answers is UTC."""

import pytest

pytestmark = pytest.mark.slow

HOUR = {"from": "2026-05-16T19:00:00Z", "to": "2026-05-16T20:00:00Z", "interval": "hour"}


@pytest.mark.parametrize(
    "zone", ["UTC", "America/New_York", "Asia/Kolkata", "UTC+3", "<-03>3", "Nope/Zone", ":/etc/no"]
)
def test_hourly_buckets_are_utc_in_every_zone_of_the_machine(start_api, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    api = start_api()
    event = {"event": "signup", "timestamp": "2026-05-16T19:10:00.123Z"}

    assert api.post("/v1/track", event).status_code == 202

    assert api.rows("/v1/stats", **HOUR) == [{"bucket": "2026-05-16T19:00:00.000Z", "value": 1}]
    [row] = api.rows("/v1/query", **HOUR)
    assert row["timestamp"] == "2026-05-16T19:10:00.123Z"
