"""Plain curl calls, as people have them in their scripts: only the host is changed.

The events of May 2026, which they ask for, are known. ``date`` stands in for the one of BSD.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

PLAIN = Path(__file__).parent / "plain"
RECIPES = {path.stem: path.read_text(encoding="utf-8") for path in PLAIN.glob("*.sh")}
BSD_DATE = PLAIN / "bsd-date"
HOSTS = ("https://api.millimetric.ai", "http://localhost:8787")
ORIGIN = "http://localhost:5173"
MAY = datetime(2026, 5, 10, 12, tzinfo=UTC)
COLUMNS = [
    "timestamp", "event_name", "event_id", "anonymous_id", "user_id", "session_id", "source",
    "medium", "campaign", "source_confidence", "source_rule_id", "referrer", "url", "path",
    "country", "device_type", "browser", "os", "properties",
]  # fmt: skip
WRITTEN = {
    "http-track": {"ok": True, "event_id": None},
    "http-batch": {"ok": True, "count": 2},
    "http-identify": {"ok": True},
    "http-forget": {"ok": True, "queued": True},
    "http-purchase": {"ok": True, "event_id": None},
    "http-browser": {"ok": True, "event_id": None},
    "track-track": {"ok": True, "event_id": None},
    "track-identify": {"ok": True},
    "track-batch": {"ok": True, "count": 2},
    "track-forget": {"ok": True, "queued": True},
}
READ = {
    "http-top-sources",
    "http-daily-signups",
    "query-top-sources",
    "query-daily-signups",
    "query-raw-events",
    "query-facebook-this-month",
    "query-signups-by-country",
    "query-user-42",
}


def write(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def noon(*, days_ago):
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days_ago)


def sign_up(visitor, moment, *, paid, **fields):
    url = "https://shop.example/?utm_source=facebook&utm_medium=cpc" if paid else None
    referrer = None if paid else "https://www.facebook.com/"
    event = {"event": "signup", "anonymous_id": visitor, "timestamp": write(moment), **fields}
    return event | ({"url": url} if url else {}) | ({"referrer": referrer} if referrer else {})


@pytest.fixture
def keys(api, project):
    """The project's keys, under the names that the calls use."""
    environ = dict(project.environ)
    name = f"browser-{project.keys['rk'][8:16]}"
    return environ | {
        "SK_KEY": environ["MILLIMETRIC_KEY"],
        "RK_KEY": environ["MILLIMETRIC_RK"],
        "PK_KEY": api.create_key("pk", project=name, origins=[ORIGIN]),
    }


@pytest.fixture
def run_plain(run_script, keys, project):
    def run(name, **environ):
        text = RECIPES[name]
        for host in HOSTS:
            text = text.replace(host, project.url)
        return run_script(text, shell="bash", environ=keys | environ, date=BSD_DATE)

    return run


def read_many(text):
    """Return every JSON value of jq's output."""
    decoder, values, position = json.JSONDecoder(), [], 0
    while position < len(text.rstrip()):
        value, end = decoder.raw_decode(text, position)
        values.append(value)
        position = end + len(text[end:]) - len(text[end:].lstrip())
    return values


def test_every_plain_call_is_run():
    assert set(RECIPES) == WRITTEN.keys() | READ


@pytest.mark.parametrize("name", WRITTEN)
def test_a_plain_write_returns_the_documented_response(name, run_plain):
    assert run_plain(name).json == WRITTEN[name]


def test_a_browser_key_is_refused_from_another_origin(api, project, run_plain):
    name = f"other-{project.keys['rk'][8:16]}"
    elsewhere = api.create_key("pk", project=name, origins=["https://shop.example"])
    answer = run_plain("http-browser", PK_KEY=elsewhere).json
    assert answer == {"error": "origin_not_allowed", "origin": ORIGIN}


@pytest.fixture
def may(project):
    project.send([sign_up(f"p{n}", MAY + timedelta(hours=n), paid=True) for n in range(6)])
    project.send([sign_up(f"s{n}", MAY + timedelta(days=1), paid=False) for n in range(3)])


@pytest.mark.parametrize("name", ["http-top-sources", "query-top-sources"])
def test_plain_sources_separate_paid_from_social(name, may, run_plain):
    assert run_plain(name).json == {
        "breakdown": "source_medium",
        "rows": [
            {"source": "facebook", "medium": "paid", "events": 6, "uniques": 6, "paid_share": 1.0},
            {"source": "facebook", "medium": "social", "events": 3, "uniques": 3, "paid_share": 0},
        ],
    }


@pytest.mark.parametrize("name", ["http-daily-signups", "query-daily-signups"])
def test_plain_stats_count_by_day(name, may, run_plain):
    first, second = "2026-05-10T00:00:00.000Z", "2026-05-11T00:00:00.000Z"
    assert run_plain(name).json == {
        "metric": "count",
        "rows": [
            {"source": "facebook", "medium": "paid", "bucket": first, "value": 6},
            {"source": "facebook", "medium": "social", "bucket": second, "value": 3},
        ],
    }


def test_plain_query_returns_every_column(may, run_plain):
    rows = run_plain("query-raw-events").json["rows"]
    assert [row["anonymous_id"] for row in rows[-6:]] == ["p5", "p4", "p3", "p2", "p1", "p0"]
    assert len(rows) == 9
    assert all(sorted(row) == sorted(COLUMNS) for row in rows)


def test_plain_sources_of_this_month(project, run_plain):
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    project.send([sign_up("before", start - timedelta(seconds=1), paid=True)])
    project.send([sign_up(f"s{n}", start, paid=False) for n in range(2)])
    project.send([sign_up("now", datetime.now(UTC), paid=True)])
    ran = run_plain("query-facebook-this-month")
    assert ran.code == 0, ran.stderr
    split = {"source": "facebook", "medium": "social", "events": 2, "uniques": 2, "paid_share": 0}
    # The window ends this midnight, so it is empty on a month's first day.
    assert read_many(ran.stdout) == ([split] if datetime.now(UTC).day > 1 else [])


def test_plain_stats_by_country(project, run_plain):
    at_home = {"X-Forwarded-For": "5.9.0.1"}
    project.send([sign_up("a", noon(days_ago=7), paid=True)], **at_home)
    project.send([sign_up("a", noon(days_ago=7), paid=True)], **at_home)
    project.send(
        [sign_up("b", noon(days_ago=1), paid=True), sign_up("c", noon(days_ago=8), paid=True)]
    )
    answer = run_plain("query-signups-by-country").json
    assert answer["metric"] == "uniques"
    assert [(row["bucket"], row["country"], row["value"]) for row in answer["rows"]] == [
        (f"{noon(days_ago=7):%Y-%m-%d}T00:00:00.000Z", "DE", 1),
        (f"{noon(days_ago=1):%Y-%m-%d}T00:00:00.000Z", "", 1),
    ]


def test_plain_query_of_a_user(project, run_plain):
    project.send(
        [
            sign_up("a", noon(days_ago=8), paid=True, user_id="user_42"),
            sign_up("a", noon(days_ago=6), paid=True, user_id="user_42"),
            sign_up("a", noon(days_ago=2), paid=False, user_id="user_42"),
            sign_up("b", noon(days_ago=2), paid=False, user_id="user_43"),
        ]
    )
    ran = run_plain("query-user-42")
    assert read_many(ran.stdout) == [
        {
            "ts": f"{noon(days_ago=days):%Y-%m-%d}T12:00:00.000Z",
            "event": "signup",
            "source": "facebook",
            "medium": medium,
        }
        for days, medium in ((2, "social"), (6, "paid"))
    ]
