"""The limit of characters holds for text and structured content; whole rows are left out."""

import json
from itertools import product
from uuid import UUID

import pytest

BUDGETS = (1000, 1500, 4000, 48_000)
HOSTILE = "\u202e\x1b[2J\n" * 60


def measure(data):
    return len(json.dumps(data, separators=(",", ":"), ensure_ascii=False))


@pytest.fixture
def much(api, source, event_row):
    """More rows of everything than fit, with long and hostile values."""
    api.events = [
        event_row(
            timestamp=f"2026-05-16T19:{59 - number // 60:02d}:{59 - number % 60:02d}.000Z",
            anonymous_id=str(UUID(int=number)),
            user_id=None,
            path=f"/{number}{HOSTILE}",
            properties=json.dumps({"title": HOSTILE, "n": number}),
        )
        for number in range(1000)
    ]
    api.sources = [
        source(f"site{number}.test{HOSTILE}", f"medium{number}{HOSTILE}", 9999 - number)
        for number in range(200)
    ]
    api.sources += [source("facebook", f"{number}{HOSTILE}", 20_000) for number in range(60)]

    def stats(params):
        if "group_by" not in params and "interval" not in params:
            return [{"value": 5}]
        return [
            {name: f"{number}{HOSTILE}" for name in params.get("group_by", "").split(",") if name}
            | ({"bucket": "2026-05-16T00:00:00.000Z"} if "interval" in params else {})
            | {"value": 1000 - number}
            for number in range(1000)
        ]

    api.stats = stats
    return api


QUESTIONS = {
    "raw events": ("raw_events", {"limit": 1000}),
    "all columns": ("raw_events", {"limit": 1000, "fields": ["url", "referrer", "properties"]}),
    "sources": ("top_sources", {"limit": 200}),
    "sources compared": ("top_sources", {"limit": 200, "compare": "previous_period"}),
    "sources by name": ("top_sources", {"limit": 200, "breakdown": "source"}),
    "a source": ("top_sources", {"source": "facebook", "compare": "previous_period"}),
    "stats": ("stats", {"limit": 1000, "group_by": ["path", "campaign"]}),
    "stats of a long name": ("stats", {"limit": 1000, "group_by": ["os"], "event": "\u202e" * 128}),
}


@pytest.mark.parametrize(("question", "budget"), [*product(QUESTIONS, BUDGETS)], ids=str)
async def test_text_and_structured_content_each_keep_to_the_limit(question, budget, much, call):
    tool, arguments = QUESTIONS[question]
    outcome = await call(tool, arguments, max_result_chars=budget)
    assert not outcome.is_error
    assert len(outcome.text) <= budget
    assert measure(outcome.data) <= budget


@pytest.mark.parametrize("question", QUESTIONS)
async def test_note_counts_the_rows_left_out_and_says_how_to_get_them(question, much, call):
    tool, arguments = QUESTIONS[question]
    outcome = await call(tool, arguments, max_result_chars=4000)
    shown, total = len(outcome.data["rows"]), len(outcome.data["rows"]) + outcome.data["left_out"]
    note = outcome.data["notes"][-1]
    assert note.startswith(f"These are the first {shown} of {total} rows. To get the rest: ")
    assert note in outcome.lines


async def test_default_limit_holds_100_events_and_cuts_1000(api, event_row, call):
    api.events = [
        event_row(
            anonymous_id=str(UUID(int=number)),
            path="/products/ethiopia-yirgacheffe-espresso-500g",
            properties=json.dumps({"title": "Ethiopia Yirgacheffe, Espresso Roast, 500g · Shop"}),
        )
        for number in range(1000)
    ]
    few = await call("raw_events", {"limit": 100})
    assert len(few.data["rows"]) == 100
    many = await call("raw_events", {"limit": 1000})
    assert measure(many.data) <= 48_000
    assert many.data["left_out"] + len(many.data["rows"]) == 1000


@pytest.mark.parametrize("uri", ["events://recent", "schema://events"])
@pytest.mark.parametrize("budget", BUDGETS)
async def test_resource_keeps_to_the_limit(uri, budget, much, connect):
    async with connect(max_result_chars=budget) as client:
        (contents,) = (await client.read_resource(uri)).contents
    assert len(contents.text) <= budget
    body = json.loads(contents.text)
    assert body.get("left_out", 0) + len(body["rows"]) in {100, 1000}


EXPLAINED = {
    "raw_events": {
        "event": "\u202e" * 128,
        "source": "\u202e" * 2000,
        "medium": "\u202e" * 2000,
        "user_id": "\u202e" * 256,
        "anonymous_id": "\u202e" * 128,
        "country": "DE",
    },
    "stats": {"event": "\u202e" * 128},
    "top_sources": {"source": "\u202e" * 2000},
}


@pytest.mark.parametrize("tool", EXPLAINED)
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
async def test_explanation_of_an_empty_result_keeps_to_the_limit(tool, is_known, api, source, call):
    api.sources = [source("\u202e" * 2000 + str(number), "x", 1) for number in range(9)]
    wanted = EXPLAINED[tool].get("event", "x") if is_known else "y"

    def stats(params):
        if params.get("event"):
            return []
        names = [wanted, *(f"\u202e{number}" * 60 for number in range(9))]
        return [{"event_name": name, "value": 1} for name in names]

    api.stats = stats
    outcome = await call(tool, EXPLAINED[tool], max_result_chars=1000)
    assert not outcome.is_error
    assert outcome.data["rows"] == []
    assert outcome.data["notes"]
    assert len(outcome.text) <= 1000
    assert measure(outcome.data) <= 1000
