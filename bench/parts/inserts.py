"""One insert into the embedded engine by its number of events: the floor under every write."""

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

from bench.data import make_stored
from bench.figures import pick_quantile, write_number
from bench.processes import start_worker
from bench.report import Findings, Table
from bench.workspace import Workspace
from millimetric_mcp.api.store import ClientPool, embedded_target, migrate
from millimetric_mcp.api.store.inserts import encode_rows, insert_rows

TITLE = "One insert, by its number of events"
COUNTS = (1, 16, 100, 256, 1000, 8000)
FLUSHED, UNFLUSHED = "flushed to disk", "`--fsync off`"

Times = dict[str, dict[int, list[float]]]
"""Milliseconds of each insert, by database and number of events."""


def measure(workspace: Workspace) -> Findings:
    """Every count in turn, flushed and not, one after the other in one thread."""
    with start_worker() as engine:
        times_ms = engine.run(
            time_inserts, workspace.directory / "inserts", repetitions=workspace.scale.inserts
        )
    return _report(times_ms)


def time_inserts(directory: Path, *, repetitions: int) -> Times:
    """The product's own inserts, with no other load; runs in a worker."""
    target = embedded_target(directory)
    targets = {FLUSHED: target, UNFLUSHED: replace(target, database="unflushed", fsync=False)}
    pools = {name: ClientPool(target) for name, target in targets.items()}
    for pool in pools.values():
        migrate(pool)
    events = list(islice(make_stored(repetitions * max(COUNTS), project_id=1), 100_000))
    times_ms: Times = {name: {count: [] for count in COUNTS} for name in pools}
    for repetition in range(repetitions):
        for count in COUNTS:
            start = repetition * count % (len(events) - count + 1)
            group = events[start : start + count]
            received_us = time.time_ns() // 1000
            for name, pool in pools.items():
                began_s = time.perf_counter()
                insert_rows(pool, [encode_rows(group, received_us=received_us)])
                times_ms[name][count].append((time.perf_counter() - began_s) * 1000)
    for pool in pools.values():
        pool.close()
    return times_ms


def _report(times_ms: Times) -> Findings:
    rows = [
        (str(count), *(cell for by_count in times_ms.values() for cell in _write(by_count[count])))
        for count in COUNTS
    ]
    heads = [f"{name}, {quantile} ms" for name in times_ms for quantile in ("p50", "p99")]
    return Findings(
        tables=[Table("One thread, nothing else under way", ("events", *heads), rows)],
        raw=dict(times_ms),
        notes=[
            (
                "With `--journal off`, a closed loop of a few callers waits for this: at 16 "
                "connections 16 events are stored in one insert, and no caller sends its next "
                "event before that. With the journal, it is what a read may wait for."
            )
        ],
    )


def _write(values_ms: list[float]) -> tuple[str, str]:
    return write_number(median(values_ms)), write_number(pick_quantile(sorted(values_ms), 0.99))
