"""More idle connections than file descriptors: new callers are served, the idle ones give way."""

import socket
import time
from contextlib import ExitStack, suppress

from tests.torture.harness import none, run_api

DESCRIPTORS = 256
IDLE = 400


def hold(stack, port, count):
    """Open connections that send nothing, or half a request line."""
    for number in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        if number % 2:
            with suppress(OSError):
                connection.sendall(b"GET /health HT")


def ask_fresh(api, count):
    """Return how many of so many new callers were not served."""
    refused = 0
    for number in range(count):
        api._http.close()
        api._http = type(api._http)(trust_env=False, timeout=20)
        try:
            refused += api.track(f"e{number}") != 202
        except OSError:
            refused += 1
    return refused


def run(scale, directory):
    limit = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with run_api(directory / "data", wrapper=limit) as api, ExitStack() as stack:
        hold(stack, api.port, IDLE)
        time.sleep(1)
        refused = ask_fresh(api, 30)
        unread = sum(api.read(path).status_code != 200 for path in ("/v1/sources", "/v1/query"))
        unready = int(not api.ask("GET", "/health/ready").is_success)
        stack.close()
        after = ask_fresh(api, 10)
        missing = 40 - refused - after - api.count()
        unexpected = api.count_unexpected()
    what = f"with {IDLE} idle connections and {DESCRIPTORS} descriptors"
    return [
        none(f"of 30 new callers refused {what}", refused),
        none(f"reads refused {what}", unread + unready),
        none("writes refused after the idle connections closed", after),
        none("acknowledged events that are missing then", missing),
        none("unexpected errors without descriptors", unexpected),
    ]
