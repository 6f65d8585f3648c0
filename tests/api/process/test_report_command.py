"""``millimetric-mcp report``: the page's numbers, from a running API."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len

pytestmark = pytest.mark.slow

WIDTH = 80
REVENUE = "Revenue by channel, by the last source of the person"
HOSTILE = ["\x1b[31mred\x1b[0m", "\u202eevil", "漢字" * 995]
BOT = {"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
LANDING = "https://shop.example/?utm_source={}&utm_medium={}&utm_campaign=spring"


def make_events():
    """12 visitors with 2 views each, over 10 days; every third of them buys for 10."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    for n in range(12):
        common = {"anonymous_id": f"v{n}", "timestamp": f"{now - timedelta(hours=20 * n):%FT%TZ}"}
        source = ("facebook", "cpc") if n % 2 else ("google", "organic")
        yield {**common, "event": "$pageview", "url": LANDING.format(*source), "path": "/"}
        yield {**common, "event": "$pageview", "path": HOSTILE[n % 3]}
        if n % 3 == 0:
            yield {**common, "event": "viewed", "properties": {"position": 3}}
            yield {**common, "event": "purchase", "properties": {"amount": 10}}


@pytest.fixture(scope="module")
def shop(shared_api):
    events = list(make_events())
    body = json.dumps({"events": events}).encode()
    assert shared_api.post("/v1/batch", content=body).status_code == 202
    of_bot = {**events[0], "path": "/bot"}
    assert shared_api.post("/v1/track", of_bot, headers=BOT).status_code == 202
    return shared_api


def report(run_command, api, *options):
    stdout, stderr = run_command(api, "report", *options)
    assert stderr == ""
    return stdout


def test_json_has_the_numbers_of_the_events(shop, run_command):
    numbers = json.loads(report(run_command, shop, "--json", "--range", "30d"))

    assert numbers["figures"][:2] == [
        {"name": "Visitors", "now": 12, "before": 0},
        {"name": "Page views", "now": 24, "before": 0},
    ]
    assert numbers["figures"][3] == {"name": "purchase: amount", "now": 40, "before": 0}
    assert numbers["revenue_by_channel"] == [
        {"name": "organic_search", "value": 20},
        {"name": "paid_social", "value": 20},
    ]
    assert numbers["bot_events"] == 1
    assert len(numbers["buckets"]) == 30
    assert sum(bucket["page_views"] for bucket in numbers["buckets"]) == 24
    assert numbers["facebook"] == {"events": 6, "paid": 6, "proven": 6}
    assert numbers["campaigns"] == [{"name": "spring", "value": 12}]
    assert {row["name"]: row["value"] for row in numbers["pages"]}["/"] == 12
    assert [row["people"] for row in numbers["funnel"]] == [12, 4]
    assert sum(row["people"] for row in numbers["retention"]) == 12


def test_the_text_fits_80_columns_and_obeys_no_name(shop, run_command):
    text = report(run_command, shop)

    assert max(map(cell_len, text.splitlines())) <= WIDTH
    assert not any(char in text for char in "\x1b\u202e")
    assert "\\u001b[31mred" in text
    assert "A paid utm_medium proves 6 of them." in text
    assert "Everywhere without 1 event of automated clients." in text
    (row,) = [line for line in text.splitlines() if "漢" in line]
    assert row.split()[1:3] == ["…", "4"]
    for title in (
        "Today, against yesterday",
        "30 days, against",
        "Sources",
        "Funnel",
        "Countries",
        REVENUE,
    ):
        assert title in text


def test_event_revenue_steps_and_model_are_chosen_by_options(shop, run_command):
    options = ("--event", "viewed", "--revenue", "viewed:position", "--step", "viewed")
    numbers = json.loads(
        report(run_command, shop, "--json", *options, "--step", "purchase", "--model", "session")
    )

    assert [figure["name"] for figure in numbers["figures"][2:]] == ["viewed", "viewed: position"]
    assert numbers["figures"][3]["now"] == 12
    assert [row["event"] for row in numbers["funnel"]] == ["viewed", "purchase"]
    assert numbers["attribution"] == "session"
    assert {row["source"] for row in numbers["sources"]} == {"google", "facebook"}


def test_a_range_without_events_says_so(shop, run_command):
    text = report(run_command, shop, "--first-day", "2020-01-01", "--last-day", "2020-01-02")

    assert "Nothing in this range." in text


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--range", "2d"), "--range"),
        (("--first-day", "May"), "--first-day"),
        (("--timezone", "Mars"), "--timezone"),
        (("--revenue", "amount"), "--revenue"),
        (("--step", "signup"), "--step"),
        (("--event", "x" * 129), "--event"),
    ],
)
def test_a_wrong_option_is_named(no_api, run_command, options, named):
    no_api.keys = {"MILLIMETRIC_RK": f"rk_live_AbCd1234_{'x' * 32}"}
    _, stderr = run_command(no_api, "report", *options, code=2)

    assert named in stderr
