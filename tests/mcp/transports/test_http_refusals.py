"""Requests that the HTTP transports refuse: error bodies, and lines in the log."""

import asyncio
import json
import re
from itertools import count

import httpx
import pytest
from mcp import Client

from millimetric_mcp.mcp.http import MAX_BODY_BYTES

DEADLINE_S = 20
READ_KEY = "rk_test_READKEY0_" + "r" * 32
WRITE_KEY = "sk_test_WRITEKEY_" + "w" * 32
OTHER_READ_KEY = "rk_test_OTHERKEY_" + "o" * 32
PLANTED = "planted-secret"
JSON = {"Content-Type": "application/json"}
BOTH = {"Accept": "application/json, text/event-stream"}
EVIL = {"Origin": "https://evil.test"}
ASK = {"Access-Control-Request-Method": "POST"}
TOO_LARGE = {"error": "payload_too_large"}
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
    "a method that /sse lacks": ("POST", "/sse", JSON, "{}", 405, "method_not_allowed"),
    "a form": (
        "POST",
        "/mcp",
        {"Content-Type": "application/x-www-form-urlencoded"},
        "{}",
        415,
        "unsupported_media_type",
    ),
    "a foreign host": ("POST", "/mcp", {"Host": "evil.test"}, "", 421, "host_not_allowed"),
    "a foreign origin": ("POST", "/mcp", EVIL, "", 403, "origin_not_allowed"),
    "a foreign preflight": ("OPTIONS", "/mcp", EVIL | ASK, "", 403, "origin_not_allowed"),
    "a preflight of another method": (
        "OPTIONS",
        "/mcp",
        {"Origin": "http://localhost:6274", "Access-Control-Request-Method": "PATCH"},
        "",
        405,
        "method_not_allowed",
    ),
}
PING = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_request_gets_an_error_body_and_one_line(refusal, open_to_all):
    method, path, headers, body, status, error = refusal
    said = len(open_to_all.stderr)
    async with httpx.AsyncClient(base_url=open_to_all.url) as http:
        response = await http.request(method, path, headers=headers, content=body)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.json().keys() <= {"error", "details", "origin"}
    line = json.loads(await open_to_all.wait_for_line(after=said))
    assert (line["method"], line["status"]) == (method, status)
    assert line["path"] in {path, "(unknown)"}
    assert len(open_to_all.stderr) == said + 1


async def test_a_body_over_the_limit_is_refused(open_to_all):
    body = b" " * (MAX_BODY_BYTES + 1)
    values = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":[' + b"[]," * 200_000 + b"1]}}"
    async with httpx.AsyncClient(base_url=open_to_all.url, timeout=DEADLINE_S) as http:
        for path in ("/mcp", NO_SESSION):
            for content in (body, values):
                response = await http.post(path, content=content, headers=JSON | BOTH)
                assert (response.status_code, response.json()) == (413, TOO_LARGE)


@pytest.mark.parametrize("path", ["/mcp", NO_SESSION])
@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        pytest.param(b" " * 100_000, -32700, "EOF", id="nothing, large"),
        pytest.param(b"{", -32700, "EOF", id="not JSON"),
        pytest.param(b"[1]", -32600, "Not a JSON-RPC message", id="a list"),
        pytest.param(b'{"a": 1}', -32600, "Not a JSON-RPC message", id="another object"),
    ],
)
async def test_a_body_without_a_message_is_answered_in_a_sentence(
    body, code, sentence, path, open_to_all
):
    async with httpx.AsyncClient(base_url=open_to_all.url, timeout=DEADLINE_S) as http:
        response = await http.post(path, content=body, headers=JSON | BOTH)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert response.json()["error"]["message"].startswith(sentence)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f'{{"key": "{PLANTED}', id="not JSON"),
        pytest.param(f'["{PLANTED}"]', id="no message"),
        pytest.param(f'{{"jsonrpc": "2.0", "id": 1, "params": "{PLANTED}"}}', id="no method"),
        pytest.param("[" * 30_000, id="too deep"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "sse"])
