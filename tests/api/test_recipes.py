"""Recipes that other documentation teaches as SQL over a visitor's events, on generated data.

Where their definitions agree with ours the numbers are the same; where they don't, the difference
is the one that ``docs/attribution.md`` names.
"""

import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millimetric_mcp.demo.batches import write_event, write_time
from millimetric_mcp.demo.generator import (
    ADD_TO_CART,
    PAGEVIEW,
    PURCHASE,
    SIGNUP,
    GeneratedEvent,
    generate,
)

END = datetime(2026, 5, 16, tzinfo=UTC)
EVERYTHING = list(generate(seed=3, end=END, events=4_000))
EVENTS = [event for event in EVERYTHING if event.anonymous_id]
"""The script's events of a month: each visitor is one person."""
INTERNAL = {"direct", "internal"}
WINDOW = {"from": "2026-04-15T00:00:00Z", "to": "2026-05-17T00:00:00Z"}
STEPS = (PAGEVIEW, ADD_TO_CART, SIGNUP)

BY_VISITOR: dict[str, list[GeneratedEvent]] = defaultdict(list)
for _event in EVENTS:
    BY_VISITOR[_event.anonymous_id].append(_event)


async def send(api: Any, events: list[GeneratedEvent]) -> None:
    for start in range(0, len(events), 1000):
        body = {"events": [json.loads(write_event(each)) for each in events[start : start + 1000]]}
        assert (await api.post("/v1/batch", body)).status_code == 202


@pytest.fixture
async def shop(api):
    """An API with the events."""
    await send(api, EVENTS)
    return api


async def ask(api: Any, path: str, **params: Any) -> list[Any]:
    return await api.rows(path, WINDOW | params)


def pick_source(events: list[GeneratedEvent], *, is_last: bool, skipped: set[str]) -> str:
    """The source of a visitor's first or last event; those of the skipped sources don't count."""
    sources = [event.attribution.source for event in events]
    kept = [source for source in sources if source not in skipped]
    return kept[-1 if is_last else 0] if kept else "direct"


def count_signups(*, is_last: bool, skipped: set[str]) -> Counter[str]:
    """Sign-ups by the source of the events up to them."""
    return Counter(
        pick_source(events[: number + 1], is_last=is_last, skipped=skipped)
        for events in BY_VISITOR.values()
        for number, event in enumerate(events)
        if event.event == SIGNUP
    )


@pytest.mark.parametrize(("model", "is_last"), [("first_touch", False), ("last_touch", True)])
async def test_touches_are_those_of_a_recipe_that_skips_direct_and_internal(shop, model, is_last):
    asked = {"event": SIGNUP, "group_by": "source", "attribution": model, "lookback_days": 365}
    rows = await ask(shop, "/v1/stats", **asked)

    found = {row["source"]: row["value"] for row in rows}
    assert found == count_signups(is_last=is_last, skipped=INTERNAL)
    # A recipe that takes any event credits the site itself at last touch, and direct at first.
    assert found != count_signups(is_last=is_last, skipped=set())


def came_from_outside(events: list[GeneratedEvent]) -> bool:
    return events[0].attribution.source not in INTERNAL


@pytest.fixture
async def outsiders(api):
    """An API with the events of the visitors whose first event came from outside."""
    found = [each for events in BY_VISITOR.values() if came_from_outside(events) for each in events]
    await send(api, found)
    return [events for events in BY_VISITOR.values() if came_from_outside(events)]


async def test_first_touch_is_the_first_click_of_a_recipe_that_counts_each_visitor_once(
    api, outsiders
):
    """The recipe takes a visitor's first event of the window, and sums up what each one brought."""
    buyers, revenue = Counter[str](), Counter[str]()
    for events in outsiders:
        amounts = [
            json.loads(e.properties)["price_cents"] for e in events if e.event == ADD_TO_CART
        ]
        first = min(events, key=lambda event: event.timestamp_ms).attribution.source
        buyers[first] += bool(amounts)
        revenue[first] += sum(amounts)
    asked = {"event": ADD_TO_CART, "group_by": "source", "attribution": "first_touch"}

    rows = await ask(api, "/v1/stats", metric="uniques", lookback_days=365, **asked)
    sums = await ask(
        api, "/v1/stats", metric="sum", property="price_cents", lookback_days=365, **asked
    )

    assert len(rows) > 3
    assert {row["source"]: row["value"] for row in rows} == +buyers
    assert {row["source"]: row["value"] for row in sums} == +revenue


