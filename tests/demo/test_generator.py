"""The generated month: the same every time, in bounded memory, and like a real shop's."""

import gc
import hashlib
import json
import tracemalloc
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

import pytest

from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.demo.batches import write_event
from millimetric_mcp.demo.checks import ExpectedCounts
from millimetric_mcp.demo.generator import (
    ADD_TO_CART,
    MAX_VISITORS,
    PAGEVIEW,
    PURCHASE,
    SERVER,
    SIGNUP,
    GeneratedEvent,
    generate,
)
from millimetric_mcp.demo.shop import load_shop

END = datetime(2026, 5, 16, 14, 37, 12, 345000, tzinfo=UTC)
END_MS = int(END.timestamp() * 1000)
DAY_MS = 86_400_000
GOLDEN = "d875b7e5a814f1638689c6a04f554fc5104397dec3321e2980f00ac2800f20db"


@pytest.fixture(scope="module")
def month() -> list[GeneratedEvent]:
    return list(generate(seed=7, end=END, events=30_000))


def _digest(events: list[GeneratedEvent]) -> str:
    digest = hashlib.sha256()
    for event in events:
        digest.update(write_event(event).encode())
        digest.update(event.device.user_agent.encode())
        digest.update(repr(tuple(map(str, event.attribution))).encode())
    return digest.hexdigest()


def test_month_is_the_same_for_the_same_arguments() -> None:
    assert _digest(list(generate(seed=7, end=END, events=5_000))) == GOLDEN


def test_more_returning_visits_make_fewer_visitors() -> None:
    def count_visitors(returning_share: float) -> int:
        month = generate(seed=7, end=END, events=5_000, returning_share=returning_share)
        return len({event.anonymous_id for event in month})

    assert count_visitors(0) > 1.5 * count_visitors(0.36) > 1.5 * 1.5 * count_visitors(0.8)


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"end": END + timedelta(hours=1)}, {"events": 4_999}, {"days": 29}],
    ids=lambda change: next(iter(change)),
)
def test_month_differs_when_an_argument_differs(change: dict[str, object]) -> None:
    usual = {"seed": 7, "end": END, "events": 5_000}
    assert _digest(list(generate(**(usual | change)))) != _digest(list(generate(**usual)))


@pytest.mark.parametrize("events", [0, 1, 999, 1_000, 12_345])
@pytest.mark.parametrize("days", [1, 30])
def test_month_has_exactly_the_events_asked_for_oldest_first(events: int, days: int) -> None:
    times = [event.timestamp_ms for event in generate(seed=3, end=END, events=events, days=days)]
    assert len(times) == events
    assert times == sorted(times)
    assert all(END_MS - days * DAY_MS <= time < END_MS for time in times)


def test_month_is_the_same_for_an_end_in_another_time_zone() -> None:
    elsewhere = END.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo)
    assert list(generate(seed=7, end=elsewhere, events=500)) == list(
        generate(seed=7, end=END, events=500)
    )


def test_month_of_ten_million_events_begins_in_20_mb() -> None:
    stream = generate(seed=7, end=END, events=10_000_000)
    tracemalloc.start()
    try:
        next(stream)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20_000_000


def count_alive() -> Counter[str]:
    return Counter(type(thing).__name__ for thing in gc.get_objects())


