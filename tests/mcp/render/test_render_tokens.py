"""Answers stay affordable: their tokens, by an estimate that never says too few.

Tokens are those of o200k. Its vocabulary is not part of any package here, so tests count the
pieces that the encoding first splits a text into, a long word as several. On sources, stats
and events that gave 0.90 to 0.98 of the true number; `MARGIN` makes it an upper bound.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from millimetric_mcp.contract.reads import Breakdown
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.demo.generator import generate
from millimetric_mcp.mcp.render import (
    compare_sources,
    estimate_tokens,
    render_comparison,
    render_events,
    render_sources,
)

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


def bound_tokens(text):
    def cost(piece):
        letters = sum(char.isalpha() for char in piece)
        return 1 + (letters - 1) // 7 if letters else (len(piece) + 2) // 3

    return MARGIN * sum(cost(piece) for piece in PIECE.findall(text))


def count_tokens(text):
    """Exactly, where a vocabulary is installed, as it is for the benchmarks."""
    bpe_openai = pytest.importorskip("bpe_openai")
    return len(bpe_openai.get_encoding("o200k_base").encode(text))


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
    assert bound_tokens(text) <= 500


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
    assert bound_tokens(text) <= 700


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
    rendered = render_events(rows, receipt=RECEIPT, max_chars=48_000, is_brief=True)
    assert rendered.shown == 100
    assert bound_tokens(rendered.text) <= 6_000


@pytest.fixture(scope="module")
def month():
    """A month of the demo's shop, oldest first."""
    return list(generate(seed=5, end=datetime(2026, 1, 31, 11, tzinfo=UTC), events=6000))


def pick_apart(month, random):
    """A hundred events of a hundred visitors, any time of the month."""
    apart = {event.anonymous_id: event for event in random.sample(month, len(month))}
    return random.sample([*apart.values()], 100)


SAMPLES = {
    "a hundred visitors": pick_apart,
    "a hundred visitors of product pages": lambda month, random: pick_apart(
        [event for event in month if "product_id" in event.properties], random
    ),
    "any hundred events": lambda month, random: random.sample(month, 100),
    "the newest": lambda month, _random: month[-100:],
}


@pytest.fixture(params=SAMPLES)
def shop_events(request, month, event):
    """Events of the demo's shop as the API answers with them, newest first."""

    def choose(seed):
        chosen = SAMPLES[request.param](month, Random(seed))
        return [
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
            for each in sorted(chosen, key=lambda each: -each.timestamp_ms)
        ]

    return choose


@pytest.mark.parametrize("seed", range(3))
def test_any_hundred_events_of_the_demo_take_at_most_6000_tokens(seed, shop_events):
    rendered = render_events(shop_events(seed), receipt=RECEIPT, max_chars=48_000, is_brief=True)
    assert rendered.shown == 100
    assert count_tokens(rendered.text) <= 6_000


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


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_a_hundred_events_in_any_script_take_at_most_6000_tokens(title, event, random):
    def choose(random):
        number = random.randint(10, 99)
        titles = {"title": f"{number} {title}", "note": f"{title} {number}"}
        return json.dumps(titles, ensure_ascii=False)

    rows = list_events(event, random, visitors=30, properties=choose)
    text = render_events(list(rows), receipt=RECEIPT, max_chars=48_000, is_brief=True).text
    assert count_tokens(text) <= 6_000


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_no_script_is_taken_for_much_cheaper_than_it_is(title):
    assert estimate_tokens(title) >= count_tokens(title) * 0.8


def make_uuid(random):
    return str(UUID(int=random.getrandbits(128), version=4))


def choose_order(random):
    return {
        "order_id": make_uuid(random),
        "amount_cents": random.randint(100, 99_999),
        "currency": random.choice(["usd", "eur"]),
    }


def choose_cart(random):
    items = [{"sku": f"SKU-{random.randint(1, 999)}", "qty": random.randint(1, 5)} for _ in "abc"]
    return {"cart": {"items": items, "total": random.randint(100, 99_999)}}


def choose_note(random):
    return {"note": f"{random.randint(10, 99)} {'some more words of it ' * 10}"}


def choose_chinese(random):
    return {"title": f"{TITLES['Chinese']}{random.randint(10, 99)}", "plan": TITLES["Chinese"][:3]}


def choose_numbers(random):
    return {f"measure{number}": random.randint(0, 999) for number in range(12)}


def choose_ids(random):
    return {f"id{number}": make_uuid(random) for number in range(5)}


def list_costly_events(event, random, choose):
    return list(
        list_events(
            event,
            random,
            visitors=100,
            properties=lambda random: json.dumps(choose(random), ensure_ascii=False),
        )
    )


