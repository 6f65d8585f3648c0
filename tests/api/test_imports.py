"""Imports: each part once, all of it or nothing, and back again."""

import asyncio
import logging
from datetime import timedelta
from threading import current_thread, main_thread

import pytest

from millimetric_mcp.api.ingest.pipeline import build_imported
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import StoreUnavailable, StoreUncertain

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
BRITISH = "81.2.69.160"
PAST = "2026-05-02T10:00:00.000Z"


def part(*events, chunk=0, import_id="log-1"):
    made = [{"event": "$pageview", "timestamp": PAST} | event for event in events or [{}]]
    return {"import_id": import_id, "chunk": chunk, "events": made}


async def read_columns(api, columns):
    statement = f"SELECT {columns} FROM events ORDER BY timestamp, event_name"
    rows = await asyncio.to_thread(
        api.store.pool.run, lambda client: client.query(statement).result_rows
    )
    return [tuple(row) for row in rows]


async def test_an_imported_event_has_the_country_device_and_visitor_of_its_own_request(api):
    sent = {"ip": BRITISH, "user_agent": FIREFOX, "url": "https://shop.example/a?gclid=1"}

    answer = await api.post("/v1/import", part(sent, sent | {"ip": "198.51.100.9"}))

    assert answer.json() == {"ok": True, "count": 2, "duplicate": False}
    rows = await api.rows("/v1/query")
    assert {(row["country"], row["browser"], row["os"]) for row in rows} == {
        ("GB", "firefox", "linux"),
        ("", "firefox", "linux"),
    }
    assert len({row["anonymous_id"] for row in rows}) == 2
    assert {(row["timestamp"], row["source"]) for row in rows} == {(PAST, "google")}


async def test_a_visitor_is_the_same_for_a_day_and_another_one_the_day_after(api):
    sent = {"ip": BRITISH, "user_agent": FIREFOX}
    times = ("2026-05-02T00:00:00Z", "2026-05-02T23:59:59Z", "2026-05-03T00:00:00Z")

    await api.post("/v1/import", part(*(sent | {"timestamp": time} for time in times)))

    first, second, third = [row["anonymous_id"] for row in await api.rows("/v1/query")][::-1]
    assert first == second != third
    assert first.startswith("d_")


async def test_an_imported_visitor_is_the_one_whose_browser_came_without_an_id(api):
    api.clock.now = api.clock.now.replace(day=2)
    headers = {
        "Authorization": f"Bearer {api.keys[KeyKind.PK]}",
        "Origin": "https://shop.example",
        "User-Agent": FIREFOX,
    }
    await api.http.post("/v1/track", json={"event": "live"}, headers=headers)

    await api.post("/v1/import", part({"ip": BRITISH, "user_agent": FIREFOX}))

    assert len({row["anonymous_id"] for row in await api.rows("/v1/query")}) == 1


@pytest.mark.parametrize(("count", "is_in_loop"), [(10, True), (1000, False)])
async def test_a_part_of_many_short_events_leaves_the_event_loop_free(
    quick_api, monkeypatch, count, is_in_loop
):
    threads = []

    def build(events, **known):
        threads.append(current_thread())
        return build_imported(events, **known)

    monkeypatch.setattr("millimetric_mcp.api.ingest.pipeline.build_imported", build)
    sent = part(*([{}] * count))

    answer = await quick_api.post("/v1/import", sent)

    assert answer.json()["count"] == count
    assert [thread is main_thread() for thread in threads] == [is_in_loop]


async def test_what_an_import_says_of_country_and_device_counts(api):
    said = {"country": "DE", "device_type": "tablet", "browser": "opera", "os": "ios"}

    await api.post("/v1/import", part(said | {"ip": BRITISH, "user_agent": FIREFOX}))

    [row] = await api.rows("/v1/query")
    assert {name: row[name] for name in said} == said


async def test_neither_address_nor_user_agent_is_logged_or_stored(api):
    await api.post("/v1/import", part({"ip": BRITISH, "user_agent": f"{FIREFOX} planted/7"}))

    [row] = await read_columns(api, "*")
    texts = [*map(str, row), *api.log]
    assert not [text for text in texts if BRITISH in text or "planted" in text]


