"""What must never come to light is sent by every path, and then looked for everywhere."""

import gzip
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest

pytestmark = pytest.mark.slow

FORWARDED_IP = "203.0.113.77"
PEER_IP = "127.0.0.77"
AGENT = "Agent-marker-9f1c/1.0"
BODY = "body-marker-5d2e"
QUERY = "query-marker-71ab"
HEADER = "header-marker-e07d"
PATH = "path-marker-c3f4"
FOREIGN_SECRET = "FOREIGNmarker" + "x" * 30
SENT = (AGENT, BODY, QUERY, HEADER, PATH, FORWARDED_IP, PEER_IP)


@pytest.fixture
def api(start_api):
    """Trusts the forwarded-for header of 127.0.0.1, as from a proxy there."""
    return start_api("--trusted-proxy", "127.0.0.1/32")


@contextmanager
def open_clients(api) -> Iterator[list[httpx.Client]]:
    """A caller behind the proxy, and one with another address."""
    headers = {"User-Agent": AGENT, "X-Forwarded-For": FORWARDED_IP, "Cookie": f"c={HEADER}"}
    transport = httpx.HTTPTransport(local_address=PEER_IP)
    with (
        httpx.Client(base_url=api.url, headers=headers, timeout=20) as behind_proxy,
        httpx.Client(base_url=api.url, headers=headers, transport=transport, timeout=20) as direct,
    ):
        yield [behind_proxy, direct]


def list_secrets(api) -> dict[str, str]:
    return {name: key.split("_", 3)[3] for name, key in api.keys.items()}


def list_wrong_headers(sk: dict[str, str], rk: dict[str, str], pk: dict[str, str]) -> list[dict]:
    """Headers of requests that are refused."""
    return [
        *(pk | {"Origin": "https://elsewhere.example"}, rk),
        {"Authorization": f"Bearer sk_live_AAAAAAAA_{FOREIGN_SECRET}"},
        {"Authorization": sk["Authorization"] + FOREIGN_SECRET},
        {"Authorization": sk["Authorization"][:-43] + FOREIGN_SECRET},
        {"Authorization": rk["Authorization"].replace("rk_", "sk_")},
        {"Authorization": f"Basic {FOREIGN_SECRET}"},
        {"Authorization": FOREIGN_SECRET},
        {},
    ]


