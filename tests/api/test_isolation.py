"""One project never sees or touches another's rows, whatever it asks, sends or deletes."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.endpoints import ENDPOINTS, QUERY
from millimetric_mcp.contract.filters import FILTERS
from millimetric_mcp.contract.keys import KeyKind, Scope
from millimetric_mcp.contract.reads import (
    HOSTED_GROUP_COLUMNS,
    PROPERTY_METRICS,
    Bots,
    Breakdown,
    GroupColumn,
    Interval,
    Metric,
    Order,
)

SHARED_USER = "user-of-both"
MY_EVENTS = 3
THEIR_EVENTS = 200
NUMBERS = ("value", "events", "uniques")
EVERYTHING = {"from": "1970-01-01T00:00:00Z", "to": "9999-01-01T00:00:00Z"}
CALM = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Neighbours:
    """Two projects of one store: keys by kind; every text of the other one says "theirs"."""

    mine: dict[KeyKind, str]
    theirs: dict[KeyKind, str]
    their_id: int


def make_event(owner: str, number: int) -> dict[str, Any]:
    return {
        "event": f"{owner}-event",
        "event_id": f"{owner}-{number}",
        "anonymous_id": f"{owner}-visitor-{number}",
        "user_id": SHARED_USER if number % 2 else f"{owner}-user",
        "session_id": f"{owner}-session",
        "url": f"https://{owner}.example/{owner}?utm_source={owner}&utm_campaign={owner}",
        "referrer": f"https://{owner}.example/",
        "properties": {owner: owner},
    }


@pytest.fixture
async def neighbours(api) -> Neighbours:
    keys = [
        {kind: api.make_key(kind, project=project) for kind in KeyKind}
        for project in ("mine", "theirs")
    ]
    for (owner, count), made in zip(
        [("mine", MY_EVENTS), ("theirs", THEIR_EVENTS)], keys, strict=True
    ):
        events = [make_event(owner, number) for number in range(count)]
        answer = await api.post("/v1/batch", {"events": events}, key=made[KeyKind.SK])
        assert answer.status_code == 202
    [their_record] = api.control.find_keys([keys[1][KeyKind.SK].split("_")[2]]).values()
    return Neighbours(keys[0], keys[1], their_record.project_id)


TEMPTING = st.sampled_from(
    [
        "theirs",
        "theirs-event",
        "theirs-user",
        "theirs-visitor-1",
        SHARED_USER,
        "mine-event",
        "%",
        "*",
        "' OR 1=1 --",
        "x' OR project_id > 0 OR 'x' = '",
        "\\' OR 1=1 --",
        "{project_id:UInt64}",
        "$events",
        ") OR (1=1",
        "*/ OR 1=1 /*",
        "\0",
        "\\N",
        "NULL",
    ]
)
TEXTS = TEMPTING | st.text(max_size=30)
READS = [endpoint for endpoint in ENDPOINTS if endpoint.scope is Scope.READ]
PARAMETERS = {name for endpoint in READS for name in endpoint.request_example} - set(EVERYTHING)
NAMES = st.sampled_from([*sorted(PARAMETERS), "project", "project_id"])


@given(
    data=st.data(),
    endpoint=st.sampled_from(READS),
    names=st.lists(NAMES, unique=True, max_size=4),
)
@CALM
async def test_no_parameter_shows_a_row_of_another_project(api, neighbours, data, endpoint, names):
    columns = st.lists(st.sampled_from(list(GroupColumn)), min_size=1).map(",".join)
    values = {
        "group_by": columns | TEXTS,
        "interval": st.sampled_from(Interval),
        "metric": st.sampled_from(Metric),
        "breakdown": st.sampled_from(Breakdown),
        "attribution": st.sampled_from(AttributionModel),
        "bots": st.sampled_from(Bots),
        "limit": st.integers(1, 200).map(str),
        "project_id": st.just(str(neighbours.their_id)),
    }
    params = EVERYTHING | {name: data.draw(values.get(name, TEXTS), label=name) for name in names}

    answer = await api.get(endpoint.path, params, key=neighbours.mine[KeyKind.RK])

    assert answer.status_code in {200, 400}
    rows = answer.json().get("rows", [])
    assert "theirs" not in str(rows)
    for number in NUMBERS:
        assert sum(row.get(number, 0) for row in rows) <= MY_EVENTS
    assert endpoint is not QUERY or len(rows) <= MY_EVENTS


async def count(api, key: str, **params: str) -> int:
    [row] = (await api.get("/v1/stats", EVERYTHING | params, key=key)).json()["rows"]
    return row["value"]


async def test_a_project_named_in_a_body_or_header_is_ignored(api, neighbours):
    claims = {"project_id": neighbours.their_id, "project": "theirs", "key": "theirs"}
    event = make_event("mine", 99) | claims
    bodies = {
        "/v1/track": event,
        "/v1/batch": {"events": [event]} | claims,
        "/v1/identify": event,
    }
    headers = {
        "Authorization": f"Bearer {neighbours.mine[KeyKind.SK]}",
        "X-Project": "theirs",
        "X-Project-Id": str(neighbours.their_id),
    }

    for path, body in bodies.items():
        answer = await api.http.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text

    assert await count(api, neighbours.mine[KeyKind.RK]) == MY_EVENTS + 3
    assert await count(api, neighbours.theirs[KeyKind.RK]) == THEIR_EVENTS


async def test_forget_keeps_the_same_user_of_another_project(api, neighbours):
    mine = [
        make_event("mine", number) | {"user_id": near}
        for number, near in enumerate(["User-of-both", "user-of-both ", "user-of-both\0", "%"])
    ]
    await api.post("/v1/batch", {"events": mine}, key=neighbours.mine[KeyKind.SK])
    left = await rows_of(api, neighbours.mine[KeyKind.RK])

    answer = await api.post(
        "/v1/forget", {"user_id": SHARED_USER}, key=neighbours.theirs[KeyKind.SK]
    )

    assert answer.json() == {"ok": True, "queued": True}
    theirs = neighbours.theirs[KeyKind.RK]
    for _ in range(400):
        if not await rows_of(api, theirs, user_id=SHARED_USER):
            break
        await asyncio.sleep(0.05)
    assert await count(api, theirs) == THEIR_EVENTS // 2
    assert await rows_of(api, neighbours.mine[KeyKind.RK]) == left
    assert sum(row["user_id"] == SHARED_USER for row in left) == 1


async def rows_of(api, key: str, **params: str) -> list[dict[str, Any]]:
    answer = await api.get("/v1/query", EVERYTHING | params | {"limit": 1000}, key=key)
    return answer.json()["rows"]


AD = "https://shop.example/?utm_source=facebook&utm_medium=cpc"
MINE = [
    {
        "event": "$pageview",
        "anonymous_id": "phone",
        "url": "https://shop.example/a",
        "session_id": "s",
    },
    {"event": "signup", "anonymous_id": "phone", "user_id": "ann"},
    {"event": "purchase", "user_id": "ann", "properties": {"amount": 5, "plan": "pro"}},
    {"event": "$pageview", "anonymous_id": "laptop", "url": "https://shop.example/b"},
]
THEIRS = [
    # Earlier touches and pages of my visitors, user and session, and another user of my visitors.
    {"event": "$pageview", "anonymous_id": "phone", "url": AD, "session_id": "s"},
    {"event": "$pageview", "anonymous_id": "laptop", "url": AD, "user_id": "ann"},
    {"event": "signup", "anonymous_id": "laptop", "user_id": "bob"},
    {"event": "signup", "anonymous_id": "phone", "user_id": "bob"},
    {"event": "purchase", "user_id": "ann", "properties": {"amount": 500, "plan": "team"}},
]
SUM = {"metric": "sum", "property": "amount"}
STEPS = (
    '[{"event":"$pageview"},{"event":"signup"},{"event":"purchase","properties.amount[gt]":"1"}]'
)
ATTRIBUTIONS = ("event", "session", "first_touch", "last_touch")
OWN_COLUMNS = [*sorted(set(GroupColumn) - HOSTED_GROUP_COLUMNS), "properties.plan"]
OF_ANY_MODEL = [one for one in OWN_COLUMNS if one != GroupColumn.PAID_PROOF]
QUESTIONS: list[tuple[str, dict[str, str]]] = [
    *(("/v1/sources", {"attribution": one, "lookback_days": "7"}) for one in ATTRIBUTIONS),
    *(("/v1/stats", {"group_by": one, "attribution": "last_touch"}) for one in OF_ANY_MODEL),
    *(("/v1/stats", {"group_by": one, "timezone": "Asia/Kolkata"}) for one in OWN_COLUMNS),
    *(("/v1/stats", {"metric": one, "property": "amount"}) for one in PROPERTY_METRICS),
    ("/v1/stats", {"metric": "sessions", "interval": "day", "timezone": "Europe/Berlin"}),
    *(("/v1/stats", {**SUM, "group_by": "source", "attribution": one}) for one in ATTRIBUTIONS),
    ("/v1/stats", {f"{one}[not]": "nothing" for one in FILTERS}),
    ("/v1/stats", {"event[prefix]": "p", "attribution": "last_touch"}),
    ("/v1/stats", {"path[contains]": "a"}),
    *(("/v1/stats", {f"properties.amount[{one}]": "5"}) for one in ("gt", "gte", "lt", "lte")),
    ("/v1/stats", {"properties.plan[exists]": "true"}),
    *((path, {"bots": one}) for path in ("/v1/sources", "/v1/query") for one in Bots),
    *(("/v1/query", {"order": one}) for one in Order),
    ("/v1/query", {"before": "1800000000000.0.0.0"}),
    ("/v1/query", {"order": "oldest", "after": "1700000000000.0.0.0"}),
    *(
        ("/v1/funnel", {"steps": STEPS, "within": "90d", "group_by": "source", "attribution": one})
        for one in ATTRIBUTIONS
    ),
    ("/v1/funnel", {"steps": STEPS, "group_by": "landing_path"}),
    *(
        (
            "/v1/retention",
            {"event": "$pageview", "return": "purchase", "interval": one, "timezone": zone},
        )
        for one in ("day", "week", "month")
        for zone in ("UTC", "Asia/Kolkata")
    ),
    ("/v1/schema", {}),
    *(
        (path, {"bots": one} | asked)
        for one in (Bots.EXCLUDE, Bots.ONLY)
        for path, asked in {
            "/v1/stats": {"attribution": "last_touch"},
            "/v1/funnel": {"steps": STEPS},
            "/v1/retention": {"event": "$pageview"},
            "/v1/schema": {},
        }.items()
    ),
]


def at(minute: int, event: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": str(minute), "timestamp": f"2026-05-10T12:{minute:02}:00Z", **event}


async def test_no_answer_changes_because_of_another_project_s_people(api):
    """The other project gets events of the same visitors, user and session, and more events."""
    mine, other = (
        {kind: api.make_key(kind, project=name) for kind in (KeyKind.SK, KeyKind.RK)}
        for name in ("mine", "other")
    )
    sent = {"events": [at(30 + number, event) for number, event in enumerate(MINE)]}
    assert (await api.post("/v1/batch", sent, key=mine[KeyKind.SK])).status_code == 202
    before = [await read_answer(api, path, params, mine) for path, params in QUESTIONS]

    theirs = {"events": [at(number, event) for number, event in enumerate(THEIRS)]}
    headers = {"Authorization": f"Bearer {other[KeyKind.SK]}"}
    for agent in ("curl/8.5.0", "Googlebot/2.1"):
        sent = await api.http.post(
            "/v1/batch", json=theirs, headers=headers | {"User-Agent": agent}
        )
        assert sent.status_code == 202

    differ = [
        (path, params)
        for (path, params), answer in zip(QUESTIONS, before, strict=True)
        if await read_answer(api, path, params, mine) != answer
    ]
    assert differ == []


async def read_answer(api, path: str, params: dict[str, str], keys: dict[KeyKind, str]) -> Any:
    answer = await api.get(path, EVERYTHING | params, key=keys[KeyKind.RK])
    assert answer.status_code == 200, answer.text
    return answer.json()
