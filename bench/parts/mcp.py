"""The MCP server on stdio: its start and memory beside an empty server's, what a tool call adds
to the HTTP calls behind it, and what an agent pays in tokens."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any, ParamSpec

import httpx

from bench.data import WINDOW, write_window
from bench.figures import write_number
from bench.processes import read_memory_mb
from bench.report import Bar, Chart, Check, Findings, Table
from bench.stdio_client import StdioServer, spawn_server
from bench.tokens import count_tokens
from bench.workspace import READ_TIMEOUT_S, Deployment, Workspace
from millimetric_mcp.cli.installation import own_command

TITLE = "The MCP server"
EVENTS = 20_000
OURS, EMPTY = "millimetric-mcp", "an empty mcp server"
EMPTY_COMMAND = (sys.executable, "-m", "bench.rivals.empty_server")
START_BOUND, MEMORY_BOUND, CALL_BOUND = 1.15, 1.25, 1.5
ROUNDS_FACTOR = 2
"""The API's own time is a multiple of what is looked for in it: the median takes many rounds."""
TOKEN_BOUNDS = {
    "`tools/list`": 3_200,
    "`top_sources`, 20 rows": 500,
    "`raw_events`, 100 rows, default columns, the costliest of several lists": 6_000,
}

CUT = "… marks cut values"
"""The beginning of the note of a list with cut values."""

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds from spawn to ``initialize``, and resident memory after ``tools/list``."""

    ready_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Question:
    """A tool call and the HTTP calls that it makes, one after the other."""

    tool: str
    arguments: Mapping[str, Any]
    method: str
    targets: Sequence[str]
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Milliseconds of each round, taken in turn."""

    tool_ms: list[float] = field(default_factory=list)
    http_ms: list[float] = field(default_factory=list)
    empty_ms: list[float] = field(default_factory=list)

    def forget_first(self) -> None:
        del self.tool_ms[0], self.http_ms[0], self.empty_ms[0]

    @property
    def added_ms(self) -> float:
        """The median of what the tool call took longer than its HTTP calls."""
        return median(tool - http for tool, http in zip(self.tool_ms, self.http_ms, strict=True))


def measure(workspace: Workspace) -> Findings:
    """Starts alternate with the empty server's; calls and their HTTP twins take turns to begin."""
    scale = workspace.scale
    loaded, _ = workspace.load(EVENTS)
    with workspace.deploy(loaded) as api:
        environ = {
            "MILLIMETRIC_HOST": f"http://127.0.0.1:{api.port}",
            "MILLIMETRIC_KEY": api.keys.write,
            "MILLIMETRIC_RK": api.keys.read,
        }
        starts = _compare_starts(environ, scale.spawns)
        with (
            spawn_server(own_command(), environ=environ) as ours,
            spawn_server(EMPTY_COMMAND) as empty,
        ):
            lists = _list_events(ours)
            tokens = _count_tokens(ours, lists)
            calls = _compare_calls(api, ours, empty, rounds=scale.calls)
    return _report(starts, calls, tokens, lists)


def _compare_starts(environ: Mapping[str, str], spawns: int) -> dict[str, Starts]:
    starts = {OURS: Starts(), EMPTY: Starts()}
    commands = {OURS: own_command(), EMPTY: EMPTY_COMMAND}
    for _ in range(spawns):
        for name, command in commands.items():
            with spawn_server(command, environ=environ) as server:
                server.request("tools/list", {})
                starts[name].ready_s.append(server.ready_in_s)
                starts[name].memory_mb.append(read_memory_mb(server.process_id))
    return starts


def _list_questions() -> tuple[Question, ...]:
    """Calls of three tools; `top_sources` also asks what proves Facebook's paid events."""
    window = {"from": WINDOW[0].isoformat(), "to": WINDOW[1].isoformat()}
    event = {"event": "bench", "event_id": "bench-1", "anonymous_id": "bench"}
    people = write_window(bots="exclude")
    proof = write_window(bots="exclude", source="facebook", medium="paid", group_by="paid_proof")
    sources = (f"/v1/sources?{people}", f"/v1/stats?{proof}")
    return (
        Question("top_sources", window, "GET", sources),
        Question("stats", window, "GET", (f"/v1/stats?{people}",)),
        Question("track_event", event, "POST", ("/v1/track",), event),
    )


def _compare_calls(
    api: Deployment, ours: StdioServer, empty: StdioServer, *, rounds: int
) -> dict[str, CallTimes]:
    times = {question.tool: CallTimes() for question in _list_questions()}
    with _connect(api) as send:
        for question in _list_questions():
            taken = times[question.tool]
            for round_number in range(ROUNDS_FACTOR * rounds + 1):
                turns: list[tuple[list[float], Callable[[], object]]] = [
                    (taken.tool_ms, partial(ours.call, question.tool, question.arguments)),
                    (taken.http_ms, partial(send, question)),
                ]
                # Neither is always the one that finds the API still warm from the other.
                for kept, work in turns[:: 1 if round_number % 2 else -1]:
                    kept.append(_time_ms(work))
                taken.empty_ms.append(_time_ms(empty.call, "nothing", {}))
            taken.forget_first()  # it opens connections
    return times


