"""What the storage codecs cost and save: the product's beside others on the same events."""

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from clickhouse_connect.driver.client import Client

from bench.figures import write_number
from bench.processes import start_worker
from bench.report import Findings, Table
from bench.workspace import Workspace
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target

TITLE = "Storage codecs"
OURS = "as shipped: ZSTD(3) for texts, ZSTD(1) and deltas for the rest"
WRITES = 2
VARIANTS: dict[str, Callable[[str], str]] = {
    OURS: lambda ddl: ddl,
    "LZ4, the engine's default": lambda ddl: re.sub(r" CODEC\((?:[^()]|\(\d+\))*\)", "", ddl),
    "ZSTD(1) throughout": lambda ddl: ddl.replace("ZSTD(3)", "ZSTD(1)"),
    "ZSTD(3) throughout": lambda ddl: ddl.replace("ZSTD(1)", "ZSTD(3)"),
    "ZSTD(6) for texts": lambda ddl: ddl.replace("ZSTD(3)", "ZSTD(6)"),
}
_READ = """
SELECT source, medium, count(), uniqCombined(14)(anonymous_id), max(length(url)) FROM {table}
GROUP BY source, medium SETTINGS optimize_use_projections = 0
"""
_BYTES = """
SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts
WHERE active AND database = currentDatabase() AND table = '{table}'
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a variant takes."""

    bytes_per_event: float
    write_s: float
    read_ms: list[float]


def measure(workspace: Workspace) -> Findings:
    """One table a variant, filled from the same events and merged to one part."""
    loaded, _ = workspace.load(workspace.scale.small_events)
    directory = workspace.directory / "codecs"
    shutil.copytree(loaded, directory, symlinks=True)
    with start_worker() as engine:
        costs = engine.run(weigh_codecs, directory, reads=workspace.scale.reads)
    return _report(costs, events=workspace.scale.small_events)


def weigh_codecs(directory: Path, *, reads: int) -> dict[str, Cost]:
    """The cost of each variant; runs in a worker."""
    pool = ClientPool(replace(embedded_target(directory / STORE_DIR), fsync=False))
    costs = pool.run(lambda client: _weigh_all(client, reads))
    pool.close()
    return costs


def _weigh_all(client: Client, reads: int) -> dict[str, Cost]:
    client.command("SET use_uncompressed_cache = 0")
    shipped = str(client.query("SHOW CREATE TABLE events").result_rows[0][0])
    tables = {name: f"variant_{number}" for number, name in enumerate(VARIANTS)}
    for name, table in tables.items():
        client.command(VARIANTS[name](shipped).replace(".events", f".{table}", 1))
    write_s: dict[str, list[float]] = {name: [] for name in tables}
    for _ in range(WRITES):
        for name, table in tables.items():
            write_s[name].append(_time_write(client, table))
    read_ms: dict[str, list[float]] = {name: [] for name in tables}
    for _ in range(reads):
        for name, table in tables.items():
            began_s = time.perf_counter()
            client.query(_READ.format(table=table))
            read_ms[name].append((time.perf_counter() - began_s) * 1000)
    return {
        name: Cost(
            client.query(_BYTES.format(table=table)).result_rows[0][0],
            min(write_s[name]),
            read_ms[name],
        )
        for name, table in tables.items()
    }


def _time_write(client: Client, table: str) -> float:
    client.command(f"TRUNCATE TABLE {table}")
    began_s = time.perf_counter()
    client.command(f"INSERT INTO {table} SELECT * FROM events")
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    return time.perf_counter() - began_s


def _report(costs: dict[str, Cost], *, events: int) -> Findings:
    return Findings(
        tables=[
            Table(
                f"{events:,} events as one part, in the page cache",
                ("codecs", "bytes an event", "write and merge, best s", "read of raw rows, ms"),
                [
                    (
                        name,
                        write_number(cost.bytes_per_event),
                        write_number(cost.write_s),
                        write_number(median(cost.read_ms)),
                    )
                    for name, cost in costs.items()
                ],
            )
        ],
        raw=dict(costs),
        notes=["The read takes every event's visitor and URL."],
    )
