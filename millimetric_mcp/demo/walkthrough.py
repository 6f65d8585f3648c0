"""The main job, end to end: events in through the API, answers out through an agent's tools."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from millimetric_mcp.demo.agent import Agent, connect_agent
from millimetric_mcp.demo.checks import Checks
from millimetric_mcp.demo.deployment import Api, Keys, create_keys, own_command, run_api
from millimetric_mcp.demo.generator import GeneratedEvent, generate
from millimetric_mcp.demo.payload import cut_batches
from millimetric_mcp.demo.sender import send_batches
from millimetric_mcp.demo.stage import Stage, indent, show_done, show_mismatches, show_title
from millimetric_mcp.demo.story import Sent, tell_story
from millimetric_mcp.demo.truth import Truth
from millimetric_mcp.settings import LOCAL_HOST

SEED = 20_260_516
DAYS = 30


@dataclass(frozen=True, slots=True)
class Demo:
    """One walk-through: how many events, and whether the API stays up afterwards."""

    events: int
    keep: bool
    environ: Mapping[str, str]
    console: Console


def walk_through(demo: Demo) -> bool:
    """Whether every number that came back is the one that was sent.

    Everything it starts ends with it, however it ends; with ``keep`` that is on Ctrl-C.

    Raises:
        DemoFailed: it could not be walked to its end.
    """
    began = time.monotonic()
    console, checks = demo.console, Checks()
    with ExitStack() as stack:
        directory = stack.enter_context(
            TemporaryDirectory(prefix="millimetric-demo-", ignore_cleanup_errors=True)
        )
        show_title(console, "A deployment of your own, for a minute")
        api = stack.enter_context(run_api(Path(directory), environ=demo.environ))
        show_done(console, f"the API answers on {api.url} after {api.started_in_s:.1f} s")
        keys = create_keys(api, environ=demo.environ)
        show_done(console, "a server key (sk) and a read key (rk), from 'millimetric-mcp keys'")
        asyncio.run(_run(demo, checks, api=api, keys=keys))
        _show_result(console, checks, elapsed_s=time.monotonic() - began)
        if demo.keep:
            _keep(console, api, keys=keys)
        else:
            _show_own(console)
    return not checks.mismatches


async def _run(demo: Demo, checks: Checks, *, api: Api, keys: Keys) -> None:
    console, now = demo.console, datetime.now(UTC)
    replay = partial(generate, seed=SEED, end=now, events=demo.events, days=DAYS)
    truth = Truth()
    show_title(console, f"{DAYS} days of a web shop, {demo.events:,} events")
    events = _observe(replay(), truth)
    await _send(console, events, api=api, keys=keys, total=demo.events)
    show_title(console, "An agent's tools")

    def show_question(text: str) -> None:
        indent(console, Text.assemble(("the server asks: ", "dim"), text))
        indent(console, Text("the user agrees", style="dim"))

    async with connect_agent(api, keys, environ=demo.environ, on_question=show_question) as agent:
        await _show_tools(console, agent)
        sent = Sent(truth, replay, start=now - timedelta(days=DAYS))
        await tell_story(Stage(console, agent, checks), sent, now=partial(datetime.now, UTC))


def _observe(events: Iterable[GeneratedEvent], truth: Truth) -> Iterator[GeneratedEvent]:
    for event in events:
        truth.add(event)
        yield event


async def _send(
    console: Console, events: Iterable[GeneratedEvent], *, api: Api, keys: Keys, total: int
) -> None:
    began = time.monotonic()
    with _progress(console) as progress:
        task = progress.add_task("sending", total=total, rate="")

        def show_sent(count: int) -> None:
            progress.advance(task, count)
            done = progress.tasks[0].completed
            progress.update(task, rate=f"{done / (time.monotonic() - began):,.0f} events/s")

        await send_batches(cut_batches(events), url=api.url, key=keys.write, on_sent=show_sent)
    elapsed_s = time.monotonic() - began
    rate = f"{total / elapsed_s:,.0f} events/s"
    show_done(console, f"stored through POST /v1/batch in {elapsed_s:.1f} s: {rate}")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
    )


async def _show_tools(console: Console, agent: Agent) -> None:
    tools = await agent.list_tools()
    show_done(console, "millimetric-mcp runs as a child on stdio, an MCP client is connected")
    indent(console, Text(f"tools: {', '.join(tools)}", style="dim"))


def _show_result(console: Console, checks: Checks, *, elapsed_s: float) -> None:
    show_title(console, "Result")
    if checks.mismatches:
        total = checks.agreed + len(checks.mismatches)
        indent(console, f"{len(checks.mismatches):,} of {total:,} values are not what was sent:")
        show_mismatches(console, checks.mismatches)
    else:
        praise = f"{checks.agreed:,} values came back, every one as it was sent"
        show_done(console, f"{praise} ({elapsed_s:.0f} s in all)")


def _keep(console: Console, api: Api, *, keys: Keys) -> None:
    show_title(console, "Yours until Ctrl-C")
    lines = (
        f"API      {api.url}",
        f"health   {api.url}/health",
        f"OpenAPI  {api.url}/openapi.json",
        f"MCP      {api.url}/mcp   (Streamable HTTP; the key as bearer token)",
        "",
        f"MILLIMETRIC_HOST={api.url}",
        f"MILLIMETRIC_KEY={keys.write}",
        f"MILLIMETRIC_RK={keys.read}",
        "",
        "mcp.json:",
    )
    _show_lines(console, (*lines, write_mcp_json(host=api.url, write=keys.write, read=keys.read)))
    with suppress(KeyboardInterrupt):  # the way out that was announced
        api.wait()


def _show_own(console: Console) -> None:
    show_title(console, "Yours")
    lines = (
        "This deployment is gone now; 'millimetric-mcp demo --keep' leaves one up.",
        "For your own, run 'millimetric-mcp api': its first start shows your keys.",
        "Put them into this and paste it into your agent's mcp.json:",
        "",
        write_mcp_json(host=LOCAL_HOST, write="sk_live_...", read="rk_live_..."),
    )
    _show_lines(console, lines)


def _show_lines(console: Console, lines: Iterable[str]) -> None:
    """As they are: unwrapped and unstyled, so that they can be copied."""
    for line in lines:
        console.out(line, highlight=False)


def write_mcp_json(*, host: str, write: str, read: str) -> str:
    """What an agent's host wants to be told of this installation, as JSON text."""
    command, *arguments = own_command()
    server = {
        "command": command,
        "args": arguments,
        "env": {"MILLIMETRIC_HOST": host, "MILLIMETRIC_KEY": write, "MILLIMETRIC_RK": read},
    }
    return json.dumps({"mcpServers": {"millimetric": server}}, indent=2)
