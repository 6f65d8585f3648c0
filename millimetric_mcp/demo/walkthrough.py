"""``millimetric-mcp demo``: send events through the API, ask through MCP, check the answers."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import Progress

from millimetric_mcp.contract.attribution import Attribution, Confidence
from millimetric_mcp.contract.events import IDENTIFY_EVENT
from millimetric_mcp.demo.agent import connect_agent
from millimetric_mcp.demo.api_process import Api, Keys, create_keys, own_command, run_api
from millimetric_mcp.demo.batches import cut_batches, send_batches, write_event
from millimetric_mcp.demo.checks import Checks, ExpectedCounts
from millimetric_mcp.demo.generator import SIGNUP, GeneratedEvent, generate
from millimetric_mcp.demo.questions import EventSummary, Questions, Rows, WriteResult
from millimetric_mcp.demo.report import Report
from millimetric_mcp.demo.shop import NO_DEVICE
from millimetric_mcp.errors import DemoFailed
from millimetric_mcp.settings import LOCAL_HOST

SEED = 20_260_516
DAYS = 30
DELETED_USER_EVENTS = 12
"""About how many events the user has whose data is deleted."""
DELETION_TIMEOUT_S = 60.0
DELETION_POLL_S = 0.25

AD_URL = (
    "https://shop.example/collections/gifts?utm_source=facebook&utm_medium=paid_social"
    "&utm_campaign=gift_boxes&fbclid=IwY2xjawKQ7dZ1mT0vXbq3gL5nYc8WfRj2hPs6uEt4oAiD9kMx"
)
AD_REFERRER = "https://l.facebook.com/"
AD_ATTRIBUTION = Attribution("facebook", "paid", "gift_boxes", Confidence.HIGH, "fb_ad_redirect")
NO_ATTRIBUTION = Attribution("direct", "direct", None, Confidence.HIGH, "direct")


def run_demo(console: Console, *, events: int, keep: bool, environ: Mapping[str, str]) -> bool:
    """Return whether every value that came back is correct.

    All its processes and files are gone when it ends. With ``keep`` it ends on Ctrl-C.

    Raises:
        DemoFailed: a step failed.
    """
    began = time.monotonic()
    report, checks = Report(console), Checks()
    with ExitStack() as stack:
        directory = TemporaryDirectory(prefix="millimetric-demo-", ignore_cleanup_errors=True)
        path = Path(stack.enter_context(directory))
        report.write_title("Start an API in a temporary directory")
        api = stack.enter_context(run_api(path, environ=environ))
        report.write_done(f"the API answers at {api.url} after {api.started_in_s:.1f} s")
        keys = create_keys(api, environ=environ)
        report.write_done("'millimetric-mcp keys create' created a server key and a read key")
        asyncio.run(_send_and_ask(report, checks, api, keys, events=events, environ=environ))
        report.write_title("Result")
        if checks.mismatches:
            total = checks.correct + len(checks.mismatches)
            report.write(f"{len(checks.mismatches):,} of {total:,} values are wrong:")
        report.write_checks(checks, f"all correct after {time.monotonic() - began:.0f} s")
        _show_next_steps(report, api, keys, keep=keep)
        if keep:
            with suppress(KeyboardInterrupt):
                api.wait()
    return not checks.mismatches


async def _send_and_ask(
    report: Report, checks: Checks, api: Api, keys: Keys, *, events: int, environ: Mapping[str, str]
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
        report.write(f"the server asks: {text}")
        report.write("the user agrees")

    report.write_title("Connect to the MCP server, as an AI agent does")
    async with connect_agent(api, keys, environ=environ, on_question=show_question) as client:
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
    report = questions.report
    added = await _write_events(questions, now=now)
    await questions.ask_sources()
    await questions.ask_facebook()
    await questions.ask_signups_by_day()
    await questions.ask_visitors_by_day()
    await questions.ask_facebook_signups()
    await questions.ask_devices()
    user_id = questions.expected.choose_user(events=DELETED_USER_EVENTS)
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
    result = await questions.ask(WriteResult, "forget", {"user_id": user_id})
    questions.check("forget", found={"queued": result.queued}, sent={"queued": True})
    await _wait_until_deleted(questions, user_id, timeout_s=deletion_timeout_s)
    await questions.ask_events(user_id, sent=[])
    await _ask_for_others(questions, others, deleted=len(deleted))


async def _write_events(questions: Questions, *, now: datetime) -> list[GeneratedEvent]:
    """Write two events with ``track_event`` and ``identify``; return them as they are expected."""
    questions.report.write_title("Ada clicks a Facebook ad and signs up: write two events")
    signup = GeneratedEvent(
        timestamp_ms=int(now.timestamp() * 1000),
        event=SIGNUP,
        event_id=None,
        anonymous_id="5b1f3c1e-8a57-4c0e-9d43-2f6a7e1d9c40",
        user_id="ada",
        url=AD_URL,
        referrer=AD_REFERRER,
        properties='{"method":"email"}',
        device=NO_DEVICE,
        country="",
        attribution=AD_ATTRIBUTION,
    )
    identify = signup._replace(
        event=IDENTIFY_EVENT, url="", referrer=None, attribution=NO_ATTRIBUTION
    )
    who = {"anonymous_id": signup.anonymous_id, "user_id": signup.user_id}
    traits = {"name": "Ada", "plan": "club"}
    results = {
        "track_event": await questions.ask(
            WriteResult, "track_event", json.loads(write_event(signup))
        ),
        "identify": await questions.ask(WriteResult, "identify", {**who, "traits": traits}),
    }
    found = {tool: result.ok for tool, result in results.items()}
    questions.check("ok", found=found, sent=dict.fromkeys(results, True))
    added = [signup, identify]
    for event in added:
        questions.expected.add(event)
    # The API decides the time of an identify.
    await questions.ask_events("ada", sent=added, with_times=False)
    return added


async def _wait_until_deleted(questions: Questions, user_id: str, *, timeout_s: float) -> None:
    question = questions.select_events(user_id, limit=1)
    for _ in range(int(timeout_s / DELETION_POLL_S)):
        if not (await questions.call(Rows[EventSummary], "raw_events", question)).rows:
            return
        await asyncio.sleep(DELETION_POLL_S)
    raise DemoFailed(f"{user_id} was not deleted within {timeout_s:.0f} s")


async def _ask_for_others(questions: Questions, others: ExpectedCounts, *, deleted: int) -> None:
    report, before = questions.report, questions.expected.total.events
    report.write_title("Are all other events still there?")
    rows = await questions.read_sources()
    left = sum(row.events for row in rows)
    report.write_table(["", "Before", "Deleted", "Left"], [("Events", before, deleted, left)])
    questions.check_sources(rows, others.by_source_medium)


def _show_next_steps(report: Report, api: Api, keys: Keys, *, keep: bool) -> None:
    if keep:
        report.write_title("The API runs until you press Ctrl-C")
        settings = keys.to_environment(api.url)
        lines = [
            f"API      {api.url}",
            f"health   {api.url}/health",
            f"OpenAPI  {api.url}/openapi.json",
            f"MCP      {api.url}/mcp   (Streamable HTTP; a key as bearer token)",
            "",
            *(f"{name}={value}" for name, value in settings.items()),
            "",
            "For your agent's mcp.json:",
        ]
    else:
        report.write_title("Next steps")
        settings = Keys("sk_live_...", "rk_live_...").to_environment(LOCAL_HOST)
        lines = [
            "The demo's API and data are deleted. 'millimetric-mcp demo --keep' keeps them.",
            "To start your own API, run 'millimetric-mcp api'. It shows you your keys.",
            "Put the keys into this text, and the text into your agent's mcp.json:",
        ]
    command, *arguments = own_command()
    server = {"command": command, "args": arguments, "env": settings}
    config = json.dumps({"mcpServers": {"millimetric": server}}, indent=2)
    report.write_plain([*lines, "", config])
