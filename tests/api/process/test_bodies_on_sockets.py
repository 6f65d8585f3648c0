"""Unusual and malformed requests, byte by byte on a socket."""

import json
import select
import socket
import time
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.slow

MAX_ACCEPTED_BYTES = 16 * 1024 * 1024
TIMEOUT_S = 10


@dataclass(frozen=True)
class Answer:
    """A response; ``headers`` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def outcome(self) -> tuple[int, str | None]:
        """The status, and the error code if there is one."""
        return self.status, json.loads(self.body).get("error")


class Peer:
    """A raw connection to the API."""

    def __init__(self, api) -> None:
        host, port = api.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def has_answer(self, timeout_s: float) -> bool:
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def read(self) -> Answer:
        """The next answer."""
        status = int(self._answers.readline().split()[1])
        headers = {}
        while line := self._answers.readline().strip():
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        body = self._answers.read(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    def read_to_the_end(self) -> bytes:
        """What else comes before the API closes the connection."""
        return self._answers.read()


def head(api, *lines: str, request: str = "POST /v1/track HTTP/1.1") -> bytes:
    key = api.keys["MILLIMETRIC_KEY"]
    usual = ["Host: api.test", f"Authorization: Bearer {key}", "Content-Type: application/json"]
    return "\r\n".join([request, *usual, *lines, "", ""]).encode("latin-1")


TOO_LARGE = (413, "payload_too_large")
NOT_FOUND = (404, "not_found")
WRONG_METHOD = (405, "method_not_allowed")
OK = (200, None)
STORED = (202, None)
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n"
EVENT = b'{"event":"x"}'
ONE_CHUNK = b"d\r\n" + EVENT + b"\r\n0\r\n\r\n"


def list_unusual(api) -> dict[str, tuple[bytes, tuple[int, str | None]]]:
    """Raw requests that are unusual but valid HTTP, each with the outcome it should have."""
    chunked = head(api, "Transfer-Encoding: chunked")
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    return {
        "known method of no path": (
            head(api, request="PROPFIND /v1/track HTTP/1.1"),
            WRONG_METHOD,
        ),
        "no host in http/1.0": (b"GET /health HTTP/1.0\r\n\r\n", OK),
        "chunked before a blank": (head(api, "Transfer-Encoding: chunked ") + ONE_CHUNK, STORED),
        "chunked in capitals": (head(api, "Transfer-Encoding: Chunked") + ONE_CHUNK, STORED),
        "length beyond the limit": (head(api, "Content-Length: 999999999"), TOO_LARGE),
        "length a byte beyond the limit": (head(api, "Content-Length: 10485761"), TOO_LARGE),
        "chunks": (
            chunked + b"6\r\n" + EVENT[:6] + b"\r\n7\r\n" + EVENT[6:] + b"\r\n0\r\n\r\n",
            STORED,
        ),
        "NUL and line feed in a path": (b"GET /v1/%00%0a HTTP/1.1\r\nHost: a\r\n\r\n", NOT_FOUND),
        "path that is no text": (b"GET /v1/%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n", NOT_FOUND),
        "absolute address": (b"GET http://elsewhere.test/health HTTP/1.1\r\nHost: a\r\n\r\n", OK),
        "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", NOT_FOUND),
        "websocket": (
            HEALTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            OK,
        ),
        "body of a request to upgrade": (
            head(api, *upgrade, f"Content-Length: {len(EVENT)}") + EVENT,
            STORED,
        ),
        "chunks of a request to upgrade": (
            head(api, *upgrade, "Transfer-Encoding: chunked") + ONE_CHUNK,
            STORED,
        ),
        "header that is no text": (HEALTH + b"X: \xff\xfe\r\n\r\n", OK),
    }


def test_unusual_requests_get_their_answers_with_one_line_each(shared_api):
    requests = list_unusual(shared_api)
    outcomes = {}
    before = len(read_lines(shared_api))
    for name, (data, _) in requests.items():
        with Peer(shared_api) as peer:
            peer.send(data)
            outcomes[name] = peer.read().outcome

    assert outcomes == {name: outcome for name, (_, outcome) in requests.items()}
    shared_api.wait_until(lambda: len(read_lines(shared_api)) >= before + len(requests))
    lines = read_lines(shared_api)[before:]
    assert [line["status"] for line in lines] == [status for status, _ in outcomes.values()]
    check_log(shared_api)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"MARKER\r\n\r\n", id="no-http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="tls"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2"),
        pytest.param(b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n", id="version"),
        pytest.param(b"CONNECT api.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", id="connect"),
        pytest.param(HEALTH + b"MARKER : b\r\n\r\n", id="space-before-the-colon"),
        pytest.param(HEALTH + b"X: a\0MARKER\r\n\r\n", id="nul"),
        pytest.param(HEALTH + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="lengths"),
        pytest.param(
            HEALTH + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length-and-chunks",
        ),
        pytest.param(HEALTH + b"Content-Length: -2\r\n\r\n", id="negative-length"),
    ],
)
def test_a_malformed_request_is_refused_and_its_connection_closed(shared_api, data):
    with Peer(shared_api) as peer:
        peer.send(data)
        answer = peer.read_to_the_end()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert "MARKER" not in shared_api.stderr()
    check_log(shared_api)


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"zz\r\n{}\r\n0\r\n\r\n", id="no-length"),
        pytest.param(b"1\r\n{}\r\n0\r\n\r\n", id="longer-than-its-length"),
        pytest.param(b"f" * 20 + b"\r\n{}\r\n", id="length-beyond-64-bits"),
        pytest.param(b'16\r\n{"event":"broken off"}\r\nzz', id="behind-a-whole-event"),
    ],
)
def test_a_body_with_a_broken_chunk_stores_nothing(shared_api, chunks):
    with Peer(shared_api) as peer:
        peer.send(head(shared_api, "Transfer-Encoding: chunked") + chunks)
        answer = peer.read_to_the_end()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert shared_api.rows("/v1/stats", event="broken off") == [{"value": 0}]


def test_a_trailer_does_not_replace_a_header(shared_api):
    request = head(shared_api, "Transfer-Encoding: chunked").replace(b"sk_live", b"sk_test")
    key = shared_api.keys["MILLIMETRIC_KEY"].encode()
    trailer = b"Authorization: Bearer " + key + b"\r\n\r\n"
    with Peer(shared_api) as peer:
        peer.send(request + ONE_CHUNK[:-2] + trailer)
        answer = peer.read()

    assert answer.outcome == (401, "invalid_api_key")


def read_lines(api) -> list[dict]:
    """The lines of the log that are about requests."""
    lines = [json.loads(line) for line in api.stderr().splitlines() if line.startswith("{")]
    return [line for line in lines if "status" in line]


def check_log(api) -> None:
    """No traceback, and no unexpected error."""
    assert "Traceback" not in api.stderr()
    assert [line for line in read_lines(api) if "error" in line or line["status"] >= 500] == []


def count_dropped(api) -> int:
    return api.stderr().count('"status":499')


def test_a_connection_that_closes_during_a_request_leaves_one_line_and_no_event(shared_api):
    before = count_dropped(shared_api)
    whole = head(shared_api, "Content-Length: 19")
    for data in [
        whole[:40],
        whole,
        whole + b'{"event":"cut off"',
        head(shared_api, "Transfer-Encoding: chunked"),
    ]:
        with Peer(shared_api) as peer:
            peer.send(data)

    dropped = before + 3  # the first has no line: its head did not end
    shared_api.wait_until(lambda: count_dropped(shared_api) == dropped, timeout_s=10)

    check_log(shared_api)
    assert shared_api.rows("/v1/stats", event="cut off") == [{"value": 0}]


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET /", id="path"),
        pytest.param(HEALTH + b"X: ", id="header"),
        pytest.param(HEALTH + b"X-", id="header-name"),
        pytest.param(HEALTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", id="trailer"),
        pytest.param(HEALTH + b"Transfer-Encoding: chunked\r\n\r\n1;", id="chunk-extension"),
    ],
)
def test_a_head_without_end_is_cut_off(shared_api, start):
    with Peer(shared_api) as peer:
        peer.send(start)
        sent = count_until_refused(peer)

    assert sent < MAX_ACCEPTED_BYTES
    check_log(shared_api)


def count_until_refused(peer: Peer) -> int:
    """Returns how many bytes can be sent before the API closes the connection."""
    sent = 0
    try:
        while sent < MAX_ACCEPTED_BYTES:
            peer.send(b"x" * 65_536)
            sent += 65_536
            time.sleep(0.001)
    except OSError:
        pass
    return sent


def test_a_connection_stays_usable_after_a_refusal_before_the_body(shared_api):
    refused = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
    with Peer(shared_api) as peer:
        peer.send(refused + b"x" * 9_000_000)
        first = peer.read()
        peer.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        second = peer.read()

    assert first.outcome == (401, "missing_bearer_token")
    assert second.status == 200


def test_requests_in_one_packet_are_answered_in_turn(shared_api):
    body = b'{"event":"x","event_id":"%d"}'
    requests = [head(shared_api, f"Content-Length: {len(body % n)}") + body % n for n in range(5)]
    with Peer(shared_api) as peer:
        peer.send(b"".join(requests))
        answers = [peer.read().body for _ in requests]

    assert answers == [b'{"ok":true,"event_id":"%d"}' % n for n in range(5)]
