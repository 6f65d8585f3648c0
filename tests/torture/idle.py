"""500 idle connections and 200 that send a byte a second: the others don't notice."""

import socket
import threading
import time
from contextlib import ExitStack

from bench.parts.track import drive_track, prepare_track
from bench.processes import start_worker
from tests.torture.harness import at_most, none, run_api

IDLE, SLOW = 500, 200
HEAD = b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
CLOSED_WITHIN_S = 75


def drip(connections, ended):
    """Send a byte a second on each connection; a closed one is left out."""
    position = 0
    while not ended.is_set():
        for connection in list(connections):
            try:
                connection.sendall(HEAD[position : position + 1] or b"x")
            except OSError:
                connections.remove(connection)
        position += 1
        time.sleep(1)


def run(scale, directory):
    ended = threading.Event()
    with run_api(directory / "data") as api, start_worker() as worker, ExitStack() as stack:
        address = ("127.0.0.1", api.port)
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(address))
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(SLOW)]
        began_s = time.monotonic()
        dripping = threading.Thread(target=drip, args=(slow, ended))
        dripping.start()
        worker.run(prepare_track, api.keys["sk"], 1000)
        result = worker.run(
            drive_track,
            api.port,
            key=api.keys["sk"],
            connections=4,
            duration_s=scale.pick(20, 2),
            warm_up_s=0.0,
            requests=1000,
        )
        unread = sum(api.read(path).status_code != 200 for path in ("/v1/sources", "/v1/query"))
        while slow and not scale.quick and time.monotonic() < began_s + CLOSED_WITHIN_S:
            time.sleep(1)
        ended.set()
        dripping.join()
        unexpected = api.count_unexpected()
    what = f"{IDLE} idle and {SLOW} slow connections"
    checks = [
        at_most(f"p99 of a write beside {what}", result.p99_ms, 250, "ms"),
        none(f"reads refused beside {what}", unread),
        none(f"unexpected errors beside {what}", unexpected),
    ]
    if not scale.quick:
        checks.append(none(f"of {SLOW} slow requests open after {CLOSED_WITHIN_S} s", len(slow)))
    return checks
