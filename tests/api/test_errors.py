"""Every error of the contract: its status, body and headers, and its place in the OpenAPI."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import create_engine

from millimetric_mcp.api.control.engine import parse_dsn
from millimetric_mcp.api.control.schema import keys
from millimetric_mcp.api.openapi import build_openapi
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import IMPORT
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.contract.reads import GroupColumn
from millimetric_mcp.errors import RequestError, StoreRefused, StoreUnavailable, StoreUncertain
from millimetric_mcp.settings import ApiSettings, RateLimits

read_document = cache(build_openapi)

SECRET = "s" * 43
WINDOW = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
EVENT = {"event": "x"}
SHOP = "https://shop.example"

Send = Callable[[Any], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Refusal:
    """A request and its refusal; ``at`` is the operation whose description it must meet."""

    id: str
    status: int
    body: Mapping[str, Any]
    send: Send
    at: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture
def api_settings() -> ApiSettings:
    """A track call every four seconds, one in hand."""
    limits = RateLimits(track_per_s=0.25, track_burst=1)
    return ApiSettings(rate_limits=limits, browser_names=100, browser_mb_per_day=1)


def bearer(key: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **headers}


def post(path: str, body: Any = EVENT, *, kind: str = "sk", **headers: str) -> Send:
    async def send(api):
        return await api.http.post(path, json=body, headers=bearer(api.keys[kind], **headers))

    return send


def get(path: str, *, kind: str = "rk", **params: Any) -> Send:
    async def send(api):
        asked = {name: value for name, value in (WINDOW | params).items() if value is not None}
        return await api.http.get(path, params=asked, headers=bearer(api.keys[kind]))

    return send


def present(make_header: Callable[[Any], Mapping[str, str]]) -> Send:
    async def send(api):
        return await api.http.post("/v1/track", json=EVENT, headers=make_header(api))

    return send


def call(method: str, path: str) -> Send:
    async def send(api):
        return await api.http.request(method, path)

    return send


def with_error(error: Exception, request: Send) -> Send:
    async def send(api):
        api.store.error = error
        return await request(api)

    return send


def after_unknown_outcome(request: Send) -> Send:
    async def send(api):
        api.store.error = StoreUncertain("secret")
        await request(api)
        api.store.error = None
        return await request(api)

    return send


async def track_twice(api):
    await api.post("/v1/track", EVENT)
    return await api.post("/v1/track", EVENT)


async def batch_from_a_browser(api, events):
    headers = bearer(api.keys["pk"], Origin=SHOP)
    return await api.http.post("/v1/batch", json={"events": events}, headers=headers)


async def beyond_a_day(api):
    return await batch_from_a_browser(api, [EVENT | {"properties": {"a": "b" * 8000}}] * 200)


async def with_many_names(api):
    return await batch_from_a_browser(api, [{"event": f"name {n}"} for n in range(101)])


async def track_with_a_revoked_key(api):
    key = api.make_key(KeyKind.SK)
    api.control.revoke_key(key.split("_")[2])
    return await api.post("/v1/track", EVENT, key=key)


async def track_from_a_test_key_called_live(api):
    key = api.make_key(KeyKind.SK, env=KeyEnv.TEST)
    return await api.post("/v1/track", EVENT, key=key.replace("_test_", "_live_"))


async def track_raw(api, content: bytes = b"{}", **headers: str):
    return await api.http.post(
        "/v1/track", content=content, headers=bearer(api.keys["sk"], **headers)
    )


async def track_eleven_mib(api):
    return await track_raw(api, b" " * (11 * 1024 * 1024), **{"Content-Type": "application/json"})


async def track_plain_text(api):
    return await track_raw(api, **{"Content-Type": "text/plain"})


def details(form: str | None = None, **fields: str) -> dict[str, Any]:
    return {
        "fieldErrors": {name: [sentence] for name, sentence in fields.items()},
        "formErrors": [form] if form else [],
    }


CHALLENGE = {"WWW-Authenticate": "Bearer"}
REFUSALS = [
    Refusal(
        "invalid_payload",
        400,
        {"error": "invalid_payload", "details": details(event="Field required")},
        post("/v1/track", {}),
        "/v1/track",
    ),
    Refusal(
        "invalid_payload in a batch",
        400,
        {
            "error": "invalid_payload",
            "details": details(**{"events[1].event": "Field required"}),
        },
        post("/v1/batch", {"events": [EVENT, {}]}),
        "/v1/batch",
    ),
    Refusal(
        "invalid_payload of no fields",
        400,
        {
            "error": "invalid_payload",
            "details": details(anonymous_id="Field required", user_id="Field required"),
        },
        post("/v1/identify", {}),
        "/v1/identify",
    ),
    Refusal(
        "invalid_payload of a forget",
        400,
        {
            "error": "invalid_payload",
            "details": details(user_id="give either user_id or anonymous_id"),
        },
        post("/v1/forget", {}),
        "/v1/forget",
    ),
    Refusal(
        "invalid_params",
        400,
        {
            "error": "invalid_params",
            "details": details(limit="Input should be greater than or equal to 1"),
        },
        get("/v1/sources", limit=0),
        "/v1/sources",
    ),
    Refusal(
        "invalid_params without a window",
        400,
        {
            "error": "invalid_params",
            "details": details(**{"from": "Field required", "to": "Field required"}),
        },
        get("/v1/query", **{"from": None, "to": None}),
        "/v1/query",
    ),
    Refusal(
        "invalid_params of a window that ends before it starts",
        400,
        {"error": "invalid_params", "details": details("from must not be after to")},
        get("/v1/stats", **{"from": "2026-07-01T00:00:00Z"}),
        "/v1/stats",
    ),
    Refusal(
        "invalid_group_by",
        400,
        {
            "error": "invalid_group_by",
            "details": details(
                group_by=f"must be a comma list of {', '.join(GroupColumn)}, "
                "or at most one properties.KEY"
            )
            | {"allowed": list(GroupColumn)},
        },
        get("/v1/stats", group_by="source,colour"),
        "/v1/stats",
    ),
    Refusal(
        "missing_bearer_token",
        401,
        {"error": "missing_bearer_token"},
        present(lambda api: {}),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "missing_bearer_token for another scheme",
        401,
        {"error": "missing_bearer_token"},
        present(lambda api: {"Authorization": f"Basic {api.keys['sk']}"}),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "malformed_api_key",
        401,
        {"error": "malformed_api_key"},
        present(lambda api: bearer("sk_live_short")),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "malformed_api_key of an account key",
        401,
        {"error": "malformed_api_key"},
        present(lambda api: bearer(f"ak_live_AAAAAAAA_{SECRET}")),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "invalid_api_key of an unknown prefix",
        401,
        {"error": "invalid_api_key"},
        present(lambda api: bearer(f"sk_live_AAAAAAAA_{SECRET}")),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "invalid_api_key of a wrong secret",
        401,
        {"error": "invalid_api_key"},
        present(lambda api: bearer(api.keys["sk"][:17] + SECRET)),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "invalid_api_key of another env",
        401,
        {"error": "invalid_api_key"},
        track_from_a_test_key_called_live,
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "invalid_api_key of a revoked key",
        401,
        {"error": "invalid_api_key"},
        track_with_a_revoked_key,
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "key_kind_mismatch",
        401,
        {"error": "key_kind_mismatch"},
        present(lambda api: bearer(api.keys["rk"].replace("rk_", "sk_", 1))),
        "/v1/track",
        CHALLENGE,
    ),
    Refusal(
        "origin_not_allowed",
        403,
        {"error": "origin_not_allowed", "origin": "https://www.shop.example"},
        post("/v1/track", kind="pk", Origin="https://www.shop.example"),
        "/v1/track",
    ),
    Refusal(
        "origin_not_allowed without one",
        403,
        {"error": "origin_not_allowed", "origin": ""},
        post("/v1/identify", kind="pk"),
        "/v1/identify",
    ),
    *[
        Refusal(
            f"insufficient_scope of {kind} at {path}",
            403,
            {"error": "insufficient_scope"},
            request,
            path,
        )
        for kind, path, request in [
            ("rk", "/v1/track", post("/v1/track", kind="rk")),
            ("rk", "/v1/batch", post("/v1/batch", kind="rk")),
            ("rk", "/v1/identify", post("/v1/identify", kind="rk")),
            ("rk", "/v1/forget", post("/v1/forget", kind="rk")),
            ("sk", "/v1/sources", get("/v1/sources", kind="sk")),
            ("sk", "/v1/stats", get("/v1/stats", kind="sk")),
            ("sk", "/v1/query", get("/v1/query", kind="sk")),
            ("pk", "/v1/stats", get("/v1/stats", kind="pk")),
        ]
    ],
    Refusal(
        "forget_requires_secret_key",
        403,
        {"error": "forget_requires_secret_key"},
        post("/v1/forget", {"user_id": "u"}, kind="pk", Origin=SHOP),
        "/v1/forget",
    ),
    *[
        Refusal(f"not_found at {path}", 404, {"error": "not_found"}, call("GET", path))
        for path in ["/v1", "/v1/", "/v1/nothing", "/v2/track", "/v1/track/", "//v1/track"]
    ],
    *[
        Refusal(
            f"method_not_allowed for {method} {path}",
            405,
            {"error": "method_not_allowed"},
            call(method, path),
            headers={"Allow": allowed},
        )
        for method, path, allowed in [
            ("GET", "/v1/track", "POST"),
            ("PUT", "/v1/batch", "POST"),
            ("DELETE", "/v1/forget", "POST"),
            ("OPTIONS", "/v1/identify", "POST"),
            ("HEAD", "/v1/track", "POST"),
            ("POST", "/v1/query", "GET, HEAD"),
            ("POST", "/health", "GET, HEAD"),
            ("BREW", "/openapi.json", "GET, HEAD"),
        ]
    ],
    Refusal(
        "payload_too_large", 413, {"error": "payload_too_large"}, track_eleven_mib, "/v1/track"
    ),
    Refusal(
        "unsupported_media_type",
        415,
        {"error": "unsupported_media_type"},
        track_plain_text,
        "/v1/track",
    ),
    Refusal(
        "rate_limited",
        429,
        {"error": "rate_limited", "retry_after_s": 4},
        track_twice,
        "/v1/track",
        {"Retry-After": "4"},
    ),
    *[
        Refusal(
            f"internal_error at {path}",
            500,
            {"error": "internal_error"},
            with_error(RuntimeError(f"secret of {path}"), request),
            path,
        )
        for path, request in [
            ("/v1/track", post("/v1/track")),
            ("/v1/batch", post("/v1/batch", {"events": [EVENT]})),
            ("/v1/identify", post("/v1/identify", {"anonymous_id": "a", "user_id": "u"})),
            ("/v1/forget", post("/v1/forget", {"user_id": "u"})),
            ("/v1/import", post("/v1/import", IMPORT.request_example)),
            ("/v1/sources", get("/v1/sources")),
            ("/v1/stats", get("/v1/stats")),
            ("/v1/query", get("/v1/query")),
        ]
    ],
    Refusal(
        "import_busy",
        409,
        {"error": "import_busy", "retry_after_s": 1},
        after_unknown_outcome(post("/v1/import", IMPORT.request_example)),
        "/v1/import",
        {"Retry-After": "1"},
    ),
    Refusal(
        "daily_limit_reached",
        429,
        {"error": "daily_limit_reached", "retry_after_s": 16_200},
        beyond_a_day,
        "/v1/batch",
        {"Retry-After": "16200"},
    ),
    Refusal(
        "too_many_names",
        403,
        {
            "error": "too_many_names",
            "details": details("Browser keys may bring 100 different event names into a project."),
        },
        with_many_names,
        "/v1/batch",
    ),
    Refusal(
        "query_too_large",
        400,
        {"error": "query_too_large"},
        with_error(RequestError(ErrorCode.QUERY_TOO_LARGE), get("/v1/stats")),
        "/v1/stats",
    ),
    Refusal(
        "forget_failed",
        500,
        {"error": "forget_failed"},
        with_error(StoreUnavailable("secret"), post("/v1/forget", {"user_id": "u"})),
        "/v1/forget",
    ),
    Refusal(
        "upstream_failed for a queue that is full",
        503,
        {"error": "upstream_failed", "retry_after_s": 1},
        with_error(StoreUnavailable("secret"), post("/v1/track")),
        "/v1/track",
        {"Retry-After": "1"},
    ),
    Refusal(
        "upstream_failed for a store that is down",
        503,
        {"error": "upstream_failed", "retry_after_s": 5},
        with_error(StoreUnavailable("secret", retry_after_s=5), get("/v1/sources")),
        "/v1/sources",
        {"Retry-After": "5"},
    ),
    Refusal(
        "upstream_failed for a statement refused",
        503,
        {"error": "upstream_failed", "retry_after_s": 1},
        with_error(StoreRefused("secret"), get("/v1/stats")),
        "/v1/stats",
        {"Retry-After": "1"},
    ),
    Refusal(
        "upstream_failed of a write that may be stored",
        502,
        {"error": "upstream_failed"},
        with_error(StoreUncertain("secret"), post("/v1/batch", {"events": [EVENT]})),
        "/v1/batch",
    ),
    Refusal(
        "upstream_failed of a read cut off",
        502,
        {"error": "upstream_failed"},
        with_error(StoreUncertain("secret"), get("/v1/query")),
        "/v1/query",
    ),
]


@pytest.mark.parametrize("refusal", [pytest.param(case, id=case.id) for case in REFUSALS])
async def test_each_refusal_has_its_status_body_headers_and_description(quick_api, refusal):
    answer = await refusal.send(quick_api)

    assert answer.status_code == refusal.status
    if answer.request.method != "HEAD":
        body = answer.json()
        reference = body.pop("reference", None)
        assert body == refusal.body
        assert (reference is not None) == (refusal.status >= 500)
        logged = json.loads(quick_api.log[-1]) if quick_api.log else {}
        assert logged.get("reference") == reference
    assert answer.headers["content-type"] == "application/json"
    sent = {name: answer.headers[name] for name in refusal.headers}
    assert {name: sorted(value.split(", ")) for name, value in sent.items()} == {
        name: sorted(value.split(", ")) for name, value in refusal.headers.items()
    }
    if refusal.at:
        check_document(answer, refusal.at)


def check_document(answer: httpx.Response, path: str) -> None:
    """The answer is one that the OpenAPI document describes."""
    document = read_document()
    described = document["paths"][path][answer.request.method.lower()]["responses"]
    response = described[str(answer.status_code)]
    schema = response["content"]["application/json"]["schema"]
    components = {"components": document["components"]}
    Draft202012Validator(schema | components).validate(answer.json())
    assert [name for name in response.get("headers", {}) if name not in answer.headers] == []


def test_every_code_and_status_of_the_contract_has_a_case():
    reached = {(case.body["error"], case.status) for case in REFUSALS}

    assert reached == {(code, status) for code in ErrorCode for status in code.statuses}


async def test_an_unready_store_is_503_as_described(quick_api):
    quick_api.store.error = StoreUnavailable("secret")

    answer = await quick_api.http.get("/health/ready")

    assert answer.status_code == 503
    assert "secret" not in answer.text
    check_document(answer, "/health/ready")


async def test_a_closed_store_is_503(api):
    await api.store.close()

    answer = await api.get("/v1/sources")

    assert (answer.status_code, answer.json()["error"]) == (503, "upstream_failed")


async def test_a_failing_control_database_is_503(quick_api, control_dsn):
    engine = create_engine(parse_dsn(control_dsn))
    with engine.begin() as connection:
        keys.drop(connection)
    engine.dispose()

    answer = await quick_api.post("/v1/track", EVENT)

    assert (answer.status_code, answer.json()["error"]) == (503, "upstream_failed")


WRONG_ORIGIN = "https://evil.example"
TOO_LARGE = str(11 * 1024 * 1024)


@pytest.mark.parametrize(
    ("method", "path", "kind", "headers", "code"),
    [
        ("PUT", "/v1/nothing", None, {}, "not_found"),
        ("PUT", "/v1/track", None, {}, "method_not_allowed"),
        ("POST", "/v1/forget", None, {}, "missing_bearer_token"),
        ("POST", "/v1/forget", "pk", {"Origin": WRONG_ORIGIN}, "forget_requires_secret_key"),
        ("POST", "/v1/track", "rk", {"Origin": WRONG_ORIGIN}, "insufficient_scope"),
        ("POST", "/v1/track", "pk", {"Origin": WRONG_ORIGIN}, "origin_not_allowed"),
        ("POST", "/v1/track", "sk", {}, "rate_limited"),
        ("POST", "/v1/identify", "sk", {}, "unsupported_media_type"),
        (
            "POST",
            "/v1/identify",
            "sk",
            {"Content-Type": "application/json"},
            "payload_too_large",
        ),
        (
            "POST",
            "/v1/identify",
            "sk",
            {"Content-Type": "application/json", "Content-Length": "1"},
            "invalid_payload",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
async def test_the_first_error_in_the_documented_order_is_answered(
    quick_api, method, path, kind, headers, code
):
    """Each row has the errors of all rows below it, as far as one request can have them."""
    await quick_api.post("/v1/track", EVENT)  # the one token of the bucket
    faulty = {"Content-Type": "text/plain", "Content-Length": TOO_LARGE} | headers
    if kind:
        faulty |= bearer(quick_api.keys[kind])

    answer = await quick_api.http.request(method, path, content=b"{", headers=faulty)

    assert answer.json()["error"] == code


async def test_a_refused_request_takes_no_token(quick_api):
    for _ in range(3):
        await quick_api.http.post(
            "/v1/track",
            json=EVENT,
            headers=bearer(quick_api.keys["pk"], Origin=WRONG_ORIGIN),
        )

    answer = await quick_api.post("/v1/track", EVENT)

    assert answer.status_code == 202


async def test_every_invalid_field_of_a_batch_is_named_at_once(quick_api):
    events = [{"event": ""}, EVENT, {"event": "x", "url": "no", "timestamp": "now"}]

    answer = await quick_api.post("/v1/batch", {"events": events})

    fields = answer.json()["details"]["fieldErrors"]
    assert list(fields) == ["events[0].event", "events[2].timestamp", "events[2].url"]


async def test_details_name_at_most_20_fields(quick_api):
    answer = await quick_api.post("/v1/batch", {"events": [{"event": ""}] * 1000})

    details = answer.json()["details"]
    assert answer.status_code == 400
    assert list(details["fieldErrors"]) == [f"events[{index}].event" for index in range(20)]
    assert details["formErrors"] == ["980 more fields are invalid"]


async def test_a_batch_of_too_many_events_is_refused_in_one_sentence(quick_api):
    body = b'{"events":[' + b"{}," * 4000 + b"{}]}"

    answer = await quick_api.http.post(
        "/v1/batch",
        content=body,
        headers=bearer(quick_api.keys["sk"], **{"Content-Type": "application/json"}),
    )

    assert answer.json()["details"] == details(events="must hold 1 to 1000 events, not 4001")


async def test_no_response_quotes_the_request(quick_api):
    marker = "marker5f2c"
    bodies = [
        {"event": ["x", marker]},
        {"event": "x", marker: 1, "url": marker, "timestamp": marker, "properties": marker},
        {"event": marker * 20},
        marker,
        [marker],
    ]
    answers = [await quick_api.post("/v1/batch", {"events": [body]}) for body in bodies]
    answers += [await quick_api.get("/v1/stats", {"metric": marker, "group_by": marker})]
    answers += [await quick_api.get("/v1/query", {"limit": marker, "from": marker})]

    assert {answer.status_code for answer in answers} == {400}
    assert [answer.text for answer in answers if marker in answer.text] == []
    assert all(json.loads(answer.text)["details"] for answer in answers)
