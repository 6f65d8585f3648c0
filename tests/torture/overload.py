"""300 writers and 20 slow readers for ten minutes: nothing is refused, and memory stays level."""

import socket
import threading
import time
from statistics import median

from bench.data import make_read_request
from bench.parts.track import drive_track, prepare_track
from bench.processes import read_memory_mb, start_worker
from tests.torture.harness import at_most, none, run_api

WRITERS, READERS = 300, 20
READ_BYTES, READ_PAUSE_S = 8192, 1.0
SAMPLE_S = 2
MAX_REQUESTS = 10_000_000
"""More than the API takes in the time: the load has to last until the end."""
WIDE = {"event": "wide", "properties": {"p": "y" * 4000}}


def read_slowly(port, request, ended):
    """Ask for wide events again and again, and take the answer a little at a time."""
    while not ended.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(request)
                while not ended.is_set() and connection.recv(READ_BYTES):
                    time.sleep(READ_PAUSE_S)
        except OSError:
            time.sleep(READ_PAUSE_S)


def watch_memory(process_id, load):
    """Return the resident memory in MB every two seconds until the load ends."""
    samples = []
    while not load.done():
        samples.append(read_memory_mb(process_id))
        time.sleep(SAMPLE_S)
    return samples


def run(scale, directory):
    duration_s = scale.pick(600, 4)
    ended = threading.Event()
    with run_api(directory / "data") as api, start_worker() as worker:
        for _ in range(10):
            api.post("/v1/batch", {"events": [WIDE] * 200})
        request = make_read_request("/v1/query", api.keys["rk"], limit=1000, event="wide")
        readers = [
            threading.Thread(target=read_slowly, args=(api.port, request, ended))
            for _ in range(READERS)
        ]
        for reader in readers:
            reader.start()
        worker.run(prepare_track, api.keys["sk"], 20_000)
        load = worker.start(
            drive_track,
            api.port,
            key=api.keys["sk"],
            connections=WRITERS,
            duration_s=duration_s,
            warm_up_s=0.0,
            requests=20_000,
            max_requests=MAX_REQUESTS,
        )
        try:
            samples = watch_memory(api.process.pid, load)
            result = load.result()  # raises if any answer was not 202
        finally:
            ended.set()
        missing = result.sent - (api.count() - 2000)
        unexpected = api.count_unexpected()
        for reader in readers:
            reader.join()
    fifth = len(samples) // 5 or 1
    before, last = (median(samples[-2 * fifth : -fifth] or samples), median(samples[-fifth:]))
    what = f"{WRITERS} writers and {READERS} slow readers for {duration_s:.0f} s"
    return [
        none(f"acknowledged events missing after {what}, of {result.sent:,}", missing),
        at_most(f"resident memory of {what}, at the end", last, 2000, "MB"),
        at_most(f"memory of the last fifth ÷ the fifth before, {what}", last / before, 1.1, "×"),
        none(f"unexpected errors of {what}", unexpected),
    ]
