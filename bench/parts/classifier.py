"""The source classifier alone: one visit at a time, each seen for the first time."""

import gc
import json
import time
from collections.abc import Iterable
from pathlib import Path

from bench.data import make_events
from bench.figures import pick_quantile, write_number
from bench.processes import start_worker
from bench.report import Check, Findings, Table
from bench.workspace import Workspace
from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.pipeline import warm_up

TITLE = "The source classifier"
BOUND_US = 10.0
LABELLED = Path(__file__).parents[2] / "tests" / "api" / "ingest" / "data" / "urls.jsonl"
GENERATED_EVENTS = 100_000

Visit = tuple[str | None, str | None, str | None]


def measure(workspace: Workspace) -> Findings:
    """Generated visits and the labelled ones of the tests, in a process that knows none yet."""
    events = 2_000 if workspace.scale.quick else GENERATED_EVENTS
    with start_worker() as process:
        times_us = {
            "generated": process.run(time_visits, "generated", events=events),
            "labelled": process.run(time_visits, "labelled", events=0),
        }
    return Findings(
        checks=[
            Check(
                f"`classify()`, p50 over {name} visits",
                pick_quantile(times, 0.5),
                "µs",
                BOUND_US,
                at_most=True,
            )
            for name, times in times_us.items()
        ],
        tables=[
            Table(
                "Each visit once",
                ("visits", "number", "p50 µs", "p99 µs"),
                [
                    (
                        name,
                        f"{len(times):,}",
                        write_number(pick_quantile(times, 0.5)),
                        write_number(pick_quantile(times, 0.99)),
                    )
                    for name, times in times_us.items()
                ],
            )
        ],
        raw={
            name: {f"p{share}": pick_quantile(times, share / 100) for share in (1, 25, 50, 75, 99)}
            for name, times in times_us.items()
        },
    )


def time_visits(name: str, *, events: int) -> list[float]:
    """Ascending microseconds of each call, the clock's own cost included; runs in a worker."""
    visits = _generate(events) if name == "generated" else _read_labelled()
    distinct = list(dict.fromkeys(visits))
    warm_up()
    taken_ns = []
    clock_ns = time.perf_counter_ns
    gc.disable()
    for url, referrer, request_host in distinct:
        began_ns = clock_ns()
        classify(url, referrer, request_host)
        taken_ns.append(clock_ns() - began_ns)
    gc.enable()
    return sorted(ns / 1000 for ns in taken_ns)


def _generate(events: int) -> Iterable[Visit]:
    return ((event.url, event.referrer, host_of(event.url)) for event in make_events(events))


def _read_labelled() -> Iterable[Visit]:
    for line in LABELLED.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row["url"], row["referrer"], row["request_host"]
