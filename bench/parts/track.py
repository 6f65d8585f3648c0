"""``POST /v1/track``: durable single events, beside a handler that parses them and stores none."""

import sys
from statistics import median

from bench.data import make_track_requests
from bench.figures import pair_ratio
from bench.http_load import Load, LoadResult, drive, list_rates, write_result
from bench.processes import Worker, find_free_port, run_server, settle, start_worker
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Scale, Workspace

TITLE = "Single events: `POST /v1/track`"
BOUNDS = {16: (0.15, 0.25), 256: (0.5, 0.8)}
"""The ratio to reach and the one to aim for, by connections."""
OURS, BARE = "millimetric-mcp, durable", "bare handler, stores nothing"


def measure(workspace: Workspace) -> Findings:
    """Both servers in turn under the same requests from the same generator."""
    bare_port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.rivals.bare:app", "--port", str(bare_port)]
    plain = ["--loop", "asyncio", "--http", "h11", "--log-level", "warning", "--no-access-log"]
    with (
        workspace.deploy() as api,
        run_server([*command, *plain], port=bare_port),
        start_worker() as generator,
    ):
        runs = {
            connections: _alternate(workspace.scale, api, bare_port, generator, connections)
            for connections in BOUNDS
        }
        sent = [result.sent for by_name in runs.values() for result in by_name[OURS]]
        require_stored(api, sum(sent))
    return _report(runs)


Runs = dict[int, dict[str, list[LoadResult]]]


def _alternate(
    scale: Scale, api: Deployment, bare_port: int, generator: Worker, connections: int
) -> dict[str, list[LoadResult]]:
    runs: dict[str, list[LoadResult]] = {OURS: [], BARE: []}
    for _ in range(scale.repetitions):
        for name, port in ((OURS, api.port), (BARE, bare_port)):
            runs[name].append(
                generator.run(
                    drive_track,
                    port,
                    key=api.keys.write,
                    connections=connections,
                    duration_s=scale.duration_s,
                    warm_up_s=scale.warm_up_s,
                    requests=scale.track_requests,
                )
            )
            settle(api.process_id)
    return runs


def drive_track(
    port: int, *, key: str, connections: int, duration_s: float, warm_up_s: float, requests: int
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
    results = [
        (connections, name, by_name[name])
        for connections, by_name in runs.items()
        for name in (OURS, BARE)
    ]
    return Findings(
        checks=[_check(connections, by_name) for connections, by_name in runs.items()],
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


def _check(connections: int, by_name: dict[str, list[LoadResult]]) -> Check:
    bound, aim = BOUNDS[connections]
    return Check(
        f"`POST /v1/track`, durable, {connections} connections ÷ a bare handler",
        pair_ratio(list_rates(by_name[OURS]), list_rates(by_name[BARE])),
        "×",
        bound,
        at_most=False,
        aim=aim,
    )
