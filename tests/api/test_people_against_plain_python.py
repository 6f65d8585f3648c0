"""Questions about people, asked of random histories, are answered as plain Python answers them."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from millimetric_mcp.contract.events import IDENTIFY_EVENT
from millimetric_mcp.contract.keys import KeyKind

DAY_MS = 86_400_000
START = datetime(2026, 3, 20, tzinfo=UTC)
"""Before the days on which clocks change: in Europe on 29 March, in Australia on 5 April 2026."""
DAYS = 30
SLOT_MS = 1_800_000

AD = "https://shop.example/?utm_source=facebook&utm_medium=cpc&utm_campaign=spring"
MAIL = "https://shop.example/offer?utm_source=news&utm_medium=email"
PAGE = "https://shop.example/cart"
ARRIVALS: dict[str, tuple[dict[str, str], tuple[str, str, bool]]] = {
    "ad": ({"url": AD}, ("facebook", "paid", True)),
    "mail": ({"url": MAIL}, ("news", "email", True)),
    "search": ({"url": PAGE, "referrer": "https://www.google.com/"}, ("google", "organic", True)),
    "direct": ({"url": PAGE}, ("direct", "direct", False)),
    "server": ({}, ("direct", "direct", False)),
    "inside": (
        {"url": PAGE, "referrer": "https://shop.example/"},
        ("internal", "direct", False),
    ),
    "payment": (
        {"url": PAGE, "referrer": "https://checkout.stripe.com/pay"},
        ("stripe.com", "referral", False),
    ),
    "own help pages": (
        {"url": PAGE, "referrer": "https://help.shop.example/faq"},
        ("shop.example", "referral", False),
    ),
}
"""How an event arrives: the fields sent; its source, medium, and whether it is a touch."""

ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"),
    *("Australia/Sydney", "Australia/Lord_Howe"),
)
"""In these weeks Berlin has a day of 23 hours, Sydney one of 25, and Lord Howe one of 24.5."""


NO_VISITOR = "no visitor"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CRAWLER = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@dataclass(frozen=True)
class Sent:
    at: int
    name: str
    visitor: str
    user: str
    arrival: str
    amount: str | None
    is_bot: bool = False

    @property
    def time(self) -> datetime:
        return START + timedelta(milliseconds=self.at - _START_MS)

    @property
    def source(self) -> tuple[str, str]:
        return ARRIVALS[self.arrival][1][:2]

    @property
    def path(self) -> str:
        return urlsplit(ARRIVALS[self.arrival][0].get("url", "")).path

    @property
    def is_touch(self) -> bool:
        return ARRIVALS[self.arrival][1][2]

    @property
    def session(self) -> tuple[str, int]:
        return self.visitor, self.at // SLOT_MS

    def to_json(self) -> dict[str, Any]:
        return {
            "event": self.name,
            **({} if self.visitor.startswith(NO_VISITOR) else {"anonymous_id": self.visitor}),
            "timestamp": self.time.isoformat(),
            **({"user_id": self.user} if self.user else {}),
            **({"properties": {"amount": json.loads(self.amount)}} if self.amount else {}),
            **ARRIVALS[self.arrival][0],
        }


_START_MS = int(START.timestamp() * 1000)

MIDNIGHTS_MIN = (4 * 60, 13 * 60, 13 * 60 + 30, 14 * 60, 18 * 60 + 30, 22 * 60, 23 * 60)
"""Minutes of the UTC day at which a day of one of `ZONES` begins."""

MOMENTS = st.builds(
    lambda half_day, minutes: _START_MS + half_day * 43_200_000 + minutes * 60_000,
    st.integers(0, 2 * DAYS) | st.integers(16, 24),
    st.sampled_from([15, 20]),
) | st.builds(
    lambda day, minutes, before_ms: _START_MS + day * DAY_MS + minutes * 60_000 - before_ms,
    st.sampled_from([8, 9, 15, 16]),
    st.sampled_from(MIDNIGHTS_MIN),
    st.sampled_from([0, 1]),
)
"""Each half day at 0:15 and 0:20, and the milliseconds before and at midnight of the zones, on
days on which clocks change and on others."""


def draw_events(moments: Sequence[int]) -> st.SearchStrategy[list[Sent]]:
    """Events at few moments, so that many share one."""
    event = st.builds(
        Sent,
        at=st.sampled_from(moments),
        name=st.sampled_from(["$pageview", "signup", "purchase", IDENTIFY_EVENT]),
        visitor=st.sampled_from(["phone", "laptop", "tablet", "till", NO_VISITOR]),
        user=st.sampled_from(["", "", "", "anna", "boris"]),
        arrival=st.sampled_from(list(ARRIVALS)),
        amount=st.sampled_from([None, "19.9", "0.1", "0.2", "1000000.07", '"12"', "-5"]),
        is_bot=st.sampled_from([False, False, False, True]),
    )
    return st.lists(event, min_size=5, max_size=40).map(complete)


def complete(events: list[Sent]) -> list[Sent]:
    """Each event that is sent without a visitor gets another one from the API; an identification
    has both ids, and says nothing of an arrival."""
    return [_complete(event, number) for number, event in enumerate(events)]


def _complete(event: Sent, number: int) -> Sent:
    has_visitor = event.visitor != NO_VISITOR
    if event.name == IDENTIFY_EVENT:
        visitor = event.visitor if has_visitor else "phone"
        user = event.user or "anna"
        return replace(event, visitor=visitor, user=user, arrival="server", amount=None)
    return event if has_visitor else replace(event, visitor=f"{NO_VISITOR} {number}")


HISTORIES = st.lists(MOMENTS, min_size=2, max_size=12, unique=True).flatmap(draw_events)


def make_edge(days: int) -> list[Sent]:
    """A touch, and two visitors' purchases so many days later, one of them a millisecond more."""
    sent = Sent(_START_MS, "$pageview", "phone", "", "ad", None)
    bought_at = _START_MS + days * DAY_MS
    return [
        sent,
        replace(sent, visitor="laptop"),
        Sent(bought_at, "purchase", "phone", "", "direct", "19.9"),
        Sent(bought_at + 1, "purchase", "laptop", "", "direct", "0.1"),
    ]


