"""``POST /v1/track``: durable single events, beside a handler that parses them and stores none."""

import sys
from math import inf
from statistics import median

from bench.data import make_track_requests
from bench.figures import pair_ratio
from bench.http_load import MAX_REQUESTS, Load, LoadResult, drive, list_rates, write_result
from bench.processes import (
    Worker,
    find_free_port,
    read_cpu_s,
    run_server,
    settle,
    start_worker,
)
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Scale, Workspace

TITLE = "Single events: `POST /v1/track`"
BOUNDS = {1: (0.4, None), 16: (0.75, 1.0), 64: (0.9, None), 256: (1.1, None)}
"""The ratio to reach and the one to aim for, by connections."""
OURS, BARE = "millimetric-mcp, durable", "bare handler, stores nothing"
STRAIGHT = "millimetric-mcp, durable, `--journal off`"
CPU_CONNECTIONS, CPU_BOUND = 64, 0.6


def measure(workspace: Workspace) -> Findings:
    """The servers in turn under the same requests from the same generator."""
    bare_port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.rivals.bare:app", "--port", str(bare_port)]
    plain = ["--loop", "asyncio", "--http", "h11", "--log-level", "warning", "--no-access-log"]
    with (
        workspace.deploy() as api,
        workspace.deploy(options=("--journal", "off")) as straight,
        run_server([*command, *plain], port=bare_port),
        start_worker() as generator,
    ):
        runs = {
            connections: _alternate(
                workspace.scale, {OURS: api, STRAIGHT: straight}, bare_port, generator, connections
            )
            for connections in BOUNDS
        }
        for name, deployment in ((OURS, api), (STRAIGHT, straight)):
            sent = [result.sent for by_name in runs.values() for result, _ in by_name[name]]
            require_stored(deployment, sum(sent))
    return _report(runs)


Runs = dict[int, dict[str, list[tuple[LoadResult, float]]]]
"""What came back, and the server's processor time in µs a request; by connections and name."""


def _alternate(
    scale: Scale,
    deployments: dict[str, Deployment],
    bare_port: int,
    generator: Worker,
    connections: int,
) -> dict[str, list[tuple[LoadResult, float]]]:
    runs: dict[str, list[tuple[LoadResult, float]]] = {OURS: [], STRAIGHT: [], BARE: []}
    for _ in range(scale.repetitions):
        for name, results in runs.items():
            deployment = deployments.get(name)
            used_s = read_cpu_s(deployment.process_id) if deployment else 0
            result = generator.run(
                drive_track,
                deployment.port if deployment else bare_port,
                key=deployment.keys.write if deployment else "",
                connections=connections,
                duration_s=scale.duration_s,
                warm_up_s=scale.warm_up_s,
                requests=scale.track_requests,
            )
            cpu_us = 0.0
            if deployment:
                settle(deployment.process_id)  # what it still does in the background counts too
                used_s = read_cpu_s(deployment.process_id) - used_s
                cpu_us = used_s / result.sent * 1e6
            results.append((result, cpu_us))
    return runs


def drive_track(
    port: int,
    *,
    key: str,
    connections: int,
    duration_s: float,
    warm_up_s: float,
    requests: int,
    per_s: float = inf,
    max_requests: int = MAX_REQUESTS,
) -> LoadResult:
    """Single events to whatever listens on ``port``; runs in a worker."""
    return drive(
        Load(
            port=port,
            requests=make_track_requests(requests, key),
            connections=connections,
            duration_s=duration_s,
            warm_up_s=warm_up_s,
            status=202,
            per_s=per_s,
            max_requests=max_requests,
        )
    )


def prepare_track(key: str, requests: int) -> None:
    """Makes the requests, so that `drive_track` begins at once."""
    make_track_requests(requests, key)


def require_stored(api: Deployment, acknowledged: int) -> None:
    """Nothing, where the API knows as many events as it acknowledged.

    Raises:
        RuntimeError: it knows more or fewer.
    """
    path = "/v1/stats?from=1970-01-02T00:00:00Z&to=2100-01-01T00:00:00Z"
    stored = sum(int(str(row["value"])) for row in api.get(path)["rows"])
    if stored != acknowledged:
        raise RuntimeError(f"{acknowledged} events were acknowledged, {stored} are stored")


def _report(runs: Runs) -> Findings:
    names = (OURS, STRAIGHT, BARE)
    results = [
        (connections, name, [result for result, _ in by_name[name]])
        for connections, by_name in runs.items()
        for name in names
    ]
    return Findings(
        checks=[
            *(_check(connections, by_name) for connections, by_name in runs.items()),
            _check_cpu(runs[CPU_CONNECTIONS]),
        ],
        tables=[
            Table(
                "Medians of the repetitions",
                ("connections", "server", "requests/s", "p50 ms", "p99 ms"),
                [(str(count), name, *write_result(found)) for count, name, found in results],
            )
        ],
        charts=[
            Chart(
                "track",
                "Single events a second, each acknowledged when it is on disk",
                "requests/s",
                [
                    Bar(f"{name}, {count} connections", median(list_rates(found)), name == OURS)
                    for count, name, found in results
                ],
            )
        ],
        raw={f"{connections} connections": by_name for connections, by_name in runs.items()},
        notes=["Every acknowledged event was found stored."],
    )


def _check(connections: int, by_name: dict[str, list[tuple[LoadResult, float]]]) -> Check:
    bound, aim = BOUNDS[connections]
    ours, bare = ([result for result, _ in by_name[name]] for name in (OURS, BARE))
    return Check(
        f"`POST /v1/track`, durable, {_count(connections)} ÷ a bare handler",
        pair_ratio(list_rates(ours), list_rates(bare)),
        "×",
        bound,
        at_most=False,
        aim=aim,
    )


def _check_cpu(by_name: dict[str, list[tuple[LoadResult, float]]]) -> Check:
    ours, straight = ([cpu_us for _, cpu_us in by_name[name]] for name in (OURS, STRAIGHT))
    return Check(
        f"processor time of a single event, {CPU_CONNECTIONS} connections ÷ `--journal off`",
        pair_ratio(ours, straight),
        "×",
        CPU_BOUND,
        at_most=True,
    )


def _count(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"
