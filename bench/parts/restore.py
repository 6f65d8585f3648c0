"""Restore drills: backups of an API under load, each restored and compared event by event."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from threading import Event, Thread

import httpx

from bench.figures import write_number
from bench.processes import start_worker
from bench.report import Check, Findings, Table
from bench.workspace import Deployment, Workspace
from millimetric_mcp.api.backups import MANIFEST
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target

TITLE = "Backups under load, each restored"
DRILLS = 50
WRITERS = 3
BATCH_EVENTS = 50

Digest = dict[str, int]
"""A hash of every column of each event, by its event_id."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One backup, and the event ids acknowledged before it began."""

    backup: Path
    acknowledged: frozenset[str]
    took_s: float


def measure(workspace: Workspace) -> Findings:
    """Back up while writers send batches; then restore each backup and compare it."""
    drills = 2 if workspace.scale.quick else DRILLS
    backups = workspace.directory / "backups"
    with workspace.deploy() as api:
        made = _back_up_under_load(api, backups, drills)
        kept = workspace.directory / "kept"
        _run("backup", workspace.directory / "last", "--data-dir", api.data_dir)
    _run("restore", workspace.directory / "last", "--data-dir", kept)
    final = read_digest_beside(kept)
    lost = changed = torn = 0
    restored_s, sizes = [], []
    for number, drill in enumerate(made):
        home = workspace.directory / f"restored-{number}"
        began_s = time.perf_counter()
        _run("restore", drill.backup, "--data-dir", home)
        restored_s.append(time.perf_counter() - began_s)
        found = read_digest_beside(home)
        lost += len(drill.acknowledged - found.keys())
        changed += sum(final.get(event_id) != digest for event_id, digest in found.items())
        torn += len(found) % BATCH_EVENTS != 0
        sizes.append(len(found))
        shutil.rmtree(home)
    disk_mb = _measure_disk(backups)
    copies_mb = sum(
        file["bytes"]
        for drill in made
        for file in json.loads((drill.backup / MANIFEST).read_text())["files"].values()
    )
    took_s = [drill.took_s for drill in made]
    return Findings(
        checks=[
            Check("acknowledged events missing after a restore", lost, "", 0, at_most=True),
            Check("restored events that differ from the original", changed, "", 0, at_most=True),
            Check("backups with a part of a batch", torn, "", 0, at_most=True),
        ],
        tables=[
            Table(
                f"{drills} backups, one after the other, while {WRITERS} connections send batches "
                f"of {BATCH_EVENTS}",
                ("", "result"),
                [
                    ("backups made, restored and compared", str(len(made))),
                    ("events in the first and in the last backup", f"{sizes[0]}, {sizes[-1]}"),
                    ("one backup, median s", write_number(median(took_s))),
                    ("one restore, median s", write_number(median(restored_s))),
                    ("disk for all backups, MB", write_number(disk_mb / 1e6)),
                    ("the same without hard links, MB", write_number(copies_mb / 1e6)),
                ],
            )
        ],
        raw={"backup_s": took_s, "restore_s": restored_s, "events": sizes},
        notes=[
            (
                "Each time is a whole command, with the start of its process. Every column of "
                "every event is compared with the store at the end of the load."
            )
        ],
    )


def _back_up_under_load(api: Deployment, backups: Path, drills: int) -> list[Drill]:
    acknowledged: list[str] = []
    stop = Event()
    writers = [
        Thread(target=_write, args=(api, number, acknowledged, stop)) for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    made = []
    try:
        for _ in range(drills):
            before = frozenset(acknowledged)
            began_s = time.perf_counter()
            done = _run("backup", backups, "--data-dir", api.data_dir, "--json")
            took_s = time.perf_counter() - began_s
            made.append(Drill(Path(json.loads(done)["backup"]), before, took_s))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    return made


def _write(api: Deployment, writer: int, acknowledged: list[str], stop: Event) -> None:
    headers = {"Authorization": f"Bearer {api.keys.write}"}
    url = f"http://127.0.0.1:{api.port}/v1/batch"
    with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:
        for number in count():
            if stop.wait(0.05):
                return
            ids = [f"{writer}-{number}-{place}" for place in range(BATCH_EVENTS)]
            events = [{"event": "page_view", "event_id": event_id} for event_id in ids]
            if http.post(url, json={"events": events}).status_code == httpx.codes.ACCEPTED:
                acknowledged.extend(ids)


def read_digest_beside(data_dir: Path) -> Digest:
    """Read every event of a data directory that no API uses."""
    with start_worker() as reader:
        return reader.run(read_digest, data_dir)


def read_digest(data_dir: Path) -> Digest:
    """Read every event; runs in a worker, because a process has one engine."""
    pool = ClientPool(embedded_target(data_dir / STORE_DIR))
    rows = pool.query("SELECT event_id, cityHash64(*) FROM events")
    pool.close()
    return {str(event_id): int(digest) for event_id, digest in rows}


def _run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "millimetric_mcp", *map(str, arguments)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout


def _measure_disk(directory: Path) -> int:
    """Return the bytes of all files, each counted once however many links it has."""
    files = {path.stat().st_ino: path.stat().st_size for path in directory.rglob("*")}
    return sum(files.values())