BOTS = st.sampled_from(["include", "exclude"])
QUIET = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Oracle:
    """The answers, from lists and loops. Automated clients tie visitors to users too."""

    def __init__(self, events: Sequence[Sent], *, bots: str = "include") -> None:
        self.events = [e for e in events if bots == "include" or not e.is_bot]
        self.ties = sorted({(e.visitor, e.at, e.user) for e in events if e.user})

    def person(self, event: Sent) -> tuple[str, str]:
        if event.user:
            return "user", event.user
        own = [(at, user) for visitor, at, user in self.ties if visitor == event.visitor]
        before = [user for at, user in own if at <= event.at]
        if before:
            return "user", before[-1]
        return ("user", own[0][1]) if own else ("visitor", event.visitor)

    def touch(self, event: Sent, model: str, lookback_days: int) -> tuple[str, str]:
        if model == "event":
            return event.source
        if model == "session":
            touches = [e for e in self.events if e.is_touch and e.session == event.session]
            first = min(((e.at, e.source) for e in touches), default=None)
            return first[1] if first else ("direct", "direct")
        person = self.person(event)
        earliest = event.at - lookback_days * DAY_MS
        moments: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for e in self.events:
            if e.is_touch and self.person(e) == person and earliest <= e.at <= event.at:
                moments[e.at].append(e.source)
        if not moments:
            return "direct", "direct"
        return min(moments[(min if model == "first_touch" else max)(moments)])

    def sums(
        self, events: Sequence[Sent], name: str, model: str, lookback_days: int
    ) -> dict[str, Fraction]:
        found: dict[str, Fraction] = defaultdict(Fraction)
        for event in events:
            if event.name == name:
                source, _ = self.touch(event, model, lookback_days)
                is_number = event.amount is not None and not event.amount.startswith('"')
                found[source] += Fraction(event.amount or "0") if is_number else 0
        return found

    def funnel(self, steps: Sequence[str], within_ms: int) -> list[tuple[int, float | None]]:
        people: dict[object, list[Sent]] = defaultdict(list)
        for event in self.events:
            people[self.person(event)].append(event)
        chains = [self._best_chain(events, steps, within_ms) for events in people.values()]
        rows: list[tuple[int, float | None]] = []
        for level in range(1, len(steps) + 1):
            reached = [chain for chain in chains if len(chain) >= level]
            waits = [(chain[level - 1] - chain[level - 2]) / 1000 for chain in reached]
            wait_s = float(f"{median(waits):.15g}") if reached and level > 1 else None
            rows.append((len(reached), wait_s))
        return rows

    def _best_chain(
        self, events: Sequence[Sent], steps: Sequence[str], within_ms: int
    ) -> list[int]:
        best: list[int] = []
        for start in sorted(event.at for event in events if event.name == steps[0]):
            chain = [start]
            for number, step in enumerate(steps[1:], 1):
                is_new = step not in steps[:number]
                later = [
                    event.at
                    for event in events
                    if event.name == step
                    and (event.at >= chain[-1] if is_new else event.at > chain[-1])
                    and event.at <= start + within_ms
                ]
                if not later:
                    break
                chain.append(min(later))
            if len(chain) > len(best):
                best = chain
        return best

    def divide_funnel(
        self, steps: Sequence[str], within_ms: int, group_of: Callable[[Sent], str]
    ) -> Counter[tuple[str, int]]:
        """People by the group of the first step that led furthest, and step."""
        people: dict[object, list[Sent]] = defaultdict(list)
        for event in self.events:
            people[self.person(event)].append(event)
        found: Counter[tuple[str, int]] = Counter()
        for events in people.values():
            chain = self._best_chain(events, steps, within_ms)
            firsts = [e for e in events if e.name == steps[0] and chain and e.at == chain[0]]
            if firsts:
                group = min(map(group_of, firsts))
                found.update((group, level) for level in range(1, len(chain) + 1))
        return found

    def without(self, user: str, *, linked: bool) -> "Oracle":
        """The history without a deleted user; with ``linked``, also without their own visitors."""
        users: dict[str, set[str]] = defaultdict(set)
        for event in self.events:
            if event.user:
                users[event.visitor].add(event.user)
        own = {visitor for visitor, tied in users.items() if linked and tied == {user}}
        return Oracle([e for e in self.events if e.user != user and e.visitor not in own])

    def retention(
        self, event: str, returning: str, interval: str, zone: ZoneInfo
    ) -> dict[int, list[set[object]]]:
        def number(at: int) -> int:
            return number_interval(at, interval, zone)

        firsts: dict[object, int] = {}
        for e in self.events:
            if e.name == event:
                person = self.person(e)
                firsts[person] = min(firsts.get(person, e.at), e.at)
        cohorts: dict[int, list[set[object]]] = {}
        for person, first in firsts.items():
            cohort = cohorts.setdefault(number(first), [set() for _ in range(14)])
            cohort[13].add(person)
            for e in self.events:
                if e.name == returning and self.person(e) == person and e.at >= first:
                    later = number(e.at) - number(first)
                    if later < 13:
                        cohort[later].add(person)
        return cohorts