@pytest.mark.parametrize("choose", [choose_order, choose_cart, choose_note, choose_chinese])
def test_properties_too_long_for_a_brief_list_are_cut_and_none_is_left_out(choose, event, random):
    rows = list_costly_events(event, random, choose)
    text = render_events(rows, receipt=RECEIPT, max_chars=48_000, is_brief=True).text
    assert 5_000 <= count_tokens(text) <= 6_000
    assert "Left out" not in text
    assert text.count("…") > 100
    (note,) = [line for line in text.splitlines() if line.startswith("Cut to be brief, marked …:")]
    assert re.search(r"properties beyond \d+ characters; for the whole name", note)
    assert note.endswith('fields, such as fields ["timestamp","properties"].')


@pytest.mark.parametrize("choose", [choose_numbers, choose_ids])
def test_columns_are_left_out_only_as_far_as_a_brief_list_has_no_room(choose, event, random):
    rows = list_costly_events(event, random, choose)
    text = render_events(rows, receipt=RECEIPT, max_chars=48_000, is_brief=True).text
    assert 5_000 <= count_tokens(text) <= 6_000
    (note,) = [line for line in text.splitlines() if line.startswith("Left out to be brief: ")]
    assert note.endswith('; ask for them with fields ["timestamp","properties"].')
    header = next(line for line in text.splitlines() if line.startswith("timestamp,"))
    for name in choose(random):
        assert (f"properties.{name}" in re.split(", |; | ", note)) != (
            f"properties.{name}" in header.split(",")
        )
    assert "properties." in header
    assert all(row.anonymous_id in text for row in rows)


def test_values_short_enough_for_a_brief_list_are_not_cut(event, random):
    rows = list_costly_events(event, random, choose_numbers)
    text = render_events(rows, receipt=RECEIPT, max_chars=48_000, is_brief=True).text
    assert "Cut to be brief" not in text
    assert "…" not in text


def make_order_path(random):
    return {"path": f"/orders/{make_uuid(random)}"}


def make_long_names(random):
    words = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=110))
    return {"event_name": words[:55], "path": f"/{words[55:]}"}


def make_tagged(random):
    tag = f"{random.getrandbits(160):040x}"
    return {"source": f"partner-{tag[:20]}", "medium": f"paid-{tag[20:]}"}


@pytest.mark.parametrize("make", [make_order_path, make_long_names, make_tagged])
def test_long_values_of_other_columns_are_cut_too_and_named(make, event, random):
    rows = [
        event(anonymous_id=make_uuid(random), properties=json.dumps(choose_order(random)), **fields)
        for fields in (make(random) for _ in range(100))
    ]
    text = render_events(rows, receipt=RECEIPT, max_chars=48_000, is_brief=True).text
    assert count_tokens(text) <= 6_000
    note = next(line for line in text.splitlines() if line.startswith("Cut to be brief, marked …:"))
    for column in make(random):
        assert f'"{column}"' in note.partition("such as fields ")[2]
    assert "timestamp" not in note.partition(" beyond ")[0]
    assert all(row.anonymous_id in text for row in rows)


def test_what_is_cut_is_said_only_of_what_is_there(event, random):
    rows = [
        event(anonymous_id=make_uuid(random), properties="{}", **make_long_names(random))
        for _ in range(100)
    ]
    text = render_events(rows, receipt=RECEIPT, max_chars=48_000, is_brief=True).text
    note = next(line for line in text.splitlines() if line.startswith("Cut to be brief, marked …:"))
    assert "properties" not in note


def test_few_events_are_told_whole(event):
    rows = [
        event(path="/" + "x" * n, properties=PAGE.format(f"Page {n} " * 5, "de", n))
        for n in range(100, 120)
    ]
    brief = render_events(rows, receipt=[], max_chars=48_000, is_brief=True).text
    assert brief == render_events(rows, receipt=[], max_chars=48_000).text


def test_a_brief_list_tells_times_to_the_second(event):
    rows = [event(timestamp="2026-05-16T19:00:00.123Z"), event(timestamp="2026-05-16 noon")]
    text = render_events(rows, receipt=[], max_chars=9000, is_brief=True).text
    assert "\n19:00:00," in text
    assert "\n2026-05-16 noon," in text


def test_the_estimate_is_near_the_truth_and_rather_too_high(shop_events):
    text = render_events(shop_events(1), receipt=RECEIPT, max_chars=48_000).text
    assert 1 <= estimate_tokens(text) / count_tokens(text) <= 1.05
