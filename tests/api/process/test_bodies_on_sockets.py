"""What no well-behaved client sends, byte by byte on a socket: refused, answered or dropped."""

import json
import socket
import time

import pytest

MAX_ACCEPTED_BYTES = 16 * 1024 * 1024


class Peer:
    """A raw connection to the API."""

    def __init__(self, api) -> None:
        host, port = api.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """The status and the body of the next answer."""
        status = int(self._answers.readline().split()[1])
        length = 0
        while line := self._answers.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._answers.read(length)


def head(api, *lines: str, request: str = "POST /v1/track HTTP/1.1") -> bytes:
    key = api.keys["MILLIMETRIC_KEY"]
    usual = ["Host: api.test", f"Authorization: Bearer {key}", "Content-Type: application/json"]
    return "\r\n".join([request, *usual, *lines, "", ""]).encode("latin-1")


def list_requests(api) -> dict[str, tuple[bytes, int]]:
    """Raw requests and the status of each one's answer, by what is odd."""
    chunked = head(api, "Transfer-Encoding: chunked")
    event = b'{"event":"x"}'
    return {
        "no http": (b"GARBAGE\r\n\r\n", 400),
        "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        "bare line feeds": (b"GET /health HTTP/1.1\nHost: a\n\n", 400),
        "unknown method": (head(api, request="BREW /v1/track HTTP/1.1"), 400),
        "known method nobody has": (head(api, request="PROPFIND /v1/track HTTP/1.1"), 405),
        "connect": (b"CONNECT api.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        "space before the colon": (b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        "NUL in a header": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        "folded header": (b"GET /health HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        "no host": (b"POST /v1/track HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 401),
        "two lengths": (head(api, "Content-Length: 2", "Content-Length: 3") + b"{}", 400),
        "length and chunks": (
            head(api, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            400,
        ),
        "negative length": (head(api, "Content-Length: -2"), 400),
        "length beyond 64 bits": (head(api, "Content-Length: 99999999999999999999999"), 400),
        "length beyond the limit": (head(api, "Content-Length: 999999999"), 413),
        "chunk of no length": (chunked + b"zz\r\n{}\r\n0\r\n\r\n", 400),
        "chunk longer than it says": (chunked + b"1\r\n{}\r\n0\r\n\r\n", 400),
        "chunk length beyond 64 bits": (chunked + b"f" * 20 + b"\r\n{}\r\n", 400),
        "chunks": (
            chunked + b"6\r\n" + event[:6] + b"\r\n7\r\n" + event[6:] + b"\r\n0\r\n\r\n",
            202,
        ),
        "NUL and line feed in a path": (b"GET /v1/%00%0a HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        "path that is no text": (b"GET /v1/%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        "absolute address": (b"GET http://elsewhere.test/health HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        "websocket": (
            head(
                api,
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                request="GET /health HTTP/1.1",
            ),
            200,
        ),
        "header that is no text": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\n\r\n", 200),
    }


def test_malformed_http_is_answered_in_time_and_leaves_no_traceback(shared_api):
    statuses = {}
    for name, (data, _) in list_requests(shared_api).items():
        with Peer(shared_api) as peer:
            peer.send(data)
            statuses[name] = peer.read()[0]

    assert statuses == {name: status for name, (_, status) in list_requests(shared_api).items()}
    check_log(shared_api)
    assert shared_api.get("/v1/stats").status_code == 200


def check_log(api) -> None:
    """No traceback, no fault, no status of a server error."""
    assert "Traceback" not in api.stderr()
    lines = [json.loads(line) for line in api.stderr().splitlines() if line.startswith("{")]
    assert [line for line in lines if "fault" in line or line["status"] >= 500] == []


def count_dropped(api) -> int:
    return api.stderr().count('"status":499')


def test_callers_who_hang_up_half_way_leave_one_line_and_no_event(shared_api):
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

    dropped = before + 3  # nobody knows of the first, whose head did not end
    shared_api.wait_until(lambda: count_dropped(shared_api) == dropped, timeout_s=10)

    check_log(shared_api)
    assert shared_api.rows("/v1/stats", event="cut off") == [{"value": 0}]


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET /", id="path"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: a\r\nX: ", id="header"),
        pytest.param(b"POST /v1/track HTTP/1.1\r\nHost: a\r\nX-", id="header's name"),
    ],
)
def test_a_head_without_end_is_cut_off(shared_api, start):
    with Peer(shared_api) as peer:
        peer.send(start)
        sent = count_until_refused(peer)

    assert sent < MAX_ACCEPTED_BYTES
    check_log(shared_api)


def count_until_refused(peer: Peer) -> int:
    """How many bytes the API lets itself be sent."""
    sent = 0
    try:
        while sent < MAX_ACCEPTED_BYTES:
            peer.send(b"x" * 65_536)
            sent += 65_536
            time.sleep(0.001)
    except OSError:
        pass
    return sent


def test_a_refusal_before_the_body_is_read_leaves_the_connection_of_use(shared_api):
    refused = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
    with Peer(shared_api) as peer:
        peer.send(refused + b"x" * 9_000_000)
        first = peer.read()
        peer.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        second = peer.read()

    assert first == (401, b'{"error":"missing_bearer_token"}')
    assert second[0] == 200


def test_requests_in_one_packet_are_answered_in_turn(shared_api):
    body = b'{"event":"x","event_id":"%d"}'
    requests = [head(shared_api, f"Content-Length: {len(body % n)}") + body % n for n in range(5)]
    with Peer(shared_api) as peer:
        peer.send(b"".join(requests))
        answers = [peer.read() for _ in requests]

    assert answers == [(202, b'{"ok":true,"event_id":"%d"}' % n) for n in range(5)]
