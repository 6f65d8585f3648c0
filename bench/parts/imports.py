"""``millimetric-mcp import`` of an access log, beside ``POST /v1/batch`` of 1000 events."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit
from zlib import crc32

from bench.data import make_events
from bench.figures import pair_ratio, write_number
from bench.http_load import LoadResult, list_rates
from bench.parts.batch import measure_batches
from bench.processes import read_cpu_s, settle, start_worker
from bench.report import Check, Findings, Table
from bench.workspace import Deployment, Workspace
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS
from millimetric_mcp.demo.generator import GeneratedEvent

TITLE = "Import of an access log"
BOUND = 0.7
MAX_MEMORY_MB = 200
DISTINCT_LINES = 50_000
SITE = "https://shop.example"


@dataclass(frozen=True, slots=True)
class ImportRun:
    """One run of the command: what it read and stored, its processor time and peak memory."""

    size_mb: float
    events: int
    took_s: float
    cpu_s: float
    api_cpu_s: float
    memory_mb: float

    @property
    def per_s(self) -> float:
        return self.events / self.took_s


def measure(workspace: Workspace) -> Findings:
    """Both in turn against one API: full batches, then the command on another log."""
    scale = workspace.scale
    batches: list[LoadResult] = []
    batch_cpu_s: list[float] = []
    imports: list[ImportRun] = []
    with workspace.deploy() as api, start_worker() as generator:
        for number in range(scale.import_runs):
            began_cpu_s = read_cpu_s(api.process_id)
            batches.append(measure_batches(generator, api, scale))
            batch_cpu_s.append(read_cpu_s(api.process_id) - began_cpu_s)
            settle(api.process_id)
            log = workspace.directory / f"access-{number}.log"
            lines = write_log(log, size_mb=scale.import_mb, number=number)
            imports.append(_run_import(api, log, lines=lines))
            log.unlink()
            settle(api.process_id)
        _require_stored(api, sum(run.events for run in imports))
    return _report(batches, batch_cpu_s, imports)


def write_log(path: Path, *, size_mb: float, number: int) -> int:
    """Write page views in the combined format until the file is that large; count them.

    Each of the generator's visitors has an address, and another one in every file.
    """
    lines = cycle(write_line(event) for event in tuple(make_events(DISTINCT_LINES)) if event.url)
    count, size, limit = 0, 0, size_mb * 1_000_000
    with path.open("w", encoding="utf-8") as file:
        while size < limit:
            rounds = number + count // DISTINCT_LINES
            size += file.write(f"81.{rounds % 256}.{next(lines)}")
            count += 1
    return count


def write_line(event: GeneratedEvent) -> str:
    """Return the event as a page view, without the first half of its address."""
    address = crc32(event.anonymous_id.encode())
    time = datetime.fromtimestamp(event.timestamp_ms / 1000, UTC)
    target = urlsplit(event.url)._replace(scheme="", netloc="").geturl() or "/"
    return (
        f"{address >> 8 & 255}.{address & 255} - - [{time:%d/%b/%Y:%H:%M:%S} +0000] "
        f'"GET {target} HTTP/1.1" 200 5120 "{event.referrer or "-"}" '
        f'"{event.device.user_agent}"\n'
    )


def _run_import(api: Deployment, log: Path, *, lines: int) -> ImportRun:
    size_mb = log.stat().st_size / 1_000_000
    environ = {
        **os.environ,
        "MILLIMETRIC_HOST": f"http://127.0.0.1:{api.port}",
        "MILLIMETRIC_KEY": api.keys.write,
    }
    command = [sys.executable, "-m", "millimetric_mcp", "import", str(log), "--site", SITE]
    api_cpu_s, began_s = read_cpu_s(api.process_id), time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"the import ended with code {process.returncode}")
    return ImportRun(
        size_mb=size_mb,
        events=lines,
        took_s=took_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        api_cpu_s=read_cpu_s(api.process_id) - api_cpu_s,
        memory_mb=usage.ru_maxrss / 1024,
    )


def _require_stored(api: Deployment, events: int) -> None:
    window = "from=1970-01-02T00:00:00Z&to=2100-01-01T00:00:00Z"
    [row] = api.get(f"/v1/stats?{window}&event=$pageview&metric=count")["rows"]
    if int(str(row["value"])) < events:
        raise RuntimeError(f"{row['value']} page views are stored of {events} imported")


def _report(
    batches: Sequence[LoadResult], batch_cpu_s: Sequence[float], imports: Sequence[ImportRun]
) -> Findings:
    batch_per_s = [rate * MAX_BATCH_EVENTS for rate in list_rates(batches)]
    import_per_s = [run.per_s for run in imports]
    memory_mb = max(run.memory_mb for run in imports)
    size_mb = write_number(median(run.size_mb for run in imports))
    return Findings(
        checks=[
            Check(
                "`import` of an access log, events/s ÷ those of `POST /v1/batch`",
                pair_ratio(import_per_s, batch_per_s),
                "×",
                BOUND,
                at_most=False,
            ),
            Check(
                f"memory of the importer on a log of {size_mb} MB",
                memory_mb,
                "MB",
                MAX_MEMORY_MB,
                at_most=True,
            ),
        ],
        tables=[_tabulate(batches, batch_cpu_s, imports)],
        raw={"batches": batches, "imports": imports},
        notes=["Every imported event was found stored."],
    )


def _tabulate(
    batches: Sequence[LoadResult], batch_cpu_s: Sequence[float], imports: Sequence[ImportRun]
) -> Table:
    batch_per_s = [rate * MAX_BATCH_EVENTS for rate in list_rates(batches)]
    size_mb = write_number(median(run.size_mb for run in imports))
    return Table(
        f"Medians of {len(imports)} runs; a log of {size_mb} MB each",
        (
            "way in",
            "events/s",
            "MB/s",
            "API, µs of processor an event",
            "sender, µs of processor an event",
            "peak memory of the sender, MB",
        ),
        [
            (
                "`millimetric-mcp import`, its start included",
                write_number(median(run.per_s for run in imports)),
                write_number(median(run.size_mb / run.took_s for run in imports)),
                write_number(median(run.api_cpu_s / run.events * 1e6 for run in imports)),
                write_number(median(run.cpu_s / run.events * 1e6 for run in imports)),
                write_number(max(run.memory_mb for run in imports)),
            ),
            (
                "`POST /v1/batch` of 1000",
                write_number(median(batch_per_s)),
                "",
                write_number(
                    median(
                        cpu_s / (result.sent * MAX_BATCH_EVENTS) * 1e6
                        for result, cpu_s in zip(batches, batch_cpu_s, strict=True)
                    )
                ),
                "",
                "",
            ),
        ],
    )
