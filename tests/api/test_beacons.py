"""``navigator.sendBeacon``: the key in the query, JSON as text/plain."""

import json

import pytest

from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.settings import ApiSettings, RateLimits

TEXT = {"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://shop.example"}
BODIES = {
    "/v1/track": b'{"event":"left"}',
    "/v1/batch": b'{"events":[{"event":"left"},{"event":"left"}]}',
    "/v1/identify": b'{"anonymous_id":"a","user_id":"u"}',
}


async def send(api, path, key, **headers):
    return await api.http.post(
        path, params={"key": key}, content=BODIES.get(path, b"{}"), headers=TEXT | headers
    )


@pytest.mark.parametrize("media_type", [TEXT["Content-Type"], "application/json"])
async def test_a_beacon_is_stored(api, media_type):
    for path in BODIES:
        answer = await send(api, path, api.keys["pk"], **{"Content-Type": media_type})
        assert (answer.status_code // 100, answer.json()["ok"]) == (2, True)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "ignored" not in answer.json()

    assert len(await api.rows("/v1/query", {"event": "left"})) == 3


async def test_the_key_of_a_beacon_is_not_logged(quick_api):
    key = quick_api.keys["pk"]
    await send(quick_api, "/v1/track", key)
    await send(quick_api, "/v1/track", key, Origin="https://evil.example")
    await send(quick_api, "/v1/track", key[:-1])

    lines = [json.loads(line) for line in quick_api.log]
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/v1/track", 202),
        ("/v1/track", 403),
        ("/v1/track", 401),
    ]
    assert not any(key[8:24] in line for line in quick_api.log)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
async def test_a_beacon_from_another_origin_is_refused(quick_api, origin):
    answer = await send(quick_api, "/v1/track", quick_api.keys["pk"], Origin=origin)
    assert (answer.status_code, answer.json()["error"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize("kind", ["sk", "rk"])
async def test_keys_that_are_secret_are_not_read_from_the_query(quick_api, kind):
    answer = await send(quick_api, "/v1/track", quick_api.keys[kind])
    assert (answer.status_code, answer.json()["error"]) == (401, "missing_bearer_token")


@pytest.mark.parametrize(
    "endpoint", [e for e in ENDPOINTS if e.path not in BODIES], ids=lambda e: e.path
)
async def test_other_endpoints_read_no_key_from_the_query(quick_api, endpoint):
    answer = await quick_api.http.request(
        endpoint.method, endpoint.path, params={"key": quick_api.keys["pk"]}, headers=TEXT
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "missing_bearer_token")


async def test_a_key_in_the_header_is_the_one_that_counts(quick_api):
    bearer = {"Authorization": f"Bearer {quick_api.keys['sk']}"}
    as_text = await send(quick_api, "/v1/track", quick_api.keys["pk"], **bearer)
    unknown = await send(quick_api, "/v1/track", "pk_x", Authorization="Bearer x")
    assert as_text.json()["error"] == "unsupported_media_type"
    assert unknown.json()["error"] == "malformed_api_key"


@pytest.mark.parametrize(
    ("key", "code"),
    [("pk_x", "malformed_api_key"), ("pk_live_AAAAAAAA_" + "a" * 32, "invalid_api_key")],
)
async def test_a_wrong_key_in_the_query_is_refused(quick_api, key, code):
    answer = await send(quick_api, "/v1/batch", key)
    assert (answer.status_code, answer.json()["error"]) == (401, code)


class TestRate:
    @pytest.fixture
    def api_settings(self) -> ApiSettings:
        """One track call in hand."""
        return ApiSettings(rate_limits=RateLimits(track_per_s=1, track_burst=1))

    async def test_beacons_count_at_the_rate_limit(self, quick_api):
        first = await send(quick_api, "/v1/track", quick_api.keys["pk"])
        second = await send(quick_api, "/v1/track", quick_api.keys["pk"])
        assert (first.status_code, second.status_code) == (202, 429)
