"""The MCP server at ``/mcp`` of the embedded API, which it calls with each caller's keys."""

import asyncio
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, closing

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools import TOOLS

pytestmark = pytest.mark.slow

pytest.importorskip("chdb", reason="needs the api extra")

DEADLINE_S = 30
LOCK_WAIT_S = 10
UNKNOWN_KEY = "rk_live_UNKNOWN0_" + "u" * 32


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def api_said():
    """The lines that the API wrote to stderr."""
    return []


@pytest.fixture(scope="module")
def api_url(data_dir, api_said):
    """The API as a process; SIGTERM ends it with code 0."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "millimetric_mcp", "api"),
            *("--port", "0", "--data-dir", str(data_dir)),
            *("--allowed-hosts", "mcp.shop.test", "--allowed-origins", "https://app.shop.test"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = api_said
    ready = threading.Event()

    def drain() -> None:
        for line in process.stderr:
            said.append(line)
            if re.search(r"http://\S+:\d+", line):
                ready.set()
        ready.set()

    threading.Thread(target=drain, daemon=True).start()
    assert ready.wait(DEADLINE_S)
    yield re.search(r"http://\S+:\d+", "".join(said))[0]
    process.terminate()
    assert process.wait(DEADLINE_S) == 0
    process.stderr.close()


@pytest.fixture(scope="module")
def create_key(api_url, data_dir):
    def create(kind, project):
        made = subprocess.run(
            [
                *(sys.executable, "-m", "millimetric_mcp", "keys", "create", "--json"),
                *("--kind", kind, "--project", project, "--data-dir", str(data_dir)),
            ],
            capture_output=True,
            check=True,
            timeout=DEADLINE_S,
        )
        return json.loads(made.stdout)["key"]

    return create


@asynccontextmanager
async def connect(api_url, headers, mode="auto"):
    async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http:
        transport = streamable_http_client(f"{api_url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"], ids=["handshake", "2026-07-28"])
async def test_a_caller_reaches_its_own_project_only(mode, api_url, create_key):
    ours, theirs = f"ours-{mode}", f"theirs-{mode}"
    headers = {
        "Authorization": f"Bearer {create_key('sk', ours)}",
        "Millimetric-Read-Key": create_key("rk", ours),
    }
    async with connect(api_url, headers, mode) as client:
        assert len((await client.list_tools()).tools) == len(TOOLS)
        event = {"event": "signup", "url": "https://shop.test/?fbclid=x&utm_source=facebook"}
        assert not (await client.call_tool("track_event", event)).is_error
        answer = await client.call_tool("top_sources", {})
    assert "facebook: 100 % paid (1 of 1 events)" in answer.content[0].text
    other_project = {"Authorization": f"Bearer {create_key('rk', theirs)}"}
    async with connect(api_url, other_project, mode) as client:
        readers = [tool.name for tool in TOOLS if tool.scope is Scope.READ]
        assert [tool.name for tool in (await client.list_tools()).tools] == readers
        answer = await client.call_tool("stats", {})
    assert answer.structured_content["total"] == 0


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        pytest.param(None, 401, "missing_bearer_token", id="none"),
        pytest.param("pk_live_AAAAAAAA_" + "p" * 32, 403, "key_kind_not_allowed", id="pk"),
        pytest.param(UNKNOWN_KEY, 401, "invalid_api_key", id="unknown"),
    ],
)
async def test_callers_without_a_valid_key_are_refused(key, status, code, api_url):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=api_url) as http:
        refused = await http.post("/mcp", headers=headers)
        beside = await http.get("/health")
    assert (refused.status_code, refused.json()) == (status, {"error": code})
    assert beside.status_code == 200


async def test_a_large_request_is_answered_while_deletions_wait_for_the_database(
    api_url, data_dir, create_key
):
    headers = {"Authorization": f"Bearer {create_key('sk', 'locked')}"}
    arguments = {"events": [{"event": "a", "properties": {"x": "y" * 300}}] * 400}
    params = {"name": "batch", "arguments": arguments}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx.AsyncClient(base_url=api_url, headers=headers, timeout=DEADLINE_S) as http:
        with closing(sqlite3.connect(data_dir / "control.sqlite3", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            waiting = [
                asyncio.create_task(http.post("/v1/forget", json={"user_id": f"u{n}"}))
                for n in range(os.cpu_count() * 2 + 8)
            ]
            await asyncio.sleep(0.2)
            async with asyncio.timeout(LOCK_WAIT_S / 2):
                answer = await http.post("/mcp", json=call)
            assert not any(task.done() for task in waiting)
        forgotten = [response.status_code for response in await asyncio.gather(*waiting)]

    assert "Stored 400 events" in answer.text
    assert set(forgotten) == {200}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Host": "evil.test"}, 421, id="foreign host"),
        pytest.param({"Origin": "https://evil.test"}, 403, id="foreign origin"),
        pytest.param({"Host": "mcp.shop.test"}, 200, id="host that is set"),
        pytest.param({"Origin": "https://app.shop.test"}, 200, id="origin that is set"),
    ],
)
async def test_host_and_origin_are_checked(headers, status, api_url, create_key, initialize):
    key = {"Authorization": f"Bearer {create_key('rk', 'sources')}"}
    response = await initialize(api_url, key | headers)
    assert response.status_code == status
    origin = headers.get("Origin") if status == 200 else None
    assert response.headers.get("access-control-allow-origin") == origin


async def test_requests_to_mcp_are_in_the_log_without_the_text_of_their_callers(api_url, api_said):
    async with httpx.AsyncClient(base_url=api_url) as http:
        refused = await http.post("/mcp", headers={"Host": "other.test"})
    assert (refused.status_code, refused.json()) == (421, {"error": "host_not_allowed"})
    line = await asyncio.wait_for(
        asyncio.to_thread(find_line, api_said, '"status":421'), DEADLINE_S
    )
    record = json.loads(line)
    assert (record["method"], record["path"], record["level"]) == ("POST", "/mcp", "info")
    assert not any("other.test" in line for line in api_said)
    assert all(json.loads(line) for line in api_said if not line.startswith("millimetric-mcp api:"))


def test_a_large_body_without_a_valid_key_is_not_read(api_url):
    host, port = api_url.removeprefix("http://").split(":")
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {UNKNOWN_KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n["
    )
    with socket.create_connection((host, int(port)), DEADLINE_S) as client:
        client.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b'{"error":"invalid_api_key"}')


def find_line(lines, word):
    """Returns the first line with the word, as soon as there is one."""
    for _ in range(DEADLINE_S * 100):
        found = [line for line in lines if word in line]
        if found:
            return found[0]
        time.sleep(0.01)
    raise AssertionError(lines)


WORKER = """
import json, sys
from starlette.testclient import TestClient
from millimetric_mcp.cli.api import create_app

