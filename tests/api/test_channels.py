"""The channel of an event, for every rule of the table, as the store computes it."""

import pytest

from millimetric_mcp.api.ingest.channels import list_channel_rules
from millimetric_mcp.contract.attribution import TrafficChannel

SHOP = "https://shop.example/"
TAGGED = {
    ("google", "cpc"): "paid_search",
    ("Bing", "PPC"): "paid_search",
    ("facebook", "paid_social"): "paid_social",
    ("ig", "cpm"): "paid_social",
    ("criteo", "display"): "paid_other",
    ("news", "email"): "email",
    ("news", "newsletter"): "email",
    ("partner", "e-mail"): "email",
    ("blog", "social-media"): "social",
    ("partner", "organic"): "organic_search",
    ("partner", "referral"): "referral",
    ("partner", "app"): "referral",
    ("partner", "affiliate"): "other",
}
"""By utm_source and utm_medium."""
UNTAGGED = {
    "chatgpt.com": "ai",
    "facebook": "social",
    "email": "email",
    "google": "organic_search",
}
"""By utm_source alone, whose medium is unknown."""
REFERRED = {
    "https://www.google.de/": "organic_search",
    "https://t.co/x": "social",
    "https://mail.google.com/": "email",
    "https://www.perplexity.ai/": "ai",
    "https://blog.example/": "referral",
    "https://shop.example/a": "internal",
    "https://googleads.g.doubleclick.net/": "paid_other",
    None: "direct",
}
EVENTS = {
    **{
        (f"{SHOP}?utm_source={s}&utm_medium={m}", None): channel
        for (s, m), channel in TAGGED.items()
    },
    **{(f"{SHOP}?utm_source={source}", None): channel for source, channel in UNTAGGED.items()},
    **{(SHOP, referrer): channel for referrer, channel in REFERRED.items()},
    (f"{SHOP}?gclid=x", None): "paid_search",
    (f"{SHOP}?fbclid=x", None): "paid_social",
}


@pytest.fixture
async def rows(api):
    """The source, medium and channel of each event, by its id."""
    sent = [
        {"event": "view", "event_id": str(number), "url": url, "referrer": referrer}
        for number, (url, referrer) in enumerate(EVENTS)
    ]
    assert (await api.post("/v1/batch", {"events": sent})).status_code == 202
    found = {}
    for channel in TrafficChannel:
        for row in await api.rows("/v1/query", {"channel": channel, "limit": 1000}):
            assert row["event_id"] not in found
            found[row["event_id"]] = (row["source"], row["medium"], channel)
    return found


async def test_each_event_is_in_its_channel_and_in_no_other(rows):
    found = {event: rows[str(number)][2] for number, event in enumerate(EVENTS)}
    assert found == EVENTS


async def test_channels_are_grouped_as_they_are_filtered(api, rows):
    grouped = {
        row["channel"]: row["value"] for row in await api.rows("/v1/stats", {"group_by": "channel"})
    }
    expected = list(EVENTS.values())
    assert grouped == {channel: expected.count(channel) for channel in set(expected)}


async def test_the_events_reach_every_rule_and_none(rows):
    rules = list_channel_rules()
    reached = {
        next(
            (
                number
                for number, rule in enumerate(rules)
                if source in (rule.sources or {source}) and medium in (rule.mediums or {medium})
            ),
            None,
        )
        for source, medium, _ in rows.values()
    }
    assert reached == {*range(len(rules)), None}
