"""What is not served over HTTP: told in the API's shape, and in one line of the log."""

import asyncio
import json
from contextlib import suppress
from itertools import count

import httpx
import pytest

from millimetric_mcp.mcp.http import MAX_BODY_BYTES

DEADLINE_S = 20
READ_KEY = "rk_test_READKEY0_" + "r" * 32
WRITE_KEY = "sk_test_WRITEKEY_" + "w" * 32
OTHER_READ_KEY = "rk_test_OTHERKEY_" + "o" * 32
PLANTED = "planted-secret"
JSON = {"Content-Type": "application/json"}
BOTH = {"Accept": "application/json, text/event-stream"}
TEXT = {"Accept": "text/plain"}
MODERN = {"MCP-Protocol-Version": "2026-07-28"}
NO_SESSION = "/messages/?session_id=" + "0" * 32


@pytest.fixture(scope="module")
def open_to_all(serve):
    return serve("--transport", "http", MILLIMETRIC_RK=READ_KEY)


@pytest.fixture(scope="module")
def passing(serve):
    return serve("--transport", "http", "--auth", "passthrough")


REFUSALS = {
    # of each: method, path, headers, body, status and code
    "an unknown path": ("GET", "/nowhere", {}, "", 404, "not_found"),
    "a slash too many": ("POST", "/mcp/", {"Host": "evil.test"}, "", 404, "not_found"),
    "a path of the API": ("GET", "/v1/stats", {}, "", 404, "not_found"),
    "a method /sse lacks": ("POST", "/sse", JSON, "{}", 405, "method_not_allowed"),
    "a method /messages/ lacks": ("GET", "/messages/", {}, "", 405, "method_not_allowed"),
    "a method 2026-07-28 lacks": ("GET", "/mcp", MODERN, "", 405, "method_not_allowed"),
    "a type that is not spoken": (
        "POST",
        "/mcp",
        MODERN | JSON | TEXT,
        "PING",
        406,
        "not_acceptable",
    ),
    "no JSON": ("POST", "/mcp", BOTH | {"Content-Type": "text/plain"}, "", 415, None),
    "no type": ("POST", "/messages/", {}, "", 415, "unsupported_media_type"),
    "no session": ("POST", "/messages/", JSON, "{}", 400, "invalid_params"),
    "a session that is none": (
        "POST",
        "/messages/?session_id=a%0aFORGED",
        JSON,
        "{}",
        400,
        "invalid_params",
    ),
    "a session that is over": ("POST", NO_SESSION, JSON, "PING", 404, "not_found"),
    "a foreign host": ("POST", "/mcp", {"Host": "evil.test"}, "", 421, "host_not_allowed"),
    "a foreign origin": (
        "POST",
        "/mcp",
        {"Origin": "https://evil.test"},
        "",
        403,
        "origin_not_allowed",
    ),
    "a foreign preflight": (
        "OPTIONS",
        "/mcp",
        {"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"},
        "",
        403,
        "origin_not_allowed",
    ),
    "a preflight of another method": (
        "OPTIONS",
        "/mcp",
        {"Origin": "http://localhost:1", "Access-Control-Request-Method": "PATCH"},
        "",
        405,
        "method_not_allowed",
    ),
}
PING = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_told_in_the_api_s_shape_and_in_one_line_of_the_log(
    refusal, open_to_all
):
    method, path, headers, body, status, error = refusal
    error = error or "unsupported_media_type"
    said = len(open_to_all.stderr)
    async with httpx.AsyncClient(base_url=open_to_all.url) as http:
        body = PING if body == "PING" else body
        response = await http.request(method, path, headers=headers, content=body)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.json().keys() <= {"error", "details", "origin"}
    line = await open_to_all.wait_for_line(after=said)
    told = json.loads(line.partition(": ")[2])
    assert (told["method"], told["status"], told["error"]) == (method, status, error)
    assert told["path"] in {"/mcp", "/sse", "/messages/", "(unknown)"}
    assert len(open_to_all.stderr) == said + 1


async def test_what_a_stranger_wrote_breaks_no_line_of_the_log(open_to_all):
    said = len(open_to_all.stderr)
    origin = "https://evil.test/\x1b[2J" + "x" * 5000
    async with httpx.AsyncClient(base_url=open_to_all.url) as http:
        response = await http.post("/mcp", headers={"Origin": origin.encode()})
    assert response.status_code in {400, 403}
    if response.status_code == 403:
        line = await open_to_all.wait_for_line(after=said)
        assert "\x1b" not in line
        assert len(line) < 1000


