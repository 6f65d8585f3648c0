"""Reads against a plain count over what was sent: any window, grouping, filter and limit.

Two projects share one store and all their ids, so that whatever leaked would be counted. The
same questions are asked of fresh parts, of merged ones, and after a deletion in one project.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.contract.reads import HOSTED_GROUP_COLUMNS, Interval

pytestmark = pytest.mark.slow

PROJECTS = ("default", "other")
FORGOTTEN = "user-0"
EVENTS_PER_PROJECT = 360
CALM = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

EDGES = [
    datetime.fromisoformat(text)
    for text in (
        "1970-01-01T00:00:00+00:00",
        "2025-12-29T00:00:00+00:00",  # a Monday
        "2026-01-01T00:00:00+00:00",
        "2026-02-28T00:00:00+00:00",
        "2026-03-01T00:00:00+00:00",
        "2026-03-29T01:00:00+00:00",  # European summer time begins
        "2026-05-01T00:00:00+00:00",
        "2026-05-04T00:00:00+00:00",
        "2026-05-16T00:00:00+00:00",
        "2026-05-16T19:00:00+00:00",
    )
]
NAMES = ["$pageview", "signup", "Purchase ✓"]
PAGES = [
    ("https://shop.example/a?utm_source=Google&utm_medium=cpc&utm_campaign=Spring", None),
    ("https://shop.example/a?utm_source=google&utm_medium=cpc&utm_campaign=spring", None),
    ("https://shop.example/b?utm_source=news&utm_medium=email", None),
    ("https://shop.example/b", "https://www.facebook.com/"),
    ("https://shop.example", None),
    (None, None),
]
ATTRIBUTIONS = [
    ("google", "paid", "Spring", "/a"),
    ("google", "paid", "spring", "/a"),
    ("news", "email", None, "/b"),
    ("facebook", "social", None, "/b"),
    ("direct", "direct", None, "/"),
    ("direct", "direct", None, None),
]
AGENTS = [
    "",
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
    ),
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
]
DEVICES = [("", "", ""), ("mobile", "safari", "ios"), ("desktop", "firefox", "windows")]
ADDRESSES = ["81.2.69.160", "192.0.2.1"]
COUNTRIES = ["GB", ""]


@dataclass(frozen=True)
class Sent:
    """An event as it was sent, with the columns that it must have."""

    time: datetime
    event_id: str
    anonymous_id: str
    user_id: str | None
    event_name: str
    page: int
    agent: int
    address: int

    def body(self) -> dict[str, Any]:
        url, referrer = PAGES[self.page]
        return {
            "event": self.event_name,
            "event_id": self.event_id,
            "timestamp": show(self.time),
            "anonymous_id": self.anonymous_id,
            "user_id": self.user_id,
            "url": url,
            "referrer": referrer,
        }

    def column(self, name: str) -> str | None:
        return self._columns()[name]

    def _columns(self) -> Mapping[str, str | None]:
        source, medium, campaign, path = ATTRIBUTIONS[self.page]
        device_type, browser, os = DEVICES[self.agent]
        return {
            "source": source,
            "medium": medium,
            "campaign": campaign,
            "path": path,
            "device_type": device_type,
            "browser": browser,
            "os": os,
            "country": COUNTRIES[self.address],
            "event_name": self.event_name,
            "event": self.event_name,
            "user_id": self.user_id,
            "anonymous_id": self.anonymous_id,
        }


def show(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_events(project: str) -> list[Sent]:
    """Times at and around every edge and between them; few ids, so that they repeat."""
    chance = random.Random(project)

    def make_time() -> datetime:
        edge = chance.choice(EDGES)
        if chance.random() < 0.5:
            shift = timedelta(milliseconds=chance.choice([0, 0, 1, -1, 999, -1000]))
        else:
            shift = timedelta(milliseconds=chance.randrange(-86_400_000 * 3, 86_400_000 * 3))
        latest = datetime(2026, 5, 17, tzinfo=UTC)
        return min(max(edge + shift, datetime(1970, 1, 1, tzinfo=UTC)), latest)

    return [
        Sent(
            time=make_time(),
            event_id=f"{project}-{number}",
            anonymous_id=f"visitor-{chance.randrange(40)}",
            user_id=chance.choice([None, *(f"user-{n}" for n in range(6))]),
            event_name=chance.choice(NAMES),
            page=chance.randrange(len(PAGES)),
            agent=chance.randrange(len(AGENTS)),
            address=chance.randrange(len(ADDRESSES)),
        )
        for number in range(EVENTS_PER_PROJECT)
    ]


async def send(api: Any, key: str, events: Sequence[Sent]) -> None:
    """As the batches of six visitors' devices, each in two parts."""
    by_device: dict[tuple[int, int], list[Sent]] = defaultdict(list)
    for event in events:
        by_device[event.agent, event.address].append(event)
    for (agent, address), batch in by_device.items():
        transport = httpx.ASGITransport(api.app, client=(ADDRESSES[address], 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
            for part in (batch[::2], batch[1::2]):
                answer = await http.post(
                    "/v1/batch",
                    json={"events": [event.body() for event in part]},
                    headers={"Authorization": f"Bearer {key}", "User-Agent": AGENTS[agent]},
                )
                assert answer.status_code == 202, answer.text


async def forget(api: Any) -> None:
    """Returns when the rows are gone; the files they were in may take longer."""
    assert (await api.post("/v1/forget", {"user_id": FORGOTTEN})).status_code == 200
    asked = {"from": "1970-01-01T00:00:00Z", "user_id": FORGOTTEN}
    for _ in range(200):
        if not await api.rows("/v1/query", asked):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the deletion did not end")


async def merge(api: Any) -> None:
    await api.store.flush()
    pool = api.store.pool
    await asyncio.to_thread(pool.run, lambda client: client.command("OPTIMIZE TABLE events FINAL"))


class Project:
    """A project's read key, and the events it must answer from."""

    def __init__(self, key: str, events: Sequence[Sent]) -> None:
        self.key = key
        self.events = events


@pytest.fixture(params=["fresh", "merged", "forgotten", "merged, forgotten, merged"])
async def projects(api, request) -> list[Project]:
    """Two projects with their events, in a store of that state."""
    made = []
    for name in PROJECTS:
        events = make_events(name)
        await send(api, api.make_key(KeyKind.SK, project=name), events)
        made.append(Project(api.make_key(KeyKind.RK, project=name), events))
    steps = {"merged": merge, "forgotten": forget}
    for state in request.param.split(", "):
        if state in steps:
            await steps[state](api)
    if "forgotten" in request.param:
        made[0].events = [event for event in made[0].events if event.user_id != FORGOTTEN]
    return made


@st.composite
def windows(draw) -> tuple[datetime, datetime]:
    """From and to: edges, a millisecond beside one, or anywhere."""
    near = st.sampled_from(EDGES).flatmap(
        lambda edge: st.sampled_from([-1, 0, 1, -86_400_000, 86_400_000]).map(
            lambda ms: edge + timedelta(milliseconds=ms)
        )
    )
    anywhere = st.integers(0, 180 * 86_400_000).map(
        lambda ms: datetime(2025, 12, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    )
    wide = st.sampled_from([EDGES[0], datetime(2100, 1, 1, tzinfo=UTC)])
    start, end = sorted([draw(near | anywhere | wide), draw(near | anywhere | wide)])
    return start, end


def within(events: Iterable[Sent], window: tuple[datetime, datetime]) -> list[Sent]:
    return [event for event in events if window[0] <= event.time < window[1]]


def day_of(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


BUCKETS: Mapping[Interval, Callable[[datetime], datetime]] = {
    Interval.HOUR: lambda time: time.replace(minute=0, second=0, microsecond=0),
    Interval.DAY: day_of,
    Interval.WEEK: lambda time: day_of(time) - timedelta(days=time.weekday()),
    Interval.MONTH: lambda time: day_of(time).replace(day=1),
}


async def ask(api: Any, key: str, path: str, window: Any, params: Mapping[str, Any]) -> Any:
    asked = {"from": show(window[0]), "to": show(window[1])}
    asked |= {name: value for name, value in params.items() if value not in (None, "")}
    answer = await api.http.get(path, params=asked, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def order_of(row: Mapping[str, Any], columns: Sequence[str], value: str = "value") -> tuple:
    """Bucket, then value descending, then the columns; an absent value sorts as an empty one."""
    return (row.get("bucket", ""), -row[value], *(row[name] or "" for name in columns))


def count_stats(
    events: Sequence[Sent], columns: Sequence[str], interval: Interval | None, metric: str
) -> list[dict[str, Any]]:
    groups: dict[tuple, list[str]] = defaultdict(list)
    for event in events:
        bucket = (show(BUCKETS[interval](event.time)),) if interval else ()
        groups[*bucket, *(event.column(name) for name in columns)].append(event.anonymous_id)
    if not columns and interval is None:  # one bucket, which may be empty
        groups.setdefault((), [])
    names = [*(["bucket"] if interval else []), *columns, "value"]
    rows = [
        dict(zip(names, (*group, len(ids if metric == "count" else set(ids))), strict=True))
        for group, ids in groups.items()
    ]
    return sorted(rows, key=lambda row: order_of(row, columns))


@dataclass(frozen=True)
class Question:
    """A read over a window, and what checks its answer against the project's sent events."""

    path: str
    params: Mapping[str, Any]
    window: tuple[datetime, datetime]
    check: Callable[[Any, Sequence[Sent], Mapping[str, Any]], None]


def check_stats(answer: Any, events: Sequence[Sent], asked: Mapping[str, Any]) -> None:
    columns = [name for name in asked["group_by"].split(",") if name]
    names = NAMES if asked["event"] is None else [asked["event"]]
    chosen = [sent for sent in events if sent.event_name in names]
    expected = count_stats(chosen, columns, asked["interval"], asked["metric"])
    assert answer["rows"] == expected[: asked["limit"]]
    assert answer.get("truncated", False) is (len(expected) > asked["limit"])


def check_sources(answer: Any, events: Sequence[Sent], asked: Mapping[str, Any]) -> None:
    columns = ["source"] if asked["breakdown"] == "source" else ["source", "medium"]

    def group_of(row: Mapping[str, Any] | Sent) -> tuple[Any, ...]:
        return tuple(row.column(c) if isinstance(row, Sent) else row[c] for c in columns)

    paid = Counter(group_of(sent) for sent in events if sent.column("medium") == "paid")
    uniques = {group_of(row): row["value"] for row in count_stats(events, columns, None, "uniques")}
    expected = [
        {name: row[name] for name in columns}
        | {
            "events": row["value"],
            "uniques": uniques[group_of(row)],
            "paid_share": paid[group_of(row)] / row["value"],
        }
        for row in count_stats(events, columns, None, "count")
    ]
    assert answer == {"breakdown": asked["breakdown"], "rows": expected[: asked["limit"]]}


def check_query(answer: Any, events: Sequence[Sent], asked: Mapping[str, Any]) -> None:
    wanted = {name: asked[name] for name in FILTERS if asked[name] is not None}
    expected = sorted(
        (
            sent
            for sent in events
            if all(sent.column(name) == value for name, value in wanted.items())
        ),
        key=lambda sent: sent.time,
        reverse=True,
    )
    by_id = {sent.event_id: sent for sent in expected}
    rows = answer["rows"]
    times = [show(sent.time) for sent in expected[: asked["limit"]]]
    assert [row["timestamp"] for row in rows] == times
    assert len({row["event_id"] for row in rows}) == len(rows)
    for row in rows:
        sent = by_id[row["event_id"]]
        assert row["timestamp"] == show(sent.time)
        assert row == row | {name: sent.column(name) for name in HOSTED_GROUP_COLUMNS}
        assert (row["user_id"], row["anonymous_id"]) == (sent.user_id, sent.anonymous_id)


FILTERS = {
    "event": [None, None, *NAMES, "absent"],
    "source": [None, None, "google", "direct", "Google"],
    "medium": [None, None, "paid", "email"],
    "country": [None, None, "GB", "gb"],
    "user_id": [None, None, FORGOTTEN, "user-1"],
    "anonymous_id": [None, None, "visitor-1", "visitor-2"],
}
STATS = {
    "group_by": st.lists(
        st.sampled_from(sorted(HOSTED_GROUP_COLUMNS)), unique=True, max_size=3
    ).map(",".join),
    "interval": st.none() | st.sampled_from(list(Interval)),
    "metric": st.sampled_from(["count", "uniques"]),
    "event": st.none() | st.sampled_from([*NAMES, "absent"]),
    "limit": st.sampled_from([1, 7, 1000]),
}
SOURCES = {
    "breakdown": st.sampled_from(["source", "source_medium"]),
    "limit": st.sampled_from([1, 2, 200]),
}
QUERY = {name: st.sampled_from(values) for name, values in FILTERS.items()} | {
    "limit": st.sampled_from([1, 20, 1000])
}
QUESTIONS = st.one_of(
    st.builds(Question, st.just(path), st.fixed_dictionaries(params), windows(), st.just(check))
    for path, params, check in [
        ("/v1/stats", STATS, check_stats),
        ("/v1/sources", SOURCES, check_sources),
        ("/v1/query", QUERY, check_query),
    ]
)


@given(question=QUESTIONS, which=st.sampled_from([0, 1]))
@CALM
async def test_every_read_equals_a_count_over_the_sent_events(api, projects, question, which):
    project = projects[which]

    answer = await ask(api, project.key, question.path, question.window, question.params)

    question.check(answer, within(project.events, question.window), question.params)
