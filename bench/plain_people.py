"""Questions about people as one writes them over raw rows, after the recipes of the hosted
product's documentation; and a store without what these questions have added. Both run in a worker.
"""

import shutil
import time
from collections.abc import Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from clickhouse_connect.driver import Client

from bench.data import DAY_MS, WINDOW
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target, migrate
from millimetric_mcp.api.store.relations import to_ms

ADDED = ("0006_people", "0007_named_events")
"""The migrations that add what the questions about people need."""

_EVENTS = "FROM events WHERE project_id = {project_id:UInt64}"
_IN_WINDOW = (
    "timestamp >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')"
    " AND timestamp < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)
_BOUGHT = f"""
    SELECT user_id AS person, timestamp AS at, JSONExtractInt(properties, 'amount_cents') AS cents
    {_EVENTS} AND {_IN_WINDOW} AND event_name = 'purchase'
"""
# A visitor's events are a user's once the two have been seen together.
_TOUCHES = f"""
    SELECT stitched.person AS person, timestamp AS at, source
    FROM events
    INNER JOIN
    (
        SELECT anonymous_id, any(user_id) AS person
        {_EVENTS} AND user_id != '' AND user_id IN (SELECT person FROM ({_BOUGHT}))
        GROUP BY anonymous_id
    ) AS stitched ON stitched.anonymous_id = events.anonymous_id
    WHERE project_id = {{project_id:UInt64}} AND source NOT IN ('direct', 'internal')
        AND timestamp >= fromUnixTimestamp64Milli({{lookback_from_ms:Int64}}, 'UTC')
        AND timestamp < fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC')
"""
PLAIN = {
    "last_touch": f"""
SELECT if(touch.source = '', 'direct', touch.source) AS brought_by, sum(cents) AS value
FROM ({_BOUGHT}) AS bought
ASOF LEFT JOIN ({_TOUCHES}) AS touch ON touch.person = bought.person AND bought.at >= touch.at
GROUP BY brought_by ORDER BY brought_by
""",
    "first_touch": f"""
SELECT if(first_source = '' OR first_at > bought.at, 'direct', first_source) AS brought_by,
    sum(cents) AS value
FROM ({_BOUGHT}) AS bought
LEFT JOIN
(
    SELECT person, argMin(source, (at, source)) AS first_source, min(at) AS first_at
    FROM ({_TOUCHES}) GROUP BY person
) AS touch ON touch.person = bought.person
GROUP BY brought_by ORDER BY brought_by
""",
}
"""Revenue by source. The data begin with the window, so every touch lies within the look-back."""


def time_plain(data_dir: Path, project_id: int, model: str) -> tuple[float, dict[str, int]]:
    """Return the milliseconds of a plain statement over raw rows, and its answer."""
    pool = _open(data_dir)
    bound = {
        "project_id": project_id,
        "from_ms": to_ms(WINDOW[0]),
        "to_ms": to_ms(WINDOW[1]),
        "lookback_from_ms": to_ms(WINDOW[0]) - 30 * DAY_MS,
    }
    began_s = time.perf_counter()
    rows = pool.run(lambda client: client.query(PLAIN[model], parameters=bound).result_rows)
    return (time.perf_counter() - began_s) * 1000, {
        str(source): int(cents) for source, cents in rows
    }


def count_people(data_dir: Path, project_id: int) -> Mapping[str, int]:
    """Return how many visitors and purchases the store has."""
    statement = f"SELECT uniqExact(anonymous_id), countIf(event_name = 'purchase') {_EVENTS}"
    pool = _open(data_dir)
    [row] = pool.run(
        lambda client: client.query(statement, parameters={"project_id": project_id}).result_rows
    )
    return dict(zip(("visitors", "purchases"), row, strict=True))


def close_reader(data_dir: Path) -> None:
    """End the engine that the others left open."""
    _open(data_dir).close()


@cache
def _open(data_dir: Path) -> ClientPool:
    pool = ClientPool(embedded_target(data_dir / STORE_DIR))
    pool.run(lambda client: client.command("SET optimize_use_projections = 0"))
    return pool


def _note_version(client: Client, *, version: str) -> None:
    statement = "INSERT INTO schema_versions (version) VALUES ({version:String})"
    client.command(statement, parameters={"version": version})


def make_store_without(data_dir: Path) -> None:
    """Make an empty store as it was before `ADDED`. An API takes it for an up-to-date one."""
    (data_dir / STORE_DIR).mkdir(parents=True)
    packaged = resources.files("millimetric_mcp.api.store").joinpath("sql")
    with TemporaryDirectory() as directory, resources.as_file(packaged) as sql:
        older = Path(directory) / "sql"
        shutil.copytree(sql, older, ignore=shutil.ignore_patterns(*(f"{one}.sql" for one in ADDED)))
        pool = ClientPool(embedded_target(data_dir / STORE_DIR))
        migrate(pool, sql=older)
        for version in ADDED:
            pool.run(partial(_note_version, version=version))
        pool.close()