async def test_a_body_that_is_too_large_is_refused(open_to_all):
    async def pour():
        for _ in range(MAX_BODY_BYTES // (1 << 20) + 1):
            yield b" " * (1 << 20)

    async with httpx.AsyncClient(base_url=open_to_all.url, timeout=DEADLINE_S) as http:
        for path in ("/mcp", NO_SESSION):
            with suppress(httpx.WriteError):
                response = await http.post(path, content=pour(), headers=JSON | BOTH)
                assert response.json() == {"error": "payload_too_large"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(f'{{"key": "{PLANTED}', -32700, id="not JSON"),
        pytest.param(f'["{PLANTED}"]', -32600, id="no message"),
        pytest.param("[" * 100_000, -32700, id="too deep"),
        pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, -32700, id="deep and whole"),
        pytest.param(b"\xff\xfe", -32700, id="not UTF-8"),
    ],
)
@pytest.mark.parametrize("path", ["/mcp", NO_SESSION], ids=["http", "sse"])
async def test_a_body_that_holds_no_message_is_answered_and_never_logged(
    body, code, path, open_to_all
):
    said = len(open_to_all.stderr)
    async with httpx.AsyncClient(base_url=open_to_all.url, timeout=DEADLINE_S) as http:
        response = await http.post(path, content=body, headers=JSON | BOTH)
        alive = await http.post(path, content=PING, headers=JSON | BOTH)
    assert response.status_code == 400
    assert response.json()["jsonrpc"] == "2.0"
    assert response.json()["error"]["code"] == code
    assert "validation error" not in response.text
    assert PLANTED not in response.text
    assert alive.status_code in {400, 404}
    assert PLANTED not in "".join(open_to_all.stderr[said:])
    assert "Traceback" not in "".join(open_to_all.stderr)


def bearer(key):
    return ("Authorization", f"Bearer {key}")


def beside(key):
    return ("Millimetric-Read-Key", key)


AMBIGUOUS = {
    "two read keys": [bearer(READ_KEY), beside(OTHER_READ_KEY)],
    "two bearers": [bearer(READ_KEY), bearer(OTHER_READ_KEY)],
    "two write keys": [bearer(WRITE_KEY), bearer(WRITE_KEY)],
    "two keys beside": [bearer(WRITE_KEY), beside(READ_KEY), beside(OTHER_READ_KEY)],
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_keys_of_which_one_would_be_ignored_are_refused(headers, passing):
    said = len(passing.stderr)
    async with httpx.AsyncClient(base_url=passing.url) as http:
        response = await http.post("/mcp", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"] == "ambiguous_credentials"
    assert len(response.json()["details"]["formErrors"]) == 1
    line = await passing.wait_for_line(after=said)
    assert not any(key in response.text + line for key in (READ_KEY, OTHER_READ_KEY, WRITE_KEY))


async def test_the_same_read_key_twice_is_one(passing, initialize):
    headers = dict([bearer(READ_KEY), beside(READ_KEY)])
    assert (await initialize(passing.url, headers)).status_code == 200


SMALL_SERVER = """
import asyncio, sys
from millimetric_mcp.client.client import MillimetricClient
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.mcp.access import Access
from millimetric_mcp.mcp.http import build_http_app, build_http_transports
from millimetric_mcp.web.serve import serve_http

client = MillimetricClient(api_url="http://api.test", write_key=None, read_key=None)
server = build_server(find_caller=lambda _: Caller(client, may_write=False, may_read=False))
transports = build_http_transports(server, access=Access(), max_sessions=2)
app = build_http_app(transports, access=Access())

def say(url):
    print(url, file=sys.stderr, flush=True)

asyncio.run(serve_http(app, host="127.0.0.1", port=0, on_ready=say))
"""


@pytest.fixture
def small_server(run_server):
    """A server that holds no more than two sessions of each kind."""
    return run_server("-c", SMALL_SERVER)


async def test_sessions_are_bounded_and_those_that_are_open_stay(small_server, initialize):
    url = small_server.url
    first, second, third = [await initialize(url) for _ in range(3)]
    assert [r.status_code for r in (first, second, third)] == [200, 200, 503]
    headers = {"Mcp-Session-Id": first.headers["mcp-session-id"]}
    async with httpx.AsyncClient(base_url=url) as http:
        pinged = await http.post("/mcp", content=PING, headers=JSON | BOTH | headers)
        ended = await http.delete("/mcp", headers=headers)
    assert (pinged.status_code, ended.status_code) == (200, 200)
    assert (await initialize(url)).status_code == 200


async def test_requests_that_open_no_session_take_no_room(small_server, initialize):
    async with httpx.AsyncClient(base_url=small_server.url) as http:
        for _ in range(3):
            refused = await http.post("/mcp", content=PING, headers=JSON | BOTH)
            assert refused.status_code == 400
    assert (await initialize(small_server.url)).status_code == 200


async def test_streams_are_bounded_and_one_that_ends_makes_room(small_server):
    async with (
        httpx.AsyncClient(base_url=small_server.url) as http,
        http.stream("GET", "/sse") as first,
    ):
        async with http.stream("GET", "/sse") as second:
            refused = await http.get("/sse")
        assert (first.status_code, second.status_code) == (200, 200)
        assert (refused.status_code, refused.json()) == (503, {"error": "too_many_sessions"})
        async with asyncio.timeout(DEADLINE_S):
            await wait_for_room(http)


async def wait_for_room(http):
    """A stream's end is noticed a moment after it."""
    for attempt in count(1):
        async with http.stream("GET", "/sse") as stream:
            if stream.status_code == 200:
                return
        await asyncio.sleep(0.01 * attempt)
