"""One-time links to the page: a code that a read key gets, and a browser exchanges for it."""

import asyncio
import sqlite3

import pytest
from sqlalchemy import make_url

from millimetric_mcp.contract.endpoints import LINK, SIGN_IN_PATH
from millimetric_mcp.contract.keys import KeyKind
from tests.api.conftest import StoreDouble, bearer

UNKNOWN = (401, {"error": "invalid_api_key"})


async def create(api, kind=KeyKind.RK):
    return await api.post(LINK.path, {}, key=api.keys[kind])


async def create_code(api):
    answer = await create(api)
    assert answer.status_code == 200, answer.text
    return answer.json()["code"]


async def sign_in(api, code):
    answer = await api.http.post(SIGN_IN_PATH, headers=bearer(code))
    return answer.status_code, answer.json()


async def test_a_code_gives_the_key_that_asked_for_it_once(quick_api):
    code = await create_code(quick_api)

    assert await sign_in(quick_api, code) == (200, {"key": quick_api.keys[KeyKind.RK]})
    assert await sign_in(quick_api, code) == UNKNOWN


@pytest.mark.parametrize(("after_s", "status"), [(59, 200), (60, 401), (3600, 401)])
async def test_a_code_works_for_60_seconds(quick_api, after_s, status):
    code = await create_code(quick_api)
    quick_api.clock.advance(seconds=after_s)

    assert (await sign_in(quick_api, code))[0] == status


async def test_of_requests_at_once_one_gets_the_key(quick_api):
    code = await create_code(quick_api)

    answers = await asyncio.gather(*(sign_in(quick_api, code) for _ in range(10)))

    assert sorted(status for status, _ in answers) == [200, *[401] * 9]


async def test_a_code_works_once_in_all_processes_of_a_deployment(run_api):
    async with run_api(StoreDouble()) as first, run_api(StoreDouble()) as second:
        code = await create_code(first)

        assert (await sign_in(second, code))[1] == {"key": first.keys[KeyKind.RK]}
        assert await sign_in(first, code) == UNKNOWN


@pytest.mark.parametrize("kind", [KeyKind.SK, KeyKind.PK])
async def test_only_a_read_key_gets_a_code(quick_api, kind):
    answer = await create(quick_api, kind)

    assert (answer.status_code, answer.json()) == (403, {"error": "insufficient_scope"})


async def test_a_code_of_others_or_none_gives_no_key(quick_api):
    assert await sign_in(quick_api, "guessed") == UNKNOWN
    answer = await quick_api.http.post(SIGN_IN_PATH)
    assert (answer.status_code, answer.json()) == (401, {"error": "missing_bearer_token"})


async def test_pages_of_other_sites_cannot_read_the_answers(quick_api):
    origin = {"Origin": "https://evil.example"}
    for path, token in ((LINK.path, quick_api.keys[KeyKind.RK]), (SIGN_IN_PATH, "guessed")):
        answer = await quick_api.http.post(path, json={}, headers=bearer(token) | origin)
        assert "access-control-allow-origin" not in answer.headers


async def test_the_key_is_in_no_cache_log_or_database(quick_api, control_dsn):
    code = await create_code(quick_api)
    key = quick_api.keys[KeyKind.RK]
    secret = key[17:]
    if control_dsn.startswith("sqlite"):
        with sqlite3.connect(make_url(control_dsn).database) as database:
            dump = "\n".join(database.iterdump())
        assert "millimetric_links" in dump
        assert secret.encode().hex() not in dump.lower()
        assert code not in dump
    answer = await quick_api.http.post(SIGN_IN_PATH, headers=bearer(code))

    assert answer.headers["cache-control"] == "no-store"
    log = "".join(quick_api.log)
    assert SIGN_IN_PATH in log
    assert secret not in log
    assert code not in log


async def test_codes_that_expired_are_removed_by_the_next_one(quick_api, control_dsn):
    if not control_dsn.startswith("sqlite"):
        pytest.skip("reads the file")
    for _ in range(3):
        await create_code(quick_api)
        quick_api.clock.advance(seconds=61)
    with sqlite3.connect(make_url(control_dsn).database) as database:
        assert database.execute("SELECT count(*) FROM millimetric_links").fetchone() == (1,)
