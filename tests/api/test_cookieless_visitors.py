"""Browsers' events without ``anonymous_id``: one visitor for a UTC day, and no longer."""

import pytest

from millimetric_mcp.contract.keys import KeyKind

ORIGIN = "https://shop.example"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Mobile/15E148 Safari/604.1"


@pytest.fixture
def send(api):
    async def send_event(*, user_agent: str = "Mozilla/5.0", key: str | None = None, **event):
        answer = await api.http.post(
            "/v1/track",
            json={"event": "$pageview"} | event,
            headers={
                "Authorization": f"Bearer {key or api.keys[KeyKind.PK]}",
                "Origin": ORIGIN,
                "User-Agent": user_agent,
            },
        )
        assert answer.status_code == 202, answer.text

    return send_event


async def list_visitors(api) -> list[str]:
    return [row["anonymous_id"] for row in reversed(await api.rows("/v1/query"))]


async def test_events_of_one_browser_on_one_day_have_one_visitor(api, send):
    await send()
    await send()

    visitors = set(await list_visitors(api))

    assert len(visitors) == 1
    assert visitors.pop().startswith("d_")


async def test_another_browser_another_day_and_a_given_id_are_other_visitors(api, send):
    await send()
    await send(user_agent=PHONE)
    await send(anonymous_id="v1")
    api.clock.advance(hours=12)
    await send()

    visitors = await list_visitors(api)

    assert len(set(visitors)) == 4
    assert visitors[2] == "v1"


async def test_another_project_sees_another_visitor(api, send):
    await send()
    other_key = api.make_key(KeyKind.PK, project="other", origins=[ORIGIN])
    await send(key=other_key)
    other_reader = api.make_key(KeyKind.RK, project="other")

    [ours] = await list_visitors(api)
    [theirs] = (await api.get("/v1/query", key=other_reader)).json()["rows"]

    assert ours != theirs["anonymous_id"]


async def test_a_server_s_events_without_an_id_are_different_visitors(api):
    await api.post("/v1/track", {"event": "a"})
    await api.post("/v1/track", {"event": "a"})

    assert len(set(await list_visitors(api))) == 2
