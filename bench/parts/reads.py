"""Reads at a million and at ten million events, beside the same questions asked of raw rows;
and what the events cost in disk, memory and time to start."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from bench.data import write_window
from bench.figures import root_mean_square, write_number
from bench.processes import Aside, aside, read_memory_mb, settle
from bench.raw_reader import (
    QUESTIONS,
    Estimate,
    Timed,
    close_reader,
    estimate_uniques,
    time_plain,
    time_unprojected,
)
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Workspace
from millimetric_mcp.cli.api import STORE_DIR

TITLE = "Reads over 30 days, disk, memory and start"
NAMES = {
    "sources": "`GET /v1/sources`",
    "daily": "`GET /v1/stats`, daily by source and medium",
}
WAYS = ("over HTTP", "the same statement, raw rows", "plain SQL, raw rows")
BOUNDS = {"sources": (1 / 5, 1 / 10), "daily": (1 / 4, None)}
MANY_VISITORS = 1000
"""Rows of fewer visitors are exact or nearly so, and would flatter the error."""

Times = dict[str, dict[str, list[float]]]
"""Milliseconds of each repetition, by question and way of asking."""


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured of one number of events."""

    events: int
    load_s: float
    bytes_per_event: float
    times_ms: Times
    start_s: list[float] = field(default_factory=list)


def measure(workspace: Workspace) -> Findings:
    """The smaller store first, then the larger one; the API runs on a copy of each."""
    with workspace.deploy() as api:
        settle(api.process_id)
        empty_mb = read_memory_mb(api.process_id)
    scale = workspace.scale
    sizes = [
        _measure_size(workspace, events) for events in (scale.small_events, scale.large_events)
    ]
    large_dir, loading = workspace.load(scale.large_events)
    sizes[-1].start_s.extend(_time_starts(workspace, large_dir))
    with aside() as reader:
        estimates = reader.run(
            estimate_uniques, large_dir, loading.project_id, windows=scale.windows
        )
        reader.run(close_reader, large_dir)
    return _report(sizes, estimates, empty_mb)


def _measure_size(workspace: Workspace, events: int) -> Size:
    data_dir, loading = workspace.load(events)
    with workspace.deploy(data_dir) as api, aside() as reader:
        settle(api.process_id)
        times_ms = {
            question: _alternate(
                api, reader, data_dir, question=question, repetitions=workspace.scale.reads
            )
            for question in QUESTIONS
        }
        reader.run(close_reader, data_dir)
    used = measure_files(data_dir / STORE_DIR) / events
    return Size(events, loading.took_s, used, times_ms)


def _alternate(
    api: Deployment, reader: Aside, data_dir: Path, *, question: str, repetitions: int
) -> dict[str, list[float]]:
    """Each way of asking in turn; the first round, which warms caches, is not counted."""
    times_ms: dict[str, list[float]] = {way: [] for way in WAYS}
    for repetition in range(repetitions + 1):
        found = (
            time_read(api.http, question),
            reader.run(time_unprojected, data_dir, api.project_id, question),
            reader.run(time_plain, data_dir, api.project_id, question),
        )
        if len({timed.events for timed in found}) != 1:
            raise RuntimeError(f"the answers to {question} differ: {found}")
        if repetition:
            for way, timed in zip(WAYS, found, strict=True):
                times_ms[way].append(timed.took_ms)
    return times_ms


def time_read(http: httpx.Client, question: str) -> Timed:
    """A question over HTTP, to the product or to whatever answers like it."""
    path, parameters = QUESTIONS[question]
    target = f"{path}?{write_window(**parameters)}"
    began_s = time.perf_counter()
    answer = http.get(target)
    took_ms = (time.perf_counter() - began_s) * 1000
    answer.raise_for_status()
    counted = "events" if question == "sources" else "value"
    return Timed(took_ms, sum(row[counted] for row in answer.json()["rows"]))


