"""Every parameter of every read endpoint changes the answer: none is accepted and then ignored."""

import httpx
import pytest
import pytest_asyncio

from millimetric_mcp.api.store.dimensions import COMPUTED
from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.contract.columns import COLUMNS
from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.filters import FILTERS, MAX_FILTERS
from millimetric_mcp.contract.reads import GroupColumn, StatsParams

STEPS = '[{"event":"signup"},{"event":"purchase"}]'
SUM = {"metric": "sum", "property": "amount"}
LATE_START, EARLY_END = {"from": "2026-05-12T00:00:00Z"}, {"to": "2026-05-10T00:00:00Z"}

Question = dict[str, object]
CHANGES: dict[str, dict[str, tuple[Question, Question]]] = {
    "/v1/sources": {
        "from": ({}, LATE_START),
        "to": ({}, EARLY_END),
        "filters": ({}, {"source": "facebook"}),
        "bots": ({}, {"bots": "exclude"}),
        "attribution": ({}, {"attribution": "last_touch"}),
        "lookback_days": (
            {"attribution": "last_touch"},
            {"attribution": "last_touch", "lookback_days": 2},
        ),
        "breakdown": ({}, {"breakdown": "source"}),
        "limit": ({}, {"limit": 1}),
    },
    "/v1/stats": {
        "from": ({}, LATE_START),
        "to": ({}, EARLY_END),
        "filters": ({}, {"event": "signup"}),
        "bots": ({}, {"bots": "only"}),
        "attribution": ({"group_by": "source"}, {"group_by": "source", "attribution": "session"}),
        "lookback_days": (
            {"group_by": "source", "attribution": "first_touch"},
            {"group_by": "source", "attribution": "first_touch", "lookback_days": 2},
        ),
        "metric": (SUM, SUM | {"metric": "max"}),
        "property": (SUM, SUM | {"property": "seats"}),
        "group_by": ({}, {"group_by": "event_name"}),
        "interval": ({}, {"interval": "day"}),
        "timezone": ({"interval": "day"}, {"interval": "day", "timezone": "Asia/Kolkata"}),
        "limit": ({"group_by": "event_name"}, {"group_by": "event_name", "limit": 1}),
    },
    "/v1/query": {
        "from": ({}, LATE_START),
        "to": ({}, EARLY_END),
        "filters": ({}, {"anonymous_id": "visitor-1"}),
        "bots": ({}, {"bots": "exclude"}),
        "order": ({}, {"order": "oldest"}),
        "before": ({}, {"before": "1778000000000.0.0.0"}),
        "after": ({"order": "oldest"}, {"after": "1778000000000.0.0.0"}),
        "limit": ({}, {"limit": 1}),
    },
    "/v1/funnel": {
        "from": ({"steps": STEPS}, {"steps": STEPS, "from": "2026-05-20T00:00:00Z"}),
        "to": ({"steps": STEPS}, {"steps": STEPS} | EARLY_END),
        "filters": ({"steps": STEPS}, {"steps": STEPS, "user_id": "user-1"}),
        "bots": ({"steps": STEPS}, {"steps": STEPS, "bots": "exclude"}),
        "attribution": (
            {"steps": STEPS, "group_by": "source"},
            {"steps": STEPS, "group_by": "source", "attribution": "last_touch"},
        ),
        "lookback_days": (
            {"steps": STEPS, "group_by": "source", "attribution": "last_touch"},
            {
                "steps": STEPS,
                "group_by": "source",
                "attribution": "last_touch",
                "lookback_days": 2,
            },
        ),
        "steps": ({"steps": STEPS}, {"steps": STEPS.replace("purchase", "signup")}),
        "within": ({"steps": STEPS}, {"steps": STEPS, "within": "1m"}),
        "group_by": ({"steps": STEPS}, {"steps": STEPS, "group_by": "medium"}),
        "limit": (
            {"steps": STEPS, "group_by": "country"},
            {"steps": STEPS, "group_by": "country", "limit": 1},
        ),
    },
    "/v1/retention": {
        "from": ({"event": "signup"}, {"event": "signup"} | LATE_START),
        "to": ({"event": "signup"}, {"event": "signup"} | EARLY_END),
        "filters": ({"event": "signup"}, {"event": "signup", "user_id": "user-1"}),
        "bots": ({"event": "signup"}, {"event": "signup", "bots": "exclude"}),
        "event": ({"event": "signup"}, {"event": "purchase"}),
        "return": ({"event": "signup"}, {"event": "signup", "return": "purchase"}),
        "interval": ({"event": "signup"}, {"event": "signup", "interval": "month"}),
        "timezone": ({"event": "signup"}, {"event": "signup", "timezone": "Asia/Kolkata"}),
    },
    "/v1/schema": {
        "from": ({}, LATE_START),
        "to": ({}, EARLY_END),
        "bots": ({}, {"bots": "exclude"}),
    },
}
"""For each parameter a question without it, and one with it whose rows must differ."""

