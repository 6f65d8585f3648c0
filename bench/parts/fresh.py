"""A read right after a ``202``, while others write: it sees what was acknowledged before it."""

import time
from collections import defaultdict
from math import inf
from statistics import median

import httpx

from bench.figures import pick_quantile, write_number
from bench.parts.track import OURS, STRAIGHT, drive_track, prepare_track
from bench.processes import Worker, settle, start_worker
from bench.report import Check, Findings, Table
from bench.workspace import Deployment, Scale, Workspace
from millimetric_mcp.contract.endpoints import QUERY, TRACK

TITLE = "A read right after a write"
CONNECTIONS = 64
IDLE, LOADED = "no other connection", f"{CONNECTIONS} connections that write"
AS_MANY = f"{CONNECTIONS} connections that write as many events as with `--journal off`"
BOUND_MS = 15
PAUSE_S = 0.02
WINDOW = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}

Times = dict[tuple[str, str], list[float]]
"""Milliseconds of each read, by server and by who else writes."""
Rates = dict[tuple[str, str], list[float]]
"""Events that the others write a second, by the same."""


def measure(workspace: Workspace) -> Findings:
    """With the journal and without, idle and under load, in turn."""
    times_ms: Times = defaultdict(list)
    rates: Rates = defaultdict(list)
    with (
        workspace.deploy() as api,
        workspace.deploy(options=("--journal", "off")) as straight,
        start_worker() as generator,
    ):
        deployments = {OURS: api, STRAIGHT: straight}

        def read_beside(beside: str, name: str, per_s: float = inf) -> float:
            deployment = deployments[name]
            found_ms, rate = _read_under_load(deployment, generator, workspace.scale, per_s)
            times_ms[name, beside] += found_ms
            rates[name, beside].append(rate)
            settle(deployment.process_id)
            return rate

        for _ in range(workspace.scale.repetitions):
            for name, deployment in deployments.items():
                times_ms[name, IDLE] += _read_for(deployment, workspace.scale.duration_s / 2)
            read_beside(LOADED, OURS)
            read_beside(AS_MANY, OURS, per_s=read_beside(LOADED, STRAIGHT))
    return _report(times_ms, rates)


def _read_under_load(
    deployment: Deployment, generator: Worker, scale: Scale, per_s: float
) -> tuple[list[float], float]:
    """Return milliseconds of the reads, and how many events a second were written beside them."""
    generator.run(prepare_track, deployment.keys.write, scale.track_requests)
    load = generator.start(
        drive_track,
        deployment.port,
        key=deployment.keys.write,
        connections=CONNECTIONS,
        duration_s=scale.duration_s,
        warm_up_s=scale.warm_up_s,
        requests=scale.track_requests,
        per_s=per_s,
    )
    time.sleep(scale.warm_up_s)
    times_ms = _read_for(deployment, scale.duration_s)
    return times_ms, load.result().per_s


def _read_for(deployment: Deployment, duration_s: float) -> list[float]:
    """Write an event and ask for it, again and again.

    Raises:
        RuntimeError: an answer lacks an acknowledged event.
    """
    times_ms: list[float] = []
    deadline_s = time.monotonic() + duration_s
    while not times_ms or time.monotonic() < deadline_s:
        times_ms.append(_write_and_read(deployment.http, deployment.keys.write))
        time.sleep(PAUSE_S)
    return times_ms


def _write_and_read(http: httpx.Client, write_key: str) -> float:
    visitor = f"fresh-{time.time_ns()}"
    headers = {"Authorization": f"Bearer {write_key}"}
    event = {"event": "fresh", "anonymous_id": visitor}
    http.post(TRACK.path, json=event, headers=headers).raise_for_status()
    began_s = time.perf_counter()
    answer = http.get(QUERY.path, params={**WINDOW, "anonymous_id": visitor})
    took_ms = (time.perf_counter() - began_s) * 1000
    if len(answer.raise_for_status().json()["rows"]) != 1:
        raise RuntimeError("an acknowledged event was not found by the next read")
    return took_ms


def _report(times_ms: Times, rates: Rates) -> Findings:
    return Findings(
        checks=[
            Check(
                f"a read right after a `202`, {beside}, p50 − the same with `--journal off`",
                median(times_ms[OURS, beside]) - median(times_ms[STRAIGHT, LOADED]),
                "ms",
                BOUND_MS,
                at_most=True,
            )
            for beside in (LOADED, AS_MANY)
        ],
        tables=[
            Table(
                "`GET /v1/query` for one visitor, right after a `202` for the visitor's event",
                ("server", "beside it", "events/s", "reads", "p50 ms", "p99 ms"),
                [
                    (
                        name,
                        beside,
                        write_number(median(rates[name, beside])) if beside != IDLE else "0",
                        f"{len(found):,}",
                        write_number(median(found)),
                        write_number(pick_quantile(sorted(found), 0.99)),
                    )
                    for (name, beside), found in times_ms.items()
                ],
            )
        ],
        raw={f"{name}, {beside}": found for (name, beside), found in times_ms.items()},
        notes=["Every read had the event."],
    )
