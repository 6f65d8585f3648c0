"""Sessions of ``/mcp`` that clients never use, or end: they leave room for others."""

import httpx
import pytest

pytestmark = pytest.mark.slow

MORE_THAN_SESSIONS = 1100
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def client(shared_api):
    headers = {
        "Authorization": f"Bearer {shared_api.keys['MILLIMETRIC_RK']}",
        "Accept": "application/json, text/event-stream",
    }
    with httpx.Client(base_url=shared_api.url, headers=headers, timeout=30) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_requests_without_a_session_open_none(client, method):
    statuses = {
        client.request(method, "/mcp", headers={"Accept": "application/json"}).status_code
        for _ in range(MORE_THAN_SESSIONS)
    }

    assert max(statuses) < 500
    assert client.post("/mcp", json=INITIALIZE).status_code == 200


def test_a_deleted_session_makes_room_for_another(client):
    for _ in range(MORE_THAN_SESSIONS):
        opened = client.post("/mcp", json=INITIALIZE)
        assert opened.status_code == 200
        session = {"Mcp-Session-Id": opened.headers["Mcp-Session-Id"]}
        assert client.delete("/mcp", headers=session).status_code == 200
