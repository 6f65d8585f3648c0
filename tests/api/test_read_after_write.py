"""Every read sees what was acknowledged before it, whoever else writes at the same time."""

import asyncio
import json
import random
from typing import Any

import pytest

from millimetric_mcp.contract.endpoints import ENDPOINTS

WRITERS = 8
STEPS = 12
KINDS = ("track", "batch", "identify", "forget")
SHARES = (5, 3, 2, 1)
BATCH_EVENTS = 7
READS = tuple(endpoint.path for endpoint in ENDPOINTS if endpoint.method == "GET")


async def count(api: Any, path: str, name: str) -> int:
    """How many events of a user an endpoint counts, or how many people; each in its own way."""
    match path:
        case "/v1/query":
            return len(await api.rows(path, {"user_id": name, "limit": 1000}))
        case "/v1/stats":
            return sum(row["value"] for row in await api.rows(path, {"event": name}))
        case "/v1/sources":
            rows = await api.rows(path, {"breakdown": "source", "limit": 200})
            return sum(row["events"] for row in rows if row["source"] == f"{name}.example")
        case "/v1/schema":
            rows = await api.rows(path)
            return sum(row["events"] for row in rows if row["event_name"] == name)
        case "/v1/funnel":
            steps = json.dumps([{"event": name}, {"event": "never"}])
            return sum(row["people"] for row in await api.rows(path, {"steps": steps}))
        case "/v1/retention":
            return sum(row["people"] for row in await api.rows(path, {"event": name}))
    raise AssertionError(path)


async def write(api: Any, kind: str, name: str) -> int:
    """Writes as the user; returns how many events were acknowledged."""
    event = {"event": name, "user_id": name, "referrer": f"https://{name}.example/"}
    answer = await {
        "track": lambda: api.post("/v1/track", event),
        "batch": lambda: api.post("/v1/batch", {"events": [event] * BATCH_EVENTS}),
        "identify": lambda: api.post("/v1/identify", {"anonymous_id": name, "user_id": name}),
        "forget": lambda: api.post("/v1/forget", {"user_id": name}),
    }[kind]()
    assert answer.is_success, answer.text
    return {"track": 1, "batch": BATCH_EVENTS, "identify": 1, "forget": 0}[kind]


async def write_and_read(api: Any, writer: int, seed: int) -> None:
    chance = random.Random(seed * WRITERS + writer)
    name, stored, with_source = f"w{writer}-0", 0, 0
    for step in range(STEPS):
        [kind] = chance.choices(KINDS, SHARES)
        if kind == "forget":
            await write(api, kind, name)
            await wait_until_gone(api, name)
            # What is written from now on is not deleted, although the user is the same.
            stored = with_source = 0
        else:
            events = await write(api, kind, name)
            stored += events
            with_source += events if kind != "identify" else 0
        path = chance.choice(READS)
        expected = stored if path == "/v1/query" else with_source
        if path in {"/v1/funnel", "/v1/retention"}:
            expected = min(expected, 1)  # people: the user is one
        assert await count(api, path, name) == expected, (step, kind, path)


async def wait_until_gone(api: Any, name: str) -> None:
    for _ in range(600):
        if not await count(api, "/v1/query", name):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{name} is still there")


@pytest.mark.parametrize("seed", range(2))
async def test_every_read_sees_what_was_acknowledged_before_it(api, seed):
    await asyncio.gather(*(write_and_read(api, writer, seed) for writer in range(WRITERS)))
