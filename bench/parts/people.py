"""Questions about people at ten million events: revenue by touch beside plain SQL over raw rows,
sessions, a funnel, retention; what they cost in memory, disk and beside ingest."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from bench.data import END, WINDOW, make_read_request, write_window
from bench.figures import pair_ratio, write_number
from bench.http_load import Load, LoadResult, drive, list_rates
from bench.parts.batch import measure_batches, prepare_batches
from bench.parts.reads import DISK_BOUND, measure_files
from bench.parts.track import drive_track, prepare_track
from bench.plain_people import close_reader, count_people, make_store_without, time_plain
from bench.processes import Worker, read_memory_mb, settle, start_worker
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Workspace
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.settings import StoreSettings

TITLE = "Questions about people over 30 days"
TOUCHES = ("last_touch", "first_touch")
_MONEY = {
    "event": "purchase",
    "metric": "sum",
    "property": "amount_cents",
    "group_by": "source",
}
_STEPS = '[{"event":"$pageview"},{"event":"add_to_cart"},{"event":"purchase"}]'
QUESTIONS: Mapping[str, tuple[str, str, Mapping[str, str | int], float]] = {
    "last_touch": (
        "revenue by source, last touch",
        "/v1/stats",
        {**_MONEY, "attribution": "last_touch"},
        1.0,
    ),
    "first_touch": (
        "revenue by source, first touch",
        "/v1/stats",
        {**_MONEY, "attribution": "first_touch"},
        1.0,
    ),
    "sessions": (
        "visits by session source and medium",
        "/v1/stats",
        {"metric": "sessions", "group_by": "source,medium", "attribution": "session"},
        2.0,
    ),
    "own_source": ("revenue by the events' own source", "/v1/stats", _MONEY, 0.4),
    "funnel": (
        "funnel of three steps by the first one's source",
        "/v1/funnel",
        {"steps": _STEPS, "within": "7d", "group_by": "source"},
        2.0,
    ),
    "retention": (
        "weekly retention",
        "/v1/retention",
        {"event": "$pageview", "interval": "week"},
        2.0,
    ),
}
"""What each asks, its endpoint and parameters, and how many seconds it may take."""
RATIO_BOUND, INGEST_BOUND, DELAY_BOUND = 0.6, 0.9, 5.0
CONNECTIONS = 16
LEAD_S = 1.0

Times = dict[str, list[float]]
"""Milliseconds of each repetition, by question; those of plain SQL by ``plain`` and its name."""


def measure(workspace: Workspace) -> Findings:
    """The large store's questions, alone and beside ingest; then ingest with and without."""
    events = workspace.scale.large_events
    loaded, loading = workspace.load(events)
    bytes_per_event = measure_files(loaded / STORE_DIR) / events
    with workspace.deploy(loaded) as api, start_worker() as reader:
        api.get(write_hour())  # after it the engine's code is in memory
        settle(api.process_id)
        idle_mb = read_memory_mb(api.process_id)
        times_ms = _time_questions(workspace, api, reader, loaded, loading.project_id)
        counts = reader.run(count_people, loaded, loading.project_id)
        reader.run(close_reader, loaded)
        alone, beside = _ingest_beside(workspace, api)
        used_mb = read_memory_mb(api.process_id, peak=True) - idle_mb
    with_it, without = _compare_ingest(workspace)
    checks = [
        *_check_questions(times_ms),
        Check(
            "Memory that the questions took",
            used_mb,
            "MB",
            StoreSettings().store_memory_mb,
            at_most=True,
        ),
        Check(
            "Ingest beside the questions, p99 ÷ alone",
            median(run.p99_ms for run in beside) / median(run.p99_ms for run in alone),
            "×",
            DELAY_BOUND,
            at_most=True,
        ),
        Check(
            "`POST /v1/batch`, with what the questions need ÷ without",
            pair_ratio(list_rates(with_it), list_rates(without)),
            "×",
            INGEST_BOUND,
            at_most=False,
        ),
        Check("Disk, per event", bytes_per_event, "bytes", DISK_BOUND, at_most=True),
    ]
    return Findings(
        checks=checks,
        tables=[_tabulate(times_ms)],
        charts=[_draw(times_ms)],
        raw={
            "events": events,
            **counts,
            "times, ms": times_ms,
            "ingest alone": alone,
            "ingest beside the questions": beside,
            "ingest with": with_it,
            "ingest without": without,
        },
        notes=[
            f"{events:,} events, {counts['visitors']:,} visitors, {counts['purchases']:,} orders.",
            "The answers of plain SQL and ours were the same.",
            "Retention is asked over twelve weeks; the events are those of the last 30 days.",
        ],
    )


def _time_questions(
    workspace: Workspace, api: Deployment, reader: Worker, loaded: Path, project_id: int
) -> Times:
    times_ms: Times = {}
    for repetition in range(workspace.scale.reads + 1):
        for name in QUESTIONS:
            took_ms, answer = ask(api, name)
            found = {name: took_ms}
            if name in TOUCHES:
                plain_ms, plain = reader.run(time_plain, loaded, project_id, name)
                if answer != plain:
                    raise RuntimeError(f"{name}: we answer {answer}, plain SQL {plain}")
                found[f"plain {name}"] = plain_ms
            if repetition:  # the first round warms caches
                for key, value in found.items():
                    times_ms.setdefault(key, []).append(value)
    return times_ms


