"""``POST /v1/batch`` of 1000 events, beside the engine's own insert of 1000 ready rows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from statistics import median

from bench.data import make_batch_requests, make_stored, wait_for_quiet
from bench.figures import pair_ratio, write_number
from bench.http_load import Load, LoadResult, drive, list_rates, write_result
from bench.parts.track import require_stored
from bench.processes import Worker, settle, start_worker
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Scale, Workspace
from millimetric_mcp.api.store import ClientPool, embedded_target, migrate
from millimetric_mcp.api.store.dsn import EVENTS
from millimetric_mcp.api.store.inserts import insert_events
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS

TITLE = "Batches of 1000: `POST /v1/batch`"
CONNECTIONS = 4
BOUND, AIM = 0.45, 0.6
OURS = f"millimetric-mcp over HTTP, {CONNECTIONS} connections"
STRAIGHT = f"{OURS}, `--journal off`"
NATIVE = "the engine alone: ready blocks, one thread"

_BLOCK = """
SELECT * EXCEPT (received_at) FROM events
ORDER BY timestamp LIMIT {size:UInt32} OFFSET {offset:UInt32}
"""


@dataclass(frozen=True, slots=True)
class InsertResult:
    """What the engine took, and how fast."""

    rows: int
    per_s: float


def measure(workspace: Workspace) -> Findings:
    """Both in turn: events through the API, the same rows straight into the same table."""
    scale = workspace.scale
    ours: dict[str, list[LoadResult]] = {OURS: [], STRAIGHT: []}
    native: list[InsertResult] = []
    with (
        workspace.deploy() as api,
        workspace.deploy(options=("--journal", "off")) as straight,
        start_worker() as generator,
        start_worker() as engine,
    ):
        native_dir = workspace.directory / "native"
        for _ in range(scale.repetitions):
            for name, deployment in ((OURS, api), (STRAIGHT, straight)):
                ours[name].append(measure_batches(generator, deployment, scale))
                settle(deployment.process_id)
            native.append(
                engine.run(
                    insert_ready_rows,
                    native_dir,
                    batches=scale.batch_requests,
                    duration_s=scale.duration_s,
                )
            )
        for name, deployment in ((OURS, api), (STRAIGHT, straight)):
            require_stored(deployment, MAX_BATCH_EVENTS * sum(run.sent for run in ours[name]))
        engine.run(close_native, native_dir, batches=scale.batch_requests)
    return _report(ours, native)


def measure_batches(generator: Worker, api: Deployment, scale: Scale) -> LoadResult:
    """Return how fast full batches were taken; ``generator`` sends them."""
    return generator.run(
        drive_batches,
        api.port,
        key=api.keys.write,
        duration_s=scale.duration_s,
        warm_up_s=scale.warm_up_s,
        requests=scale.batch_requests,
    )


def drive_batches(
    port: int, *, key: str, duration_s: float, warm_up_s: float, requests: int
) -> LoadResult:
    """Full batches to the API; runs in a worker."""
    return drive(
        Load(
            port=port,
            requests=make_batch_requests(requests, key),
            connections=CONNECTIONS,
            duration_s=duration_s,
            warm_up_s=warm_up_s,
            status=202,
        )
    )


def prepare_batches(key: str, requests: int) -> None:
    """Makes the requests, so that `drive_batches` begins at once."""
    make_batch_requests(requests, key)


def insert_ready_rows(directory: Path, *, batches: int, duration_s: float) -> InsertResult:
    """The engine's own pace: blocks in its own format, one after the other; runs in a worker."""
    table = _open_table(directory, batches)
    blocks = cycle(table.blocks)
    inserted = 0
    began_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < duration_s:
        table.insert(next(blocks))
        inserted += 1
    wait_for_quiet(table.pool)
    rows = inserted * MAX_BATCH_EVENTS
    return InsertResult(rows, rows / elapsed_s)


def close_native(directory: Path, *, batches: int) -> None:
    """Ends the engine that `insert_ready_rows` left open."""
    _open_table(directory, batches).pool.close()


class _Table:
    """The product's own table in an engine of this process, and blocks of rows ready for it."""

    def __init__(self, directory: Path, batches: int) -> None:
        directory.mkdir()
        self.pool = ClientPool(embedded_target(directory))
        migrate(self.pool)
        events = make_stored(batches * MAX_BATCH_EVENTS, project_id=1, days=1)
        insert_events(self.pool, list(events))
        self.blocks = [self._read_block(number) for number in range(batches)]

    def _read_block(self, number: int) -> bytes:
        bound = {"size": MAX_BATCH_EVENTS, "offset": number * MAX_BATCH_EVENTS}
        return self.pool.run(
            lambda client: client.raw_query(_BLOCK, parameters=bound, fmt="Native")
        )

    def insert(self, block: bytes) -> None:
        self.pool.run(lambda client: client.raw_insert(EVENTS, insert_block=block, fmt="Native"))


_open_table = cache(_Table)


def _report(ours: Mapping[str, Sequence[LoadResult]], native: Sequence[InsertResult]) -> Findings:
    ours_per_s, straight_per_s = (
        [rate * MAX_BATCH_EVENTS for rate in list_rates(ours[name])] for name in (OURS, STRAIGHT)
    )
    native_per_s = [result.per_s for result in native]
    return Findings(
        checks=[
            Check(
                "`POST /v1/batch` of 1000, events/s ÷ the engine's own rows/s",
                pair_ratio(ours_per_s, native_per_s),
                "×",
                BOUND,
                at_most=False,
                aim=AIM,
            )
        ],
        tables=[
            Table(
                "Medians of the repetitions",
                ("way in", "events/s", "p50 ms", "p99 ms"),
                [
                    (OURS, write_number(median(ours_per_s)), *write_result(ours[OURS])[1:]),
                    (
                        STRAIGHT,
                        write_number(median(straight_per_s)),
                        *write_result(ours[STRAIGHT])[1:],
                    ),
                    (NATIVE, write_number(median(native_per_s)), "", ""),
                ],
            )
        ],
        charts=[
            Chart(
                "batch",
                "Events a second in durable batches of 1000",
                "events/s",
                [
                    Bar(OURS, median(ours_per_s), ours=True),
                    Bar(STRAIGHT, median(straight_per_s), ours=False),
                    Bar(NATIVE, median(native_per_s), ours=False),
                ],
            )
        ],
        raw={**ours, "native": native},
        notes=["Every acknowledged event was found stored."],
    )
