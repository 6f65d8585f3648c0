"""The API's store on a ClickHouse server: the real client over real sockets."""

import asyncio
from hashlib import sha256

import pytest

from millimetric_mcp.api.store import open_event_store
from millimetric_mcp.contract.keys import KeyKind

PAGE = "https://yoursite.com/?utm_source=facebook&utm_medium=cpc"


async def test_what_is_acknowledged_is_read_back_by_every_read(api):
    visit = {"event": "visit", "anonymous_id": "u1", "url": PAGE}
    batch = [visit, visit | {"anonymous_id": "u2"}, {"event": "signup", "anonymous_id": "ü'\\\n"}]

    answers = [
        await api.post("/v1/track", visit | {"event_id": "evt_1", "user_id": "user_42"}),
        await api.post("/v1/batch", {"events": batch}),
        await api.post("/v1/identify", {"anonymous_id": "u1", "user_id": "user_42"}),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 200]
    assert await api.rows("/v1/sources", {"breakdown": "source"}) == [
        {"source": "facebook", "events": 3, "uniques": 2, "paid_share": 1.0},
        {"source": "direct", "events": 2, "uniques": 2, "paid_share": 0.0},
    ]
    daily = {"interval": "day", "group_by": "event_name", "metric": "uniques", "event": "visit"}
    assert await api.rows("/v1/stats", daily) == [
        {"bucket": "2026-05-16T00:00:00.000Z", "event_name": "visit", "value": 2}
    ]
    [row] = await api.rows("/v1/query", {"event": "visit", "user_id": "user_42"})
    assert (row["event_id"], row["url"]) == ("evt_1", PAGE)
    [odd] = await api.rows("/v1/query", {"event": "signup"})
    assert odd["anonymous_id"] == "ü'\\\n"


async def test_values_are_bound_and_never_part_of_a_statement(api):
    quoted = "' OR 1=1 --"
    await api.post("/v1/track", {"event": "visit", "user_id": "user_42"})
    await api.post("/v1/track", {"event": "visit", "user_id": quoted})

    assert [row["user_id"] for row in await api.rows("/v1/query", {"user_id": quoted})] == [quoted]


async def test_the_server_gathers_writes_and_answers_when_they_are_stored(api, front, database):
    await api.post("/v1/track", {"event": "visit"})

    [insert] = front.list_statements("INSERT INTO `events`", database=database)
    settings = insert["settings"]
    assert (settings["async_insert"], settings["wait_for_async_insert"]) == ("1", "1")
    assert settings["send_progress_in_http_headers"] == "0"
    assert insert["encoding"] == "lz4"
    assert "insert_shard_id" not in settings


async def test_equal_events_are_stored_twice_even_if_the_table_drops_equal_inserts(api, ask):
    ask.command("ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 100")
    event = {"event": "x", "anonymous_id": "u1", "timestamp": "2026-05-16T10:00:00Z"}

    for _ in range(3):
        assert (await api.post("/v1/track", event)).status_code == 202

    assert len(await api.rows("/v1/query")) == 3


async def test_a_forgotten_user_s_events_are_deleted_and_no_others(api, ask, wait_until):
    events = [{"event": "x", "user_id": f"user_{number % 3}"} for number in range(30)]
    await api.post("/v1/batch", {"events": events})

    answer = await api.post("/v1/forget", {"user_id": "user_1"})

    assert answer.json() == {"ok": True, "queued": True}
    await wait_until(lambda: ask("SELECT count() FROM events WHERE user_id = 'user_1'") == [(0,)])
    left = await api.rows("/v1/stats", {"group_by": "event_name"})
    assert left == [{"event_name": "x", "value": 20}]