def ask(api: Deployment, name: str) -> tuple[float, dict[object, object]]:
    """Return the milliseconds of a question over HTTP, and values by source if it has them.

    Raises:
        RuntimeError: the answer has no rows.
    """
    began_s = time.perf_counter()
    rows = api.get(write_target(name))["rows"]
    took_ms = (time.perf_counter() - began_s) * 1000
    if not rows:
        raise RuntimeError(f"no answer to {name}")
    return took_ms, {row.get("source"): row.get("value") for row in rows}


def write_target(name: str) -> str:
    """Return the question's path and query string."""
    _, path, parameters, _ = QUESTIONS[name]
    if name != "retention":
        return f"{path}?{write_window(**parameters)}"
    twelve_weeks = {"from": "2025-11-08T11:00:00Z", "to": f"{END:%Y-%m-%dT%H:%M:%SZ}"}
    return f"{path}?{write_window(**{**parameters, **twelve_weeks})}"


def write_hour() -> str:
    """Return the path and query string of a small question."""
    hour = {"from": WINDOW[0].isoformat(), "to": (WINDOW[0] + timedelta(hours=1)).isoformat()}
    return f"/v1/stats?{urlencode(hour)}"


def drive_questions(port: int, *, key: str, duration_s: float) -> LoadResult:
    """Every question in turn, again and again; runs in a worker."""
    requests = tuple(
        make_read_request(path, key, **parameters) for _, path, parameters, _ in QUESTIONS.values()
    )
    return drive(Load(port, requests, 1, duration_s=duration_s, status=200))


def _ingest_beside(
    workspace: Workspace, api: Deployment
) -> tuple[list[LoadResult], list[LoadResult]]:
    """Single events from a few callers: alone, and while the questions are asked, in turn."""
    scale = workspace.scale
    alone, beside = [], []
    with start_worker() as measuring, start_worker() as asking:
        measuring.run(prepare_track, api.keys.write, scale.track_requests)
        for _ in range(scale.repetitions):
            alone.append(_drive_ingest(workspace, api, measuring))
            running = asking.start(
                drive_questions,
                api.port,
                key=api.keys.read,
                duration_s=LEAD_S + scale.warm_up_s + scale.duration_s,
            )
            time.sleep(LEAD_S)
            beside.append(_drive_ingest(workspace, api, measuring))
            running.result()
            settle(api.process_id)
    return alone, beside


def _drive_ingest(workspace: Workspace, api: Deployment, measuring: Worker) -> LoadResult:
    scale = workspace.scale
    return measuring.run(
        drive_track,
        api.port,
        key=api.keys.write,
        connections=CONNECTIONS,
        duration_s=scale.duration_s,
        warm_up_s=scale.warm_up_s,
        requests=scale.track_requests,
    )


def _compare_ingest(workspace: Workspace) -> tuple[list[LoadResult], list[LoadResult]]:
    """Full batches into an empty store of today and into one without what was added, in turn."""
    scale = workspace.scale
    with_it: list[LoadResult] = []
    without: list[LoadResult] = []
    with (
        start_worker() as generator,
        workspace.deploy() as today,
        _deploy_without(workspace) as older,
    ):
        for api in (today, older):
            generator.run(prepare_batches, api.keys.write, scale.batch_requests)
        for _ in range(scale.repetitions):
            for api, runs in ((today, with_it), (older, without)):
                runs.append(measure_batches(generator, api, scale))
                settle(api.process_id)
    return with_it, without


@contextmanager
def _deploy_without(workspace: Workspace) -> Iterator[Deployment]:
    data_dir = workspace.directory / "without people"
    with start_worker() as maker:
        maker.run(make_store_without, data_dir)
    with workspace.deploy(data_dir) as api:
        yield api


def _check_questions(times_ms: Times) -> Sequence[Check]:
    ratios = [
        Check(
            f"{QUESTIONS[name][0].capitalize()} ÷ plain SQL, raw rows",
            pair_ratio(times_ms[name], times_ms[f"plain {name}"]),
            "×",
            RATIO_BOUND,
            at_most=True,
        )
        for name in TOUCHES
    ]
    seconds = [
        Check(what.capitalize(), median(times_ms[name]) / 1000, "s", bound, at_most=True)
        for name, (what, _, _, bound) in QUESTIONS.items()
    ]
    return [*ratios, *seconds]


def _tabulate(times_ms: Times) -> Table:
    return Table(
        "Medians of the repetitions, in milliseconds",
        ("question", "over HTTP", "plain SQL, raw rows"),
        [
            (
                what,
                write_number(median(times_ms[name])),
                write_number(median(times_ms[f"plain {name}"])) if name in TOUCHES else "",
            )
            for name, (what, *_) in QUESTIONS.items()
        ],
    )


def _draw(times_ms: Times) -> Chart:
    bars = []
    for name, (what, *_) in QUESTIONS.items():
        bars.append(Bar(what, median(times_ms[name]), ours=True))
        if name in TOUCHES:
            bars.append(Bar(f"{what}, plain SQL", median(times_ms[f"plain {name}"]), ours=False))
    return Chart("people", "Questions about people, 30 days", "milliseconds", bars)
