"""Answers stay affordable: their tokens, by an estimate that never says too few.

Tokens are those of o200k. Its vocabulary is not part of any package here, so tests count the
pieces that the encoding first splits a text into, a long word as several. On sources, stats
and events that gave 0.90 to 0.98 of the true number; `MARGIN` makes it an upper bound.
"""

import re
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from millimetric_mcp.contract.reads import Breakdown
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.render import compare_sources, render_comparison, render_events, render_sources

MARGIN = 1.12
PIECE = re.compile(r"[^\r\n\w]?[^\W\d_]+|\d{1,3}| ?[^\s\w]+[\r\n/]*|_+|\s+")
WINDOW = (
    "Window: 2026-04-16T15:04:27+02:00 to 2026-05-16T15:04:27+02:00 exclusive; "
    "zone Europe/Berlin; buckets are UTC; includes today, still running."
)
RECEIPT = [
    f"100 events, newest first. {WINDOW}",
    "facebook: 67 % paid (6 of 9 events), 33 % social",
]
SOURCES = re.findall(
    r"\S+",
    "google facebook direct bing newsletter twitter linkedin reddit tiktok chatgpt github.com "
    "duckduckgo youtube instagram email perplexity news.ycombinator.com pinterest yahoo internal",
)
MEDIA = ("paid", "organic", "social", "referral", "direct")
PATHS = ("/", "/pricing", "/blog/how-to-brew", "/products/espresso-machine", "/checkout")
LIGHT = (
    "{}",
    '{"plan":"pro","seats":4}',
    '{"amount_cents":4900,"currency":"usd"}',
    '{"product_id":"sku-1234","name":"Espresso Machine","price":129.9,"qty":1}',
)
PAGE = '{{"title":"{} · Ridge & Rye","lang":"{}","screen":"{}"}}'


def estimate_tokens(text):
    def cost(piece):
        letters = sum(char.isalpha() for char in piece)
        return 1 + (letters - 1) // 7 if letters else (len(piece) + 2) // 3

    return MARGIN * sum(cost(piece) for piece in PIECE.findall(text))


@pytest.fixture
def random():
    return Random(1)


@pytest.mark.parametrize("breakdown", Breakdown)
def test_twenty_sources_take_at_most_500_tokens(breakdown, source, random):
    rows = [
        source(name, random.choice(MEDIA), random.randint(10, 50_000), random.randint(10, 9_000))
        for name in SOURCES
    ]
    text = render_sources(rows, breakdown=breakdown, receipt=RECEIPT, max_chars=24_000).text
    assert text.count("\n") == 22
    assert estimate_tokens(text) <= 500


def test_twenty_sources_compared_take_at_most_700_tokens(source, random):
    rows = [
        source(name, random.choice(MEDIA), random.randint(10, 50_000), random.randint(10, 9_000))
        for name in SOURCES
    ]
    before = [row.model_copy(update={"events": row.events // 3 * 2}) for row in rows]
    text = render_comparison(
        compare_sources(rows, before),
        breakdown=Breakdown.SOURCE_MEDIUM,
        receipt=RECEIPT,
        max_chars=24_000,
    ).text
    assert estimate_tokens(text) <= 700


def list_events(event, random, *, visitors, properties):
    now = datetime(2026, 5, 16, 15, 4, 26, tzinfo=UTC)
    ids = [str(UUID(int=random.getrandbits(128), version=4)) for _ in range(visitors)]
    for number in range(100):
        age = timedelta(minutes=15 * number, milliseconds=random.randint(0, 800_000))
        yield event(
            timestamp=format_timestamp(now - age),
            event_name=random.choice(["$pageview", "signup", "purchase", "add_to_cart"]),
            anonymous_id=ids[number % visitors],
            source=random.choice(SOURCES),
            medium=random.choice(MEDIA),
            country=random.choice(["DE", "US", "FR", ""]),
            path=random.choice(PATHS),
            properties=properties(random),
        )


def choose_page(random):
    title = random.choice(["Coffee, roasted on Mondays", "Costa Rica Tarrazú, Filter, 500g"])
    return PAGE.format(title, random.choice(["de-DE", "en-GB"]), random.choice(["390x844"] * 2))


@pytest.mark.parametrize(
    ("visitors", "properties"),
    [(100, lambda random: random.choice(LIGHT)), (40, choose_page)],
    ids=["each its own visitor", "visitors of several events with rich properties"],
)
def test_a_hundred_events_take_at_most_6000_tokens(visitors, properties, event, random):
    rows = list(list_events(event, random, visitors=visitors, properties=properties))
    rendered = render_events(rows, receipt=RECEIPT, max_chars=24_000)
    assert rendered.shown == 100
    assert estimate_tokens(rendered.text) <= 6_000
