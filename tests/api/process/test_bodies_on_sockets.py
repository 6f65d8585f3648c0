"""What no well-behaved client sends, byte by byte on a socket: refused, answered or dropped."""

import json
import select
import socket
import time
from dataclasses import dataclass

import pytest

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


MALFORMED = (400, "invalid_payload")
TOO_LARGE = (413, "payload_too_large")
NOT_FOUND = (404, "not_found")
WRONG_METHOD = (405, "method_not_allowed")
OK = (200, None)
STORED = (202, None)
CHUNKS = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n"


def list_requests(api) -> dict[str, tuple[bytes, tuple[int, str | None]]]:
    """Raw requests and the outcome of each one, by what is odd."""
    chunked = head(api, "Transfer-Encoding: chunked")
    event = b'{"event":"x"}'
    one = b"d\r\n" + event + b"\r\n0\r\n\r\n"
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    return {
        "no http": (b"GARBAGE\r\n\r\n", MALFORMED),
        "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", MALFORMED),
        "http/0.9": (b"GET /health\r\n\r\n", MALFORMED),
        "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", MALFORMED),
        "http/2.0 in a request line": (b"GET /health HTTP/2.0\r\nHost: a\r\n\r\n", MALFORMED),
        "version of nothing": (b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n", MALFORMED),
        "no version": (b"GET /health HTTX/1.1\r\nHost: a\r\n\r\n", MALFORMED),
        "bare line feeds": (b"GET /health HTTP/1.1\nHost: a\n\n", MALFORMED),
        "unknown method": (head(api, request="FOO /v1/track?x=1 HTTP/1.1"), WRONG_METHOD),
        "unknown method of an unknown path": (b"FOO /v1/foo HTTP/1.1\r\n\r\n", NOT_FOUND),
        "method in lower case": (b"get /health HTTP/1.1\r\nHost: a\r\n\r\n", WRONG_METHOD),
        "known method nobody has": (
            head(api, request="PROPFIND /v1/track HTTP/1.1"),
            WRONG_METHOD,
        ),
        "connect": (b"CONNECT api.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED),
        "space before the colon": (b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n", MALFORMED),
        "NUL in a header": (HEALTH + b"X: a\0b\r\n\r\n", MALFORMED),
        "folded header": (HEALTH + b" folded\r\n\r\n", MALFORMED),
        "no host": (b"GET /health HTTP/1.1\r\n\r\n", MALFORMED),
        "two hosts": (HEALTH + b"Host: b\r\n\r\n", MALFORMED),
        "no host in http/1.0": (b"GET /health HTTP/1.0\r\n\r\n", OK),
        "two lengths": (head(api, "Content-Length: 2", "Content-Length: 3") + b"{}", MALFORMED),
        "length and chunks": (
            head(api, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            MALFORMED,
        ),
        "coding of nothing": (head(api, "Transfer-Encoding: x") + b"{}", MALFORMED),
        "coding inside of chunks": (head(api, "Transfer-Encoding: gzip, chunked") + one, MALFORMED),
        "coding in a header of its own": (
            head(api, "Transfer-Encoding: gzip", "Transfer-Encoding: chunked") + one,
            MALFORMED,
        ),
        "chunked before a blank": (head(api, "Transfer-Encoding: chunked ") + one, STORED),
        "chunked in capitals": (head(api, "Transfer-Encoding: Chunked") + one, STORED),
        "negative length": (head(api, "Content-Length: -2"), MALFORMED),
        "length beyond 64 bits": (head(api, f"Content-Length: {'9' * 20}"), TOO_LARGE),
        "length beyond the limit": (head(api, "Content-Length: 999999999"), TOO_LARGE),
        "length a byte beyond the limit": (head(api, "Content-Length: 10485761"), TOO_LARGE),
        "chunk of no length": (chunked + b"zz\r\n{}\r\n0\r\n\r\n", MALFORMED),
        "chunk longer than it says": (chunked + b"1\r\n{}\r\n0\r\n\r\n", MALFORMED),
        "chunk length beyond 64 bits": (chunked + b"f" * 20 + b"\r\n{}\r\n", MALFORMED),
        "bad chunk behind a whole event": (chunked + b"d\r\n" + event + b"\r\nzz", MALFORMED),
        "chunks": (
            chunked + b"6\r\n" + event[:6] + b"\r\n7\r\n" + event[6:] + b"\r\n0\r\n\r\n",
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
            head(api, *upgrade, f"Content-Length: {len(event)}") + event,
            STORED,
        ),
        "chunks of a request to upgrade": (
            head(api, *upgrade, "Transfer-Encoding: chunked") + one,
            STORED,
        ),
        "header that is no text": (HEALTH + b"X: \xff\xfe\r\n\r\n", OK),
    }


def test_what_is_no_http_is_answered_in_the_envelope_with_one_line_in_the_log(shared_api):
    requests = list_requests(shared_api)
    outcomes, types = {}, set()
    before = len(shared_api.stderr().splitlines())
    for name, (data, _) in requests.items():
        with Peer(shared_api) as peer:
            peer.send(data)
            answer = peer.read()
        outcomes[name] = answer.outcome
        types.add(answer.headers["content-type"])

    assert outcomes == {name: outcome for name, (_, outcome) in requests.items()}
    assert types == {"application/json"}
    shared_api.wait_until(lambda: len(shared_api.stderr().splitlines()) >= before + len(requests))
    lines = [json.loads(line) for line in shared_api.stderr().splitlines()[before:]]
    assert [line["status"] for line in lines] == [status for status, _ in outcomes.values()]
    check_log(shared_api)
    assert shared_api.get("/v1/stats").status_code == 200


def test_a_refusal_of_what_is_no_http_closes_the_connection_and_says_what_is_wrong(shared_api):
    with Peer(shared_api) as peer:
        peer.send(b"GET /health HTTP/1.1\r\n\r\n" + HEALTH + b"\r\n")
        answer, rest = peer.read(), peer.read_to_the_end()

    assert answer.headers["connection"] == "close"
    assert rest == b""
    assert json.loads(answer.body) == {
        "error": "invalid_payload",
        "details": {
            "fieldErrors": {},
            "formErrors": ["A request of HTTP/1.1 has one Host header."],
        },
    }


def test_an_unknown_method_is_told_the_right_one(shared_api):
    for path, allowed in [
        ("/v1/batch", "POST"),
        ("/v1/query", "GET, HEAD"),
        ("/health", "GET, HEAD"),
    ]:
        with Peer(shared_api) as peer:
            peer.send(f"FOO {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert peer.read().headers["allow"] == allowed


@pytest.mark.parametrize(
    "malformed",
    [
        pytest.param(b"FOO BAR\r\n\r\n", id="request line"),
        pytest.param(b"GET /health HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(HEALTH + b"X: " + b"x" * 200_000, id="long head"),
    ],
)
def test_requests_before_a_malformed_one_are_answered_first(shared_api, malformed):
    body = b'{"event":"x","event_id":"%d"}'
    sent = [head(shared_api, f"Content-Length: {len(body % n)}") + body % n for n in range(3)]
    with Peer(shared_api) as peer:
        peer.send(b"".join(sent))
        peer.send(malformed)
        stored = [peer.read().body for _ in sent]
        refused, rest = peer.read(), peer.read_to_the_end()

    assert stored == [b'{"ok":true,"event_id":"%d"}' % n for n in range(3)]
    assert (refused.outcome, rest) == (MALFORMED, b"")


def test_a_body_that_breaks_off_behind_other_requests_is_refused_in_its_turn(shared_api):
    event = b'{"event":"broken off"}'
    first = head(shared_api, "Content-Length: 13") + b'{"event":"x"}'
    broken = head(shared_api, "Transfer-Encoding: chunked") + b"16\r\n" + event + b"\r\nzz\r\n"
    with Peer(shared_api) as peer:
        peer.send(first + broken)
        answers = [peer.read(), peer.read()]
        rest = peer.read_to_the_end()

    assert [answer.outcome for answer in answers] == [STORED, MALFORMED]
    assert rest == b""
    assert shared_api.rows("/v1/stats", event="broken off") == [{"value": 0}]


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
        pytest.param(CHUNKS + b"0\r\nX: ", id="trailer"),
        pytest.param(CHUNKS + b"1;", id="chunk's extension"),
    ],
)
def test_a_head_without_end_is_cut_off(shared_api, start):
    with Peer(shared_api) as peer:
        peer.send(start)
        sent = count_until_refused(peer)

    assert sent < MAX_ACCEPTED_BYTES
    check_log(shared_api)


def test_a_body_s_trailers_without_end_are_no_body(shared_api):
    with Peer(shared_api) as peer:
        peer.send(
            head(shared_api, "Transfer-Encoding: chunked") + b"d\r\n" + b'{"event":"x"}\r\n0\r\n'
        )
        sent = 0
        while not peer.has_answer(0.05):
            peer.send(b"X-T: " + b"x" * 10_000 + b"\r\n")
            sent += 1
            assert sent < 100
        answer = peer.read()

    assert answer.outcome == MALFORMED


def test_an_address_that_is_too_long_is_told_so(shared_api):
    with Peer(shared_api) as peer:
        peer.send(b"GET /health?" + b"x" * 66_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = peer.read()

    assert json.loads(answer.body)["details"]["formErrors"] == [
        "The request's head is longer than 64 KiB."
    ]


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

    assert first.outcome == (401, "missing_bearer_token")
    assert second.status == 200


def test_requests_in_one_packet_are_answered_in_turn(shared_api):
    body = b'{"event":"x","event_id":"%d"}'
    requests = [head(shared_api, f"Content-Length: {len(body % n)}") + body % n for n in range(5)]
    with Peer(shared_api) as peer:
        peer.send(b"".join(requests))
        answers = [peer.read().body for _ in requests]

    assert answers == [b'{"ok":true,"event_id":"%d"}' % n for n in range(5)]
