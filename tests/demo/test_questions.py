"""The demo's questions, asked of a fake MCP client that counts the generated events by itself.

Without an error every check passes; each error shows that a check finds it.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp_types import CallToolResult, TextContent
from rich.console import Console

from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.contract.reads import PaidProof
from millimetric_mcp.contract.validation import parse_timestamp
from millimetric_mcp.demo.batches import write_time
from millimetric_mcp.demo.checks import PROVEN, Checks, ExpectedCounts, prove_paid
from millimetric_mcp.demo.generator import DIRECT, GeneratedEvent, generate
from millimetric_mcp.demo.questions import Questions
from millimetric_mcp.demo.report import Report
from millimetric_mcp.demo.walkthrough import ask_everything, choose_window
from millimetric_mcp.errors import DemoFailed
from millimetric_mcp.mcp.render.sources import describe_proof

END = datetime(2026, 5, 16, 14, 37, 12, tzinfo=UTC)
EVENTS = list(generate(seed=5, end=END, events=1_500, days=30))

Result = dict[str, Any]
Error = Callable[[str, Mapping[str, Any], Result], None]
"""Changes the result of a tool call with these arguments, or leaves it."""


def count(events: Iterable[GeneratedEvent]) -> ExpectedCounts:
    counts = ExpectedCounts()
    for event in events:
        counts.add(event)
    return counts


def no_error(_tool: str, _arguments: Mapping[str, Any], _result: Result) -> None:
    return None


@dataclass
class FakeClient:
    """The tools over a list of events in memory."""

    error: Error = no_error
    deleted_after_polls: int = 2
    events: list[GeneratedEvent] = field(default_factory=lambda: list(EVENTS))
    calls: Counter[str] = field(default_factory=Counter)
    forgotten: str = ""
    polls: int = 0

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        self.calls[name] += 1
        result = json.loads(json.dumps(getattr(self, name)(**arguments)))
        self.error(name, arguments, result)
        return CallToolResult(content=[], structured_content=result)

    def track_event(self, event: str, timestamp: str, **fields: Any) -> Result:
        self._store(event, parse_timestamp(timestamp), fields)
        return {"ok": True, "event_id": "created"}

    def identify(self, **fields: Any) -> Result:
        self._store("$identify", END + timedelta(seconds=1), fields)
        return {"ok": True}

    def _store(self, event: str, at: datetime, fields: Mapping[str, Any]) -> None:
        url, referrer = fields.get("url", ""), fields.get("referrer")
        self.events.append(
            GeneratedEvent(
                timestamp_ms=int(at.timestamp() * 1000),
                event=event,
                anonymous_id=fields["anonymous_id"],
                channel="paid_social" if url else "direct",
                user_id=fields["user_id"],
                url=url,
                referrer=referrer,
                attribution=classify(url, referrer, urlsplit(url).hostname),
            )
        )

    def top_sources(self, **arguments: Any) -> Result:
        with_medium = arguments.get("breakdown") != "source"
        groups: dict[tuple[str, ...], list[GeneratedEvent]] = {}
        for event in self._within(arguments):
            key = event.attribution[: 1 + with_medium]
            wanted = arguments.get("filters", {}).get("event")
            if arguments.get("source") in {None, event.attribution.source} and wanted in {
                None,
                event.event,
            }:
                groups.setdefault(key, []).append(event)
        rows = [
            dict(zip(("source", "medium"), key, strict=False))
            | {
                "events": len(events),
                "uniques": count_visitors(events),
                "paid_share": count_paid(events) / len(events),
            }
            for key, events in groups.items()
        ]
        proofs = Counter(
            PaidProof.UTM_MEDIUM if prove_paid(event) == PROVEN else PaidProof.CLICK_ID
            for event in self._within(arguments)
            if event.attribution[:2] == ("facebook", "paid")
        )
        return {
            "rows": sorted(rows, key=lambda row: -row["events"]),
            "splits": ["facebook: …", describe_proof(proofs)],
        }

    def stats(self, **arguments: Any) -> Result:
        wanted = [
            event
            for event in self._within(arguments)
            if arguments.get("event") in {None, event.event}
        ]
        if "attribution" in arguments:
            wanted = [self._touch(event) for event in wanted]
        groups: dict[tuple[tuple[str, str], ...], list[GeneratedEvent]] = {}
        for event in wanted:
            groups.setdefault(group(event, arguments), []).append(event)
        measure = MEASURES.get(arguments.get("metric"), len)
        rows = [dict(key) | {"value": measure(found)} for key, found in sorted(groups.items())]
        return {"rows": rows, "total": measure(wanted)}

    def _visitor(self, event: GeneratedEvent) -> str:
        (visitor,) = {event.anonymous_id} - {""} or {
            one.anonymous_id for one in self.events if one.user_id == event.user_id
        } - {""}
        return visitor

    def _touch(self, event: GeneratedEvent) -> GeneratedEvent:
        """The event with the attribution of its person's last touch."""
        visitor = self._visitor(event)
        touches = [
            one
            for one in self.events
            if one.anonymous_id == visitor
            and one.timestamp_ms <= event.timestamp_ms
            and one.attribution.source not in {"direct", "internal"}
        ]
        if not touches:
            return event._replace(attribution=DIRECT, channel="direct")
        touch = max(touches, key=lambda one: one.timestamp_ms)
        return event._replace(attribution=touch.attribution, channel=touch.channel)

    def funnel(self, steps: list[Mapping[str, str]], **arguments: Any) -> Result:
        week_ms = 7 * 86_400_000
        wanted = self._within(arguments)
        people: Counter[int] = Counter()
        for visitor in {event.anonymous_id for event in wanted} - {""}:
            own = [event for event in wanted if self._is_of(event, visitor)]
            best = 0
            for first in (event for event in own if matches(event, steps[0])):
                level, at = 1, first.timestamp_ms
                for step in steps[1:]:
                    times = [event.timestamp_ms for event in own if matches(event, step)]
                    at = min(
                        (t for t in times if at <= t <= first.timestamp_ms + week_ms), default=0
                    )
                    if not at:
                        break
                    level += 1
                best = max(best, level)
            people.update(range(1, best + 1))
        return {
            "rows": [
                {"step": number, "event": step["event"], "people": people[number]}
                for number, step in enumerate(steps, 1)
            ]
        }

    def _is_of(self, event: GeneratedEvent, visitor: str) -> bool:
        return event.anonymous_id == visitor or (
            not event.anonymous_id and self._visitor(event) == visitor
        )

    def retention(self, event: str, **arguments: Any) -> Result:
        weeks: dict[str, set[str]] = {}
        for one in self._within(arguments):
            if one.event == event:
                day = datetime.fromtimestamp(one.timestamp_ms / 1000, UTC).date()
                monday = day - timedelta(days=day.weekday())
                weeks.setdefault(one.anonymous_id, set()).add(monday.isoformat())
        mondays = sorted(set().union(*weeks.values()))
        cohorts = {m: [own for own in weeks.values() if min(own) == m] for m in mondays}
        return {
            "rows": [
                {
                    "cohort": f"{monday}T00:00:00.000Z",
                    "people": len(people),
                    "returned": [sum(later in own for own in people) for later in mondays[number:]],
                }
                for number, (monday, people) in enumerate(cohorts.items())
            ]
        }

    def raw_events(self, user_id: str, limit: int, **arguments: Any) -> Result:
        found = [event for event in self._within(arguments) if event.user_id == user_id]
        if user_id == self.forgotten:
            self.polls += 1
            if self.polls == self.deleted_after_polls:
                self.events = [event for event in self.events if event.user_id != user_id]
        return {"rows": [describe(event) for event in reversed(found)][:limit]}

    def forget(self, user_id: str) -> Result:
        self.forgotten = user_id
        return {"ok": True, "queued": True}

    def _within(self, arguments: Mapping[str, Any]) -> list[GeneratedEvent]:
        start, end = (
            int(parse_timestamp(arguments[name]).timestamp() * 1000) for name in ("from", "to")
        )
        return [event for event in self.events if start <= event.timestamp_ms < end]


