"""What answers cost a model, in tokens of o200k."""

import json
import re
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from millimetric_mcp.contract.reads import Breakdown
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.demo.generator import generate
from millimetric_mcp.mcp.render.events import render_events
from millimetric_mcp.mcp.render.sources import compare_sources, render_sources
from millimetric_mcp.mcp.render.table import write_table

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


def count_tokens(text):
    bpe_openai = pytest.importorskip("bpe_openai")
    return len(bpe_openai.get_encoding("o200k_base").encode(text))


@pytest.fixture
def random():
    return Random(1)


@pytest.fixture
def twenty_sources(source, random):
    return [
        source(name, random.choice(MEDIA), random.randint(10, 50_000), random.randint(10, 9_000))
        for name in SOURCES
    ]


@pytest.mark.parametrize("breakdown", Breakdown)
def test_20_sources_cost_at_most_500_tokens(breakdown, twenty_sources):
    rows = render_sources(twenty_sources, breakdown=breakdown)
    table = write_table(rows, receipt=RECEIPT, max_chars=24_000)
    assert table.shown == 20
    assert count_tokens(table.text) <= 500


def test_20_compared_sources_cost_at_most_700_tokens(twenty_sources):
    before = [row.model_copy(update={"events": row.events // 3 * 2}) for row in twenty_sources]
    changes = compare_sources(twenty_sources, before)
    rows = render_sources(changes, breakdown=Breakdown.SOURCE_MEDIUM)
    table = write_table(rows, receipt=RECEIPT, max_chars=24_000)
    assert table.shown == 20
    assert count_tokens(table.text) <= 700


def count_list_tokens(rows):
    events = render_events(rows, max_chars=48_000)
    table = write_table(events, receipt=RECEIPT, max_chars=48_000)
    assert table.shown == len(rows) == 100
    return count_tokens(table.text)


# --- The demo's shop, as in the benchmark ------------------------------------------------------


@pytest.fixture(scope="module")
def month():
    """A month of events, oldest first."""
    return list(generate(seed=5, end=datetime(2026, 1, 31, 11, tzinfo=UTC), events=6000))


def sample_visitors(month, random):
    """Return events of 100 visitors, from any time of the month."""
    events = {event.anonymous_id: event for event in random.sample(month, len(month))}
    return random.sample([*events.values()], 100)


SAMPLES = {
    "100 visitors": sample_visitors,
    "100 visitors of product pages": lambda month, random: sample_visitors(
        [event for event in month if "product_id" in event.properties], random
    ),
    "any 100 events": lambda month, random: random.sample(month, 100),
    "the newest": lambda month, _random: month[-100:],
    "signups": lambda month, _random: [event for event in month if event.event == "signup"][-100:],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_100_events_of_the_demo_cost_at_most_6000_tokens(sample, seed, month, event):
    rows = [
        event(
            timestamp=format_timestamp(datetime.fromtimestamp(each.timestamp_ms / 1000, UTC)),
            event_name=each.event,
            anonymous_id=each.anonymous_id,
            source=each.attribution.source,
            medium=each.attribution.medium,
            country=each.country,
            path=each.url.partition("?")[0].removeprefix("https://shop.example"),
            properties=each.properties,
        )
        for each in sorted(sample(month, Random(seed)), key=lambda each: -each.timestamp_ms)
    ]
    assert count_list_tokens(rows) <= 6_000


# --- Ugly events: every row has another visitor, and long values -------------------------------

TITLES = {
    "Japanese": "エチオピア イルガチェフェ 深煎り 珈琲豆、五百グラム入り",
    "Chinese": "埃塞俄比亚耶加雪菲咖啡豆，中度烘焙，五百克装",
    "Korean": "에티오피아 예가체프 원두, 중배전, 오백 그램",
    "Russian": "Эфиопия Иргачефф, зёрна средней обжарки, пятьсот граммов",
    "Greek": "Καφές Αιθιοπίας, μέτριο καβούρδισμα, πεντακόσια γραμμάρια",
    "Arabic": "قهوة إثيوبية، تحميص متوسط، خمسمائة غرام",
    "Hebrew": "קפה אתיופי, קלייה בינונית, חמש מאות גרם",
    "Thai": "กาแฟเอธิโอเปีย คั่วกลาง ห้าร้อยกรัม",
    "Hindi": "इथियोपिया की कॉफ़ी, मध्यम भुनी, पाँच सौ ग्राम",
    "Vietnamese": "Cà phê Ê-ti-ô-pi-a rang vừa, năm trăm gam",
    "Polish": "Kawa z Etiopii, średnio palona, pięćset gramów łącznie",
    "Amharic": "የኢትዮጵያ ቡና መካከለኛ ጥብስ አምስት መቶ ግራም",
    "emoji": "☕️🇪🇹 🔥🔥 500g 🛒👍🏽 🎉✨",
}


def make_uuid(random):
    return str(UUID(int=random.getrandbits(128), version=4))


def make_orders(random):
    return {
        "order_id": make_uuid(random),
        "amount_cents": random.randint(100, 99_999),
        "currency": random.choice(["usd", "eur"]),
    }


def make_carts(random):
    items = [{"sku": f"SKU-{random.randint(1, 999)}", "qty": random.randint(1, 5)} for _ in "abc"]
    return {"cart": {"items": items, "total": random.randint(100, 99_999)}}


def make_notes(random):
    return {"note": f"{random.randint(10, 99)} {'some more words of it ' * 10}"}


def make_chinese(random):
    return {"title": f"{TITLES['Chinese']}{random.randint(10, 99)}", "plan": TITLES["Chinese"][:3]}


def make_many_numbers(random):
    return {f"measure{number}": random.randint(0, 999) for number in range(12)}


def make_many_ids(random):
    return {f"id{number}": make_uuid(random) for number in range(5)}


def make_events(event, random, make_properties, **fields):
    """Return 100 events of 100 visitors."""
    now = datetime(2026, 5, 16, 15, 4, 26, tzinfo=UTC)
    for number in range(100):
        age = timedelta(minutes=15 * number, milliseconds=random.randint(0, 800_000))
        made = {
            "event_name": random.choice(["$pageview", "signup", "purchase", "add_to_cart"]),
            "source": random.choice(SOURCES),
            "medium": random.choice(MEDIA),
            "country": random.choice(["DE", "US", "FR", ""]),
            "path": random.choice(PATHS),
        }
        yield event(
            timestamp=format_timestamp(now - age),
            anonymous_id=make_uuid(random),
            properties=json.dumps(make_properties(random), ensure_ascii=False),
            **made | {name: make(random) for name, make in fields.items()},
        )


@pytest.mark.parametrize(
    "make",
    [make_orders, make_carts, make_notes, make_chinese, make_many_numbers, make_many_ids],
)
def test_100_events_with_long_properties_cost_at_most_6000_tokens(make, event, random):
    assert count_list_tokens(list(make_events(event, random, make))) <= 6_000


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_100_events_in_any_script_cost_at_most_8000_tokens(title, event, random):
    def make(random):
        number = random.randint(10, 99)
        return {"title": f"{number} {title}", "note": f"{title} {number}"}

    assert count_list_tokens(list(make_events(event, random, make))) <= 8_000


UGLY = {
    "paths of ids": {"path": lambda random: f"/orders/{make_uuid(random)}"},
    "tagged sources": {
        "source": lambda random: f"partner-{random.getrandbits(80):020x}",
        "medium": lambda random: f"paid-{random.getrandbits(80):020x}",
    },
    "random names": {
        "event_name": lambda random: f"{random.getrandbits(400):x}",
        "path": lambda random: f"/{random.getrandbits(400):x}",
    },
}


@pytest.mark.parametrize("fields", UGLY.values(), ids=UGLY)
def test_100_events_of_random_texts_cost_at_most_8000_tokens(fields, event, random):
    assert count_list_tokens(list(make_events(event, random, make_orders, **fields))) <= 8_000