async def test_a_deletion_runs_in_the_store_that_was_in_use_when_it_was_requested(
    api, run_api, front, database, wait_until
):
    """Not in another store with the same control database, which has no such events."""
    await api.post("/v1/track", {"event": "x", "user_id": "gone"})
    deletion = {"database": database, "match": "-- Deletes", "kind": "refuse", "code": 242}
    front.plant(deletion | {"times": 1000})
    another = open_event_store(front.target(f"{database}_2"), max_queued_events=1)

    async with run_api(another):
        await api.post("/v1/forget", {"user_id": "gone"})
        await wait_until(lambda: len(front.list_statements("-- Deletes", database=database)) > 2)
        front.plant()
        await wait_until(lambda: not api.control.deletions.list_pending())

    assert await api.rows("/v1/query") == []
    assert front.list_statements("-- Deletes", database=f"{database}_2") == []


async def test_deletions_of_many_projects_share_a_statement(api, front, database, wait_until):
    for number in range(12):
        key = api.make_key(KeyKind.SK, project=f"project {number}")
        for user_id in ("gone", "kept"):
            await api.post("/v1/track", {"event": "x", "user_id": user_id}, key=key)
        if number:
            await api.post("/v1/forget", {"user_id": "gone"}, key=key)

    await wait_until(lambda: not api.control.deletions.list_pending())

    assert len(front.list_statements("-- Deletes", database=database)) < 6


async def test_a_thousand_users_are_deleted_by_one_statement(api, ask):
    users = [f"user_{number}" for number in range(1001)]
    await api.post("/v1/batch", {"events": [{"event": "x", "user_id": u} for u in users[1:]]})
    await api.post("/v1/track", {"event": "x", "user_id": users[0]})
    [[project_id]] = ask("SELECT DISTINCT project_id FROM events")
    cutoff = await api.store.now()

    hashes = [sha256(b"salt" + user.encode()).digest() for user in users[1:]]
    cutoffs = {(project_id, user_hash): cutoff for user_hash in hashes}
    removed = await api.store.delete_people(salt=b"salt", users=cutoffs, visitors={})

    assert removed == {project_id: 1000}
    assert ask("SELECT user_id FROM events") == [(users[0],)]


async def test_concurrent_requests_share_inserts_and_lose_nothing(api, front, database):
    bodies = [{"events": [{"event": "x", "anonymous_id": f"u{n}"}] * 5} for n in range(60)]

    answers = await asyncio.gather(*(api.post("/v1/batch", body) for body in bodies))

    assert {answer.status_code for answer in answers} == {202}
    assert (await api.rows("/v1/stats"))[0]["value"] == 300
    assert len(front.list_statements("INSERT INTO `events`", database=database)) < 30


@pytest.mark.parametrize("encoding", ["lz4", "zstd"])
async def test_the_front_reads_what_the_client_compresses(encoding, front, database):
    import clickhouse_connect  # noqa: PLC0415

    client = clickhouse_connect.get_client(
        dsn=front.dsn("").replace("clickhouse:", "http:"),
        compress=encoding,
        autogenerate_session_id=False,
    )
    client.command(f"CREATE DATABASE {database}")
    client.command(f"CREATE TABLE {database}.t (a UInt32) ENGINE = MergeTree ORDER BY a")
    client.database = database
    client.insert("t", [[number] for number in range(1000)], ["a"])
    assert client.query(f"SELECT sum(a) FROM {database}.t").result_rows == [(499_500,)]
    [insert] = front.list_statements("INSERT INTO `t`", database=database)
    assert insert["encoding"] == encoding
    client.close()


async def test_hourly_buckets_are_utc_if_the_server_has_another_zone(
    start_front, database, run_api, tmp_path, monkeypatch
):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    server = start_front(tmp_path / "server")
    hour = {"from": "2026-05-16T19:00:00Z", "to": "2026-05-16T20:00:00Z", "interval": "hour"}

    async with run_api(open_event_store(server.target(database), max_queued_events=10)) as api:
        await api.post("/v1/track", {"event": "x", "timestamp": "2026-05-16T19:10:00.123Z"})

        assert await api.rows("/v1/stats", hour) == [
            {"bucket": "2026-05-16T19:00:00.000Z", "value": 1}
        ]
        [row] = await api.rows("/v1/query", hour)
    server.stop()
    assert row["timestamp"] == "2026-05-16T19:10:00.123Z"