def group(event: GeneratedEvent, arguments: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the columns, with values, that ``stats`` groups the event by."""
    values = {
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "device_type": event.device.device_type,
        "channel": event.channel,
    }
    bucket = write_time(event.timestamp_ms // 86_400_000 * 86_400_000)
    buckets = [("bucket", bucket)] if arguments.get("interval") == "day" else []
    return tuple(buckets + [(name, values[name]) for name in arguments.get("group_by", [])])


def count_paid(events: list[GeneratedEvent]) -> int:
    return sum(event.attribution.medium == "paid" for event in events)


def count_visitors(events: list[GeneratedEvent]) -> int:
    return len({event.anonymous_id or event.event_id for event in events})


def sum_amounts(events: list[GeneratedEvent]) -> int:
    return sum(json.loads(event.properties)["amount_cents"] for event in events)


MEASURES = {"uniques": count_visitors, "sum": sum_amounts}


def matches(event: GeneratedEvent, step: Mapping[str, str]) -> bool:
    path = urlsplit(event.url).path
    return event.event == step["event"] and path.startswith(step.get("path[prefix]", ""))


def describe(event: GeneratedEvent) -> Result:
    return {
        "timestamp": write_time(event.timestamp_ms),
        "event_name": event.event,
        "path": urlsplit(event.url).path or None,
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "source_rule_id": event.attribution.rule_id,
    }


async def ask(
    client: FakeClient, *, width: int = 80, deletion_timeout_s: float = 60
) -> tuple[Checks, str]:
    """Return the checks and the output of all questions."""
    checks, output = Checks(), io.StringIO()
    report = Report(Console(file=output, width=width, highlight=False))
    window = choose_window(END - timedelta(days=30), END)
    questions = Questions(report, client, count(EVENTS), window, checks)
    await ask_everything(questions, lambda: EVENTS, now=END, deletion_timeout_s=deletion_timeout_s)
    return checks, output.getvalue()


async def test_questions_find_no_mismatch_in_right_results() -> None:
    client = FakeClient()
    checks, output = await ask(client)
    assert checks.mismatches == []
    assert checks.correct > 200
    assert set(client.calls) == {
        *("track_event", "identify", "top_sources", "stats", "raw_events", "forget"),
        *("funnel", "retention"),
    }
    facebook = [event for event in client.events if event.attribution.source == "facebook"]
    share = count_paid(facebook) / len(facebook)
    assert f"{share:.1%} paid, {1 - share:.1%} social" in output


@pytest.mark.parametrize("width", [80, 120])
async def test_output_fits_the_console(width: int) -> None:
    _, output = await ask(FakeClient(), width=width)
    assert max(len(line) for line in output.splitlines()) <= width


def change_row(tool: str, column: str, change: Callable[[Any], Any], **given: Any) -> Error:
    """Change a column of the first row, in calls with the given arguments."""

    def error(called: str, arguments: Mapping[str, Any], result: Result) -> None:
        if called == tool and given.items() <= arguments.items() and result["rows"]:
            row = result["rows"][0]
            row[column] = change(row[column])

    return error


def change(tool: str, key: str, change: Callable[[Any], Any], **given: Any) -> Error:
    """Change a field of the result, in calls with the given arguments."""

    def error(called: str, arguments: Mapping[str, Any], result: Result) -> None:
        if called == tool and given.items() <= arguments.items():
            result[key] = change(result[key])

    return error


def drop_last_row(tool: str, **given: Any) -> Error:
    return change(tool, "rows", lambda rows: rows[:-1], **given)


ERRORS = {
    "one event too many": (
        change_row("top_sources", "events", lambda value: value + 1),
        "events (internal / direct)",
    ),
    "four per cent more visitors": (
        change_row("top_sources", "uniques", lambda value: round(value * 1.04)),
        "visitors (internal / direct)",
    ),
    "another paid share": (
        change_row("top_sources", "paid_share", lambda value: value + 1e-6, breakdown="source"),
        "paid share (facebook)",
    ),
    "a source is missing": (drop_last_row("top_sources", limit=200), "got nothing, expected 1"),
    "a source that was not sent": (
        change_row("top_sources", "source", lambda _: "elsewhere"),
        "events (elsewhere / direct): got",
    ),
    "no facebook": (
        drop_last_row("top_sources", breakdown="source"),
        "events (facebook): got nothing",
    ),
    "one sign-up too many": (
        change_row("stats", "value", lambda value: value + 1, event="signup", interval="day"),
        "sign-ups (2026-04-1",
    ),
    "a day of sign-ups is missing": (
        drop_last_row("stats", event="signup", interval="day"),
        "sign-ups (2026-05-1",
    ),
    "another total of sign-ups": (
        change("stats", "total", lambda value: value + 1, event="signup", interval="day"),
        "sign-ups (total)",
    ),
    "twice the visitors of a day": (
        change_row("stats", "value", lambda value: 2 * value, metric="uniques"),
        "visitors (2026-04-1",
    ),
    "twice the total of visitors": (
        change("stats", "total", lambda value: 2 * value, metric="uniques"),
        "visitors (total)",
    ),
    "sign-ups of another medium": (
        change_row("stats", "medium", lambda _: "elsewhere", group_by=["source", "medium"]),
        " / elsewhere): got",
    ),
    "carts on another device": (
        change_row("stats", "device_type", lambda _: "", event="add_to_cart"),
        "products in carts (): got",
    ),
    "a cent too much": (
        change_row("stats", "value", lambda value: value + 1, metric="sum"),
        "revenue in cents (",
    ),
    "revenue of another channel": (
        change_row("stats", "channel", lambda _: "internal", metric="sum"),
        "revenue in cents (internal): got",
    ),
    "one person too many": (
        change_row("funnel", "people", lambda value: value + 1),
        "people (step 1): got",
    ),
    "one person did not come back": (
        change_row("retention", "returned", lambda found: [found[0], found[1] - 1, *found[2:]]),
        "people who came back (2026-04-13, week 1): got",
    ),
    "an ad that is proven": (
        change("top_sources", "splits", lambda splits: [splits[0], "1 of 2 of 3"]),
        "proof of an ad (a paid utm_medium): got",
    ),
    "an event of ada is missing": (
        drop_last_row("raw_events", user_id="ada"),
        "events of ada (event 2): got nothing",
    ),
    "another rule": (
        change_row("raw_events", "source_rule_id", lambda _: "ref_other"),
        "events of ada (event 1): got",
    ),
    "another time": (
        change_row("raw_events", "timestamp", lambda _: "2026-05-01T00:00:00.000Z"),
        "events of user_",
    ),
    "track_event failed": (change("track_event", "ok", lambda _: False), "writes (track_event)"),
    "identify failed": (change("identify", "ok", lambda _: False), "writes (identify)"),
    "forget was declined": (change("forget", "queued", lambda _: False), "deletion (queued)"),
}


@pytest.mark.parametrize(("error", "named"), ERRORS.values(), ids=ERRORS)
async def test_questions_find_and_name_an_error(error: Error, named: str) -> None:
    checks, output = await ask(FakeClient(error))
    assert any(named in mismatch for mismatch in checks.mismatches)
    assert "✗ " in output


async def test_questions_find_that_an_event_of_another_user_was_deleted() -> None:
    def error(tool: str, _arguments: Mapping[str, Any], result: Result) -> None:
        if tool == "top_sources" and client.forgotten:
            result["rows"][1]["events"] -= 1

    client = FakeClient(error)
    checks, _ = await ask(client)
    (mismatch,) = checks.mismatches
    assert mismatch.startswith("events (")


async def test_questions_find_an_event_that_was_stored_twice() -> None:
    client = FakeClient()
    client.events.append(client.events[0])
    checks, _ = await ask(client)
    assert any(mismatch.startswith("events (") for mismatch in checks.mismatches)


async def test_questions_end_when_a_user_is_not_deleted() -> None:
    with pytest.raises(DemoFailed, match="was not deleted within 1 s"):
        await ask(FakeClient(deleted_after_polls=1_000), deletion_timeout_s=0.6)


async def test_questions_end_with_the_text_of_a_tool_error() -> None:
    class FailingClient(FakeClient):
        async def call_tool(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
            text = TextContent(type="text", text="The API is busy.")
            return CallToolResult(content=[text], is_error=True)

    with pytest.raises(DemoFailed, match=r"track_event returned an error: The API is busy\."):
        await ask(FailingClient())