async def test_a_body_without_a_message_is_refused_and_never_logged(body, path, open_to_all):
    async with (
        httpx.AsyncClient(base_url=open_to_all.url, timeout=DEADLINE_S) as http,
        http.stream("GET", "/sse") as stream,
    ):
        texts = stream.aiter_text()
        if path == "sse":
            path = re.search(r"/messages/\S+", await anext(texts))[0]
        response = await http.post(path, content=body, headers=JSON | BOTH)
        alive = await http.post(path, content=PING, headers=JSON | BOTH)
    assert response.status_code == 400
    assert alive.status_code in {200, 202}
    assert PLANTED not in "".join(open_to_all.stderr)
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
async def test_ambiguous_keys_are_refused(headers, passing):
    said = len(passing.stderr)
    async with httpx.AsyncClient(base_url=passing.url) as http:
        response = await http.post("/mcp", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"] == "ambiguous_credentials"
    assert len(response.json()["details"]["formErrors"]) == 1
    line = await passing.wait_for_line(after=said)
    assert not any(key in response.text + line for key in (READ_KEY, OTHER_READ_KEY, WRITE_KEY))


async def test_the_same_read_key_may_be_sent_twice(passing, initialize):
    headers = dict([bearer(READ_KEY), beside(READ_KEY)])
    assert (await initialize(passing.url, headers)).status_code == 200


SMALL_SERVER = """
import asyncio, sys
from millimetric_mcp.client.client import MillimetricClient
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.mcp.access import Access
from millimetric_mcp.mcp.http import build_http_app, build_http_transports
from millimetric_mcp.settings import LogLevel
from millimetric_mcp.web.log import Log
from millimetric_mcp.web.serve import configure, listen, serve, write_url

client = MillimetricClient(api_url="http://api.test", write_key=None, read_key=None)
server = build_server(find_caller=lambda _: Caller(client))
transports = build_http_transports(server, access=Access(), max_sessions=2)
app = build_http_app(transports, access=Access(), log=Log(LogLevel.OFF, print))
listener = listen("127.0.0.1", 0)

def say():
    print(write_url(listener), file=sys.stderr, flush=True)

asyncio.run(serve(configure(app), listener, on_ready=say))
"""


@pytest.fixture
def small_server(run_server):
    """A server that holds no more than two sessions of each kind."""
    return run_server("-c", SMALL_SERVER)


async def test_sessions_are_limited_and_open_ones_stay(small_server, initialize):
    url = small_server.url
    first, second, third = [await initialize(url) for _ in range(3)]
    assert [r.status_code for r in (first, second, third)] == [200, 200, 200]
    assert ["mcp-session-id" in r.headers for r in (first, second, third)] == [True, True, False]
    headers = {"Mcp-Session-Id": first.headers["mcp-session-id"]}
    async with httpx.AsyncClient(base_url=url) as http:
        pinged = await http.post("/mcp", content=PING, headers=JSON | BOTH | headers)
        ended = await http.delete("/mcp", headers=headers)
    assert (pinged.status_code, ended.status_code) == (200, 200)
    assert "mcp-session-id" in (await initialize(url)).headers


async def test_a_client_is_served_without_a_session_while_others_have_them_all(
    small_server, initialize
):
    for _ in range(2):
        await initialize(small_server.url)

    async with Client(f"{small_server.url}/mcp", mode="legacy") as client:
        assert (await client.list_tools()).tools


async def test_a_session_may_open_its_stream_again_and_is_unknown_once_ended(
    open_to_all, initialize
):
    session = (await initialize(open_to_all.url)).headers["mcp-session-id"]
    headers = JSON | BOTH | {"Mcp-Session-Id": session}
    stream = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with httpx.AsyncClient(base_url=open_to_all.url) as http:
        for _ in range(2):
            async with http.stream("GET", "/mcp", headers=stream) as opened:
                assert opened.status_code == 200
        ended = await http.delete("/mcp", headers=headers)
        after = await http.post("/mcp", content=PING, headers=headers)
    assert (ended.status_code, after.status_code) == (200, 404)


async def test_requests_without_a_session_open_none(small_server, initialize):
    async with httpx.AsyncClient(base_url=small_server.url) as http:
        for body, status in [(PING, 200), ("{", 400)] * 3:
            answered = await http.post("/mcp", content=body, headers=JSON | BOTH)
            assert answered.status_code == status
            assert "mcp-session-id" not in answered.headers
    assert (await initialize(small_server.url)).status_code == 200


async def test_sse_streams_are_limited_and_a_closed_one_makes_room(small_server):
    async with (
        httpx.AsyncClient(base_url=small_server.url) as http,
        http.stream("GET", "/sse") as first,
    ):
        async with http.stream("GET", "/sse") as second:
            refused = await http.get("/sse")
        assert (first.status_code, second.status_code) == (200, 200)
        assert (refused.status_code, refused.json()["error"]) == (503, "too_many_sessions")
        async with asyncio.timeout(DEADLINE_S):
            await wait_for_room(http)


async def wait_for_room(http):
    """A stream's end is noticed a moment after it."""
    for attempt in count(1):
        async with http.stream("GET", "/sse") as stream:
            if stream.status_code == 200:
                return
        await asyncio.sleep(0.01 * attempt)
