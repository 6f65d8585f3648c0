"""Hostile inputs that keep the structure of requests: no unexpected error, no slow answer."""

import shutil
import socket
import sys
import time
from collections import Counter

from bench.processes import start_worker
from tests.torture.harness import at_least, at_most, none, run_api
from tests.torture.hostile_inputs import make_http_request, make_mcp_request, make_random

MCP_SHARE = 0.1
ROUND = 10_000
"""So many inputs go to one API: what they store makes the questions among them slower."""
MAX_S = 3600
"""Then no round begins any more, and the figure says how many inputs there were."""
TIMEOUT_S = 30


class Caller:
    """One keep-alive connection that sends inputs and reads the answers."""

    def __init__(self, port):
        self._port = port
        self._connect()

    def _connect(self):
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S)
        self._answers = self._socket.makefile("rb")

    def ask(self, request):
        """Return the status of the answer; 0 if the connection ends without one."""
        try:
            self._socket.sendall(request)
            line = self._answers.readline()
            if not line:
                raise ConnectionError
            length, is_closing = 0, False
            while (header := self._answers.readline().lower()) not in {b"\r\n", b""}:
                if header.startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
                is_closing |= header == b"connection: close\r\n"
            self._answers.read(length)
        except OSError:
            self._connect()
            return 0
        if is_closing:
            self._connect()
        return int(line.split()[1])


def send_inputs(port, keys, seed, count, *, slow_s):
    """Send so many inputs one after the other; return their statuses and the slow ones."""
    chance, caller = make_random(seed), Caller(port)
    statuses, slowest_s, slow = Counter(), 0.0, 0
    for _ in range(count):
        is_mcp = chance.random() < MCP_SHARE
        request = (make_mcp_request if is_mcp else make_http_request)(chance, keys)
        began_s = time.perf_counter()
        statuses[caller.ask(request)] += 1
        took_s = time.perf_counter() - began_s
        slowest_s = max(slowest_s, took_s)
        if took_s > slow_s:
            slow += 1
            print(f"{took_s:.2f} s: {_shorten(request)}", file=sys.stderr, flush=True)
    return statuses, slowest_s, slow


def _shorten(request):
    """Return the first line and the body, without the key between them."""
    head, _, body = request.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0][:300], body[:300]


def run(scale, directory):
    slow_s = scale.pick(1, 10)
    target = int(scale.pick(1_000_000, 2_000))
    statuses, slowest_s, found = Counter(), 0.0, Counter()
    ends_s = time.monotonic() + MAX_S
    for number in range(-(-target // ROUND)):
        if time.monotonic() > ends_s:
            break
        count = min(ROUND, target - number * ROUND)
        place = directory / str(number)
        of_round, longest_s = _run_round(place, number, count, statuses, slow_s=slow_s)
        slowest_s, found = max(slowest_s, longest_s), found + of_round
        shutil.rmtree(place)
    total = sum(statuses.values())
    what = f"of {total:,} hostile inputs over HTTP and MCP"
    return [
        at_least("hostile inputs over HTTP and MCP", total, target),
        none(
            f"answers with 5xx {what}",
            sum(count for status, count in statuses.items() if status >= 500),
        ),
        none(f"without an answer {what}", statuses[0]),
        none(f"unexpected errors {what}", found["unexpected"]),
        none(f"answers over {slow_s:.0f} s {what}", found["slow"]),
        at_most("slowest of their answers", slowest_s, slow_s, "s"),
        none(f"events in another project {what}", found["of another"]),
        none(f"APIs that don't serve after {what}", found["dead"]),
    ]


def _run_round(directory, number, count, statuses, *, slow_s):
    """Send inputs to a new API; return what is wrong, counted, and the slowest answer."""
    found = Counter()
    with run_api(directory) as api, start_worker() as worker:
        answers, slowest_s, found["slow"] = worker.run(
            send_inputs, api.port, api.keys, number, count, slow_s=slow_s
        )
        statuses.update(answers)
        alive = api.ask("GET", "/health").is_success and api.track("after") == 202
        found["dead"] = int(not alive)
        found["unexpected"] = api.count_unexpected()
        window = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        answer = api.ask("GET", "/v1/query", key="other rk", params=window)
        found["of another"] = len(answer.json()["rows"])
    return found, slowest_s
