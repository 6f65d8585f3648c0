"""Requests to ``/mcp`` that stand alone: without a session, without ``initialize``."""

import json

import httpx
import pytest

READ_KEY = "rk_test_READKEY0_" + "r" * 32
DEADLINE_S = 20
BOTH = "application/json, text/event-stream"
ACCEPTS = {"JSON": "application/json", "none": None, "anything": "*/*", "both": BOTH}


@pytest.fixture(scope="module")
def server(serve):
    return serve("--transport", "http", MILLIMETRIC_RK=READ_KEY)


def message(method, **params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def post(server, body, *, accept=None, **headers):
    """Sends a body with these headers alone: httpx adds no Accept."""
    content = body if isinstance(body, bytes) else json.dumps(body)
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        http.headers.pop("accept")
        sent = {"Content-Type": "application/json", **headers}
        return await http.post("/mcp", content=content, headers=sent | with_accept(accept))


def with_accept(accept):
    return {} if accept is None else {"Accept": accept}


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS)
@pytest.mark.parametrize(
    ("method", "params", "found"),
    [
        pytest.param("tools/list", {}, "top_sources", id="list"),
        pytest.param("tools/call", {"name": "stats"}, '"total":7', id="call"),
        pytest.param("tools/call", {"name": "get_stats"}, '"total":7', id="call by hosted name"),
        pytest.param("resources/list", {}, "source://rules", id="resources"),
    ],
)
async def test_a_request_alone_is_answered_with_json(method, params, found, accept, server):
    answer = await post(server, message(method, **params), accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert "mcp-session-id" not in answer.headers
    assert found in answer.text
    assert answer.json()["id"] == 1


async def test_hosted_tool_names_are_answered_and_not_listed(server):
    answer = await post(server, message("tools/list"))
    names = [tool["name"] for tool in answer.json()["result"]["tools"]]
    assert not {"query_events", "get_stats"} & set(names)


@pytest.mark.parametrize("accept", ["application/json", None], ids=["JSON", "none"])
async def test_a_client_that_takes_no_stream_is_served_without_a_session(accept, server):
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello["clientInfo"] = {"name": "test", "version": "1"}
    opened = await post(server, message("initialize", **hello), accept=accept)
    assert opened.status_code == 200
    assert opened.json()["result"]["protocolVersion"] == "2025-06-18"
    assert "mcp-session-id" not in opened.headers
    noted = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await post(server, noted, accept=accept)).status_code == 202
    called = await post(
        server,
        message("tools/call", name="stats"),
        accept=accept,
        **{"MCP-Protocol-Version": "2025-06-18"},
    )
    assert called.json()["result"]["structuredContent"]["total"] == 7


async def test_a_call_within_a_session_may_accept_json_alone(server, initialize):
    session = (await initialize(server.url)).headers["mcp-session-id"]
    answer = await post(
        server, message("tools/list"), accept="application/json", **{"Mcp-Session-Id": session}
    )
    assert "top_sources" in [tool["name"] for tool in answer.json()["result"]["tools"]]


async def test_a_call_within_a_session_is_streamed(server, initialize):
    session = (await initialize(server.url)).headers["mcp-session-id"]
    for accept in (BOTH, "*/*"):
        answer = await post(
            server, message("tools/list"), accept=accept, **{"Mcp-Session-Id": session}
        )
        assert answer.headers["content-type"].startswith("text/event-stream")
    unknown = await post(server, message("tools/list"), accept=BOTH, **{"Mcp-Session-Id": "0" * 32})
    assert unknown.status_code == 404


@pytest.mark.parametrize("last_id", ["5", "x" * 100], ids=["a number", "another server's"])
async def test_a_stream_can_be_opened_again_with_the_id_of_an_event(last_id, server, initialize):
    session = (await initialize(server.url)).headers["mcp-session-id"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last_id}
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http,
        http.stream("GET", "/mcp", headers=headers | {"Mcp-Session-Id": session}) as stream,
        http.stream("GET", "/sse", headers=headers) as older,
    ):
        for opened in (stream, older):
            assert opened.status_code == 200
            assert opened.headers["content-type"].startswith("text/event-stream")


async def test_a_body_without_a_type_is_json(server):
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post("/mcp", content=json.dumps(message("tools/list")))
    assert "result" in answer.json()


async def test_a_byte_order_mark_is_ignored(server):
    body = b"\xef\xbb\xbf" + json.dumps(message("tools/list")).encode()
    assert "result" in (await post(server, body)).json()


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("padding", ["", " " * 100_000], ids=["small", "large"])
async def test_half_an_emoji_in_an_argument_becomes_a_replacement_character(
    version, padding, server
):
    """The answer to an unknown event quotes it."""
    params = {"name": "stats", "arguments": {"event": "hi @ \\d"}}
    if version == "2026-07-28":
        meta = "io.modelcontextprotocol/"
        params["_meta"] = {
            f"{meta}protocolVersion": version,
            f"{meta}clientInfo": {"name": "test", "version": "1"},
            f"{meta}clientCapabilities": {},
        }
    body = json.dumps(message("tools/call", **params)).replace("@", "\\ud83d") + padding
    headers = {"MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": "stats"}
    answer = await post(server, body.encode(), **headers)
    text = answer.json()["result"]["content"][0]["text"]
    assert text.startswith('Total 7 events of "hi \ufffd \\d"')