def _time_starts(workspace: Workspace, data_dir: Path) -> list[float]:
    """Seconds from the command to the first answer, on files that are in the page cache."""
    times_s = []
    for _ in range(workspace.scale.starts):
        with workspace.deploy(data_dir) as api:
            times_s.append(api.started_in_s + time_read(api.http, "sources").took_ms / 1000)
    return times_s


def measure_files(directory: Path) -> int:
    """Bytes of every file, indexes, projections and the engine's own bookkeeping included."""
    return sum(
        file.stat().st_size
        for file in directory.rglob("*")
        if file.is_file() and not file.is_symlink()
    )


def _report(sizes: Sequence[Size], estimates: Sequence[Estimate], empty_mb: float) -> Findings:
    small, large = sizes
    errors = [found.error for found in estimates if found.exact >= MANY_VISITORS]
    return Findings(
        checks=[
            *(_judge_read(question, large) for question in QUESTIONS),
            _judge_growth(small, large),
            Check("Disk, per event", large.bytes_per_event, "bytes", 60, at_most=True),
            Check("API resident memory before the first load", empty_mb, "MB", 500, at_most=True),
            Check(
                f"Start to first answer, {large.events:,} events",
                median(large.start_s),
                "s",
                3,
                at_most=True,
            ),
            *_judge_uniques(errors),
        ],
        tables=[
            Table(
                "Medians of the repetitions, in milliseconds",
                ("events", "question", *WAYS),
                [
                    (
                        f"{size.events:,}",
                        NAMES[question],
                        *(write_number(median(size.times_ms[question][way])) for way in WAYS),
                    )
                    for size in sizes
                    for question in QUESTIONS
                ],
            ),
            Table(
                "Storage",
                ("events", "bytes an event", "loaded in"),
                [
                    (f"{size.events:,}", write_number(size.bytes_per_event), f"{size.load_s:.0f} s")
                    for size in sizes
                ],
            ),
        ],
        charts=[_draw(question, sizes) for question in QUESTIONS],
        raw={
            "sizes": sizes,
            "memory before the first load, MB": empty_mb,
            "uniques": {
                "rows compared": len(estimates),
                f"rows of at least {MANY_VISITORS} visitors": len(errors),
                "greatest error": max(map(abs, errors), default=0.0),
            },
        },
        notes=[
            "The three ways gave the same counts. Files were in the page cache.",
            (
                "Uniques were compared with exact counts in "
                f"{len(estimates):,} rows of random windows, judged in the {len(errors):,} "
                f"with at least {MANY_VISITORS:,} visitors."
            ),
        ],
    )


def _judge_read(question: str, size: Size) -> Check:
    """Against the faster of the two ways over raw rows."""
    times_ms = {way: median(times) for way, times in size.times_ms[question].items()}
    over_http, *raw = WAYS
    bound, aim = BOUNDS[question]
    return Check(
        f"{NAMES[question]}, {size.events:,} events ÷ raw rows",
        times_ms[over_http] / min(times_ms[way] for way in raw),
        "×",
        bound,
        at_most=True,
        aim=aim,
    )


def _judge_growth(small: Size, large: Size) -> Check:
    small_ms, large_ms = (median(size.times_ms["sources"][WAYS[0]]) for size in (small, large))
    return Check(
        f"{NAMES['sources']}, {large.events:,} ÷ {small.events:,} events",
        large_ms / small_ms,
        "×",
        2,
        at_most=True,
    )


def _judge_uniques(errors: Sequence[float]) -> list[Check]:
    if not errors:
        return []
    error = root_mean_square(errors) * 100
    return [Check("Uniques, standard error", error, "%", 1, at_most=True)]


def _draw(question: str, sizes: Sequence[Size]) -> Chart:
    return Chart(
        f"reads-{question}",
        f"{NAMES[question].replace('`', '')}, 30 days",
        "milliseconds, logarithmic",
        [
            Bar(
                f"{size.events:,} events, {way}",
                median(size.times_ms[question][way]),
                ours=way == WAYS[0],
            )
            for size in sizes
            for way in WAYS
        ],
        logarithmic=True,
    )