async def test_an_imported_bot_is_marked(api):
    await api.post("/v1/import", part({"user_agent": BOT}))

    assert await read_columns(api, "is_bot, key_kind") == [(1, "sk")]


async def test_a_part_that_is_sent_twice_is_stored_once(api):
    first = await api.post("/v1/import", part({}, {}))
    again = await api.post("/v1/import", part({}, {}))

    assert first.json() == {"ok": True, "count": 2, "duplicate": False}
    assert again.json() == {"ok": True, "count": 2, "duplicate": True}
    assert len(await api.rows("/v1/query")) == 2


async def test_a_part_that_is_sent_many_times_at_once_is_stored_once(api):
    answers = await asyncio.gather(*(api.post("/v1/import", part({}, {})) for _ in range(8)))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert [answer.json().get("duplicate") for answer in answers].count(False) == 1
    assert len(await api.rows("/v1/query")) == 2


async def test_other_parts_imports_and_projects_are_stored_beside_it(api):
    other = api.make_key(KeyKind.SK, project="other")
    test = api.make_key(KeyKind.SK, env=KeyEnv.TEST)
    await api.post("/v1/import", part())

    for body, key in (
        (part(chunk=1), None),
        (part(import_id="log-2"), None),
        (part(), other),
        (part(), test),
    ):
        answer = await api.post("/v1/import", body, key=key)
        assert answer.json()["duplicate"] is False, answer.text

    assert len(await api.rows("/v1/query")) == 3


async def test_nothing_of_a_part_is_stored_when_one_event_is_invalid(api):
    answer = await api.post("/v1/import", part({}, {"url": "no url"}))

    assert answer.status_code == 400
    assert list(answer.json()["details"]["fieldErrors"]) == ["events[1].url"]
    assert (await api.post("/v1/import", part({}))).json()["duplicate"] is False


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timestamp": None}, "events[0].timestamp"),
        ({"timestamp": "2026-05-18T00:00:00Z"}, "events[0].timestamp"),
        ({"country": "Germany"}, "events[0].country"),
        ({"device_type": "fridge"}, "events[0].device_type"),
    ],
)
async def test_an_imported_event_with_a_wrong_field_is_refused_by_its_name(
    quick_api, change, field
):
    answer = await quick_api.post("/v1/import", part(change))

    assert answer.status_code == 400
    assert list(answer.json()["details"]["fieldErrors"]) == [field]


async def test_an_import_of_ten_years_ago_is_stored(api):
    await api.post("/v1/import", part({"timestamp": "2016-02-29T12:00:00Z"}))

    window = {"from": "2016-01-01T00:00:00Z", "to": "2017-01-01T00:00:00Z"}
    assert len(await api.rows("/v1/query", window)) == 1


async def test_a_part_that_the_store_refused_can_be_sent_again(quick_api):
    quick_api.store.error = StoreUnavailable("down")
    assert (await quick_api.post("/v1/import", part())).status_code == 503

    quick_api.store.error = None
    answer = await quick_api.post("/v1/import", part())
    assert answer.json() == {"ok": True, "count": 1, "duplicate": False}


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_part_of_unknown_outcome_is_looked_up_in_the_store(quick_api, is_stored):
    store = quick_api.store
    store.error = StoreUncertain("no answer")
    assert (await quick_api.post("/v1/import", part())).status_code == 502
    store.error = None
    busy = await quick_api.post("/v1/import", part())
    assert (busy.status_code, busy.json()) == (409, {"error": "import_busy", "retry_after_s": 1})

    if is_stored:
        [[number, *_]] = await asyncio.to_thread(read_numbers, quick_api)
        store.events.append(FakeRow(number << 32))
    quick_api.clock.advance(seconds=181)
    answer = await quick_api.post("/v1/import", part())

    assert answer.json() == {"ok": True, "count": 1, "duplicate": is_stored}
    assert len(store.events) == 1


