"""CORS: a page of any origin may call ``/v1/*``, and may read every response."""

import pytest

from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.errors import StoreUnavailable, StoreUncertain
from millimetric_mcp.settings import ApiSettings, RateLimits

ORIGIN = {"Origin": "https://shop.example"}
ANYWHERE = {"Origin": "https://elsewhere.example"}


@pytest.fixture
def api_settings() -> ApiSettings:
    """One track call in hand."""
    return ApiSettings(rate_limits=RateLimits(track_per_s=1, track_burst=1))


async def preflight(api, path: str, method: str = "POST", **headers: str):
    asked = {"Access-Control-Request-Method": method, **ANYWHERE, **headers}
    return await api.http.options(path, headers=asked)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_a_preflight_allows_every_endpoint_from_anywhere_without_a_key(quick_api, endpoint):
    wanted = "authorization, content-type, content-encoding, x-anything"

    answer = await preflight(
        quick_api,
        endpoint.path,
        endpoint.method,
        **{"Access-Control-Request-Headers": wanted},
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert endpoint.method in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == wanted
    assert int(answer.headers["access-control-max-age"]) >= 600
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_from_a_public_page_to_a_private_address_is_allowed(quick_api):
    answer = await preflight(
        quick_api, "/v1/track", **{"Access-Control-Request-Private-Network": "true"}
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-private-network"] == "true"


async def test_a_preflight_for_an_unknown_method_gets_an_error_body(quick_api):
    answer = await preflight(quick_api, "/v1/track", "DELETE")

    assert (answer.status_code, answer.json()) == (405, {"error": "method_not_allowed"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, POST"


async def call(api, path: str = "/v1/track", *, method: str = "POST", key: str | None = "sk"):
    headers = ORIGIN | ({"Authorization": f"Bearer {api.keys[key]}"} if key else {})
    return await api.http.request(method, path, json={"event": "x"}, headers=headers)


async def call_twice(api):
    await call(api)
    return await call(api)


def with_error(error: Exception):
    async def send(api):
        api.store.error = error
        return await call(api)

    return send


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (call, 202),
        (lambda api: call(api, "/v1/identify"), 400),
        (lambda api: call(api, key=None), 401),
        (lambda api: call(api, key="rk"), 403),
        (lambda api: call(api, "/v1/nothing"), 404),
        (lambda api: call(api, method="PUT"), 405),
        (call_twice, 429),
        (with_error(RuntimeError("error")), 500),
        (with_error(StoreUncertain("error")), 502),
        (with_error(StoreUnavailable("error")), 503),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_a_page_may_read_every_response_and_its_retry_after(quick_api, send, status):
    answer = await send(quick_api)

    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "Retry-After"


async def test_paths_outside_v1_have_no_cors_headers(quick_api):
    answers = [
        await quick_api.http.get(path, headers=ANYWHERE)
        for path in ["/health", "/openapi.json", "/nothing"]
    ]

    assert [name for a in answers for name in a.headers if name.startswith("access-")] == []
    assert (await preflight(quick_api, "/health", "GET")).status_code == 405


async def test_a_browser_s_first_event_is_stored_from_an_allowed_origin(api):
    answer = await call(api, key="pk")

    assert answer.status_code == 202
    assert len(await api.rows("/v1/query")) == 1
