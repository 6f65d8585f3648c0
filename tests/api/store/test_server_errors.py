"""What the API answers while the ClickHouse server fails, and what is stored then."""

import asyncio
import logging

import pytest

from millimetric_mcp.api.store import ClientPool
from millimetric_mcp.errors import StoreUnavailable, StoreUncertain

EVENT = {"event": "x", "anonymous_id": "u1", "timestamp": "2026-05-16T10:00:00Z"}


@pytest.mark.parametrize(
    ("error", "status", "stored"),
    [
        pytest.param({"kind": "cut_before"}, 502, 0, id="the-connection-is-cut-before-it-is-done"),
        pytest.param({"kind": "cut_after"}, 502, 1, id="the-connection-is-cut-after-it-is-done"),
        pytest.param(
            {"kind": "refuse", "code": 159, "name": "TIMEOUT_EXCEEDED"},
            502,
            0,
            id="an-asynchronous-insert-timed-out-and-is-not-stored",
        ),
        pytest.param(
            {"kind": "fail_after", "code": 159, "name": "TIMEOUT_EXCEEDED"},
            502,
            1,
            id="an-asynchronous-insert-timed-out-and-is-stored",
        ),
        pytest.param(
            {"kind": "fail_after", "code": 319, "name": "UNKNOWN_STATUS_OF_INSERT"},
            502,
            1,
            id="a-replica-lost-keeper-while-it-stored",
        ),
        pytest.param(
            {"kind": "fail_after", "code": 210, "name": "NETWORK_ERROR"},
            502,
            1,
            id="a-shard-did-not-answer",
        ),
        pytest.param(
            {"kind": "fail_after", "code": 1002, "name": "UNKNOWN_EXCEPTION"},
            502,
            1,
            id="an-error-that-says-nothing-of-the-rows",
        ),
        pytest.param(
            {"kind": "refuse", "code": 252, "name": "TOO_MANY_PARTS"}, 503, 0, id="too-many-parts"
        ),
        pytest.param(
            {"kind": "refuse", "code": 242, "name": "TABLE_IS_READ_ONLY"},
            503,
            0,
            id="the-table-is-read-only",
        ),
        pytest.param(
            {"kind": "refuse", "code": 516, "name": "AUTHENTICATION_FAILED"},
            503,
            0,
            id="the-password-was-changed",
        ),
        pytest.param(
            {"kind": "refuse", "code": 117, "name": "INCORRECT_DATA"},
            503,
            0,
            id="the-rows-are-refused",
        ),
    ],
)
async def test_a_failed_insert_answers_503_or_502_by_what_is_known(
    error, status, stored, api, front, database, ask
):
    front.plant({"database": database, "match": "INSERT INTO `events`", **error})

    answer = await api.post("/v1/track", EVENT)

    assert (answer.status_code, answer.json()["error"]) == (status, "upstream_failed")
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert ask("SELECT count() FROM events") == [(stored,)]
    assert (await api.post("/v1/track", EVENT)).status_code == 202
    assert ask("SELECT count() FROM events") == [(stored + 1,)]


@pytest.fixture
def post_as_a_group(api, front, database, wait_until):
    """Ten requests of which nine wait for the first and become one insert, which fails."""

    async def post(code: int) -> list[int]:
        planted = {"database": database, "match": "INSERT INTO `events`"}
        front.plant(
            {**planted, "kind": "hang", "delay_s": 0.3}, {**planted, "kind": "refuse", "code": code}
        )
        first = asyncio.create_task(api.post("/v1/track", EVENT))
        await wait_until(lambda: front.list_statements("INSERT INTO `events`", database=database))
        others = await asyncio.gather(*(api.post("/v1/track", EVENT) for _ in range(9)))
        return [answer.status_code for answer in (await first, *others)]

    return post


async def test_rows_that_the_server_refuses_fail_their_own_request_only(post_as_a_group, ask):
    assert await post_as_a_group(117) == [202] * 10
    assert ask("SELECT count() FROM events") == [(10,)]


async def test_a_full_server_gets_no_insert_for_each_request_of_a_group(
    post_as_a_group, front, database
):
    assert await post_as_a_group(252) == [202, *[503] * 9]
    assert len(front.list_statements("INSERT INTO `events`", database=database)) == 2