VISITS = {
    "ad, then buys": (("google", "$pageview"), (None, "purchase")),
    "ad, a page, then buys": (("facebook", "$pageview"), (None, "$pageview"), (None, "purchase")),
    "two ads, buys after each": (
        ("google", "$pageview"), (None, "purchase"), ("bing", "$pageview"), (None, "purchase"),
    ),
    "buys, then an ad": ((None, "purchase"), ("tiktok", "$pageview")),
}  # fmt: skip
"""By visitor: the source of each event's page, if there is one, and the event."""


def count_clicks(*, is_last: bool) -> Counter[str]:
    """Buyers by the source of their first event, or of the one before their last purchase.

    As Umami's report counts: the event may be any one, and buyers of none without a source.
    """
    found = Counter[str]()
    for events in VISITS.values():
        last = max(number for number, (_, name) in enumerate(events) if name == "purchase")
        seen = events[:last][-1:] if is_last else events[:1]
        found.update(source for source, _ in seen if source)
    return found


async def test_clicks_of_a_recipe_that_takes_any_event_are_those_that_the_docs_name(api):
    body = [
        {
            "event": name,
            "anonymous_id": visitor,
            "timestamp": f"2026-05-10T12:{number:02}:00Z",
            "url": "https://shop.example/"
            + (f"?utm_source={source}&utm_medium=cpc" if source else ""),
        }
        for visitor, events in VISITS.items()
        for number, (source, name) in enumerate(events)
    ]
    assert (await api.post("/v1/batch", {"events": body})).status_code == 202

    async def count_buyers(model):
        asked = {"event": "purchase", "group_by": "source", "metric": "uniques"}
        rows = await ask(api, "/v1/stats", attribution=model, **asked)
        return {row["source"]: row["value"] for row in rows if row["source"] != "direct"}

    assert count_clicks(is_last=False) == {"google": 2, "facebook": 1}
    assert await count_buyers("first_touch") == {"google": 2, "facebook": 1}
    assert count_clicks(is_last=True) == {"google": 1, "bing": 1}
    # A page within the site takes no credit, and each purchase has its own last touch.
    assert await count_buyers("last_touch") == {"google": 2, "facebook": 1, "bing": 1}


BY_USER: dict[str, list[GeneratedEvent]] = defaultdict(list)
"""The events of the visitors who signed up, by the user they became; purchases have no visitor."""
for _event in EVERYTHING:
    if _event.event == SIGNUP:
        BY_USER[_event.user_id] += BY_VISITOR[_event.anonymous_id]


@pytest.mark.parametrize(("model", "is_last"), [("first_touch", False), ("last_touch", True)])
async def test_revenue_of_known_users_is_that_of_a_recipe_for_anonymous_to_known(
    api, model, is_last
):
    """The recipe joins a user's purchases with the events of the visitors who became this user."""
    revenue = Counter[str]()
    for event in EVERYTHING:
        if event.event == PURCHASE:
            seen = [e for e in BY_USER[event.user_id] if e.timestamp_ms <= event.timestamp_ms]
            seen.sort(key=lambda earlier: earlier.timestamp_ms)
            source = pick_source(seen, is_last=is_last, skipped=INTERNAL)
            revenue[source] += json.loads(event.properties)["amount_cents"]
    await send(api, EVERYTHING)
    asked = {"metric": "sum", "property": "amount_cents", "group_by": "source"}

    rows = await ask(
        api, "/v1/stats", event=PURCHASE, attribution=model, lookback_days=365, **asked
    )

    assert len(rows) > 3
    assert {row["source"]: row["value"] for row in rows} == revenue


async def test_revenue_by_an_event_s_own_source_is_the_sum_of_its_rows(shop):
    expected: Counter[str] = Counter()
    for event in EVENTS:
        if event.event == ADD_TO_CART:
            expected[event.attribution.source] += json.loads(event.properties)["price_cents"]
    asked = {"event": ADD_TO_CART, "metric": "sum", "property": "price_cents"}
    rows = await ask(shop, "/v1/stats", group_by="source", **asked)

    assert {row["source"]: row["value"] for row in rows} == expected


def count_first_times() -> list[int]:
    """Visitors by step, comparing the first time of each step with that of the one before."""
    counts = [0, 0, 0]
    for events in BY_VISITOR.values():
        times = [min((e.timestamp_ms for e in events if e.event == s), default=None) for s in STEPS]
        for number, time in enumerate(times):
            before = times[number - 1] if number else time
            if time is None or before is None or time < before:
                break
            counts[number] += 1
    return counts


