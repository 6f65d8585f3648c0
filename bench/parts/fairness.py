"""A batch of one project while a browser key of another project sends large bodies."""

import json
import time
from collections.abc import Callable
from statistics import median

from bench.data import make_batch_requests
from bench.figures import write_number
from bench.http_load import Load, LoadResult, drive, encode_request
from bench.parts.batch import prepare_batches
from bench.processes import settle, start_worker
from bench.report import Check, Findings, Table
from bench.workspace import Workspace, create_key
from millimetric_mcp.contract.endpoints import TRACK
from millimetric_mcp.contract.keys import KeyKind

TITLE = "Large bodies of another project"
ORIGIN = "https://shop.example"
FLOOD_BODIES = 30
LEAD_S = 0.05
"""How long the flood runs before the batch."""
BODY_BYTES = 500_000
BOUND = 5.0
KINDS: dict[str, Callable[[], bytes]] = {
    "many values": lambda: b'{"event":"x","x":[' + b"[]," * 140_000 + b"0]}",
    "as many values as allowed": lambda: b'{"event":"x","x":[' + b'"123",' * 80_000 + b"0]}",
    "one long text": lambda: json.dumps({"event": "x", "x": "x" * BODY_BYTES}).encode(),
    "too large properties": lambda: json.dumps(
        {"event": "x", "properties": {f"k{number}": "v" * 20 for number in range(15_000)}}
    ).encode(),
}


def measure(workspace: Workspace) -> Findings:
    """A batch alone, and beside a flood, in turn; each kind of body is a flood."""
    rounds = max(3, 2 * workspace.scale.repetitions)
    alone: list[float] = []
    beside: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with workspace.deploy() as api, start_worker() as measuring, start_worker() as other:
        created = create_key(api.data_dir, KeyKind.PK, project="flood", origins=[ORIGIN])
        browser_key = created.key.reveal()
        measuring.run(prepare_batches, api.keys.write, 1)
        for kind, times_ms in beside.items():
            for _ in range(rounds):
                alone.append(measuring.run(drive_one_batch, api.port, key=api.keys.write).max_ms)
                flood = other.start(drive_flood, api.port, key=browser_key, kind=kind)
                time.sleep(LEAD_S)
                times_ms.append(measuring.run(drive_one_batch, api.port, key=api.keys.write).max_ms)
                flood.result()
                settle(api.process_id)
    return _report(alone, beside)


def drive_one_batch(port: int, *, key: str) -> LoadResult:
    """Send one full batch; runs in a worker."""
    request = make_batch_requests(1, key)
    return drive(Load(port, request, 1, duration_s=60, status=202, max_requests=1))


def drive_flood(port: int, *, key: str, kind: str) -> LoadResult:
    """Send the large bodies at once; runs in a worker."""
    headers = (("authorization", f"Bearer {key}"), ("origin", ORIGIN))
    request = encode_request(TRACK.method, TRACK.path, headers=headers, body=KINDS[kind]())
    status = {"many values": 413, "too large properties": 400}.get(kind, TRACK.status)
    return drive(
        Load(
            port, (request,), FLOOD_BODIES, duration_s=60, status=status, max_requests=FLOOD_BODIES
        )
    )


def _report(alone: list[float], beside: dict[str, list[float]]) -> Findings:
    idle_ms = median(alone)
    rows = [(kind, median(times_ms), max(times_ms)) for kind, times_ms in beside.items()]
    return Findings(
        checks=[
            Check(
                f"a batch beside {FLOOD_BODIES} bodies of 0.5 MB, {kind} ÷ alone",
                median_ms / idle_ms,
                "×",
                BOUND,
                at_most=True,
            )
            for kind, median_ms, _ in rows
        ],
        tables=[
            Table(
                "A batch of 1000 events, one request",
                ("beside", "median ms", "max ms"),
                [
                    (name, write_number(median_ms), write_number(max_ms))
                    for name, median_ms, max_ms in [("nothing", idle_ms, max(alone)), *rows]
                ],
            )
        ],
        raw={"alone": alone, "beside": beside},
    )
