"""What the figures were measured on: the machine, the versions, the load it already had."""

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

from millimetric_mcp import __version__

PACKAGES = (
    "mcp",
    "chdb-core",
    "clickhouse-connect",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "httpx",
)
FSYNCS = 30
_REPOSITORY = Path(__file__).resolve().parent.parent
_MEASURED = ("--", ".", ":!bench/results", ":!docs", ":!README.md")
"""What is measured, without the results and the documents made from them."""


def describe_machine(directory: Path) -> dict[str, Any]:
    """Facts that a reader needs to place the figures; ``directory`` is where data is written."""
    return {
        "cpu": _read_cpu_model(),
        "cores": count_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "fsync_ms": round(_time_fsync_ms(directory), 3),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _read_commit(),
        "versions": {"millimetric-mcp": __version__} | dict(_list_versions()),
    }


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _list_versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def _read_cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else "unknown"


def _time_fsync_ms(directory: Path) -> float:
    """The median time of a small durable write: what a durable acknowledgement costs at least."""
    times_ms = []
    with TemporaryFile(dir=directory) as file:
        for _ in range(FSYNCS):
            began_s = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times_ms.append((time.perf_counter() - began_s) * 1000)
    return median(times_ms)


def _read_commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = (
            " and uncommitted changes" if git("status", "--porcelain", "-uno", *_MEASURED) else ""
        )
        return git("rev-parse", "--short", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