def call_every_way(client: httpx.Client, keys: Mapping[str, str]) -> Iterator[httpx.Response]:
    """Successes and refusals of every kind, each with markers wherever a request has room."""
    sk, rk, pk = (
        {"Authorization": f"Bearer {keys[f'MILLIMETRIC_{name}']}"} for name in ("KEY", "RK", "PK")
    )
    json_type = {"Content-Type": "application/json"}
    event = {
        "event": BODY,
        "anonymous_id": BODY,
        "user_id": BODY,
        "url": f"https://shop.example/{BODY}?gclid={BODY}",
        "referrer": f"https://{BODY}.example/",
        "properties": {BODY: BODY},
    }
    window = {"from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    wrong = list_wrong_headers(sk, rk, pk)

    yield client.post("/v1/track", json=event, headers=sk)
    yield client.post("/v1/batch", json={"events": [event]}, headers=sk)
    yield client.post("/v1/identify", json=event | {"traits": {BODY: BODY}}, headers=sk)
    yield client.post(
        "/v1/track", json=event, headers=pk | {"Origin": "http://localhost:5173", "X-Any": HEADER}
    )
    for path in ("/v1/sources", "/v1/stats"):
        yield client.get(path, params=window | {"event": QUERY, "other": QUERY}, headers=rk)
    for headers in wrong:
        yield client.post("/v1/track", json=event, headers=headers)
        yield client.get(
            "/v1/query", params=window | {"user_id": QUERY}, headers=headers | {"X": HEADER}
        )
    for body in ({BODY: BODY}, event | {"event": [BODY]}, event | {"timestamp": BODY, "url": BODY}):
        for path in ("/v1/track", "/v1/identify", "/v1/batch", "/v1/forget"):
            yield client.post(
                path,
                json={"events": [body]} if "batch" in path else body | {"user_id": 1},
                headers=sk,
            )
    for name in ("metric", "interval", "group_by", "limit", "from"):
        yield client.get("/v1/stats", params=window | {name: QUERY}, headers=rk)
    for content, headers in [
        (BODY.encode(), json_type),
        (b'{"event":"' + BODY.encode(), json_type),
        (b'{"event":"\xff' + BODY.encode() + b'"}', json_type),
        (BODY.encode(), {"Content-Type": f"text/{HEADER}"}),
        (BODY.encode(), json_type | {"Content-Encoding": "gzip"}),
        (gzip.compress(BODY.encode()), json_type | {"Content-Encoding": "gzip"}),
        (BODY.encode() * 800_000, json_type),
    ]:
        yield client.post("/v1/track", content=content, headers=sk | headers)
    yield client.get(f"/v1/{PATH}", params={QUERY: QUERY}, headers=sk)
    yield client.request("PUT", "/v1/track", content=BODY, headers=sk)
    yield client.options("/v1/track", headers={"Origin": f"https://{HEADER}.example"})
    yield client.post(f"/{PATH}", content=BODY, headers=sk)
    yield client.get("/health", params={"q": QUERY}, headers=sk)
    for headers in (sk, rk, pk, wrong[2], wrong[6], {}):
        mcp = {"Accept": "application/json, text/event-stream"}
        yield client.post("/mcp", json={"method": BODY, "id": BODY}, headers=headers | mcp)
        yield client.post("/mcp", content=BODY, headers=headers | mcp)
    yield client.post("/v1/forget", json={"user_id": f"{BODY}-gone"}, headers=sk)


def send_malformed(api) -> None:
    """What never becomes a request, or ends half way."""
    host, port = api.url.removeprefix("http://").split(":")
    key = api.keys["MILLIMETRIC_KEY"]
    head = f"POST /v1/track HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    typed = head + "Content-Type: application/json\r\n"
    for text in [
        f"{HEADER}\r\n\r\n",
        head + f"X-{HEADER} : {HEADER}\r\n\r\n",
        typed + f"Transfer-Encoding: chunked\r\n\r\n{BODY}\r\n",
        typed + f'Content-Length: 999\r\n\r\n{{"event":"{BODY}"',
        head + f"X: {HEADER * 20_000}",
    ]:
        source = (PEER_IP, 0)
        with socket.create_connection((host, int(port)), 10, source) as peer:
            peer.sendall(text.encode())


def find_in_answer(answer: httpx.Response, needles: Mapping[str, str]) -> list[str]:
    text = answer.text + str(answer.headers)
    where = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
    return [f"{name}: {where}" for name, needle in needles.items() if needle in text]


def test_secrets_addresses_and_contents_stay_where_they_belong(api):
    secrets = list_secrets(api) | {"foreign": FOREIGN_SECRET}
    with open_clients(api) as clients:
        answers = [answer for client in clients for answer in call_every_way(client, api.keys)]
    send_malformed(api)
    listed = subprocess.run(
        [sys.executable, "-m", "millimetric_mcp", "keys", "list", "--data-dir", str(api.data_dir)],
        capture_output=True,
        text=True,
        check=True,
    )

    statuses = {answer.status_code for answer in answers}
    assert statuses >= {200, 202, 400, 401, 403, 404, 405, 413, 415}
    assert max(statuses) < 500
    hidden = secrets | {"address": FORWARDED_IP, "peer": PEER_IP, "agent": AGENT}
    contents = dict(zip(SENT, SENT, strict=True))
    leaks = [leak for answer in answers for leak in find_in_answer(answer, hidden)]
    # The MCP SDK quotes a malformed message to its own sender.
    refused = [a for a in answers if a.status_code >= 400 and a.request.url.path != "/mcp"]
    leaks += [leak for answer in refused for leak in find_in_answer(answer, contents)]
    assert leaks == []
    assert [
        name for name, secret in secrets.items() if secret in listed.stdout + listed.stderr
    ] == []

    assert api.terminate() == 0
    log = api.stderr()
    assert "Traceback" not in log
    assert [needle for needle in [*secrets.values(), *SENT] if needle in log] == []
    check_lines(log)
    check_files(api, secrets)


def check_files(api, secrets: Mapping[str, str]) -> None:
    """What clients sent to be stored is found by the search; secrets and addresses are not."""
    assert any("store" in path.parts for path in api.find_files(BODY.encode()))
    for needle in (*secrets.values(), FORWARDED_IP, PEER_IP, AGENT, HEADER):
        assert api.find_files(needle.encode()) == [], needle
    for address in (FORWARDED_IP, PEER_IP):
        packed = b"\0" * 10 + b"\xff\xff" + socket.inet_aton(address)
        assert api.find_files(packed) == []


def check_lines(log: str) -> None:
    """A request's line has the documented fields, and only known paths."""
    fields = {"time", "level", "method", "path", "status", "duration_ms", "project"}
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    lines = [record for record in records if "path" in record]
    assert len(lines) > 100
    assert "/mcp" in {line["path"] for line in lines}
    for line in lines:
        assert set(line) <= fields
        assert re.fullmatch(r"/v1/[a-z]+|/health|/openapi\.json|/mcp|\(unknown\)", line["path"])
