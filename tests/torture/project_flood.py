"""One project sends as many batches as the API takes; another one writes and reads beside it."""

import time
from statistics import median

from bench.parts.batch import drive_batches, prepare_batches
from bench.parts.track import drive_track, prepare_track
from bench.processes import settle, start_worker
from tests.torture.harness import at_most, none, run_api

LEAD_S = 1.0


def measure_other(api, worker, duration_s):
    """Return the p99 of the other project's writes, and the median and worst of its reads."""
    writes = worker.run(
        drive_track,
        api.port,
        key=api.keys["other sk"],
        connections=2,
        duration_s=duration_s,
        warm_up_s=0.0,
        requests=500,
    )
    reads = [
        api.ask(
            "GET",
            "/v1/sources",
            key="other rk",
            params={"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
        )
        for _ in range(20)
    ]
    times_ms = [answer.elapsed.total_seconds() * 1000 for answer in reads]
    refused = sum(answer.status_code != 200 for answer in reads)
    return writes.p99_ms, median(times_ms), refused


def run(scale, directory):
    duration_s = scale.pick(15, 2)
    with run_api(directory / "data") as api, start_worker() as flood, start_worker() as other:
        flood.run(prepare_batches, api.keys["sk"], 10)
        other.run(prepare_track, api.keys["other sk"], 500)
        alone_ms, alone_read_ms, _ = measure_other(api, other, duration_s)
        flooding = flood.start(
            drive_batches,
            api.port,
            key=api.keys["sk"],
            duration_s=duration_s + 5,
            warm_up_s=0.0,
            requests=10,
        )
        time.sleep(LEAD_S)
        beside_ms, beside_read_ms, refused = measure_other(api, other, duration_s)
        flooded = flooding.result()
        settle(api.process.pid)
        unexpected = api.count_unexpected()
    rate = f"{flooded.per_s * 1000:,.0f} events/s"
    return [
        at_most(f"p99 of a write beside another project's {rate}", beside_ms, 500, "ms"),
        at_most("that p99 ÷ the p99 alone", beside_ms / alone_ms, 20, "×"),
        at_most("median read beside that flood", beside_read_ms, 500, "ms"),
        at_most("that median ÷ the median alone", beside_read_ms / alone_read_ms, 10, "×"),
        none("reads of the other project refused", refused),
        none("unexpected errors of a flood", unexpected),
    ]
