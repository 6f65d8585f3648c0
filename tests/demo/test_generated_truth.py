"""What the generator says of an event agrees with the product's own pure parts.

The generator decides the truth by itself; that the classifier and the enrichment come to
the same answer is proved here and nowhere at run time.
"""

from collections import Counter
from datetime import UTC, date, datetime
from random import Random
from urllib.parse import urlsplit

import pytest

from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.enrich import parse_user_agent
from millimetric_mcp.contract.attribution import RULES
from millimetric_mcp.demo.channels import CHANNELS, Channel
from millimetric_mcp.demo.devices import ANY_DEVICE, NO_DEVICE, PHONE_FIRST, Device
from millimetric_mcp.demo.generator import SIGNUP, generate
from millimetric_mcp.demo.stored import store_event
from millimetric_mcp.demo.truth import tally

END = datetime(2026, 5, 16, 14, 37, tzinfo=UTC)
DEVICES = sorted({*ANY_DEVICE.values, *PHONE_FIRST.values}, key=lambda device: device.user_agent)


@pytest.mark.parametrize(
    "channel", CHANNELS, ids=lambda channel: f"{channel.expects.source}-{channel.expects.rule_id}"
)
def test_the_classifier_agrees_with_every_channel(channel: Channel) -> None:
    rng = Random(5)
    for _ in range(25):
        arrival = channel.land(rng, date(2026, 5, 12))
        found = classify(arrival.url, arrival.referrer, urlsplit(arrival.url).hostname)
        assert found == arrival.attribution


def test_the_classifier_agrees_with_every_event_of_a_month() -> None:
    for event in generate(seed=11, end=END, events=20_000):
        found = classify(event.url, event.referrer, urlsplit(event.url).hostname)
        assert found == event.attribution, (event.url, event.referrer)


def test_the_channels_use_rules_of_every_part_of_the_cascade() -> None:
    used = {channel.expects.rule_id for channel in CHANNELS}
    assert used <= {rule.rule_id for rule in RULES}
    assert len(used) >= 18


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.user_agent[13:60])
def test_the_enrichment_agrees_with_every_device(device: Device) -> None:
    found = parse_user_agent(device.user_agent)
    assert tuple(found) == (device.device_type, device.browser, device.os)


def test_a_tally_counts_exactly() -> None:
    events = list(generate(seed=11, end=END, events=10_000))
    truth = tally(events)
    assert truth.total.events == len(events)
    assert truth.total.uniques == len({event.anonymous_id for event in events})
    counted = Counter(event.attribution[:2] for event in events)
    assert {key: found.events for key, found in truth.by_source_medium.items()} == counted
    facebook = [event for event in events if event.attribution.source == "facebook"]
    assert truth.by_source[("facebook",)].paid_share == sum(
        event.attribution.medium == "paid" for event in facebook
    ) / len(facebook)
    days = Counter(
        datetime.fromtimestamp(event.timestamp_ms // 1000, UTC).date().isoformat()
        for event in events
        if event.event == SIGNUP
    )
    assert {day: found.events for (day,), found in truth.signups_by_day.items()} == days


def test_a_stored_row_holds_what_the_api_would_have_derived() -> None:
    for event in generate(seed=11, end=END, events=2_000):
        row = store_event(event, project_id=4)
        assert row.path == urlsplit(event.url).path
        assert (row.source, row.medium, row.campaign or None) == event.attribution[:3]
        assert (row.project_id, row.timestamp_ms) == (4, event.timestamp_ms)
        assert len(row.ip_hash) == 16
        assert row.device_type == event.device.device_type


def test_a_visitors_address_hash_changes_with_the_day_only() -> None:
    hashes: dict[tuple[str, int], set[bytes]] = {}
    for event in generate(seed=11, end=END, events=5_000):
        row = store_event(event, project_id=1)
        day = event.timestamp_ms // 86_400_000
        hashes.setdefault((event.anonymous_id, day), set()).add(row.ip_hash)
    assert all(len(found) == 1 for found in hashes.values())
    assert len(set().union(*hashes.values())) == len(hashes)


def test_a_program_has_no_device() -> None:
    assert (NO_DEVICE.device_type, NO_DEVICE.browser, NO_DEVICE.os) == ("", "", "")
