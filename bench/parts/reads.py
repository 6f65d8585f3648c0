"""Reads at a million and at ten million events, beside the same questions asked of raw rows;
and what the events cost in disk, memory and time to start."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from bench.data import write_window
from bench.figures import root_mean_square, write_number
from bench.processes import Worker, read_memory_mb, settle, start_worker
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
from millimetric_mcp.api.control.datadir import STORE_DIR

TITLE = "Reads over 30 days, disk, memory and start"
DISK_BOUND = 70
NAMES = {
    "sources": "`GET /v1/sources`",
    "daily": "`GET /v1/stats`, daily by source and medium",
}
WAYS = ("over HTTP", "the same statement, raw rows", "plain SQL, raw rows")
BOUNDS = {"sources": (1 / 5, 1 / 10), "daily": (1 / 4, None)}
VISITOR_BANDS = (1_000, 10_000, 30_000, 50_000, 100_000)
"""Each band's error is checked separately: rows of fewer visitors are exact or nearly so, and an
estimate is worse at some numbers than at others."""
MIN_BAND_ROWS = 10

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
    """Both stores in turn, each with its own API on a copy."""
    with workspace.deploy() as api:
        settle(api.process_id)
        empty_mb = read_memory_mb(api.process_id)
    scale = workspace.scale
    sizes = _measure_sizes(workspace, (scale.small_events, scale.large_events))
    large_dir, loading = workspace.load(scale.large_events)
    sizes[-1].start_s.extend(_time_starts(workspace, large_dir))
    with start_worker() as reader:
        estimates = reader.run(
            estimate_uniques, large_dir, loading.project_id, windows=scale.windows
        )
        reader.run(close_reader, large_dir)
    return _report(sizes, estimates, empty_mb)


def _measure_sizes(workspace: Workspace, counts: Sequence[int]) -> list[Size]:
    with ExitStack() as stack:
        subjects = [stack.enter_context(_open_subject(workspace, events)) for events in counts]
        for repetition in range(workspace.scale.reads + 1):
            for question in QUESTIONS:
                for subject in subjects:
                    found = subject.ask(question)
                    if repetition:  # the first round warms caches
                        subject.note(question, found)
    return [subject.size for subject in subjects]


@dataclass(frozen=True, slots=True)
class _Subject:
    """A loaded store, the API on a copy of it, and a reader of its raw rows."""

    api: Deployment
    reader: Worker
    data_dir: Path
    size: Size

    def ask(self, question: str) -> tuple[Timed, ...]:
        """A question asked in each way; the answers agree."""
        place = (self.data_dir, self.api.project_id, question)
        found = (
            time_read(self.api.http, question),
            self.reader.run(time_unprojected, *place),
            self.reader.run(time_plain, *place),
        )
        if len({timed.events for timed in found}) != 1:
            raise RuntimeError(f"the answers to {question} differ: {found}")
        return found

    def note(self, question: str, found: Sequence[Timed]) -> None:
        """Keeps what each way took."""
        for way, timed in zip(WAYS, found, strict=True):
            self.size.times_ms[question][way].append(timed.took_ms)


@contextmanager
def _open_subject(workspace: Workspace, events: int) -> Iterator[_Subject]:
    data_dir, loading = workspace.load(events)
    used = measure_files(data_dir / STORE_DIR) / events
    times_ms: Times = {question: {way: [] for way in WAYS} for question in QUESTIONS}
    with workspace.deploy(data_dir) as api, start_worker() as reader:
        settle(api.process_id)
        yield _Subject(api, reader, data_dir, Size(events, loading.took_s, used, times_ms))
        reader.run(close_reader, data_dir)


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
    bands = _sort_into_bands(estimates)
    return Findings(
        checks=[
            *(_check_read(question, large) for question in QUESTIONS),
            _check_growth(small, large),
            Check("Disk, per event", large.bytes_per_event, "bytes", DISK_BOUND, at_most=True),
            Check("API resident memory before the first load", empty_mb, "MB", 400, at_most=True),
            Check(
                f"Start to first answer, {large.events:,} events",
                median(large.start_s),
                "s",
                3,
                at_most=True,
            ),
            *_check_uniques(bands),
        ],
        tables=_list_tables(sizes, bands),
        charts=[_draw(question, sizes) for question in QUESTIONS],
        raw={
            "sizes": sizes,
            "memory before the first load, MB": empty_mb,
            "uniques": {
                "rows compared": len(estimates),
                "greatest error": max((abs(found.error) for found in estimates), default=0.0),
            },
        },
        notes=[
            "The three ways gave the same counts. Files were in the page cache.",
            f"Uniques were compared with exact counts in {len(estimates):,} rows.",
        ],
    )


def _list_tables(sizes: Sequence[Size], bands: dict[int, list[float]]) -> list[Table]:
    return [
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
        Table(
            "Uniques",
            ("visitors, at least", "rows", "standard error, %"),
            [
                (f"{least:,}", f"{len(errors):,}", write_number(root_mean_square(errors) * 100))
                for least, errors in bands.items()
            ],
        ),
    ]


def _check_read(question: str, size: Size) -> Check:
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


def _check_growth(small: Size, large: Size) -> Check:
    small_ms, large_ms = (median(size.times_ms["sources"][WAYS[0]]) for size in (small, large))
    return Check(
        f"{NAMES['sources']}, {large.events:,} ÷ {small.events:,} events",
        large_ms / small_ms,
        "×",
        2,
        at_most=True,
    )


def _check_uniques(bands: dict[int, list[float]]) -> list[Check]:
    errors_pct = [root_mean_square(errors) * 100 for errors in bands.values()]
    if not errors_pct:
        return []
    what = "Uniques, standard error, the worst of several sizes"
    return [Check(what, max(errors_pct), "%", 1, at_most=True)]


def _sort_into_bands(estimates: Sequence[Estimate]) -> dict[int, list[float]]:
    """Errors by the least number of visitors of their band; bands of a few rows are left out."""
    bands: dict[int, list[float]] = {least: [] for least in VISITOR_BANDS}
    for found in estimates:
        leasts = [least for least in VISITOR_BANDS if least <= found.exact]
        if leasts:
            bands[leasts[-1]].append(found.error)
    return {least: errors for least, errors in bands.items() if len(errors) >= MIN_BAND_ROWS}


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
