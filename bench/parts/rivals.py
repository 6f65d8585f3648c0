"""The same job on SQLite and on PostgreSQL, through the same requests, at a million events."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

import httpx

from bench.data import make_stored
from bench.figures import write_number
from bench.http_load import LoadResult, list_rates, write_result
from bench.parts.batch import drive_batches
from bench.parts.reads import NAMES, measure_files, time_read
from bench.parts.track import drive_track
from bench.processes import Worker, find_free_port, run_server, settle, start_worker
from bench.raw_reader import QUESTIONS
from bench.report import Bar, Chart, Findings, Table
from bench.rivals.afternoon import PROJECT_ID, VARIABLE
from bench.rivals.postgres import find_postgres, run_postgres
from bench.rivals.stores import open_row_store
from bench.workspace import READ_TIMEOUT_S, Scale, Workspace
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS

TITLE = "The same job on SQLite and PostgreSQL"
OURS = "millimetric-mcp"
CONNECTIONS = (16, 256)
FILL_CHUNK = 10_000
NOT_INSTALLED = "PostgreSQL is not installed here (Debian: `apt-get install postgresql`): left out."


@dataclass(frozen=True, slots=True)
class Contender:
    """A running API that holds the events, and how it is asked."""

    name: str
    port: int
    process_id: int
    key: str = field(repr=False)
    read_key: str = field(repr=False)
    bytes_per_event: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one contender did."""

    bytes_per_event: float
    track: dict[int, list[LoadResult]] = field(
        default_factory=lambda: {connections: [] for connections in CONNECTIONS}
    )
    batch: list[LoadResult] = field(default_factory=list)
    reads_ms: dict[str, list[float]] = field(
        default_factory=lambda: {question: [] for question in QUESTIONS}
    )


Results = Mapping[str, Result]


def measure(workspace: Workspace) -> Findings:
    """Every contender filled, then each asked in turn."""
    scale = workspace.scale
    programs = find_postgres()
    with ExitStack() as stack:
        contenders = [
            stack.enter_context(_run_ours(workspace)),
            stack.enter_context(_run_sqlite(workspace)),
        ]
        if programs:
            dsn = stack.enter_context(run_postgres(programs))
            contenders.append(stack.enter_context(_run_rival(workspace, "PostgreSQL", dsn)))
        generator = stack.enter_context(start_worker())
        results = {contender.name: Result(contender.bytes_per_event) for contender in contenders}
        _time_reads(contenders, scale.reads, results)
        for _ in range(scale.repetitions):
            for contender in contenders:
                _write(contender, scale, generator, results[contender.name])
    return _report(results, events=scale.small_events, notes=[] if programs else [NOT_INSTALLED])


@contextmanager
def _run_ours(workspace: Workspace) -> Iterator[Contender]:
    loaded, _ = workspace.load(workspace.scale.small_events)
    used = measure_files(loaded / STORE_DIR) / workspace.scale.small_events
    with workspace.deploy(loaded) as api:
        keys = api.keys
        yield Contender(OURS, api.port, api.process_id, keys.write, keys.read, used)


@contextmanager
def _run_sqlite(workspace: Workspace) -> Iterator[Contender]:
    file = workspace.directory / "rival.sqlite3"
    file.unlink(missing_ok=True)
    with _run_rival(workspace, "SQLite", f"sqlite:{file}") as contender:
        yield contender


@contextmanager
def _run_rival(workspace: Workspace, name: str, dsn: str) -> Iterator[Contender]:
    events = workspace.scale.small_events
    workspace.say(f"  filling {name}")
    with start_worker() as filler:
        used = filler.run(fill_row_store, dsn, events=events) / events
    port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "bench.rivals.afternoon:build_app"]
    quiet = ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    with run_server([*command, *quiet], port=port, environ={VARIABLE: dsn}) as process_id:
        yield Contender(name, port, process_id, "none", "none", used)


def fill_row_store(dsn: str, *, events: int) -> int:
    """Loads a rival's store and says how many bytes it takes; runs in a worker."""

    async def fill() -> int:
        store = open_row_store(dsn)
        await store.open()
        rows = make_stored(events, project_id=PROJECT_ID)
        while chunk := list(islice(rows, FILL_CHUNK)):
            await store.add_many(chunk)
        used = await store.settle()
        await store.close()
        return used

    return asyncio.run(fill())


def _time_reads(contenders: Sequence[Contender], repetitions: int, results: Results) -> None:
    """Each question to each in turn; the first round, which warms caches, is not counted."""
    with ExitStack() as stack:
        clients = {
            contender.name: stack.enter_context(_connect(contender)) for contender in contenders
        }
        for question in QUESTIONS:
            for repetition in range(repetitions + 1):
                found = {name: time_read(http, question) for name, http in clients.items()}
                if len({timed.events for timed in found.values()}) != 1:
                    raise RuntimeError(f"the answers to {question} differ: {found}")
                if repetition:
                    for name, timed in found.items():
                        results[name].reads_ms[question].append(timed.took_ms)


def _connect(contender: Contender) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{contender.port}",
        headers={"Authorization": f"Bearer {contender.read_key}"},
        timeout=READ_TIMEOUT_S,
        trust_env=False,
    )


def _write(contender: Contender, scale: Scale, generator: Worker, result: Result) -> None:
    for connections, found in result.track.items():
        found.append(
            generator.run(
                drive_track,
                contender.port,
                key=contender.key,
                connections=connections,
                duration_s=scale.duration_s,
                warm_up_s=scale.warm_up_s,
                requests=scale.track_requests,
            )
        )
        settle(contender.process_id)
    result.batch.append(
        generator.run(
            drive_batches,
            contender.port,
            key=contender.key,
            duration_s=scale.duration_s,
            warm_up_s=scale.warm_up_s,
            requests=scale.batch_requests,
        )
    )
    settle(contender.process_id)


def _report(results: Results, *, events: int, notes: list[str]) -> Findings:
    return Findings(
        tables=[
            Table(
                f"At {events:,} events, medians of the repetitions",
                (
                    "store",
                    *(f"single events/s, {count} connections" for count in CONNECTIONS),
                    "events/s in batches of 1000",
                    *(f"{name}, ms" for name in NAMES.values()),
                    "bytes an event",
                ),
                [
                    (
                        name,
                        *(write_result(found)[0] for found in result.track.values()),
                        write_number(MAX_BATCH_EVENTS * median(list_rates(result.batch))),
                        *(write_number(median(result.reads_ms[question])) for question in NAMES),
                        write_number(result.bytes_per_event),
                    )
                    for name, result in results.items()
                ],
            )
        ],
        charts=[
            Chart(
                "rivals",
                f"Sources over 30 days at {events:,} events",
                "milliseconds, logarithmic",
                [
                    Bar(name, median(result.reads_ms["sources"]), ours=name == OURS)
                    for name, result in results.items()
                ],
                logarithmic=True,
            )
        ],
        raw=dict(results),
        notes=[
            (
                "The rivals have the product's columns, three indexes and flushed commits. "
                "Validation and classification are the product's own; keys are not checked."
            ),
            *notes,
        ],
    )