async def test_a_read_is_repeated_when_its_connection_is_cut(api, front, database):
    await api.post("/v1/track", EVENT)
    front.plant({"database": database, "kind": "cut_before", "match": "raw rows"})

    assert len(await api.rows("/v1/sources")) == 1


async def test_a_failed_read_answers_503(api, front, database):
    front.plant(
        {"database": database, "kind": "refuse", "code": 241, "match": "SELECT", "times": 9}
    )

    answer = await api.get("/v1/sources")

    assert (answer.status_code, answer.json()["error"]) == (503, "upstream_failed")


async def test_an_insert_that_times_out_answers_502(front, database, store_target, api):
    front.plant({"database": database, "kind": "hang", "delay_s": 2, "match": "INSERT"})
    pool = ClientPool(store_target)

    with pytest.raises(StoreUncertain):
        await asyncio.to_thread(
            pool.run,
            lambda client: client.insert("events", [[1]], ["project_id"], "", None, ["UInt64"]),
            timeout_s=1,
        )

    pool.close()


@pytest.mark.parametrize("path", ["/v1/track", "/v1/sources"], ids=["write", "read"])
async def test_a_server_that_hangs_does_not_delay_closing(path, api, front, database, wait_until):
    match = {"/v1/track": "INSERT INTO `events`", "/v1/sources": "-- Events, visitors"}[path]
    front.plant({"database": database, "kind": "hang", "delay_s": 2.5, "match": match})
    call = api.post(path, EVENT) if path == "/v1/track" else api.get(path)
    waiting = asyncio.create_task(call)
    await wait_until(lambda: front.list_statements(match, database=database))

    async with asyncio.timeout(2):
        await api.store.close()

    assert api.store.left_running
    await waiting


async def test_the_log_names_errors_and_quotes_nothing(api, front, database, caplog):
    marker = "planted-marker"
    front.plant({"database": database, "kind": "cut_before", "match": "SELECT", "times": 99})

    with caplog.at_level(logging.DEBUG):
        await api.get("/v1/query", {"user_id": marker})
        await api.post("/v1/track", {"event": marker})

    assert "store: OperationalError" in caplog.text
    said = [
        record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    ]
    assert not any(marker in record.getMessage() or record.exc_info for record in said)


@pytest.mark.slow
class TestAServerThatIsDown:
    """Its own server, for the test to stop."""

    @pytest.fixture
    def front(self, own_front):
        return own_front

    async def test_writes_and_reads_are_refused_and_the_api_recovers_by_itself(self, api, front):
        kept = [await api.post("/v1/track", EVENT | {"event_id": "before"})]
        front.stop()

        down = [
            await api.post("/v1/track", EVENT | {"event_id": "down"}),
            await api.get("/v1/sources"),
            await api.http.get("/health/ready"),
        ]
        forget = await api.post("/v1/forget", {"user_id": "user_42"})
        front.start()
        kept.append(await api.post("/v1/track", EVENT | {"event_id": "after"}))

        assert [answer.status_code for answer in down] == [503, 503, 503]
        assert down[0].headers["Retry-After"] == "5"
        assert (forget.status_code, forget.json()["error"]) == (500, "forget_failed")
        assert [answer.status_code for answer in kept] == [202, 202]
        rows = await api.rows("/v1/query")
        assert sorted(row["event_id"] for row in rows) == ["after", "before"]
        assert (await api.http.get("/health")).status_code == 200

    async def test_a_deletion_requested_before_a_restart_completes_after(
        self, api, front, ask, wait_until
    ):
        await api.post("/v1/track", EVENT | {"user_id": "user_42"})
        front.plant(
            {"database": ask.database, "kind": "cut_before", "match": "ALTER TABLE", "times": 99}
        )
        await api.post("/v1/forget", {"user_id": "user_42"})
        front.stop()

        front.start()

        await wait_until(lambda: ask("SELECT count() FROM events") == [(0,)])

    async def test_a_dead_server_means_not_stored(self, front, store_target):
        pool = ClientPool(store_target)
        front.stop()

        with pytest.raises(StoreUnavailable):
            pool.run(lambda client: client.query("SELECT 1"))

        pool.close()
