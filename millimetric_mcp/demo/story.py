"""The walk-through's plot: two writes, the questions, and a user who wants to be forgotten."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from millimetric_mcp.contract.attribution import Attribution, Confidence
from millimetric_mcp.contract.events import IDENTIFY_EVENT
from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT
from millimetric_mcp.demo.answers import EVENT_FIELDS, Events, Forgotten, Sources, Written
from millimetric_mcp.demo.channels import DIRECT
from millimetric_mcp.demo.devices import NO_DEVICE
from millimetric_mcp.demo.generator import SIGNUP, GeneratedEvent
from millimetric_mcp.demo.payload import write_time
from millimetric_mcp.demo.questions import (
    FACEBOOK,
    PAID,
    Case,
    ask_devices,
    ask_events,
    ask_facebook,
    ask_facebook_signups,
    ask_signups_a_day,
    ask_sources,
    ask_visitors_a_day,
    check_sources,
)
from millimetric_mcp.demo.stage import NUMBER, Stage
from millimetric_mcp.demo.truth import Truth, tally
from millimetric_mcp.errors import DemoFailed

LIKED_EVENTS = 12
"""About how many events the customer has whose story is told."""
ERASED_WITHIN_S = 60.0
ERASED_POLL_S = 0.25

VISITOR = "5b1f3c1e-8a57-4c0e-9d43-2f6a7e1d9c40"
PERSON = "ada"
AD = Attribution(FACEBOOK, PAID, "gift_boxes", Confidence.HIGH, "fb_ad_redirect")
AD_URL = (
    "https://shop.example/collections/gifts?utm_source=facebook&utm_medium=paid_social"
    "&utm_campaign=gift_boxes&fbclid=IwY2xjawKQ7dZ1mT0vXbq3gL5nYc8WfRj2hPs6uEt4oAiD9kMx"
)
AD_REFERRER = "https://l.facebook.com/"


@dataclass(frozen=True, slots=True)
class Sent:
    """What went through the API before the story begins.

    ``replay`` makes the same events once more; ``start`` is the first moment of their month.
    """

    truth: Truth
    replay: Callable[[], Iterable[GeneratedEvent]]
    start: datetime


async def tell_story(
    stage: Stage,
    sent: Sent,
    *,
    now: Callable[[], datetime],
    erased_within_s: float = ERASED_WITHIN_S,
) -> None:
    """Every question, in order; what disagrees is kept in the stage's checks.

    Raises:
        DemoFailed: a tool failed, or a forgotten user did not go in time.
    """
    moment = now()
    case = Case(stage, sent.truth, _open_window(sent.start, moment))
    added = await _track_and_identify(case, moment)
    await ask_sources(case)
    await ask_facebook(case)
    await ask_signups_a_day(case)
    await ask_visitors_a_day(case)
    await ask_facebook_signups(case)
    await ask_devices(case)
    user_id = sent.truth.choose_buyer(near=LIKED_EVENTS)
    his, others = _part_events(chain(sent.replay(), added), user_id)
    stage.title(f"What has {user_id} been doing here?")
    await ask_events(case, user_id, sent=his, with_times=True)
    await _forget(case, user_id, within_s=erased_within_s)
    await _count_the_others(case, others, forgotten=len(his))


def _open_window(start: datetime, moment: datetime) -> dict[str, str]:
    """Whole minutes: everything that was sent, and what will be in the next one."""
    ends = (start, moment + timedelta(seconds=119))
    return {
        name: f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:00Z}"
        for name, end in zip(("from", "to"), ends, strict=True)
    }


async def _track_and_identify(case: Case, moment: datetime) -> list[GeneratedEvent]:
    """The events that the two writes make, which from here on are true as well."""
    stage, timestamp_ms = case.stage, int(moment.timestamp() * 1000)
    stage.title("Ada comes from a Facebook ad and signs up: two writes, and what arrived")
    stored = await stage.ask(
        Written,
        "track_event",
        event=SIGNUP,
        timestamp=write_time(timestamp_ms),
        anonymous_id=VISITOR,
        user_id=PERSON,
        url=AD_URL,
        referrer=AD_REFERRER,
        properties={"method": "email"},
    )
    who: dict[str, object] = {"anonymous_id": VISITOR, "user_id": PERSON}
    named = await stage.ask(Written, "identify", **who, traits={"name": "Ada", "plan": "club"})
    stage.checks.equal("track_event's ok", found=stored.ok, sent=True)
    stage.checks.equal("identify's ok", found=named.ok, sent=True)
    added = [
        _make_event(timestamp_ms, SIGNUP, url=AD_URL, referrer=AD_REFERRER, attribution=AD),
        _make_event(timestamp_ms, IDENTIFY_EVENT, url="", referrer=None, attribution=DIRECT),
    ]
    for event in added:
        case.truth.add(event)
    await ask_events(case, PERSON, sent=added, with_times=False)
    return added


def _make_event(
    timestamp_ms: int, name: str, *, url: str, referrer: str | None, attribution: Attribution
) -> GeneratedEvent:
    return GeneratedEvent(
        timestamp_ms, name, None, VISITOR, PERSON, url, referrer, "{}", NO_DEVICE, "", attribution
    )


def _part_events(
    events: Iterable[GeneratedEvent], user_id: str
) -> tuple[list[GeneratedEvent], Truth]:
    """The user's events, in their order, and the truth of all others'."""
    his: list[GeneratedEvent] = []

    def leave_his_out() -> Iterator[GeneratedEvent]:
        for event in events:
            if event.user_id == user_id:
                his.append(event)
            else:
                yield event

    others = tally(leave_his_out())
    return his, others


async def _forget(case: Case, user_id: str, *, within_s: float) -> None:
    stage = case.stage
    stage.title(f"{user_id} wants to be forgotten")
    answer = await stage.ask(Forgotten, "forget", user_id=user_id)
    stage.checks.equal("forget's queued", found=answer.queued, sent=True)
    await _await_erased(case, user_id, within_s=within_s)
    await ask_events(case, user_id, sent=[], with_times=True)


async def _await_erased(case: Case, user_id: str, *, within_s: float) -> None:
    """A forget is acknowledged once it is queued, and is done soon after."""
    question: dict[str, object] = {"user_id": user_id, "fields": list(EVENT_FIELDS), "limit": 1}
    for _ in range(int(within_s / ERASED_POLL_S)):
        answer = await case.stage.listen(Events, "raw_events", **case.window, **question)
        if not answer.rows:
            return
        await asyncio.sleep(ERASED_POLL_S)
    raise DemoFailed(f"{user_id} was not erased within {within_s:.0f} s")


async def _count_the_others(case: Case, others: Truth, *, forgotten: int) -> None:
    stage, before = case.stage, case.truth.total.events
    stage.title("Is everybody else still there, to the event?")
    answer = await stage.ask(Sources, "top_sources", **case.window, limit=MAX_SOURCES_LIMIT)
    left = sum(row.events for row in answer.rows)
    stage.table(
        ["", NUMBER + "Before", NUMBER + "Forgotten", NUMBER + "Left"],
        [("Events", f"{before:,}", f"{forgotten:,}", f"{left:,}")],
    )
    stage.checks.equal("events left", found=left, sent=before - forgotten)
    check_sources(stage, answer.rows, sent=others.by_source_medium)
    stage.verdict()
