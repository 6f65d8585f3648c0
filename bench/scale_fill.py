"""Fills a store with many million events from one million: copies of other visitors.

They come day by day, as events do: a part then holds few days. An insert has several copies of one
day. If the process ends, the next one deletes the insert that was under way and goes on.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path

from bench.data import wait_for_quiet
from bench.processes import start_worker
from bench.workspace import Workspace
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target

MARKER = "filled.json"
COPY_TIMEOUT_S = 3600
SAY_EVERY = 5
COPIES_AT_ONCE = 33
FILL_MEMORY_MB = 4096
"""An insert is larger than the product's; the store's usual limit may be too low for it."""
# The column for the parts of an import differs from insert to insert. Each copy has other visitors
# and users, some seconds later.
_COPY = """
INSERT INTO events SELECT * EXCEPT (copy) REPLACE (
    {insert:UInt64} AS import_part,
    timestamp + toIntervalMillisecond(copy * 7919 % 60000) AS timestamp,
    toString(reinterpretAsUUID(sipHash128(anonymous_id, copy))) AS anonymous_id,
    reinterpretAsUInt128(sipHash128(ip_hash, copy)) AS ip_hash,
    if(user_id = '', '', concat(user_id, '-', toString(copy))) AS user_id
) FROM (
    SELECT *, arrayJoin(range({first:UInt64}, {end:UInt64})) AS copy
    FROM events
    WHERE import_part = 0 AND toDate(timestamp) = {day:String}
)
"""
_DAYS = """
SELECT toString(toDate(timestamp)) AS day, count()
FROM events WHERE import_part = 0 GROUP BY day ORDER BY day
"""
_COUNTS = "SELECT import_part, count() FROM events GROUP BY import_part"
_DELETE = (
    "ALTER TABLE events DELETE WHERE import_part = {insert:UInt64} SETTINGS mutations_sync = 2"
)
# The product's small inserts get their projections when they are merged. Such an insert is as large
# as many merged parts, and may never be merged.
_PROJECTIONS = "ALTER TABLE events MODIFY SETTING materialize_projections_on_insert = {on}"
_MERGED = "SELECT value FROM system.events WHERE event = 'MergedRows'"


@dataclass
class Filling:
    """How far a store is filled, and what that took; ``merged_rows`` counts a row at each merge."""

    base_events: int
    events: int = 0
    inserts: int = 0
    took_s: float = 0.0
    merged_rows: int = 0


@dataclass(frozen=True, slots=True)
class Insert:
    """Copies ``first`` (inclusive) to ``end`` of a day; ``number`` counts from 1."""

    number: int
    day: str
    first: int
    end: int
    events: int


def fill(workspace: Workspace, *, events: int, say: Callable[[str], None]) -> tuple[Path, Filling]:
    """Return a data directory with ``events`` events, a multiple of the small store's, and how
    it was filled. What an earlier call has filled is used."""
    base_dir, loading = workspace.load(workspace.scale.small_events)
    data_dir = base_dir.parent.with_name(f"{base_dir.parent.name}-scaled-{events}") / base_dir.name
    marker = data_dir / MARKER
    if not marker.exists():
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.copytree(base_dir, data_dir, symlinks=True)
        _write(marker, Filling(loading.events, loading.events))
    filling = Filling(**json.loads(marker.read_text(encoding="utf-8")))
    copies = events // filling.base_events
    if filling.events < copies * filling.base_events:
        with start_worker() as worker:
            inserts = worker.run(plan_inserts, data_dir, copies)
            for insert in inserts[filling.inserts :]:
                began_s = time.monotonic()
                merged = worker.start(add_copies, data_dir, insert)
                filling.merged_rows += merged.result(COPY_TIMEOUT_S)
                filling.events += insert.events
                filling.inserts = insert.number
                filling.took_s += time.monotonic() - began_s
                _write(marker, filling)
                if insert.number % SAY_EVERY == 0:
                    say(f"  {filling.events:,} of {events:,} events")
            began_s = time.monotonic()
            filling.merged_rows += worker.start(end_filling, data_dir).result(COPY_TIMEOUT_S)
            filling.took_s += time.monotonic() - began_s
            _write(marker, filling)
    return data_dir, filling


def _write(marker: Path, filling: Filling) -> None:
    marker.write_text(json.dumps(asdict(filling)), encoding="utf-8")


class _Engine:
    """The engine of a worker, and how many rows it had merged at the last look."""

    def __init__(self, data_dir: Path) -> None:
        target = replace(embedded_target(data_dir / STORE_DIR), memory_mb=FILL_MEMORY_MB)
        self.pool = ClientPool(target)
        self._merged = 0
        self.run(_PROJECTIONS.format(on=1))

    def run(self, statement: str, **values: int | str) -> None:
        """Run a statement that returns nothing."""
        self.pool.run(lambda client: client.command(statement, parameters=values))

    def count_merged(self) -> int:
        """Rows merged since the last call."""
        rows = self.pool.query(_MERGED)
        before, self._merged = self._merged, int(rows[0][0]) if rows else 0
        return self._merged - before


_open_engine = cache(_Engine)


def plan_inserts(data_dir: Path, copies: int) -> list[Insert]:
    """Return what has to be inserted, so that there are so many copies of each first event."""
    numbers = count(1)
    return [
        Insert(next(numbers), day, first, end, events * (end - first))
        for day, events in _open_engine(data_dir).pool.query(_DAYS)
        for first in range(1, copies, COPIES_AT_ONCE)
        for end in [min(first + COPIES_AT_ONCE, copies)]
    ]


def add_copies(data_dir: Path, insert: Insert) -> int:
    """Insert copies of a day, if they are not there; return the rows merged meanwhile.

    Raises:
        RuntimeError: there are not as many events.
    """
    engine, number = _open_engine(data_dir), insert.number
    found = dict(map(tuple, engine.pool.query(_COUNTS)))
    if found.get(number, 0) not in {0, insert.events}:
        engine.run(_DELETE, insert=number)
    if found.get(number) != insert.events:
        engine.run(_COPY, insert=number, day=insert.day, first=insert.first, end=insert.end)
    if dict(map(tuple, engine.pool.query(_COUNTS))).get(number) != insert.events:
        raise RuntimeError(f"insert {number} does not have {insert.events:,} events")
    return engine.count_merged()


def end_filling(data_dir: Path) -> int:
    """Wait for the merges, and stop the engine; return the rows merged meanwhile."""
    engine = _open_engine(data_dir)
    wait_for_quiet(engine.pool, cleaned=True)
    merged = engine.count_merged()
    engine.run(_PROJECTIONS.format(on=0))
    engine.pool.close()
    return merged