@contextmanager
def _connect(api: Deployment) -> Iterator[Callable[[Question], None]]:
    """Sends a question's HTTP calls as the MCP server does: httpx, asynchronous, kept alive."""
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{api.port}", timeout=READ_TIMEOUT_S, trust_env=False
        )

        def send(question: Question) -> None:
            key = api.keys.read if question.method == "GET" else api.keys.write
            headers = {"Authorization": f"Bearer {key}"}
            for target in question.targets:
                answer = runner.run(
                    http.request(question.method, target, json=question.body, headers=headers)
                )
                answer.raise_for_status()
                answer.json()

        yield send
        runner.run(http.aclose())


def _time_ms(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    began_s = time.perf_counter()
    work(*args, **kwargs)
    return (time.perf_counter() - began_s) * 1000


def _list_events(ours: StdioServer) -> list[str]:
    """Return lists of 100 events in the default columns."""
    window = {"from": WINDOW[0].isoformat(), "to": WINDOW[1].isoformat()}
    return [
        _ask(ours, "raw_events", {**window, **chosen, "limit": 100}, rows=100)
        for chosen in _choose_events()
    ]


def _count_tokens(ours: StdioServer, lists: Sequence[str]) -> dict[str, int]:
    """By the names of `TOKEN_BOUNDS`, in its order; answers count with their text."""
    tools = ours.request("tools/list", {})["tools"]
    paid = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in tools]
    window = {"from": WINDOW[0].isoformat(), "to": WINDOW[1].isoformat()}
    counts = (
        count_tokens(json.dumps(paid, separators=(",", ":"), ensure_ascii=False)),
        count_tokens(_ask(ours, "top_sources", {**window, "limit": 20}, rows=20)),
        max(map(count_tokens, lists)),
    )
    return dict(zip(TOKEN_BOUNDS, counts, strict=True))


def _choose_events() -> Iterator[dict[str, str]]:
    """The newest of several days, and those of one kind, which are as many visitors."""
    yield from ({"to": (WINDOW[1] - timedelta(days=days)).isoformat()} for days in (0, 5, 10))
    yield from ({"event": event} for event in ("signup", "purchase"))


def _ask(ours: StdioServer, tool: str, arguments: Mapping[str, Any], *, rows: int) -> str:
    result = ours.call(tool, arguments)
    given = len(result["structuredContent"]["rows"])
    if given != rows:
        raise RuntimeError(f"{tool} gave {given} rows instead of {rows}")
    return "\n".join(part["text"] for part in result["content"])


def _report(
    starts: Mapping[str, Starts],
    calls: Mapping[str, CallTimes],
    tokens: Mapping[str, int],
    lists: Sequence[str],
) -> Findings:
    ours, empty = starts[OURS], starts[EMPTY]
    return Findings(
        checks=[
            Check(
                "MCP server, spawn to `initialize` (best) ÷ an empty server's",
                min(ours.ready_s) / min(empty.ready_s),
                "×",
                START_BOUND,
                at_most=True,
            ),
            Check(
                "MCP server, resident memory ÷ an empty server's",
                median(ours.memory_mb) / median(empty.memory_mb),
                "×",
                MEMORY_BOUND,
                at_most=True,
            ),
            *(_check_call(tool, times) for tool, times in calls.items()),
            *(
                Check(what, count, "tokens", TOKEN_BOUNDS[what], at_most=True)
                for what, count in tokens.items()
            ),
        ],
        tables=[_tabulate_starts(starts), _tabulate_calls(calls)],
        charts=[
            Chart(
                "mcp-calls",
                "A call over stdio, median",
                "milliseconds",
                [
                    bar
                    for tool, times in calls.items()
                    for bar in (
                        Bar(f"{tool}, the tool", median(times.tool_ms), ours=True),
                        Bar(f"{tool}, its HTTP calls alone", median(times.http_ms), ours=False),
                    )
                ],
            )
        ],
        raw={"starts": dict(starts), "calls": dict(calls), "tokens": dict(tokens)},
        notes=[
            (
                "Tokens are o200k's; answers are counted by their text. The HTTP calls are made "
                "the way the server makes them (httpx, asynchronous, kept alive)."
            ),
            (
                f"{sum(CUT in text for text in lists)} of the {len(lists)} lists of events have "
                "cut values, and a note that says so."
            ),
        ],
    )


def _check_call(tool: str, times: CallTimes) -> Check:
    [count] = [len(question.targets) for question in _list_questions() if question.tool == tool]
    calls = "HTTP call" if count == 1 else f"{count} HTTP calls, each"
    return Check(
        f"`{tool}` over stdio − its {calls}, ÷ an empty tool's call",
        times.added_ms / count / median(times.empty_ms),
        "×",
        CALL_BOUND,
        at_most=True,
    )


def _tabulate_starts(starts: Mapping[str, Starts]) -> Table:
    return Table(
        "Start and memory",
        ("server", "to `initialize`, best s", "median s", "resident MB"),
        [
            (
                name,
                write_number(min(start.ready_s)),
                write_number(median(start.ready_s)),
                write_number(median(start.memory_mb)),
            )
            for name, start in starts.items()
        ],
    )


def _tabulate_calls(calls: Mapping[str, CallTimes]) -> Table:
    def write(values: Sequence[float]) -> str:
        return write_number(median(values))

    return Table(
        "Calls, medians in milliseconds",
        ("tool", "over stdio", "its HTTP calls", "added", "an empty tool's call"),
        [
            (
                f"`{tool}`",
                write(times.tool_ms),
                write(times.http_ms),
                write_number(times.added_ms),
                write(times.empty_ms),
            )
            for tool, times in calls.items()
        ],
    )
