"""HTTP+SSE and Streamable HTTP: sessions, access, keys of callers, cancellation, a clean end."""

import asyncio
import json
import re
import signal

import httpx
import pytest

from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools import TOOLS

WRITE_KEY = "sk_test_WRITEKEY_" + "w" * 32
READ_KEY = "rk_test_READKEY0_" + "r" * 32
OTHER_READ_KEY = "rk_test_OTHERKEY_" + "o" * 32
BROWSER_KEY = "pk_test_AAAAAAAA_" + "p" * 32
TOKEN = "a-token-of-sixteen-characters-or-more"
DEADLINE_S = 20
READS = [tool.name for tool in TOOLS if tool.scope is Scope.READ]
WRITES = [tool.name for tool in TOOLS if tool.scope is not Scope.READ]
ROUTES = (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/"))


def bearer(key, **others):
    return {"Authorization": f"Bearer {key}"} | others


def beside(key):
    return {"Millimetric-Read-Key": key}


async def list_names(client):
    return [tool.name for tool in (await client.list_tools()).tools]


@pytest.fixture(scope="module")
def unguarded(serve):
    return serve("--transport", "http", MILLIMETRIC_RK=READ_KEY)


@pytest.fixture(scope="module")
def guarded(serve):
    """It listens on every address, which needs --auth."""
    child = serve(
        *("--transport", "http", "--auth", "token", "--host", "0.0.0.0"),
        MILLIMETRIC_MCP_TOKEN=TOKEN,
        MILLIMETRIC_RK=READ_KEY,
    )
    return child.url.replace("0.0.0.0", "127.0.0.1")


@pytest.fixture(scope="module")
def passing(serve):
    """A server that holds its own keys, none of which a caller may ever use."""
    return serve(
        *("--transport", "http", "--auth", "passthrough"),
        MILLIMETRIC_KEY="sk_test_SERVERS0_" + "s" * 32,
        MILLIMETRIC_RK="rk_test_SERVERS0_" + "s" * 32,
    )


async def test_every_transport_lists_and_calls_tools(unguarded, dial, upstream):
    async with dial(unguarded.url) as client:
        assert await list_names(client) == READS
        result = await client.call_tool("stats", {})
    assert result.structured_content["total"] == 7
    assert upstream.keys == [READ_KEY]


async def test_a_cancelled_call_drops_the_request_to_the_api(unguarded, dial, upstream):
    upstream.held.add("/v1/stats")
    async with dial(unguarded.url) as client:
        call = asyncio.create_task(client.call_tool("stats", {}))
        assert await asyncio.to_thread(upstream.arrived.wait, DEADLINE_S)
        call.cancel()
        assert await asyncio.to_thread(upstream.dropped.wait, DEADLINE_S)


async def test_the_sse_transport_serves_sse_alone(serve, initialize):
    child = serve("--transport", "sse")
    assert (await initialize(child.url)).status_code == 404
    async with httpx.AsyncClient() as http, http.stream("GET", f"{child.url}/sse") as stream:
        assert stream.status_code == 200
        first = await anext(stream.aiter_text())
    assert "/messages/?session_id=" in first


async def test_a_signal_ends_a_server_with_open_streams_cleanly(serve, initialize):
    child = serve("--transport", "http")
    session = (await initialize(child.url)).headers["mcp-session-id"]
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=child.url, headers=headers) as http,
        http.stream("GET", "/sse") as one,
        http.stream("GET", "/mcp") as other,
    ):
        assert (one.status_code, other.status_code) == (200, 200)
        assert await asyncio.wait_for(asyncio.to_thread(child.stop), 6) == 0
    records = [json.loads(line) for line in child.stderr[1:]]
    assert [record.get("status") for record in records] == [200, 200, 200], child.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_during_a_call_drops_the_request_and_ends_cleanly(
    signum, serve, dial, upstream
):
    upstream.held.add("/v1/stats")
    child = serve("--transport", "http", MILLIMETRIC_RK=READ_KEY)

    async def call():
        async with dial(child.url) as client:
            await client.call_tool("stats", {})

    calling = asyncio.create_task(call())
    assert await asyncio.to_thread(upstream.arrived.wait, DEADLINE_S)
    child.process.send_signal(signum)
    assert await asyncio.to_thread(child.process.wait, DEADLINE_S) == 0
    assert await asyncio.to_thread(upstream.dropped.wait, DEADLINE_S)
    await asyncio.wait([calling], timeout=DEADLINE_S)
    assert calling.exception()
    assert "Traceback" not in "".join(child.stderr)


