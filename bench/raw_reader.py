"""The same questions asked of raw rows, in an engine beside the API's: what reads cost without
the projections, and what is exactly true. It runs in a worker."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from bench.data import DAYS, END, SEED, WINDOW
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target
from millimetric_mcp.api.store.reads import read_answer
from millimetric_mcp.api.store.relations import to_ms
from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.contract.reads import (
    Interval,
    Metric,
    SourcesParams,
    StatsParams,
)

_RAW = "SET optimize_use_projections = 0"
_PROJECTED = "SET optimize_use_projections = 1"
_IN_WINDOW = """
FROM events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
"""
PLAIN = {
    "sources": f"""
SELECT source, medium, count() AS events, uniqCombined(14)(anonymous_id) AS uniques,
    countIf(medium = 'paid') / events AS paid_share
{_IN_WINDOW}
GROUP BY source, medium ORDER BY events DESC, source, medium LIMIT 50
""",
    "daily": f"""
SELECT toDate(timestamp) AS bucket, source, medium, count() AS value
{_IN_WINDOW}
GROUP BY bucket, source, medium ORDER BY bucket, value DESC, source, medium LIMIT 1000
""",
}
"""What one would write over raw rows; nothing is prepared, nothing is approximated by more."""
_EXACT = f"SELECT source, medium, uniqExact(anonymous_id) {_IN_WINDOW} GROUP BY source, medium"

QUESTIONS: Mapping[str, tuple[str, dict[str, str | int]]] = {
    "sources": ("/v1/sources", {}),
    "daily": ("/v1/stats", {"group_by": "source,medium", "interval": "day", "limit": 1000}),
}
"""The endpoint and parameters of each question, beside the window."""


@dataclass(frozen=True, slots=True)
class Timed:
    """How long an answer took, and how many events its rows add up to."""

    took_ms: float
    events: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Distinct visitors of one row, as the product answers and as they are."""

    answered: int
    exact: int

    @property
    def error(self) -> float:
        return self.answered / self.exact - 1


def time_plain(data_dir: Path, project_id: int, question: str) -> Timed:
    """A plain statement over raw rows."""
    pool = _open(data_dir)
    pool.run(lambda client: client.command(_RAW))
    bound = _bind(project_id, *WINDOW)
    return _time(
        lambda: _ask(pool, PLAIN[question], bound),
        read_events=lambda row: row[2] if question == "sources" else row[3],
    )


def time_unprojected(data_dir: Path, project_id: int, question: str) -> Timed:
    """The product's own statement, the engine forbidden to use projections."""
    pool = _open(data_dir)
    pool.run(lambda client: client.command(_RAW))
    window = {"from_": WINDOW[0], "to": WINDOW[1]}
    by_day = StatsParams(**window, group_by="source,medium", interval=Interval.DAY, limit=1000)
    is_sources = question == "sources"
    params = SourcesParams(**window) if is_sources else by_day
    statement = compose(project_id, params)
    return _time(
        lambda: read_answer(pool, statement, params)["rows"],
        read_events=lambda row: row["events" if is_sources else "value"],
    )


def estimate_uniques(data_dir: Path, project_id: int, *, windows: int) -> list[Estimate]:
    """Every source's visitors in random windows, answered and exact."""
    pool = _open(data_dir)
    pool.run(lambda client: client.command(_PROJECTED))
    rng = random.Random(SEED)
    estimates = []
    for _ in range(windows):
        start, end = _draw_window(rng)
        params = StatsParams(
            from_=start, to=end, group_by="source,medium", metric=Metric.UNIQUES, limit=1000
        )
        answered = {
            (row["source"], row["medium"]): row["value"]
            for row in read_answer(pool, compose(project_id, params), params)["rows"]
        }
        exact = _ask(pool, _EXACT, _bind(project_id, start, end))
        estimates += [Estimate(answered[source, medium], count) for source, medium, count in exact]
    return estimates


def close_reader(data_dir: Path) -> None:
    """Ends the engine that the others left open."""
    _open(data_dir).close()


@cache
def _open(data_dir: Path) -> ClientPool:
    return ClientPool(embedded_target(data_dir / STORE_DIR))


def _ask(pool: ClientPool, statement: str, bound: dict[str, int]) -> Sequence[Sequence[Any]]:
    return pool.run(lambda client: client.query(statement, parameters=bound).result_rows)


def _time(ask: Callable[[], Iterable[Any]], *, read_events: Callable[[Any], int]) -> Timed:
    began_s = time.perf_counter()
    rows = ask()
    took_ms = (time.perf_counter() - began_s) * 1000
    return Timed(took_ms, sum(map(read_events, rows)))


def _bind(project_id: int, start: datetime, end: datetime) -> dict[str, int]:
    return {"project_id": project_id, "from_ms": to_ms(start), "to_ms": to_ms(end)}


def _draw_window(rng: random.Random) -> tuple[datetime, datetime]:
    """An hour to a month within the data, to the millisecond."""
    longest_ms = DAYS * 86_400_000
    length_ms = rng.randrange(3_600_000, longest_ms)
    end = END - timedelta(milliseconds=rng.randrange(longest_ms - length_ms + 1))
    return end - timedelta(milliseconds=length_ms), end