async def test_a_funnel_counts_at_least_those_of_the_recipe_of_first_times(shop):
    steps = json.dumps([{"event": step} for step in STEPS])
    rows = await ask(shop, "/v1/funnel", steps=steps, within="90d")

    found = [row["people"] for row in rows]
    recipe = count_first_times()
    # Who signed up before the first cart, and never again, completes neither.
    assert found[:2] == recipe[:2]
    assert found[2] >= recipe[2] > 0


async def test_a_repeated_step_completes_our_funnel_and_not_the_recipe_s(api):
    times = {"cart": ("12:00", "12:20"), "view": ("12:10",)}
    events = [
        {"event": name, "anonymous_id": "v", "timestamp": f"2026-05-10T{time}:00Z"}
        for name, moments in times.items()
        for time in moments
    ]
    await api.post("/v1/batch", {"events": events})
    steps = json.dumps([{"event": "view"}, {"event": "cart"}])

    rows = await ask(api, "/v1/funnel", steps=steps, within="1d")

    assert [row["people"] for row in rows] == [1, 1]  # the first cart was before the view


async def test_daily_retention_is_that_of_the_recipe(shop):
    days = {
        visitor: {write_time(e.timestamp_ms)[:10] for e in events if e.event == PAGEVIEW}
        for visitor, events in BY_VISITOR.items()
    }
    cohorts = Counter(min(seen) for seen in days.values() if seen)
    next_day = {f"2026-05-{number:02}": f"2026-05-{number + 1:02}" for number in range(1, 15)}
    returned = Counter(min(seen) for seen in days.values() if next_day.get(min(seen)) in seen)

    rows = await ask(shop, "/v1/retention", event=PAGEVIEW, interval="day")

    assert {row["cohort"][:10]: row["people"] for row in rows} == cohorts
    assert {
        row["cohort"][:10]: row["returned"][1]
        for row in rows
        if row["cohort"][:10] in next_day and row["returned"][1]
    } == returned


PAGE = (Path(__file__).parents[2] / "docs" / "attribution.md").read_text()
SHOP = "https://shop.example"
ANNA = [
    (2, {"anonymous_id": "laptop", "url": f"{SHOP}/?utm_source=facebook&utm_medium=cpc"}),
    (2, {"anonymous_id": "laptop", "url": f"{SHOP}/prices", "referrer": f"{SHOP}/"}),
    (5, {"anonymous_id": "phone", "url": f"{SHOP}/blog", "referrer": "https://www.google.com/"}),
    (
        5,
        {
            "event": "signup",
            "anonymous_id": "phone",
            "user_id": "anna",
            "url": f"{SHOP}/blog",
            "referrer": f"{SHOP}/blog",
        },
    ),
    (
        9,
        {"event": "login", "anonymous_id": "laptop", "user_id": "anna", "url": f"{SHOP}/login"},
    ),
    (
        9,
        {
            "anonymous_id": "laptop",
            "url": f"{SHOP}/thanks",
            "referrer": "https://checkout.stripe.com/",
        },
    ),
    (9, {"event": "purchase", "user_id": "anna", "properties": {"amount": 49}}),
]
"""The visits of the page's example: the day of May, and what was sent."""


async def test_the_example_of_the_page_about_attribution_is_as_it_says(api):
    events = [
        {"event": "$pageview", "timestamp": f"2026-05-{day:02}T10:{minute:02}:00Z", **event}
        for minute, (day, event) in enumerate(ANNA)
    ]
    assert (await api.post("/v1/batch", {"events": events})).status_code == 202
    [block] = re.findall(r"```text\n( 2 May.*?)```", PAGE, re.DOTALL)
    own = re.findall(r"(\S+ / \S+)", block)
    by_model = dict(re.findall(r"\| `attribution=(\w+)`[^|]*\| `(\S+ / \S+)`", PAGE))

    rows = await ask(api, "/v1/query", order="oldest")
    credited = {}
    for model in by_model:
        asked = {"metric": "sum", "property": "amount", "group_by": "source,medium"}
        [row] = await ask(api, "/v1/stats", event="purchase", attribution=model, **asked)
        assert row["value"] == 49
        credited[model] = f"{row['source']} / {row['medium']}"

    assert [f"{row['source']} / {row['medium']}" for row in rows] == own
    assert len(by_model) == 4
    assert credited == by_model
