"""Many more events than a benchmark can generate: reads, memory, start, disk and merges.

On demand, with ``--scale 100m``. With ``--data-dir`` a run that was stopped goes on.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from bench.data import write_window
from bench.figures import write_number
from bench.parts.reads import NAMES, measure_files, time_read
from bench.processes import read_memory_mb, settle
from bench.raw_reader import QUESTIONS
from bench.report import Bar, Chart, Check, Findings, Table
from bench.scale_fill import Filling, fill
from bench.workspace import Workspace
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.contract.endpoints import QUERY

TITLE = "Many events in one process"
NEWEST = "`GET /v1/query`, the newest 100"
GROWTH_BOUND, START_BOUND_S = 2, 5


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured of one number of events. Times are in milliseconds, by question."""

    events: int
    start_s: float
    idle_mb: float
    peak_mb: float
    bytes_per_event: float
    times_ms: Mapping[str, list[float]] = field(default_factory=dict)


def measure(workspace: Workspace) -> Findings:
    """The small store and the large one, one after the other, each with an API on it."""
    scale = workspace.scale
    small_dir, loading = workspace.load(scale.small_events)
    large_dir, filling = fill(workspace, events=scale.scaled_events, say=workspace.say)
    sizes = [
        _measure_size(workspace, small_dir, loading.events, in_place=False),
        _measure_size(workspace, large_dir, filling.events, in_place=True),
    ]
    return _report(sizes, filling)


def _measure_size(workspace: Workspace, data_dir: Path, events: int, *, in_place: bool) -> Size:
    """Start an API and ask it.

    Raises:
        RuntimeError: it does not count all events.
    """
    used = measure_files(data_dir / STORE_DIR) / events
    with workspace.deploy(data_dir, in_place=in_place) as api:
        answered_s = time_read(api.http, "sources").took_ms / 1000
        settle(api.process_id)
        idle_mb = read_memory_mb(api.process_id)
        times_ms: dict[str, list[float]] = {name: [] for name in (*NAMES.values(), NEWEST)}
        for repetition in range(workspace.scale.reads + 1):
            took_ms = {NAMES[name]: time_read(api.http, name).took_ms for name in QUESTIONS}
            took_ms[NEWEST] = _time_newest(api.http)
            if repetition:  # the first round warms caches
                for name, value in took_ms.items():
                    times_ms[name].append(value)
        counted = api.get("/v1/stats?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z")
        if sum(int(str(row["value"])) for row in counted["rows"]) != events:
            raise RuntimeError(f"the API does not count {events:,} events")
        peak_mb = read_memory_mb(api.process_id, peak=True)
    return Size(events, api.started_in_s + answered_s, idle_mb, peak_mb, used, times_ms)


def _time_newest(http: httpx.Client) -> float:
    began_s = time.perf_counter()
    answer = http.get(f"{QUERY.path}?{write_window(limit=100)}")
    took_ms = (time.perf_counter() - began_s) * 1000
    answer.raise_for_status()
    return took_ms


def _report(sizes: Sequence[Size], filling: Filling) -> Findings:
    small, large = sizes
    sources = NAMES["sources"]
    growth = median(large.times_ms[sources]) / median(small.times_ms[sources])
    return Findings(
        checks=[
            Check(
                f"{sources}, {large.events:,} ÷ {small.events:,} events",
                growth,
                "×",
                GROWTH_BOUND,
                at_most=True,
            ),
            Check(
                f"Start to first answer, {large.events:,} events",
                large.start_s,
                "s",
                START_BOUND_S,
                at_most=True,
            ),
        ],
        tables=_list_tables(sizes),
        charts=[
            Chart(
                "scale",
                f"Reads over 30 days: {small.events:,} and {large.events:,} events",
                "milliseconds, logarithmic",
                [
                    Bar(f"{name.replace('`', '')}, {size.events:,}", median(times), size is large)
                    for name in small.times_ms
                    for size in sizes
                    for times in [size.times_ms[name]]
                ],
                logarithmic=True,
            )
        ],
        raw={"sizes": sizes, "filling": filling},
        notes=[_describe_filling(filling)],
    )


def _list_tables(sizes: Sequence[Size]) -> list[Table]:
    return [
        Table(
            "Medians of the reads, in milliseconds",
            ("events", *sizes[0].times_ms),
            [
                (f"{size.events:,}", *map(write_number, map(median, size.times_ms.values())))
                for size in sizes
            ],
        ),
        Table(
            "One process",
            (
                "events",
                "bytes an event",
                "start to first answer, s",
                "memory after it, MB",
                "memory at its highest, MB",
            ),
            [
                (
                    f"{size.events:,}",
                    *map(
                        write_number,
                        (size.bytes_per_event, size.start_s, size.idle_mb, size.peak_mb),
                    ),
                )
                for size in sizes
            ],
        ),
    ]


def _describe_filling(filling: Filling) -> str:
    added = filling.events - filling.base_events
    if not added:
        return "The events are those of the small store."
    return (
        f"{added:,} events were added in {filling.took_s:.0f} s, merges included, by copies of the "
        f"first {filling.base_events:,} with other visitors and users. Merges wrote each of them "
        f"{write_number(filling.merged_rows / added)} times more."
    )