def number_interval(at: int, interval: str, zone: ZoneInfo) -> int:
    day = datetime.fromtimestamp(at / 1000, zone).date()
    if interval == "month":
        return day.year * 12 + day.month
    days = day.toordinal()
    return days if interval == "day" else (days - date(1969, 12, 29).toordinal()) // 7


async def ask(api, key: str, path: str, **params: Any) -> dict[str, Any]:
    end = START + timedelta(days=DAYS + 1)
    window = {"from": START.isoformat(), "to": end.isoformat()}
    answer = await api.get(path, window | params, key=key)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def send(api, events: Sequence[Sent]) -> str:
    """Store events in a new project; return its read key."""
    project = f"p{len(api.log)}-{id(events)}"
    key = api.make_key(KeyKind.SK, project=project)
    half = len(events) // 2
    for part in (events[half:], events[:half]):  # the later half first
        for is_bot in (True, False):
            sent = [event for event in part if event.is_bot is is_bot]
            headers = {
                "Authorization": f"Bearer {key}",
                "User-Agent": CRAWLER if is_bot else BROWSER,
            }
            await send_alike(api, sent, headers)
    return api.make_key(KeyKind.RK, project=project)


async def send_alike(api, events: Sequence[Sent], headers: dict[str, str]) -> None:
    """Send what has the same key and User-Agent; an identification happens when it arrives."""
    body = {"events": [e.to_json() for e in events if e.name != IDENTIFY_EVENT]}
    if body["events"]:
        answer = await api.http.post("/v1/batch", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
    now = api.clock.now
    for event in events:
        if event.name == IDENTIFY_EVENT:
            api.clock.now = event.time
            ids = {"anonymous_id": event.visitor, "user_id": event.user}
            answer = await api.http.post("/v1/identify", json=ids, headers=headers)
            api.clock.now = now
            assert answer.status_code == 200, answer.text


@given(
    events=HISTORIES,
    model=st.sampled_from(["event", "session", "first_touch", "last_touch"]),
    lookback_days=st.sampled_from([1, 7, 30]),
    first_day=st.sampled_from([0, 9, 10]),
    bots=BOTS,
)
@example(events=make_edge(7), model="first_touch", lookback_days=7, first_day=0, bots="include")
@example(events=make_edge(7), model="last_touch", lookback_days=7, first_day=1, bots="include")
@QUIET
async def test_sources_and_sums_by_touch_equal_plain_python(
    api, events, model, lookback_days, first_day, bots
):
    """The window may begin in the middle of the history; touches before it count."""
    key, oracle = await send(api, events), Oracle(events, bots=bots)
    start = START + timedelta(days=first_day)
    asked = {
        "attribution": model,
        "lookback_days": lookback_days,
        "from": start.isoformat(),
        "bots": bots,
    }
    first_ms = _START_MS + first_day * DAY_MS
    counted = [event for event in oracle.events if event.at >= first_ms]
    sources = Counter(oracle.touch(event, model, lookback_days) for event in counted)
    sums = oracle.sums(counted, "purchase", model, lookback_days)

    found = await ask(api, key, "/v1/sources", limit=200, **asked)
    money = await ask(
        api,
        key,
        "/v1/stats",
        event="purchase",
        metric="sum",
        property="amount",
        group_by="source",
        **asked,
    )

    if bots == "exclude":
        of_window = sum(event.at >= first_ms for event in events)
        assert found["bots_left_out"] == of_window - len(counted)
    assert {(row["source"], row["medium"]): row["events"] for row in found["rows"]} == sources
    assert {row["source"]: row["value"] for row in money["rows"]} == {
        source: float(total) for source, total in sums.items()
    }


@given(
    events=HISTORIES,
    steps=st.lists(st.sampled_from(["$pageview", "signup", "purchase"]), min_size=2, max_size=10),
    within=st.sampled_from([("30m", 1_800_000), ("1d", DAY_MS), ("30d", 30 * DAY_MS)]),
)
@example(events=make_edge(1), steps=["$pageview", "purchase"], within=("1d", DAY_MS))
@QUIET
async def test_a_funnel_equals_plain_python(api, events, steps, within):
    key, oracle = await send(api, events), Oracle(events)
    text, within_ms = within
    expected = oracle.funnel(steps, within_ms)

    found = await ask(
        api,
        key,
        "/v1/funnel",
        steps=json.dumps([{"event": step} for step in steps]),
        within=text,
    )

    rows = [(row["people"], row["median_s"]) for row in found["rows"]]
    assert rows == (expected if expected[0][0] else [])


@given(
    events=HISTORIES,
    steps=st.lists(st.sampled_from(["$pageview", "signup", "purchase"]), min_size=2, max_size=3),
    model=st.sampled_from(["event", "session", "first_touch", "last_touch"]),
    lookback_days=st.sampled_from([1, 30]),
    bots=BOTS,
)
@QUIET
async def test_a_funnel_by_source_equals_plain_python(
    api, events, steps, model, lookback_days, bots
):
    key, oracle = await send(api, events), Oracle(events, bots=bots)
    expected = oracle.divide_funnel(
        steps, DAY_MS, lambda event: oracle.touch(event, model, lookback_days)[0]
    )
    counted = sum(people for (_, step), people in expected.items() if step == 1)

    found = await ask(
        api,
        key,
        "/v1/funnel",
        steps=json.dumps([{"event": step} for step in steps]),
        within="1d",
        group_by="source",
        attribution=model,
        lookback_days=lookback_days,
        bots=bots,
    )

    shown = {(row["group"], row["step"]): row["people"] for row in found["rows"] if row["people"]}
    assert shown == expected
    assert model != "event" or "no_touch_share" not in found
    if model != "event" and counted:
        no_touch = expected["direct", 1] / counted  # a touch is never direct
        assert found["no_touch_share"] == pytest.approx(no_touch)


@given(events=HISTORIES, group_by=st.sampled_from(["path", "device_type"]))
@QUIET
async def test_a_funnel_by_a_column_of_the_event_equals_plain_python(api, events, group_by):
    """Columns of which a person has few values are grouped in another way than others."""
    key, oracle = await send(api, events), Oracle(events)
    steps = ["$pageview", "purchase"]

    def group_of(event: Sent) -> str:
        return event.path if group_by == "path" else "" if event.is_bot else "desktop"

    found = await ask(
        api,
        key,
        "/v1/funnel",
        steps=json.dumps([{"event": step} for step in steps]),
        within="1d",
        group_by=group_by,
    )

    shown = {
        (row["group"] or "", row["step"]): row["people"] for row in found["rows"] if row["people"]
    }
    assert shown == oracle.divide_funnel(steps, DAY_MS, group_of)


@given(
    events=HISTORIES,
    user=st.sampled_from(["anna", "boris"]),
    linked=st.booleans(),
    model=st.sampled_from(["session", "first_touch", "last_touch"]),
)
@settings(QUIET, max_examples=5)
async def test_answers_after_a_deletion_equal_plain_python(api, events, user, linked, model):
    key, oracle = await send(api, events), Oracle(events).without(user, linked=linked)
    await delete(api, key, user, linked=linked)
    sources = Counter(oracle.touch(event, model, 30) for event in oracle.events)
    steps = ["$pageview", "purchase"]
    reached = oracle.funnel(steps, 30 * DAY_MS)

    found = await ask(api, key, "/v1/sources", limit=200, attribution=model, lookback_days=30)
    funnel = await ask(
        api, key, "/v1/funnel", steps=json.dumps([{"event": s} for s in steps]), within="30d"
    )

    assert {(row["source"], row["medium"]): row["events"] for row in found["rows"]} == sources
    rows = [(row["people"], row["median_s"]) for row in funnel["rows"]]
    assert rows == (reached if reached[0][0] else [])


async def delete(api, key: str, user: str, *, linked: bool) -> None:
    """Erase a user of the project of a read key, and wait until it is done."""
    [record] = api.control.find_keys([key.split("_")[2]]).values()
    writing = api.make_key(KeyKind.SK, project=record.project)
    body = {"user_id": user} | ({"linked": True} if linked else {})
    assert (await api.post("/v1/forget", body, key=writing)).status_code == 200
    for _ in range(400):
        if not api.control.deletions.list_pending():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the deletion did not end")


@given(
    events=HISTORIES,
    returning=st.sampled_from(["$pageview", "purchase"]),
    interval=st.sampled_from(["day", "week", "month"]),
    zone=st.sampled_from(ZONES),
    bots=BOTS,
)
@QUIET
async def test_retention_equals_plain_python(api, events, returning, interval, zone, bots):
    key, oracle = await send(api, events), Oracle(events, bots=bots)
    cohorts = oracle.retention("$pageview", returning, interval, ZoneInfo(zone))

    found = await ask(
        api,
        key,
        "/v1/retention",
        event="$pageview",
        interval=interval,
        timezone=zone,
        bots=bots,
        **{"return": returning},
    )

    rows = [(row["people"], row["returned"]) for row in found["rows"]]
    expected = [
        (len(people[13]), [len(one) for one in people[:13]])
        for _, people in sorted(cohorts.items())
    ]
    assert [row[0] for row in rows] == [row[0] for row in expected]
    for (_, shown), (_, whole) in zip(rows, expected, strict=True):
        assert shown == whole[: len(shown)]
        assert sum(whole[len(shown) :]) == 0


@given(events=HISTORIES, interval=st.sampled_from(["hour", "day"]), zone=st.sampled_from(ZONES))
@QUIET
async def test_buckets_of_a_zone_equal_plain_python(api, events, interval, zone):
    key = await send(api, events)
    expected: Counter[str] = Counter()
    for event in events:
        local = datetime.fromtimestamp(event.at / 1000, ZoneInfo(zone))
        start = local.replace(minute=0, second=0, microsecond=0)
        if interval == "day":
            start = start.replace(hour=0, fold=0)
        expected[start.isoformat(timespec="milliseconds")] += 1

    found = await ask(api, key, "/v1/stats", interval=interval, timezone=zone, limit=1000)

    assert {row["bucket"]: row["value"] for row in found["rows"]} == expected
    by_hour = await ask(api, key, "/v1/stats", group_by="hour_of_day,weekday", timezone=zone)
    clock = Counter(
        (local.hour, local.isoweekday())
        for local in (datetime.fromtimestamp(e.at / 1000, ZoneInfo(zone)) for e in events)
    )
    assert {(r["hour_of_day"], r["weekday"]): r["value"] for r in by_hour["rows"]} == clock


@given(events=HISTORIES, limit=st.integers(1, 7), order=st.sampled_from(["newest", "oldest"]))
@QUIET
async def test_pages_by_cursor_hold_every_event_once(api, events, limit, order):
    key = await send(api, events)
    pages: list[Any] = []
    asked: dict[str, Any] = {"order": order}
    while True:
        page = await ask(api, key, "/v1/query", limit=limit, **asked)
        pages += page["rows"]
        if "next" not in page:
            break
        asked = {"before" if order == "newest" else "after": page["next"]}

    times = [row["timestamp"] for row in pages]
    assert times == sorted(times, reverse=order == "newest")
    sent = Counter((event.at, event.user, event.name, event.source[0]) for event in events)
    shown = Counter(
        (
            int(datetime.fromisoformat(row["timestamp"]).timestamp() * 1000),
            row["user_id"] or "",
            row["event_name"],
            row["source"],
        )
        for row in pages
    )
    assert shown == sent


@given(events=HISTORIES)
@QUIET
async def test_sessions_equal_plain_python(api, events):
    key = await send(api, events)

    found = await ask(api, key, "/v1/stats", metric="sessions")

    assert found["rows"] == [{"value": len({event.session for event in events})}]
