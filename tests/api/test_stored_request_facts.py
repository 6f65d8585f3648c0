"""What is stored of the request that brought an event, and not shown in event rows."""

import asyncio

import pytest

from millimetric_mcp.contract.keys import KeyKind

ORIGIN = "https://shop.example"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


async def read_facts(api) -> list[tuple[str, int]]:
    await api.store.flush()
    statement = "SELECT key_kind, is_bot FROM events ORDER BY event_name"
    rows = await asyncio.to_thread(
        api.store.pool.run, lambda client: client.query(statement).result_rows
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(("user_agent", "is_bot"), [(PERSON, 0), (BOT, 1), ("curl/8.10.1", 0)])
async def test_an_event_knows_whether_a_bot_sent_it(api, user_agent, is_bot):
    headers = {"Authorization": f"Bearer {api.keys[KeyKind.SK]}", "User-Agent": user_agent}

    await api.http.post("/v1/track", json={"event": "a"}, headers=headers)

    assert await read_facts(api) == [("sk", is_bot)]


async def test_an_event_knows_the_kind_of_the_key_that_sent_it(api):
    for name, kind in (("a", KeyKind.PK), ("b", KeyKind.SK)):
        headers = {"Authorization": f"Bearer {api.keys[kind]}", "Origin": ORIGIN}
        answer = await api.http.post("/v1/track", json={"event": name}, headers=headers)
        assert answer.status_code == 202

    assert [kind for kind, _ in await read_facts(api)] == ["pk", "sk"]
