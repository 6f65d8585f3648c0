"""``millimetric-mcp demo``: send events through the API, ask through MCP, check the answers."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import Progress

from millimetric_mcp.contract.events import IDENTIFY_EVENT
from millimetric_mcp.demo import processes
from millimetric_mcp.demo.batches import cut_batches, send_batches, write_event
from millimetric_mcp.demo.checks import Checks, ExpectedCounts
from millimetric_mcp.demo.generator import PAGEVIEW, SIGNUP, GeneratedEvent, generate
from millimetric_mcp.demo.processes import COMMAND, ApiProcess, Keys
from millimetric_mcp.demo.questions import Questions
from millimetric_mcp.demo.report import Report
from millimetric_mcp.demo.shop import load_shop
from millimetric_mcp.errors import DemoFailed
from millimetric_mcp.settings import LOCAL_HOST

SEED = 20_260_516
DAYS = 30
DELETED_USER_EVENTS = 12
"""About how many events the user has whose data is deleted."""
DELETION_TIMEOUT_S = 60.0
DELETION_POLL_S = 0.25


def run_demo(console: Console, *, events: int, keep: bool, environ: Mapping[str, str]) -> bool:
    """Return whether every value that came back is correct.

    All its processes and files are gone when it ends. With ``keep`` it ends on Ctrl-C.

    Raises:
        DemoFailed: a step failed.
    """
    began = time.monotonic()
    report, checks = Report(console), Checks()
    report.write_title("Start an API in a temporary directory")
    with (
        TemporaryDirectory(prefix="millimetric-demo-", ignore_cleanup_errors=True) as directory,
        processes.run_api(Path(directory), environ=environ) as api,
    ):
        report.write_done(f"the API answers at {api.url} after {api.started_in_s:.1f} s")
        keys = processes.create_keys(api, environ=environ)
        report.write_done("'millimetric-mcp keys create' created a server key and a read key")
        asyncio.run(_send_and_ask(report, checks, api, keys, events=events, environ=environ))
        report.write_title("Result")
        if checks.mismatches:
            total = checks.correct + len(checks.mismatches)
            report.write(f"{len(checks.mismatches):,} of {total:,} values are wrong:")
            report.write_mismatches(checks.mismatches)
        else:
            elapsed_s = time.monotonic() - began
            report.write_done(f"all {checks.correct:,} values are correct ({elapsed_s:.0f} s)")
        _show_next_steps(report, api, keys, keep=keep)
        if keep:
            with suppress(KeyboardInterrupt):
                processes.wait_for_end(api)
    return not checks.mismatches


async def _send_and_ask(
    report: Report,
    checks: Checks,
    api: ApiProcess,
    keys: Keys,
    *,
    events: int,
    environ: Mapping[str, str],
) -> None:
    end = datetime.now(UTC)
    generate_again = partial(generate, seed=SEED, end=end, events=events, days=DAYS)
    expected = ExpectedCounts()
    report.write_title(f"Send {events:,} events: {DAYS} days of a web shop")
    began = time.monotonic()
    with Progress(console=report.console) as progress:
        task = progress.add_task("  sending", total=events)
        await send_batches(
            cut_batches(expected.watch(generate_again())),
            url=api.url,
            key=keys.write,
            on_sent=partial(progress.advance, task),
        )
    elapsed_s = time.monotonic() - began
    rate = f"{events / elapsed_s:,.0f} events/s"
    report.write_done(f"stored through POST /v1/batch in {elapsed_s:.1f} s: {rate}")

    def show_question(text: str) -> None:
        report.write(f"The server asks: {text} The user agrees.")

    report.write_title("Connect to the MCP server, as an AI agent does")
    agent = processes.connect_agent(api, keys, environ=environ, on_question=show_question)
    async with agent as client:
        report.write_done("an MCP client started 'millimetric-mcp' and talks to it over stdio")
        tools = (await client.list_tools()).tools
        report.write(f"tools: {', '.join(tool.name for tool in tools)}")
        now = datetime.now(UTC)
        window = choose_window(end - timedelta(days=DAYS), now)
        questions = Questions(report, client, expected, window, checks)
        await ask_everything(questions, generate_again, now=now)


def choose_window(start: datetime, end: datetime) -> dict[str, str]:
    """Return ``from`` and ``to`` in whole minutes; ``to`` is at least a minute after ``end``."""
    ends = {"from": start, "to": end + timedelta(seconds=119)}
    return {name: f"{each.astimezone(UTC):%Y-%m-%dT%H:%M:00Z}" for name, each in ends.items()}


async def ask_everything(
    questions: Questions,
    generate_again: Callable[[], Iterable[GeneratedEvent]],
    *,
    now: datetime,
    deletion_timeout_s: float = DELETION_TIMEOUT_S,
) -> None:
    """Write two events, ask all questions, delete a user; ``generate_again`` yields what was sent.

    Raises:
        DemoFailed: a tool failed, or the deletion took too long.
    """
    report, added = questions.report, await _write_events(questions, now=now)
    await questions.ask_traffic()
    await questions.ask_facebook()
    report.write_title("How many people sign up each day?")
    await questions.ask_days("sign-ups", group="sign-ups", column="events", event=SIGNUP)
    report.write_title("How many visitors come each day?")
    await questions.ask_days(
        "visitors", group="page views", column="uniques", metric="uniques", event=PAGEVIEW
    )
    await questions.ask_facebook_signups()
    await questions.ask_devices()
    await questions.ask_revenue()
    await questions.ask_funnel()
    await questions.ask_retention()
    users = questions.expected.events_by_user
    user_id = min(users, key=lambda user: (abs(users[user] - DELETED_USER_EVENTS), user))
    deleted: list[GeneratedEvent] = []
    others = ExpectedCounts()
    for event in chain(generate_again(), added):
        if event.user_id == user_id:
            deleted.append(event)
        else:
            others.add(event)
    report.write_title(f"What did {user_id} do?")
    await questions.ask_events(user_id, sent=deleted)
    report.write_title(f"{user_id} asks us to delete their data")
    result = await questions.ask("forget", {"user_id": user_id})
    questions.check("deletion", found={"queued": result["queued"]}, sent={"queued": True})
    await _wait_until_deleted(questions, user_id, timeout_s=deletion_timeout_s)
    await questions.ask_events(user_id, sent=[])
    report.write_title("Are all other events still there?")
    rows = await questions.ask_sources(others, "events by source and medium")
    left = sum(row.events for row in rows)
    report.write(f"{len(deleted):,} events are deleted, {left:,} are left")


async def _write_events(questions: Questions, *, now: datetime) -> list[GeneratedEvent]:
    """Write with ``track_event`` and ``identify``; return the two events that are now expected."""
    questions.report.write_title("Ada clicks a Facebook ad and signs up: write two events")
    channels = {channel.attribution.rule_id: channel for channel in load_shop().channels}
    landing = channels["fb_ad_redirect"].land(Random(SEED), now.date())  # noqa: S311
    signup = GeneratedEvent(
        timestamp_ms=int(now.timestamp() * 1000),
        event=SIGNUP,
        anonymous_id="5b1f3c1e-8a57-4c0e-9d43-2f6a7e1d9c40",
        user_id="ada",
        url=landing.url,
        referrer=landing.referrer,
        attribution=landing.attribution,
        channel=landing.channel,
    )
    identify = GeneratedEvent(
        timestamp_ms=signup.timestamp_ms,
        event=IDENTIFY_EVENT,
        anonymous_id=signup.anonymous_id,
        user_id=signup.user_id,
    )
    tracked = await questions.ask("track_event", json.loads(write_event(signup)))
    who = {"anonymous_id": signup.anonymous_id, "user_id": signup.user_id}
    identified = await questions.ask("identify", {**who, "traits": {"name": "Ada"}})
    found = {"track_event": tracked["ok"], "identify": identified["ok"]}
    questions.check("writes", found=found, sent=dict.fromkeys(found, True))
    for event in (signup, identify):
        questions.expected.add(event)
    # The API decides the time of an identify.
    await questions.ask_events("ada", sent=[signup, identify], with_times=False)
    return [signup, identify]


async def _wait_until_deleted(questions: Questions, user_id: str, *, timeout_s: float) -> None:
    question = {**questions.window, "user_id": user_id, "limit": 1}
    for _ in range(int(timeout_s / DELETION_POLL_S)):
        if not (await questions.ask("raw_events", question, is_shown=False))["rows"]:
            return
        await asyncio.sleep(DELETION_POLL_S)
    raise DemoFailed(f"{user_id} was not deleted within {timeout_s:.0f} s")


def _show_next_steps(report: Report, api: ApiProcess, keys: Keys, *, keep: bool) -> None:
    if keep:
        report.write_title("The API runs until you press Ctrl-C")
        settings = keys.to_settings(api.url)
        lines = [
            f"Page     {api.url}/   (your numbers in a browser; sign in with the rk_ key)",
            f"API      {api.url}",
            f"OpenAPI  {api.url}/openapi.json",
            f"MCP      {api.url}/mcp   (Streamable HTTP; a key as bearer token)",
            "",
            *(f"{name}={value}" for name, value in settings.items()),
            "",
            "For your agent's mcp.json:",
        ]
    else:
        report.write_title("Next steps")
        settings = Keys("sk_live_...", "rk_live_...").to_settings(LOCAL_HOST)
        lines = [
            "The demo's API and data are deleted. 'millimetric-mcp demo --keep' keeps them.",
            "To start your own API, run 'millimetric-mcp api'. It shows you your keys.",
            "Put the keys into this text, and the text into your agent's mcp.json:",
        ]
    command, *arguments = COMMAND
    server = {"command": command, "args": arguments, "env": settings}
    config = json.dumps({"mcpServers": {"millimetric": server}}, indent=2)
    for line in [*lines, "", config]:
        report.console.out(line, highlight=False)  # unwrapped, so that it can be copied