async def test_a_part_whose_process_died_is_looked_up_at_once_by_the_next(api, run_api):
    async with run_api(UnansweringStore(api.store)) as dying:
        key = dying.keys[KeyKind.SK]
        assert (await dying.post("/v1/import", part({}, {}), key=key)).status_code == 502

    answer = await api.post("/v1/import", part({}, {}), key=key)

    assert answer.json() == {"ok": True, "count": 2, "duplicate": True}
    assert len(await api.rows("/v1/query")) == 2


async def test_an_import_that_is_taken_back_leaves_no_event_and_can_be_sent_again(api, caplog):
    caplog.set_level(logging.INFO)
    await api.post("/v1/track", {"event": "live", "timestamp": PAST})
    for chunk in (0, 1):
        await api.post("/v1/import", part({}, {}, chunk=chunk))
    await api.post("/v1/import", part({"event": "kept"}, import_id="log-2"))

    answer = await api.post("/v1/import/undo", {"import_id": "log-1"})

    assert answer.json() == {"ok": True, "deleted": 4}
    assert {row["event_name"] for row in await api.rows("/v1/query")} == {"live", "kept"}
    assert "imports: 4 events of project default were taken back" in caplog.messages
    again = await api.post("/v1/import", part())
    assert again.json() == {"ok": True, "count": 1, "duplicate": False}


async def test_only_the_own_project_can_take_an_import_back(api):
    await api.post("/v1/import", part())

    other = api.make_key(KeyKind.SK, project="other")
    answer = await api.post("/v1/import/undo", {"import_id": "log-1"}, key=other)

    assert answer.json() == {"ok": True, "deleted": 0}
    assert len(await api.rows("/v1/query")) == 1


async def test_an_import_is_not_taken_back_while_a_part_may_be_being_written(quick_api):
    quick_api.store.error = StoreUncertain("no answer")
    await quick_api.post("/v1/import", part())
    quick_api.store.error = None

    answer = await quick_api.post("/v1/import/undo", {"import_id": "log-1"})
    assert answer.status_code == 409

    quick_api.clock.now += timedelta(seconds=181)
    answer = await quick_api.post("/v1/import/undo", {"import_id": "log-1"})
    assert answer.json() == {"ok": True, "deleted": 0}


async def test_no_part_is_accepted_after_an_interrupted_undo_until_it_is_repeated(quick_api):
    await quick_api.post("/v1/import", part())
    quick_api.store.error = StoreUnavailable("down")
    undone = await quick_api.post("/v1/import/undo", {"import_id": "log-1"})
    quick_api.store.error = None

    assert undone.status_code == 503
    assert (await quick_api.post("/v1/import", part(chunk=1))).status_code == 409
    again = await quick_api.post("/v1/import/undo", {"import_id": "log-1"})
    assert again.json() == {"ok": True, "deleted": 1}


async def test_imports_are_listed_with_their_parts(quick_api):
    for chunk in (0, 1, 3):
        await quick_api.post("/v1/import", part({}, {}, chunk=chunk))
    await quick_api.post("/v1/import", part(import_id="of-other"), key=sk_of_other(quick_api))

    answer = await quick_api.post("/v1/import/list", {})

    assert answer.json() == {
        "ok": True,
        "imports": [
            {
                "import_id": "log-1",
                "started_at": "2026-05-16T19:30:00.000Z",
                "events": 6,
                "chunks": [[0, 1], [3, 3]],
                "is_undoing": False,
            }
        ],
    }


def sk_of_other(api):
    return api.make_key(KeyKind.SK, project="other")


def read_numbers(api):
    from sqlalchemy import select  # noqa: PLC0415

    from millimetric_mcp.api.control.schema import imports  # noqa: PLC0415

    with api.control._database.reading() as connection:
        return connection.execute(select(imports)).all()


class FakeRow:
    def __init__(self, import_part):
        self.import_part = import_part


class UnansweringStore:
    """Stores parts in the other store, and then says that it does not know."""

    def __init__(self, store):
        self._store = store
        self.left_running = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    def start(self):
        pass

    async def close(self):
        pass

    async def append_part(self, events, *, import_part):
        await self._store.append_part(events, import_part=import_part)
        raise StoreUncertain("no answer")
