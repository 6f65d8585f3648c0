"""A lean HTTP/1.1 load generator: keep-alive connections in one thread, one request each.

Every connection sends its next request when its answer has arrived (a closed loop). Sockets
and a selector do for it, so that the generator costs less than the leanest server it
measures; what it cost is part of the result.
"""

import gc
import re
import selectors
import socket
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import inf
from statistics import median

from bench.figures import pick_quantile, write_number

RECEIVE_BYTES = 262_144
ANSWER_TIMEOUT_S = 30.0
MAX_REQUESTS = 1_000_000
"""A load ends after so many, unless it says another number."""
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class LoadFailed(Exception):
    """A server did not answer as a server that is measured must."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: the requests in turn, each connection one at a time, until the time is up.

    ``warm_up_s`` comes first and counts nothing. ``status`` is the one that counts as success.
    ``per_s`` is the most requests a second that all connections send together.
    """

    port: int
    requests: Sequence[bytes]
    connections: int
    duration_s: float
    status: int
    warm_up_s: float = 0.0
    max_requests: int = MAX_REQUESTS
    per_s: float = inf


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came back, all of it as expected.

    ``answers`` and ``per_s`` count what came in time; latencies are also those of the answers
    that were under way at the end, else the slowest would be left out. ``sent`` counts the
    warm-up too; ``generator_cpu`` is a share of one core.
    """

    answers: int
    sent: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    generator_cpu: float


def encode_request(
    method: str, target: str, *, headers: Sequence[tuple[str, str]], body: bytes = b""
) -> bytes:
    """The bytes of a keep-alive request to this machine."""
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


def drive(load: Load) -> LoadResult:
    """Sends the load to 127.0.0.1 and measures it.

    Raises:
        LoadFailed: a connection broke, or an answer is late or has another status.
    """
    generator = _Generator(load)
    gc.disable()
    try:
        return generator.run()
    finally:
        gc.enable()
        generator.close()


def list_rates(results: Sequence[LoadResult]) -> list[float]:
    """Requests a second of each repetition."""
    return [result.per_s for result in results]


def write_result(results: Sequence[LoadResult]) -> tuple[str, str, str]:
    """Requests a second, p50 and p99 for a table: medians of the repetitions."""
    columns = ([result.per_s, result.p50_ms, result.p99_ms] for result in results)
    rate, p50_ms, p99_ms = (write_number(median(values)) for values in zip(*columns, strict=True))
    return rate, p50_ms, p99_ms


class _Connection:
    """One keep-alive connection and the answer that is arriving on it."""

    __slots__ = ("answer", "began_ns", "needed", "sock", "unsent")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(0)
        self.answer = bytearray()
        self.needed = 0
        self.began_ns = 0
        self.unsent = memoryview(b"")

    def begin(self, request: bytes) -> bool:
        """Sends a request, or as much of it as goes; whether it is all sent."""
        self.answer = bytearray()
        self.needed = 0
        self.unsent = memoryview(request)
        self.began_ns = time.perf_counter_ns()
        return self.send()

    def send(self) -> bool:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bool:
        """Takes what has arrived; whether the answer is whole."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            raise LoadFailed("the server closed a connection")
        self.answer += data
        if not self.needed:
            head = self.answer.find(_END_OF_HEAD)
            if head < 0:
                return False
            length = _LENGTH.search(self.answer, 0, head)
            if length is None:
                raise LoadFailed("an answer has no content-length")
            self.needed = head + len(_END_OF_HEAD) + int(length[1])
        return len(self.answer) >= self.needed


class _Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests: Iterator[bytes] = cycle(load.requests)
        self._success = f"HTTP/1.1 {load.status} ".encode()
        self._latencies_ns = array("q")
        self._sent = 0
        self._selector = selectors.DefaultSelector()
        self._connections = [_Connection(load.port) for _ in range(load.connections)]
        self._free = deque(self._connections)
        self._began_s = 0.0
        for connection in self._connections:
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def run(self) -> LoadResult:
        load = self._load
        self._began_s = time.perf_counter()
        self._run_for(load.warm_up_s)
        self._latencies_ns = array("q")
        cpu_began_s, began_s = time.process_time(), time.perf_counter()
        self._run_for(load.duration_s)
        elapsed_s = time.perf_counter() - began_s
        cpu_s = time.process_time() - cpu_began_s
        answers = len(self._latencies_ns)
        self._finish()
        latencies_ms = sorted(ns / 1e6 for ns in self._latencies_ns)
        return LoadResult(
            answers=answers,
            sent=self._sent,
            per_s=answers / elapsed_s,
            p50_ms=pick_quantile(latencies_ms, 0.5),
            p99_ms=pick_quantile(latencies_ms, 0.99),
            max_ms=latencies_ms[-1],
            generator_cpu=cpu_s / elapsed_s,
        )

    def close(self) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.sock.close()

    def _run_for(self, duration_s: float) -> None:
        deadline_s = time.perf_counter() + duration_s
        while time.perf_counter() < deadline_s and self._sent < self._load.max_requests:
            due_s = self._send_due()
            for connection in self._take_answered(min(due_s, deadline_s)):
                self._free.append(connection)
                self._send_due()

    def _send_due(self) -> float:
        """Send on free connections what is due; return when the next request is."""
        while self._free and self._sent < self._load.max_requests:
            due_s = self._began_s + self._sent / self._load.per_s
            if due_s > time.perf_counter():
                return due_s
            self._send_next(self._free.popleft())
        return inf

    def _finish(self) -> None:
        """Waits for the answers under way, so that what was sent is what was answered."""
        waiting = set(self._connections).difference(self._free)
        deadline_s = time.perf_counter() + ANSWER_TIMEOUT_S
        while waiting:
            if time.perf_counter() > deadline_s:
                raise LoadFailed(f"no answer in {ANSWER_TIMEOUT_S:.0f} s")
            waiting.difference_update(self._take_answered(deadline_s))

    def _take_answered(self, deadline_s: float) -> Iterator[_Connection]:
        wait_s = max(deadline_s - time.perf_counter(), 0.0)
        for key, events in self._selector.select(wait_s):
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                if connection.send():
                    self._watch(connection, selectors.EVENT_READ)
            elif connection.receive():
                self._note(connection)
                yield connection

    def _note(self, connection: _Connection) -> None:
        if not connection.answer.startswith(self._success):
            raise LoadFailed(f"an answer was {bytes(connection.answer[:300])!r}")
        self._latencies_ns.append(time.perf_counter_ns() - connection.began_ns)

    def _send_next(self, connection: _Connection) -> None:
        self._sent += 1
        if not connection.begin(next(self._requests)):
            self._watch(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _watch(self, connection: _Connection, events: int) -> None:
        self._selector.modify(connection.sock, events, connection)
