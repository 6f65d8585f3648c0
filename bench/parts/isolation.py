"""Reads while events pour in, and events coming in while somebody asks heavy questions."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from statistics import median

from bench.data import make_read_request
from bench.figures import write_number
from bench.http_load import Load, LoadResult, drive, write_result
from bench.parts.batch import drive_batches, prepare_batches
from bench.parts.track import drive_track, prepare_track
from bench.processes import Worker, read_memory_mb, settle, start_worker
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Scale, Workspace
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS

TITLE = "Reads and writes at once"
INGEST_CONNECTIONS, FULL_CONNECTIONS, HEAVY_CONNECTIONS = 16, 64, 1
LEAD_S = 1.0
"""How long the disturbance runs before the measurement begins."""
BOUND = 5.0
MEMORY_BOUND_MB = 1500.0

IDLE_READS, BUSY_READS = "reads alone", "reads under full ingest"
FLOODED_READS = "reads under batches without a pause"
IDLE_INGEST, BUSY_INGEST = "ingest alone", "ingest under heavy reads"

Runs = dict[str, list[LoadResult]]


def measure(workspace: Workspace) -> Findings:
    """Alone and disturbed in turn, on a copy of the large store."""
    scale = workspace.scale
    loaded, _ = workspace.load(scale.large_events)
    names = (IDLE_READS, BUSY_READS, FLOODED_READS, IDLE_INGEST, BUSY_INGEST)
    runs: Runs = {name: [] for name in names}
    disturbing: Runs = {"full ingest": [], "batches": [], "heavy reads": []}
    with workspace.deploy(loaded) as api, start_worker() as measuring, start_worker() as other:
        bench = _Bench(scale, api, measuring, other)
        for _ in range(scale.repetitions):
            runs[IDLE_READS].append(bench.read())
            with bench.full_ingest(disturbing["full ingest"]):
                runs[BUSY_READS].append(bench.read())
            with bench.batches(disturbing["batches"]):
                runs[FLOODED_READS].append(bench.read())
            runs[IDLE_INGEST].append(bench.ingest())
            with bench.heavy_reads(disturbing["heavy reads"]):
                runs[BUSY_INGEST].append(bench.ingest())
        peak_mb = read_memory_mb(api.process_id, peak=True)
    return _report(scale, runs, disturbing, peak_mb)


class _Bench:
    def __init__(self, scale: Scale, api: Deployment, measuring: Worker, other: Worker) -> None:
        self._scale = scale
        self._api = api
        self._measuring = measuring
        self._other = other
        for process in (measuring, other):
            process.run(prepare_track, api.keys.write, scale.track_requests)
        other.run(prepare_batches, api.keys.write, scale.batch_requests)

    def read(self) -> LoadResult:
        """Everyday questions, one after the other."""
        scale, api = self._scale, self._api
        return self._measuring.run(
            drive_reads,
            api.port,
            key=api.keys.read,
            duration_s=2 * scale.duration_s,
            warm_up_s=scale.warm_up_s,
        )

    def ingest(self) -> LoadResult:
        """Single events from a few callers."""
        scale, api = self._scale, self._api
        return self._measuring.run(
            drive_track,
            api.port,
            key=api.keys.write,
            connections=INGEST_CONNECTIONS,
            duration_s=scale.duration_s,
            warm_up_s=scale.warm_up_s,
            requests=scale.track_requests,
        )

    def full_ingest(self, results: list[LoadResult]) -> AbstractContextManager[None]:
        """As many single events as the API takes, until the block ends."""
        drive_all = partial(
            drive_track,
            connections=FULL_CONNECTIONS,
            warm_up_s=0.0,
            requests=self._scale.track_requests,
        )
        return self._disturb(results, drive_all, key=self._api.keys.write, reads=True)

    def batches(self, results: list[LoadResult]) -> AbstractContextManager[None]:
        """As many full batches as the API takes, until the block ends."""
        drive_all = partial(drive_batches, warm_up_s=0.0, requests=self._scale.batch_requests)
        return self._disturb(results, drive_all, key=self._api.keys.write, reads=True)

    def heavy_reads(self, results: list[LoadResult]) -> AbstractContextManager[None]:
        """A question that needs every row of the window, again and again, until the block ends."""
        return self._disturb(results, drive_heavy_reads, key=self._api.keys.read, reads=False)

    @contextmanager
    def _disturb(
        self,
        results: list[LoadResult],
        drive_it: Callable[..., LoadResult],
        *,
        key: str,
        reads: bool,
    ) -> Iterator[None]:
        """Drives it beside the block, which measures ``reads`` or ingest."""
        scale, api = self._scale, self._api
        measured_s = scale.warm_up_s + scale.duration_s * (2 if reads else 1)
        running = self._other.start(drive_it, api.port, key=key, duration_s=LEAD_S + measured_s)
        time.sleep(LEAD_S)
        yield
        results.append(running.result())
        settle(api.process_id)


def drive_reads(port: int, *, key: str, duration_s: float, warm_up_s: float) -> LoadResult:
    """What a dashboard or an agent asks: sources, days, visitors by country, the last events."""
    requests = (
        make_read_request("/v1/sources", key),
        make_read_request("/v1/stats", key, group_by="source,medium", interval="day", limit=1000),
        make_read_request("/v1/stats", key, group_by="country", metric="uniques"),
        make_read_request("/v1/query", key, limit=100),
    )
    load = Load(port, requests, 1, duration_s=duration_s, status=200, warm_up_s=warm_up_s)
    return drive(load)


def drive_heavy_reads(port: int, *, key: str, duration_s: float) -> LoadResult:
    """Visitors by page and campaign: no projection holds them."""
    request = make_read_request(
        "/v1/stats", key, group_by="path,campaign", metric="uniques", limit=1000
    )
    return drive(Load(port, (request,), HEAVY_CONNECTIONS, duration_s=duration_s, status=200))


def _report(scale: Scale, runs: Runs, disturbing: Runs, peak_mb: float) -> Findings:
    pairs = ((IDLE_READS, BUSY_READS), (IDLE_READS, FLOODED_READS), (IDLE_INGEST, BUSY_INGEST))
    return Findings(
        checks=[
            *(
                Check(
                    f"p99 of {busy} ÷ {idle}",
                    _median_p99_ms(runs[busy]) / _median_p99_ms(runs[idle]),
                    "×",
                    BOUND,
                    at_most=True,
                )
                for idle, busy in pairs
            ),
            Check(
                f"API resident memory at {scale.large_events:,} events, at its highest under load",
                peak_mb,
                "MB",
                MEMORY_BOUND_MB,
                at_most=True,
            ),
        ],
        tables=[
            Table(
                f"At {scale.large_events:,} events, medians of the repetitions",
                ("load", "requests/s", "p50 ms", "p99 ms"),
                [(name, *write_result(results)) for name, results in runs.items()],
            )
        ],
        charts=[
            Chart(
                "isolation",
                "99 of 100 requests answered within",
                "milliseconds",
                [
                    Bar(name, _median_p99_ms(results), name not in {IDLE_READS, IDLE_INGEST})
                    for name, results in runs.items()
                ],
            )
        ],
        raw={"measured": runs, "disturbing": disturbing},
        notes=[_describe_disturbance(disturbing)],
    )


def _describe_disturbance(disturbing: Runs) -> str:
    ingest, batches, heavy = disturbing.values()
    events_per_s = write_number(median(result.per_s for result in ingest))
    batched_per_s = write_number(median(result.per_s * MAX_BATCH_EVENTS for result in batches))
    heavy_ms = write_number(median(result.p50_ms for result in heavy))
    return (
        f"Full ingest: {FULL_CONNECTIONS} connections, {events_per_s} single events/s beside the "
        f"reads. Batches of {MAX_BATCH_EVENTS}: {batched_per_s} events/s. Heavy reads: visitors by "
        f"page and campaign, {heavy_ms} ms each, without a pause."
    )


def _median_p99_ms(results: Sequence[LoadResult]) -> float:
    return median(result.p99_ms for result in results)