key, requests = sys.argv[1], json.loads(sys.argv[2])
with TestClient(create_app(), base_url="http://localhost") as client:
    for method, headers, body in requests:
        headers["Authorization"] = f"Bearer {key}"
        response = client.request(method, "/mcp", headers=headers, json=body)
        print("ANSWER", json.dumps([response.status_code, response.json()]))
"""


@pytest.fixture
def ask_worker(tmp_path):
    """Sends requests to ``/mcp`` of a worker process, one of several of a deployment."""
    data_dir = str(tmp_path / "data")
    made = subprocess.run(
        [
            *(sys.executable, "-m", "millimetric_mcp", "keys", "create", "--json"),
            *("--kind", "sk", "--data-dir", data_dir),
        ],
        capture_output=True,
        check=True,
        timeout=DEADLINE_S,
    )
    key = json.loads(made.stdout)["key"]

    def ask(*requests):
        worker = subprocess.run(
            [sys.executable, "-c", WORKER, key, json.dumps(requests)],
            env=os.environ | {"MILLIMETRIC_WORKERS": "2", "MILLIMETRIC_DATA_DIR": data_dir},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        lines = [line for line in worker.stdout.splitlines() if line.startswith("ANSWER")]
        return [json.loads(line.removeprefix("ANSWER ")) for line in lines]

    return ask


def test_a_worker_among_several_answers_requests_that_stand_alone(ask_worker):
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
    opening = {"jsonrpc": "2.0", "id": 2, "method": "initialize"}
    opening["params"] = hello | {"clientInfo": {"name": "test", "version": "1"}}
    both = {"Accept": "application/json, text/event-stream"}
    listed, opened, streamed = ask_worker(
        ["POST", {}, listing],
        ["POST", {"Accept": "application/json"}, opening],
        ["GET", both, None],
    )
    names = [tool["name"] for tool in listed[1]["result"]["tools"]]
    assert names == ["track_event", "identify", "batch", "forget"]
    assert opened[1]["result"]["serverInfo"]["name"] == "millimetric"
    assert streamed == [405, {"error": "method_not_allowed"}]


def test_a_confirmation_that_one_worker_asked_for_is_honoured_by_another(ask_worker):
    asked = ask_worker(["POST", *forget("user_1")])[0][1]["result"]
    assert asked["resultType"] == "input_required"
    answer = {
        "inputResponses": {"confirm": {"action": "accept", "content": {}}},
        "requestState": asked["requestState"],
    }
    other_user, confirmed = ask_worker(
        ["POST", *forget("user_2", **answer)], ["POST", *forget("user_1", **answer)]
    )
    assert other_user[1]["error"]["data"] == {"reason": "invalid_request_state"}
    assert confirmed[1]["result"]["structuredContent"] == {"ok": True, "queued": True}


def forget(user_id, **answer):
    """The headers and the message of a call by a client that can ask its user."""
    meta = "io.modelcontextprotocol/"
    about = {
        f"{meta}protocolVersion": "2026-07-28",
        f"{meta}clientInfo": {"name": "test", "version": "1"},
        f"{meta}clientCapabilities": {"elicitation": {"form": {}}},
    }
    params = {"name": "forget", "arguments": {"user_id": user_id}, "_meta": about, **answer}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return headers | {"Mcp-Name": "forget"}, message