def test_memory_holds_few_events_and_a_fixed_number_of_visitors() -> None:
    before, events = count_alive(), 8 * MAX_VISITORS
    stream = generate(seed=7, end=END, events=events)
    for _ in range(4):
        for _ in islice(stream, events // 4 - 1):
            pass
        alive = count_alive()
        assert alive["GeneratedEvent"] - before["GeneratedEvent"] < events / 100
        assert alive["_Visitor"] - before["_Visitor"] <= MAX_VISITORS + 1
    assert alive["_Visitor"] - before["_Visitor"] > MAX_VISITORS - 2


def test_events_are_valid_track_requests(month: list[GeneratedEvent]) -> None:
    for event in month[::7]:
        sent = json.loads(write_event(event))
        parsed = TrackEvent.model_validate(sent)
        assert parsed.event == event.event
        assert parsed.properties == event.properties
        assert parsed.timestamp is not None
        assert parsed.timestamp == datetime.fromtimestamp(event.timestamp_ms / 1000, UTC).replace(
            microsecond=event.timestamp_ms % 1000 * 1000
        )


def test_events_send_no_attribution_and_no_device(month: list[GeneratedEvent]) -> None:
    fields = set().union(*(json.loads(write_event(event)) for event in month))
    assert fields == {
        *("event", "event_id", "timestamp", "anonymous_id", "user_id"),
        *("url", "referrer", "properties"),
    }


def test_visitors_have_uuids_and_return(month: list[GeneratedEvent]) -> None:
    visitors = Counter(event.anonymous_id for event in month if event.event != PURCHASE)
    assert all(UUID(visitor).version == 4 for visitor in visitors)
    days = {
        visitor: len(
            {event.timestamp_ms // DAY_MS for event in month if event.anonymous_id == visitor}
        )
        for visitor in [visitor for visitor, _ in visitors.most_common(20)]
    }
    assert max(days.values()) > 1
    assert 3 < len(month) / len(visitors) < 8


def test_visitor_keeps_one_device_and_one_country(month: list[GeneratedEvent]) -> None:
    traits: dict[str, set[tuple[object, str]]] = {}
    for event in month:
        if event.event == PURCHASE:
            assert (event.device, event.country) == (SERVER, "")
            continue
        traits.setdefault(event.anonymous_id, set()).add((event.device, event.country))
    assert all(len(found) == 1 for found in traits.values())


def test_events_have_a_user_id_from_the_sign_up_on(
    month: list[GeneratedEvent],
) -> None:
    signed_up: dict[str, str] = {}
    for event in month:
        if event.event == SIGNUP:
            assert event.anonymous_id not in signed_up
            assert event.user_id is not None
            signed_up[event.anonymous_id] = event.user_id
        if event.event == PURCHASE:
            assert event.user_id in signed_up.values()
        else:
            assert event.user_id == signed_up.get(event.anonymous_id)
    assert len(set(signed_up.values())) == len(signed_up) > 100


def test_pages_within_a_visit_have_the_page_before_as_referrer(
    month: list[GeneratedEvent],
) -> None:
    pages: dict[str, str] = {}
    internal = 0
    for event in month:
        if event.event == PAGEVIEW and event.attribution.source == "internal":
            assert event.referrer == pages[event.anonymous_id]
            assert "?" not in event.url
            internal += 1
        if event.event == PAGEVIEW:
            pages[event.anonymous_id] = event.url
    assert internal > len(month) / 2


def test_carts_and_sign_ups_are_sent_from_the_page_that_the_visitor_is_on(
    month: list[GeneratedEvent],
) -> None:
    pages: dict[str, tuple[str, str | None]] = {}
    sent = Counter[str]()
    for event in month:
        arrival = (event.url, event.referrer)
        if event.event in {ADD_TO_CART, SIGNUP}:
            assert arrival == pages[event.anonymous_id]
            assert event.attribution.source == "internal"
            sent[event.event] += 1
        elif event.event == PAGEVIEW:
            pages[event.anonymous_id] = arrival
    assert min(sent[ADD_TO_CART], sent[SIGNUP]) > 100


def test_purchases_come_from_the_server_with_a_user_and_without_a_page(
    month: list[GeneratedEvent],
) -> None:
    purchases = [json.loads(write_event(event)) for event in month if event.event == PURCHASE]
    assert len(purchases) > 100
    for purchase in purchases:
        assert purchase.keys() == {"event", "event_id", "timestamp", "user_id", "properties"}


def test_purchases_are_the_sum_of_the_cart(month: list[GeneratedEvent]) -> None:
    carts: defaultdict[str | None, list[int]] = defaultdict(list)
    visitors: dict[str | None, str] = {}
    for event in month:
        properties = json.loads(event.properties)
        if event.event == SIGNUP:
            visitors[event.user_id] = event.anonymous_id
        if event.event == ADD_TO_CART:
            carts[event.anonymous_id].append(properties["price_cents"])
        if event.event == PURCHASE:
            cart = carts[visitors[event.user_id]][-properties["items"] :]
            assert properties["amount_cents"] == sum(cart)
            assert properties["currency"] == "eur"
            assert event.event_id == properties["order_id"]


def test_most_facebook_clicks_carry_fbclid_also_those_of_posts(
    month: list[GeneratedEvent],
) -> None:
    landed = [event for event in month if event.attribution.source == "facebook"]
    with_fbclid = [event for event in landed if "fbclid=" in event.url]
    untagged = [event for event in with_fbclid if "utm_" not in event.url]
    posts = [event for event in untagged if "/journal" in event.url]
    assert all(event.event == PAGEVIEW for event in landed)
    assert len(with_fbclid) > 0.7 * len(landed)
    assert 0.15 * len(landed) < len(posts) < len(untagged)


def test_nights_have_far_fewer_events_than_evenings(month: list[GeneratedEvent]) -> None:
    hours = Counter(event.timestamp_ms // 3_600_000 % 24 for event in month)
    assert hours[3] * 8 < hours[20]


def test_newsletters_are_opened_most_on_tuesdays_and_thursdays(month: list[GeneratedEvent]) -> None:
    (mailing,) = (channel for channel in load_shop().channels if channel.mailing)
    weekly = mailing.attribution.campaign
    assert weekly is not None
    opened = Counter(
        datetime.fromtimestamp(event.timestamp_ms / 1000, UTC).weekday()
        for event in month
        if event.event == PAGEVIEW
        and (event.attribution.campaign or "").startswith(weekly.partition("{")[0])
    )
    assert {weekday for weekday, _ in opened.most_common(2)} == {1, 3}


def test_month_has_visits_of_every_channel(month: list[GeneratedEvent]) -> None:
    seen = {(event.attribution.source, event.attribution.rule_id) for event in month}
    channels = load_shop().channels
    wanted = {(each.attribution.source, each.attribution.rule_id) for each in channels}
    assert wanted <= seen


def test_click_ids_are_unique(month: list[GeneratedEvent]) -> None:
    landed = [
        event.url.partition("fbclid=")[2]
        for event in month
        if event.event == PAGEVIEW and "fbclid=" in event.url
    ]
    assert len(set(landed)) == len(landed) > 500
    assert all(len(fbclid) > 60 for fbclid in landed)


def test_expected_counts_are_exact(month: list[GeneratedEvent]) -> None:
    counts = ExpectedCounts()
    assert list(counts.watch(month)) == month
    assert counts.get("events", "events") == {"total": len(month)}
    views = [event for event in month if event.event == PAGEVIEW]
    assert counts.get("page views", "uniques") == {
        "total": len({event.anonymous_id for event in views})
    }
    assert counts.get("events", "uniques") == {
        "total": len({event.anonymous_id or event.event_id for event in month})
    }
    sources = Counter(f"{event.attribution.source} / {event.attribution.medium}" for event in month)
    assert counts.get("events by source and medium", "events") == sources
    facebook = [event for event in month if event.attribution.source == "facebook"]
    paid = sum(event.attribution.medium == "paid" for event in facebook)
    assert counts.get("facebook", "paid_share") == {"facebook": paid / len(facebook)}
    days = Counter(
        datetime.fromtimestamp(event.timestamp_ms // 1000, UTC).date().isoformat()
        for event in month
        if event.event == SIGNUP
    )
    assert counts.get("sign-ups by day", "events") == days
