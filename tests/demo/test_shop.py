"""The shop's data, and that the API finds the attribution and devices that the data names."""

from collections import Counter
from datetime import UTC, date, datetime
from random import Random
from urllib.parse import urlsplit

import pytest

from millimetric_mcp.api.ingest.channels import list_channel_rules
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.enrich import parse_user_agent
from millimetric_mcp.contract.rules import RULES
from millimetric_mcp.demo.generator import SERVER, generate
from millimetric_mcp.demo.shop import Channel, Device, Weighted, load_shop, make_token

END = datetime(2026, 5, 16, 14, 37, tzinfo=UTC)
CHANNELS = load_shop().channels
DEVICES = sorted(
    {device for channel in CHANNELS for device in channel.devices.values},
    key=lambda device: device.user_agent,
)


def find_channel(source: str, medium: str) -> str:
    for rule in list_channel_rules():
        if source in (rule.sources or {source}) and medium in (rule.mediums or {medium}):
            return rule.channel
    return "other"


@pytest.mark.parametrize(
    "channel",
    CHANNELS,
    ids=lambda channel: f"{channel.attribution.source}-{channel.attribution.rule_id}",
)
def test_classifier_finds_the_attribution_of_every_channel(channel: Channel) -> None:
    rng = Random(5)
    for _ in range(25):
        landing = channel.land(rng, date(2026, 5, 12))
        found = classify(landing.url, landing.referrer, urlsplit(landing.url).hostname)
        assert found == landing.attribution
        assert find_channel(found.source, found.medium) == landing.channel


def test_classifier_finds_the_attribution_of_every_event_of_a_month() -> None:
    for event in generate(seed=11, end=END, events=20_000):
        found = classify(event.url, event.referrer, urlsplit(event.url).hostname)
        assert found == event.attribution, (event.url, event.referrer)
        assert find_channel(found.source, found.medium) == event.channel


def test_channels_use_most_rules_of_the_classifier() -> None:
    used = {channel.attribution.rule_id for channel in CHANNELS}
    assert used <= {rule.rule_id for rule in RULES}
    assert len(used) >= 18


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.user_agent[13:60])
def test_user_agent_parser_finds_every_device(device: Device) -> None:
    found = parse_user_agent(device.user_agent)
    assert found == (device.device_type, device.browser, device.os, False)


def test_the_shop_s_server_is_no_bot() -> None:
    assert parse_user_agent(SERVER.user_agent) == ("", "", "", False)


def test_channels_reach_thirteen_devices() -> None:
    assert len(DEVICES) == 13


def test_mailings_weigh_more_on_tuesdays_and_thursdays() -> None:
    shares = []
    for weekday in range(7):
        channels, rng = load_shop().weigh_channels(returning=True, weekday=weekday), Random(3)
        shares.append(sum(channels.pick(rng).mailing for _ in range(2_000)))
    assert min(shares[1], shares[3]) > 2 * max(shares[0], shares[2], *shares[4:])


def test_weighted_picks_a_value_as_often_as_its_weight() -> None:
    rng, choices = Random(1), Weighted([("a", 3), ("never", 0), ("b", 1)])
    picked = Counter(choices.pick(rng) for _ in range(4_000))
    assert set(picked) == {"a", "b"}
    assert 2_900 < picked["a"] < 3_100


@pytest.mark.parametrize("length", [1, 10, 22, 62, 76])
def test_tokens_have_the_given_length(length: int) -> None:
    rng = Random(2)
    tokens = [make_token(rng, length) for _ in range(20)]
    assert {len(token) for token in tokens} == {length}
    assert "=" not in "".join(tokens)