class TestWithoutAuth:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            pytest.param({"Host": "evil.test"}, 421, id="foreign host"),
            pytest.param({"Origin": "http://evil.test"}, 403, id="foreign origin"),
            pytest.param({"Host": "127.0.0.1:99.evil.test"}, 421, id="no port of a known host"),
            pytest.param(
                {"Origin": "http://127.0.0.1:99.evil.test"}, 403, id="no port of a known origin"
            ),
            pytest.param({"Host": "127.0.0.1.evil.test"}, 421, id="a known host's look-alike"),
            pytest.param({"Host": "evil.test:80"}, 421, id="foreign host with a port"),
            pytest.param({"Host": "[::2]:1"}, 421, id="foreign IPv6 host"),
            pytest.param({"Origin": "null"}, 403, id="a page of no origin"),
            pytest.param({"Host": "LocalHost:1"}, 200, id="another spelling"),
            pytest.param({"Host": "localhost"}, 200, id="a host without a port"),
            pytest.param({"Host": "[::1]:1"}, 200, id="IPv6 host"),
            pytest.param({"Host": "[::1]"}, 200, id="IPv6 host without a port"),
            pytest.param({"Origin": "http://localhost:6274"}, 200, id="the Inspector"),
            pytest.param({"Origin": "http://[::1]:6274"}, 200, id="the Inspector over IPv6"),
            pytest.param({"Origin": "http://localhost:3000"}, 403, id="a page of this machine"),
            pytest.param({"Origin": "http://localhost"}, 403, id="such a page on port 80"),
            pytest.param(
                {"Host": "localhost:7000", "Origin": "http://localhost:7000"}, 200, id="own page"
            ),
            pytest.param(
                {"Host": "evil.test", "Origin": "http://evil.test"}, 421, id="rebound own page"
            ),
            pytest.param({}, 200, id="no browser"),
        ],
    )
    async def test_host_and_origin_are_checked(self, headers, status, unguarded, initialize):
        assert (await initialize(unguarded.url, headers)).status_code == status
        async with httpx.AsyncClient(base_url=unguarded.url, headers=headers) as http:
            posted = await http.post("/messages/", json={})
            async with http.stream("GET", "/sse") as stream:
                assert stream.status_code == status
        assert posted.status_code == (400 if status == 200 else status)

    async def test_further_hosts_and_origins_can_be_allowed(self, serve, initialize):
        allowed = ("--allowed-hosts", "mcp.shop.test", "--allowed-origins", "https://app.shop.test")
        child = serve("--transport", "http", *allowed)
        headers = {"Host": "mcp.shop.test", "Origin": "https://app.shop.test"}
        response = await initialize(child.url, headers)
        foreign = await initialize(child.url, {"Origin": "https://evil.test"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://app.shop.test"
        assert foreign.status_code == 403
        assert "access-control-allow-origin" not in foreign.headers

    @pytest.mark.parametrize(
        ("option", "host_status", "origin_status"),
        [
            pytest.param("--allowed-hosts", 200, 403, id="hosts"),
            pytest.param("--allowed-origins", 421, 200, id="origins"),
        ],
    )
    async def test_an_asterisk_opens_its_own_list_alone(
        self, option, host_status, origin_status, serve, initialize
    ):
        child = serve("--transport", "http", option, "*")
        of_host = await initialize(child.url, {"Host": "any.test"})
        of_origin = await initialize(child.url, {"Origin": "https://any.test"})
        assert (of_host.status_code, of_origin.status_code) == (host_status, origin_status)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.test"])
    def test_listening_beyond_loopback_is_refused(self, host, refuse):
        code, said = refuse("--transport", "http", "--host", host)
        assert code == 2
        assert "--auth token" in said
        assert "--auth passthrough" in said

    def test_auth_on_stdio_is_refused(self, refuse):
        code, said = refuse("--auth", "passthrough")
        assert code == 2
        assert "the stdio transport needs none" in said

    def test_a_port_in_use_is_named_in_one_sentence(self, unguarded, refuse):
        port = unguarded.url.rpartition(":")[2]
        code, said = refuse("--transport", "http", "--port", port)
        assert code == 2
        assert f"Port {port} of 127.0.0.1 is in use. Stop the other process" in said


class TestToken:
    async def test_a_page_of_this_machine_may_call_with_credentials(self, guarded, initialize):
        headers = bearer(TOKEN, Origin="http://localhost:3000")
        response = await initialize(guarded, headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "http://localhost:3000"

    async def test_the_token_is_accepted_and_the_server_s_keys_are_used(
        self, guarded, dial, upstream
    ):
        async with dial(guarded, bearer(TOKEN)) as client:
            assert await list_names(client) == READS
            await client.call_tool("stats", {})
        assert upstream.keys == [READ_KEY]

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            pytest.param({}, "missing_bearer_token", id="none"),
            pytest.param({"Authorization": TOKEN}, "missing_bearer_token", id="no scheme"),
            pytest.param(
                {"Authorization": f"Basic {TOKEN}"}, "missing_bearer_token", id="another scheme"
            ),
            pytest.param(bearer(TOKEN + "x"), "invalid_api_key", id="wrong"),
            pytest.param(bearer(READ_KEY), "invalid_api_key", id="our own key"),
        ],
    )
    async def test_other_tokens_are_refused_on_every_route(self, headers, code, guarded):
        async with httpx.AsyncClient(base_url=guarded) as http:
            for method, path in ROUTES:
                response = await http.request(method, path, headers=headers)
                assert (response.status_code, response.json()) == (401, {"error": code})
                assert response.headers["www-authenticate"] == "Bearer"

    def test_the_token_is_needed_to_start(self, refuse):
        code, said = refuse("--transport", "http", "--auth", "token")
        assert code == 2
        assert "MILLIMETRIC_MCP_TOKEN" in said

    def test_a_token_without_effect_is_named_at_start(self, serve):
        child = serve("--transport", "http", MILLIMETRIC_MCP_TOKEN=TOKEN)
        said = "".join(child.stderr)
        assert "MILLIMETRIC_MCP_TOKEN has no effect without --auth token." in said
        assert TOKEN not in said


class TestPassthrough:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            pytest.param(bearer(READ_KEY), READS, id="rk"),
            pytest.param(bearer(WRITE_KEY), WRITES, id="sk"),
            pytest.param(bearer(WRITE_KEY, **beside(READ_KEY)), WRITES + READS, id="sk and rk"),
            pytest.param(bearer(WRITE_KEY, **beside("")), WRITES, id="sk and nothing"),
            pytest.param(bearer(READ_KEY, **beside("")), READS, id="rk and nothing"),
        ],
    )
    async def test_each_caller_s_tools_follow_its_own_keys(self, headers, expected, passing, dial):
        async with dial(passing.url, headers) as client:
            assert await list_names(client) == expected

    async def test_calls_use_the_caller_s_keys_and_never_ours(self, passing, dial, upstream):
        async with dial(passing.url, bearer(WRITE_KEY, **beside(READ_KEY))) as client:
            await client.call_tool("track_event", {"event": "a"})
            await client.call_tool("stats", {})
        async with dial(passing.url, bearer(OTHER_READ_KEY)) as client:
            await client.call_tool("stats", {})
        assert upstream.keys == [WRITE_KEY, READ_KEY, OTHER_READ_KEY]

    async def test_a_missing_key_is_asked_for_as_a_header(self, passing, dial, upstream):
        async with dial(passing.url, bearer(READ_KEY)) as client:
            result = await client.call_tool("track_event", {"event": "a"})
        assert result.is_error
        assert "Authorization: Bearer sk_" in result.content[0].text
        assert upstream.keys == []

    @pytest.mark.parametrize(
        ("headers", "status", "code"),
        [
            pytest.param({}, 401, "missing_bearer_token", id="none"),
            pytest.param(bearer("nonsense"), 401, "malformed_api_key", id="malformed"),
            pytest.param(bearer("ak_test_AAAAAAAA_" + "a" * 32), 401, "malformed_api_key", id="ak"),
            pytest.param(bearer(BROWSER_KEY), 403, "key_kind_not_allowed", id="pk"),
            pytest.param(
                bearer(WRITE_KEY, **beside(BROWSER_KEY)),
                403,
                "key_kind_not_allowed",
                id="pk beside",
            ),
            pytest.param(
                bearer(WRITE_KEY, **beside(WRITE_KEY)), 403, "key_kind_not_allowed", id="sk beside"
            ),
            pytest.param(
                bearer(READ_KEY, **beside(BROWSER_KEY)),
                403,
                "key_kind_not_allowed",
                id="pk beside an rk",
            ),
            pytest.param(
                bearer(READ_KEY, **beside(WRITE_KEY)),
                403,
                "key_kind_not_allowed",
                id="sk beside an rk",
            ),
        ],
    )
    async def test_other_credentials_are_refused_on_every_route(
        self, headers, status, code, passing
    ):
        async with httpx.AsyncClient(base_url=passing.url) as http:
            for method, path in ROUTES:
                response = await http.request(method, path, headers=headers)
                assert (response.status_code, response.json()) == (status, {"error": code})
        assert not any("AAAAAAAA" in line for line in passing.stderr)

    async def test_a_session_belongs_to_the_keys_that_opened_it(self, passing, initialize):
        session = (await initialize(passing.url, bearer(READ_KEY))).headers["mcp-session-id"]
        message = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        accept = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": session}
        async with httpx.AsyncClient(base_url=passing.url) as http:
            stolen = await http.post("/mcp", json=message, headers=accept | bearer(OTHER_READ_KEY))
            own = await http.post("/mcp", json=message, headers=accept | bearer(READ_KEY))
        assert (stolen.status_code, own.status_code) == (404, 200)

    async def test_a_stream_accepts_messages_from_the_keys_that_opened_it(self, passing):
        message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        async with (
            httpx.AsyncClient(base_url=passing.url) as http,
            http.stream("GET", "/sse", headers=bearer(READ_KEY)) as stream,
        ):
            texts = stream.aiter_text()
            endpoint = re.search(r"/messages/\?session_id=\w+", await anext(texts))[0]
            stolen = await http.post(endpoint, json=message, headers=bearer(OTHER_READ_KEY))
            own = await http.post(endpoint, json=message, headers=bearer(READ_KEY))
        assert (stolen.status_code, own.status_code) == (404, 202)
