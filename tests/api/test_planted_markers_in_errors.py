"""Errors put no request data into answers, log or table."""

import asyncio
import json
import logging
import sqlite3

import httpx
import pytest

from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.errors import StoreRefused, StoreUnavailable, StoreUncertain

MARKER = "error-marker-8be1"
IP = "203.0.113.77"
AGENT = "Agent-marker-9f1c/1.0"
WINDOW = {"from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


async def call_everything(api) -> list[httpx.Response]:
    event = {"event": MARKER, "user_id": MARKER}
    writes = [
        ("/v1/track", event),
        ("/v1/batch", {"events": [event]}),
        ("/v1/identify", event | {"anonymous_id": MARKER}),
        ("/v1/forget", {"user_id": MARKER}),
    ]
    answers = [await api.post(path, body) for path, body in writes]
    reads = [endpoint for endpoint in ENDPOINTS if endpoint.scope is Scope.READ]
    answers += [
        await api.get(read.path, {**read.request_example, **WINDOW, "event": MARKER})
        for read in reads
    ]
    answers.append(await api.http.get("/health/ready", params={"q": MARKER}))
    return answers


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(MARKER),
        KeyError(MARKER),
        AssertionError(MARKER),
        UnicodeEncodeError("utf-8", MARKER, 0, 1, MARKER),
        ExceptionGroup(MARKER, [ValueError(MARKER)]),
        StoreUnavailable(MARKER),
        StoreRefused(MARKER),
        StoreUncertain(MARKER),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_no_error_of_the_store_shows_its_text_or_place(quick_api, caplog, error):
    caplog.set_level(logging.DEBUG)
    error.__cause__ = ValueError(MARKER)
    quick_api.store.error = error

    answers = await call_everything(quick_api)

    assert {answer.status_code for answer in answers} <= {500, 502, 503}
    for text in [*(answer.text for answer in answers), *quick_api.log]:
        assert MARKER not in text
        assert "Traceback" not in text
        assert ".py" not in text
    ours = [line for line in caplog.messages if not line.startswith("HTTP Request")]
    assert "Traceback" not in "".join(ours)


async def test_an_unexpected_error_is_logged_by_its_type_and_place(quick_api):
    quick_api.store.error = RuntimeError(MARKER)

    answer = await quick_api.post("/v1/track", {"event": "x"})

    [line] = [json.loads(line) for line in quick_api.log]
    assert line["error"].startswith("RuntimeError at StoreDouble.ping:")
    assert line["trace"][-1] == line["error"].partition(" at ")[2]
    assert any(place.startswith("Endpoints._track:") for place in line["trace"])
    assert (line["level"], line["status"], line["project"]) == ("error", 500, "default")
    assert line["reference"] == answer.json()["reference"]


async def test_no_error_of_the_control_database_shows_its_text(quick_api, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError(MARKER)

    monkeypatch.setattr(quick_api.control._database._engine.dialect, "do_execute", fail)

    answers = [
        await quick_api.post("/v1/track", {"event": "x"}, key=key)
        for key in quick_api.keys.values()
    ]

    assert {answer.status_code for answer in answers} == {503}
    texts = [*(answer.text for answer in answers), *quick_api.log, *caplog.messages]
    assert [text for text in texts if MARKER in text] == []


async def test_the_table_holds_no_address_and_no_user_agent(api):
    transport = httpx.ASGITransport(api.app, client=(IP, 40_000))
    headers = {
        "Authorization": f"Bearer {api.keys['sk']}",
        "User-Agent": AGENT,
        "X-Forwarded-For": "198.51.100.7",
    }
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        answer = await http.post("/v1/track", json={"event": "kept"}, headers=headers)
    assert answer.status_code == 202

    await api.store.flush()
    pool = api.store.pool
    statement = "SELECT * FROM events FORMAT JSONStringsEachRow"
    dump = await asyncio.to_thread(pool.run, lambda client: client.raw_query(statement))

    assert b"kept" in dump
    for hidden in (IP, "198.51.100.7", AGENT, api.keys["sk"].split("_", 3)[3]):
        assert hidden.encode() not in dump
    rows = await asyncio.to_thread(
        pool.run, lambda client: client.query("SELECT hex(ip_hash) FROM events").result_rows
    )
    assert rows != [("0" * 32,)]
