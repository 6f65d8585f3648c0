"""The story against tools that tell the truth, and against tools that do not.

The tools are played from the same events by a plain count, so a story that is told to its
end without a mismatch has asked what it means to ask; each lie shows that a check looks.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from millimetric_mcp.contract.validation import parse_timestamp
from millimetric_mcp.demo import story
from millimetric_mcp.demo.channels import DIRECT
from millimetric_mcp.demo.checks import Checks
from millimetric_mcp.demo.devices import NO_DEVICE
from millimetric_mcp.demo.generator import GeneratedEvent, generate
from millimetric_mcp.demo.payload import write_time
from millimetric_mcp.demo.stage import Stage
from millimetric_mcp.demo.story import Sent, tell_story
from millimetric_mcp.demo.truth import tally
from millimetric_mcp.errors import DemoFailed

END = datetime(2026, 5, 16, 14, 37, 12, tzinfo=UTC)
REPLAY = partial(generate, seed=5, end=END, events=1_500, days=30)

Answer = dict[str, Any]
Lie = Callable[[str, Mapping[str, Any], Answer], Answer]


def _tell_truth(tool: str, arguments: Mapping[str, Any], answer: Answer) -> Answer:
    return answer


@dataclass
class PlayedTools:
    """The seven tools over a list in memory; ``lie`` may change what they answer."""

    lie: Lie = _tell_truth
    erased_after_polls: int = 2
    events: list[GeneratedEvent] = field(default_factory=lambda: list(REPLAY()))
    calls: Counter[str] = field(default_factory=Counter)
    forgotten: str = ""
    polls: int = 0

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        self.calls[tool] += 1
        answer = getattr(self, tool)(**{name.rstrip("_"): arguments[name] for name in arguments})
        return self.lie(tool, arguments, json.loads(json.dumps(answer)))

    def track_event(self, event: str, timestamp: str, **fields: Any) -> Answer:
        attribution = story.AD if fields["referrer"] == story.AD_REFERRER else DIRECT
        self._store(event, parse_timestamp(timestamp), fields, attribution)
        return {"ok": True, "event_id": "made-up"}

    def identify(self, **fields: Any) -> Answer:
        self._store("$identify", END + timedelta(seconds=1), fields, DIRECT)
        return {"ok": True}

    def _store(self, event: str, at: datetime, fields: Mapping[str, Any], attribution: Any) -> None:
        self.events.append(
            GeneratedEvent(
                int(at.timestamp() * 1000),
                event,
                None,
                fields["anonymous_id"],
                fields["user_id"],
                fields.get("url", ""),
                fields.get("referrer"),
                "{}",
                NO_DEVICE,
                "",
                attribution,
            )
        )

    def top_sources(self, **arguments: Any) -> Answer:
        truth = tally(self._within(arguments))
        tallies = (
            truth.by_source if arguments.get("breakdown") == "source" else truth.by_source_medium
        )
        rows = [
            dict(zip(("source", "medium"), key, strict=False))
            | {"events": found.events, "uniques": found.uniques, "paid_share": found.paid_share}
            for key, found in sorted(tallies.items(), key=lambda item: -item[1].events)
            if arguments.get("source") in {None, key[0]}
        ]
        return {"rows": rows}

    def stats(self, **arguments: Any) -> Answer:
        wanted = [
            event
            for event in self._within(arguments)
            if arguments.get("event") in {None, event.event}
        ]
        groups: dict[tuple[tuple[str, str], ...], list[GeneratedEvent]] = {}
        for event in wanted:
            groups.setdefault(_columns(event, arguments), []).append(event)
        uniques = arguments.get("metric") == "uniques"
        count = _count_visitors if uniques else len
        rows = [dict(key) | {"value": count(found)} for key, found in sorted(groups.items())]
        return {"rows": rows, "total": count(wanted)}

    def raw_events(self, user_id: str, limit: int, **arguments: Any) -> Answer:
        found = [event for event in self._within(arguments) if event.user_id == user_id]
        if user_id == self.forgotten:
            self.polls += 1
            if self.polls == self.erased_after_polls:
                self.events = [event for event in self.events if event.user_id != user_id]
        rows = [_describe(event) for event in reversed(found)]
        return {"rows": rows[:limit]}

    def forget(self, user_id: str) -> Answer:
        self.forgotten = user_id
        return {"ok": True, "queued": True}

    def _within(self, arguments: Mapping[str, Any]) -> list[GeneratedEvent]:
        start, end = (
            int(parse_timestamp(arguments[name]).timestamp() * 1000) for name in ("from", "to")
        )
        return [event for event in self.events if start <= event.timestamp_ms < end]


def _columns(event: GeneratedEvent, arguments: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    values = {
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "device_type": event.device.device_type,
    }
    bucket = write_time(event.timestamp_ms // 86_400_000 * 86_400_000)
    buckets = [("bucket", bucket)] if arguments.get("interval") == "day" else []
    return tuple(buckets + [(name, values[name]) for name in arguments.get("group_by", [])])


def _count_visitors(events: list[GeneratedEvent]) -> int:
    return len({event.anonymous_id for event in events})


def _describe(event: GeneratedEvent) -> Answer:
    return {
        "timestamp": write_time(event.timestamp_ms),
        "event_name": event.event,
        "path": "/",
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "source_rule_id": event.attribution.rule_id,
    }


async def _tell(
    tools: PlayedTools, *, width: int = 80, erased_within_s: float = 60
) -> tuple[Checks, str]:
    checks, page = Checks(), io.StringIO()
    console = Console(file=page, width=width, highlight=False)
    sent = Sent(tally(REPLAY()), REPLAY, END - timedelta(days=30))
    stage = Stage(console, tools, checks)
    await tell_story(stage, sent, now=lambda: END, erased_within_s=erased_within_s)
    return checks, page.getvalue()


async def test_a_story_of_true_answers_has_no_mismatch() -> None:
    tools = PlayedTools()
    checks, _ = await _tell(tools)
    assert checks.mismatches == []
    assert checks.agreed > 250
    assert set(tools.calls) == {
        *("track_event", "identify", "top_sources", "stats", "raw_events", "forget"),
    }


async def test_the_page_shows_each_question_and_facebooks_split() -> None:
    truth = tally(REPLAY())
    _, page = await _tell(PlayedTools())
    assert "Facebook: paid or organic?" in page
    share = (truth.by_source[("facebook",)].paid + 1) / (truth.by_source[("facebook",)].events + 1)
    assert f"{share:.1%} paid, {1 - share:.1%} social" in page
    assert "How many sign-ups a day?" in page
    assert "wants to be forgotten" in page


@pytest.mark.parametrize("width", [80, 120])
async def test_no_line_is_wider_than_the_page(width: int) -> None:
    _, page = await _tell(PlayedTools(), width=width)
    assert max(len(line) for line in page.splitlines()) <= width


def _change_first(tool: str, column: str, change: Callable[[Any], Any], **given: Any) -> Lie:
    """A lie in the first row that has something to say, of calls with the given arguments."""

    def lie(called: str, arguments: Mapping[str, Any], answer: Answer) -> Answer:
        if called == tool and given.items() <= arguments.items() and answer["rows"]:
            row = answer["rows"][0]
            row[column] = change(row[column])
        return answer

    return lie


def _drop_last(tool: str, **given: Any) -> Lie:
    def lie(called: str, arguments: Mapping[str, Any], answer: Answer) -> Answer:
        if called == tool and given.items() <= arguments.items():
            answer["rows"] = answer["rows"][:-1]
        return answer

    return lie


def _change(tool: str, key: str, change: Callable[[Any], Any], **given: Any) -> Lie:
    def lie(called: str, arguments: Mapping[str, Any], answer: Answer) -> Answer:
        if called == tool and given.items() <= arguments.items():
            answer[key] = change(answer[key])
        return answer

    return lie


LIES = {
    "one event too many": (
        _change_first("top_sources", "events", lambda value: value + 1),
        "events of internal / direct",
    ),
    "visitors off by four per cent": (
        _change_first("top_sources", "uniques", lambda value: round(value * 1.04)),
        "visitors of internal / direct",
    ),
    "another paid share": (
        _change_first("top_sources", "paid_share", lambda value: value + 1e-6, breakdown="source"),
        "paid share of facebook",
    ),
    "a source left out": (_drop_last("top_sources", limit=200), "sources: missing"),
    "a source made up": (
        _change_first("top_sources", "source", lambda _: "elsewhere"),
        "sources: never sent",
    ),
    "no facebook": (_drop_last("top_sources", breakdown="source"), "facebook"),
    "a sign-up too many": (
        _change_first("stats", "value", lambda value: value + 1, event="signup", interval="day"),
        "sign-ups of 2026-04-1",
    ),
    "a day without sign-ups": (
        _drop_last("stats", event="signup", interval="day"),
        "sign-ups: missing",
    ),
    "another total of sign-ups": (
        _change("stats", "total", lambda value: value + 1, event="signup", interval="day"),
        "sign-ups in all",
    ),
    "a day's visitors doubled": (
        _change_first("stats", "value", lambda value: 2 * value, metric="uniques"),
        "visitors of 2026-04-1",
    ),
    "visitors summed over the days": (
        _change("stats", "total", lambda value: 2 * value, metric="uniques"),
        "visitors in all",
    ),
    "sign-ups of the wrong medium": (
        _change_first("stats", "medium", lambda _: "elsewhere", group_by=["source", "medium"]),
        "sign-ups",
    ),
    "purchases on another device": (
        _change_first("stats", "device_type", lambda _: "", event="purchase"),
        "purchases",
    ),
    "an event of ada missing": (_drop_last("raw_events", user_id="ada"), "number of ada's events"),
    "another rule": (
        _change_first("raw_events", "source_rule_id", lambda _: "ref_other"),
        "source_rule_id of ada's $identify",
    ),
    "another time": (
        _change_first("raw_events", "timestamp", lambda _: "2026-05-01T00:00:00.000Z"),
        "timestamp of user_",
    ),
    "a write refused": (_change("track_event", "ok", lambda _: False), "track_event's ok"),
    "an identification refused": (_change("identify", "ok", lambda _: False), "identify's ok"),
    "a forget declined": (_change("forget", "queued", lambda _: False), "forget's queued"),
}


@pytest.mark.parametrize(("lie", "named"), LIES.values(), ids=LIES)
async def test_a_lie_is_found_and_named(lie: Lie, named: str) -> None:
    checks, page = await _tell(PlayedTools(lie))
    assert any(named in mismatch for mismatch in checks.mismatches)
    assert "WRONG:" in page or "✗" in page


async def test_a_forget_that_takes_a_neighbours_event_is_found() -> None:
    def lie(tool: str, arguments: Mapping[str, Any], answer: Answer) -> Answer:
        if tool == "top_sources" and tools.forgotten:
            answer["rows"][1]["events"] -= 1
        return answer

    tools = PlayedTools(lie)
    checks, _ = await _tell(tools)
    assert "events left" in checks.mismatches[0]


async def test_a_user_who_stays_ends_the_story() -> None:
    with pytest.raises(DemoFailed, match="was not erased within 1 s"):
        await _tell(PlayedTools(erased_after_polls=1_000), erased_within_s=0.6)


async def test_an_answer_of_another_shape_ends_the_story_and_is_not_quoted() -> None:
    lie = _change("top_sources", "rows", lambda _: [{"source": "SECRET"}])
    with pytest.raises(DemoFailed, match=r"rows\[0\]\.events") as caught:
        await _tell(PlayedTools(lie))
    assert "SECRET" not in str(caught.value)


async def test_an_event_stored_twice_is_found() -> None:
    tools = PlayedTools()
    tools.events.append(tools.events[0])
    checks, _ = await _tell(tools)
    assert any("events of" in mismatch for mismatch in checks.mismatches)