AD = "https://shop.example/prices?utm_source=facebook&utm_medium=cpc&utm_campaign=spring"
POST = "https://blog.example/?utm_source=facebook&utm_medium=social"
EVENTS = [
    {"event": "view", "anonymous_id": "visitor-1", "url": AD, "timestamp": "2026-05-05T10:00:00Z"},
    {"event": "signup", "anonymous_id": "visitor-1", "timestamp": "2026-05-05T10:05:00Z"},
    {
        "event": "signup",
        "anonymous_id": "visitor-1",
        "user_id": "user-1",
        "timestamp": "2026-05-13T20:00:00Z",
    },
    {
        "event": "purchase",
        "anonymous_id": "visitor-1",
        "user_id": "user-1",
        "timestamp": "2026-05-13T21:00:00Z",
        "properties": {"amount": 20, "seats": 2, "plan": "pro"},
    },
    {
        "event": "purchase",
        "anonymous_id": "visitor-2",
        "url": POST,
        "user_id": "user-2",
        "properties": {"amount": 10.5, "seats": 1},
    },
]
ABROAD = {"event": "signup", "anonymous_id": "visitor-3"}
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)


of_filled_api = pytest.mark.asyncio(loop_scope="module")
"""Marks the tests that read `filled_api`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled_api(shared_api):
    """An API with events that differ in every column that a parameter compares."""
    await shared_api.post("/v1/batch", {"events": EVENTS})
    abroad = httpx.ASGITransport(shared_api.app, client=("192.0.2.1", 40_000))
    async with httpx.AsyncClient(transport=abroad, base_url="http://api.test") as http:
        headers = {"Authorization": f"Bearer {shared_api.keys['sk']}", "User-Agent": BROWSER}
        await http.post("/v1/track", json=ABROAD, headers=headers)
        robot = ABROAD | {"anonymous_id": "robot"}
        await http.post("/v1/track", json=robot, headers=headers | {"User-Agent": "Googlebot/2.1"})
        headers["Authorization"] = f"Bearer {shared_api.keys['pk']}"
        await http.post(
            "/v1/track", json=ABROAD, headers=headers | {"Origin": "https://shop.example"}
        )
    return shared_api


READS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"]


@of_filled_api
@pytest.mark.parametrize("endpoint", READS, ids=[endpoint.path for endpoint in READS])
async def test_each_parameter_of_a_read_endpoint_changes_the_rows(filled_api, endpoint):
    changes = CHANGES[endpoint.path]
    fields = endpoint.request.model_fields
    assert list(changes) == [field.alias or name for name, field in fields.items()]
    unchanged = [
        name
        for name, (without, with_it) in changes.items()
        if await filled_api.rows(endpoint.path, without)
        == await filled_api.rows(endpoint.path, with_it)
    ]

    assert unchanged == []


FILTERED = {
    "event": "signup",
    "source": "facebook",
    "medium": "paid",
    "campaign": "spring",
    "channel": "paid_social",
    "country": "GB",
    "device_type": "desktop",
    "browser": "chrome",
    "os": "windows",
    "path": "/prices",
    "host": "blog.example",
    "user_id": "user-1",
    "anonymous_id": "visitor-1",
    "source_rule_id": "utm_explicit",
    "source_confidence": "high",
    "key_kind": "pk",
    "properties.plan": "pro",
    "properties.amount": "10.5",
}


async def count(api, **filters):
    [row] = await api.rows("/v1/stats", filters)
    return row["value"]


def test_every_column_of_a_question_is_stored_or_computed():
    asked = {*FILTERS.values(), *GroupColumn}

    assert asked - {column.name for column in COLUMNS} == set(COMPUTED)


def test_every_filter_is_tried():
    assert set(FILTERED) > set(FILTERS), "give each filter a value that some events have"


@of_filled_api
@pytest.mark.parametrize("name", FILTERED)
async def test_a_filter_and_its_opposite_share_the_events_between_them(filled_api, name):
    value = FILTERED[name]
    everything = await count(filled_api)

    matching = await count(filled_api, **{name: value})
    others = await count(filled_api, **{f"{name}[not]": value})
    by_prefix = await count(filled_api, **{f"{name}[prefix]": value[:2]})
    by_part = await count(filled_api, **{f"{name}[contains]": value[1:]})

    assert matching > 0
    assert others == everything - matching
    assert matching <= by_prefix
    assert matching <= by_part
    if name != "source_confidence":  # every event of the fixture has the same
        assert matching < everything


@of_filled_api
async def test_a_repeated_filter_matches_any_of_its_values(filled_api):
    both = await count(filled_api, event=["signup", "purchase"])

    assert both == await count(filled_api, event="signup") + await count(
        filled_api, event="purchase"
    )


@of_filled_api
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/sources", {}),
        ("/v1/stats", {"attribution": "last_touch", "group_by": "source"}),
        ("/v1/query", {}),
        ("/v1/funnel", {"steps": STEPS}),
        ("/v1/retention", {"event": "signup"}),
    ],
)
async def test_a_question_may_have_as_many_filters_as_are_allowed(filled_api, path, asked):
    filters = {f"properties.key_{number}[exists]": "false" for number in range(MAX_FILTERS)}
    question = {**asked, **filters, "bots": "exclude"}

    answer = await filled_api.get(path, question)

    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"]
    assert answer.json()["bots_left_out"] == 1


@of_filled_api
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"properties.amount[gt]": "10.5"}, 1),
        ({"properties.amount[gte]": "10.5"}, 2),
        ({"properties.amount[lt]": "20"}, 1),
        ({"properties.amount[lte]": "20"}, 2),
        ({"properties.amount[gt]": "10", "properties.amount[lt]": "15"}, 1),
        ({"properties.plan[exists]": "true"}, 1),
        ({"properties.plan[exists]": "false", "event": "purchase"}, 1),
        ({"properties.plan[gt]": "1"}, 0),
    ],
)
async def test_a_property_is_compared_as_the_operator_says(filled_api, filters, expected):
    assert await count(filled_api, **filters) == expected


@of_filled_api
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("country", ""),
        ("properties.amount[gt]", "many"),
        ("properties.amount[gt]", "nan"),
        ("properties.plan[exists]", "perhaps"),
    ],
)
async def test_an_invalid_filter_is_refused_by_its_name(filled_api, name, value):
    answer = await filled_api.get("/v1/stats", {name: value})

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_params"
    assert name in str(answer.json()["details"])


@of_filled_api
async def test_filters_given_together_must_all_match(filled_api):
    assert len(await filled_api.rows("/v1/query", {"event": "view", "source": "facebook"})) == 1
    assert await filled_api.rows("/v1/query", {"event": "purchase", "medium": "paid"}) == []


@of_filled_api
@pytest.mark.parametrize(
    ("column", "model"),
    [
        *((column, "event") for column in [*GroupColumn, "properties.plan"]),
        # Only an event itself has a proof.
        *((column, "first_touch") for column in GroupColumn if column != GroupColumn.PAID_PROOF),
    ],
)
async def test_a_funnel_is_grouped_by_any_column(filled_api, column, model):
    asked = {"steps": STEPS, "attribution": model}

    [whole, *_] = await filled_api.rows("/v1/funnel", asked)
    rows = await filled_api.rows("/v1/funnel", asked | {"group_by": column})

    assert whole["people"] > 0
    assert sum(row["people"] for row in rows if row["step"] == 1) == whole["people"]


STEPS_OF_SIGNUPS = {"steps": '[{"event":"signup"},{"event":"signup"}]'}
LEFT_OUT = {
    "sources": ("/v1/sources", {}, 1),
    "a source by session": ("/v1/sources", {"source": "direct", "attribution": "session"}, 1),
    "another source": ("/v1/sources", {"source": "facebook", "attribution": "last_touch"}, 0),
    "stats": ("/v1/stats", {"event": "signup"}, 1),
    "another visitor": ("/v1/stats", {"anonymous_id": "visitor-1"}, 0),
    "events": ("/v1/query", {"limit": 1}, 1),
    "another event": ("/v1/query", {"event": "purchase"}, 0),
    "steps": ("/v1/funnel", STEPS_OF_SIGNUPS, 1),
    "other steps": ("/v1/funnel", {"steps": STEPS.replace("signup", "view")}, 0),
    "steps at last touch": ("/v1/funnel", STEPS_OF_SIGNUPS | {"attribution": "last_touch"}, 1),
    "steps of another touch": (
        "/v1/funnel",
        STEPS_OF_SIGNUPS | {"attribution": "last_touch", "source": "facebook"},
        0,
    ),
    "steps, one with a filter": (
        "/v1/funnel",
        {"steps": '[{"event":"purchase"},{"event":"signup","source":"direct"}]'},
        1,
    ),
    "steps of another source": (
        "/v1/funnel",
        {"steps": '[{"event":"signup","source":"facebook"},{"event":"purchase"}]'},
        0,
    ),
    "an event that begins": ("/v1/retention", {"event": "signup", "return": "purchase"}, 1),
    "an event that returns": ("/v1/retention", {"event": "purchase", "return": "signup"}, 1),
    "other events": ("/v1/retention", {"event": "purchase"}, 0),
    "names": ("/v1/schema", {}, 1),
}


@of_filled_api
@pytest.mark.parametrize("question", LEFT_OUT)
async def test_an_answer_counts_the_events_of_bots_that_it_leaves_out(filled_api, question):
    path, params, expected = LEFT_OUT[question]
    window = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}

    found = (await filled_api.get(path, window | params | {"bots": "exclude"})).json()
    whole = (await filled_api.get(path, window | params)).json()

    assert found["bots_left_out"] == expected
    assert "bots_left_out" not in whole


def test_a_statement_that_does_not_use_a_parameter_is_not_run():
    class MoreParams(StatsParams):
        colour: str | None = None

    window = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}

    with pytest.raises(TypeError, match="MoreParams does not use colour"):
        compose(1, MoreParams.model_validate(window))
