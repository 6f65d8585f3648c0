"""What ``POST /v1/forget`` deletes and what it leaves, on the real engine."""

import asyncio
from typing import Any

import pytest

from millimetric_mcp.contract.keys import KeyKind

pytestmark = pytest.mark.usefixtures("sent")

EVENTS = [
    ("phone", "ann"),
    ("phone", ""),
    ("laptop", ""),
    ("kiosk", "ann"),
    ("kiosk", "bob"),
    ("kiosk", ""),
    ("tablet", "bob"),
    ("tablet", ""),
    ("", "ann"),
]


@pytest.fixture
async def sent(api) -> None:
    events = [
        {
            name: value
            for name, value in {"event": "x", "anonymous_id": visitor, "user_id": user}.items()
            if value
        }
        for visitor, user in EVENTS
    ]
    await api.post("/v1/batch", {"events": events})
    await api.post("/v1/identify", {"anonymous_id": "laptop", "user_id": "ann"})


async def forget(api: Any, body: dict[str, Any], *, key: str | None = None) -> Any:
    answer = await api.post("/v1/forget", body, key=key)
    assert answer.status_code == 200, answer.text
    for _ in range(400):
        if not api.control.deletions.list_pending():
            return answer.json()
        await asyncio.sleep(0.05)
    raise AssertionError("the deletion did not end")


async def list_left(api: Any) -> list[tuple[str, str]]:
    rows = await api.rows("/v1/query", {"limit": 1000})
    return sorted(
        (row["anonymous_id"] if row["anonymous_id"] in dict(EVENTS) else "", row["user_id"] or "")
        for row in rows
    )


async def test_a_user_is_deleted_and_the_visitors_other_events_stay(api):
    assert await forget(api, {"user_id": "ann"}) == {"ok": True, "queued": True}
    assert await list_left(api) == [
        ("kiosk", ""),
        ("kiosk", "bob"),
        ("laptop", ""),
        ("phone", ""),
        ("tablet", ""),
        ("tablet", "bob"),
    ]


async def test_a_visitor_is_deleted_with_all_its_events_and_no_others(api):
    await forget(api, {"anonymous_id": "kiosk"})
    assert await list_left(api) == sorted(
        [pair for pair in EVENTS if pair[0] != "kiosk"] + [("laptop", "ann")]
    )


async def test_an_id_of_a_visitor_is_not_one_of_a_user(api):
    before = await list_left(api)
    await forget(api, {"user_id": "phone"})
    await forget(api, {"anonymous_id": "ann"})
    assert await list_left(api) == before


async def test_linked_deletes_visitors_of_this_user_and_of_no_other(api):
    answer = await forget(api, {"user_id": "ann", "linked": True})
    assert answer == {"ok": True, "queued": True, "applied": {"linked": True}}
    assert await list_left(api) == [
        ("kiosk", ""),
        ("kiosk", "bob"),
        ("tablet", ""),
        ("tablet", "bob"),
    ]


async def test_linked_leaves_another_projects_visitors_of_the_same_name(api):
    other_sk = api.make_key(KeyKind.SK, project="other")
    event = {"event": "x", "anonymous_id": "phone", "user_id": "ann"}
    await api.post("/v1/track", event, key=other_sk)
    other_rk = api.make_key(KeyKind.RK, project="other")

    await forget(api, {"user_id": "ann", "linked": True})
    await forget(api, {"anonymous_id": "phone"})

    answer = await api.get("/v1/query", key=other_rk)
    assert len(answer.json()["rows"]) == 1


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"user_id": ["give either user_id or anonymous_id"]}),
        (
            {"user_id": "ann", "anonymous_id": "phone"},
            {"user_id": ["give either user_id or anonymous_id"]},
        ),
        (
            {"anonymous_id": "phone", "linked": True},
            {"linked": ["must come with user_id, not with anonymous_id"]},
        ),
        ({"user_id": "ann", "linked": "yes"}, {"linked": ["Input should be a valid boolean"]}),
    ],
)
async def test_an_unclear_request_is_refused_and_deletes_nothing(api, body, errors):
    answer = await api.post("/v1/forget", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_payload")
    assert answer.json()["details"]["fieldErrors"] == errors
    assert api.control.deletions.list_pending() == ()
