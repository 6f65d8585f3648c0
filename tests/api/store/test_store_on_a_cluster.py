"""The store on a ClickHouse cluster: real Distributed tables, whose every shard is the front."""

import asyncio
from datetime import timedelta

import pytest

from millimetric_mcp.api.store import clients
from millimetric_mcp.contract.keys import KeyKind

VISIT = {"event": "visit", "timestamp": "2026-05-10T10:00:00Z"}
VISITORS = [f"visitor-{number}" for number in range(40)]


AD = "https://shop.example/?utm_source=facebook&utm_medium=cpc"
MAIL = "https://shop.example/offer?utm_source=news&utm_medium=email"
PEOPLE = [
    {"event": "$pageview", "anonymous_id": "laptop", "url": AD},
    {"event": "$pageview", "anonymous_id": "phone", "url": MAIL},
    {"event": "$pageview", "anonymous_id": "laptop", "url": "https://shop.example/a"},
    {"event": "login", "anonymous_id": "laptop", "user_id": "ann"},
    {"event": "signup", "anonymous_id": "phone", "user_id": "ann"},
    {"event": "purchase", "user_id": "ann", "properties": {"amount": 49}},
    {"event": "$pageview", "anonymous_id": "tablet", "url": AD},
    {"event": "signup", "anonymous_id": "tablet", "user_id": "bob"},
    {"event": "login", "anonymous_id": "tablet", "user_id": "cat"},
    {"event": "purchase", "anonymous_id": "tablet", "properties": {"amount": 7}},
    {"event": "$pageview", "anonymous_id": "nobody", "url": MAIL},
    {"event": "$pageview", "anonymous_id": "nobody", "url": "https://shop.example/a"},
]
"""An event a minute: touches, ties and purchases of each person lie in odd and even minutes."""
STEPS = '[{"event":"$pageview"},{"event":"signup"},{"event":"purchase"}]'
PURCHASES = {"event": "purchase", "metric": "sum", "property": "amount", "group_by": "source"}
ABOUT_PEOPLE = [
    ("/v1/sources", {"attribution": "session"}),
    ("/v1/sources", {"attribution": "last_touch"}),
    ("/v1/stats", PURCHASES | {"attribution": "session"}),
    ("/v1/stats", PURCHASES | {"attribution": "first_touch"}),
    ("/v1/stats", {"group_by": "landing_path"}),
    ("/v1/funnel", {"steps": STEPS, "group_by": "source", "attribution": "last_touch"}),
    ("/v1/retention", {"event": "$pageview", "return": "purchase", "interval": "day"}),
    ("/v1/funnel", {"steps": STEPS, "group_by": "source"}),
]


class TestOneShard:
    @pytest.fixture
    def cluster(self):
        return "one"

    async def test_what_is_acknowledged_is_read_back_once(self, api):
        batch = [VISIT | {"anonymous_id": visitor} for visitor in VISITORS]

        answers = [
            await api.post("/v1/batch", {"events": batch}),
            await api.post("/v1/track", VISIT | {"anonymous_id": VISITORS[0]}),
        ]

        assert [answer.status_code for answer in answers] == [202, 202]
        [row] = await api.rows("/v1/sources")
        assert (row["events"], row["uniques"]) == (41, 40)
        hourly = {"interval": "hour", "group_by": "event_name"}
        assert [row["value"] for row in await api.rows("/v1/stats", hourly)] == [41]
        assert len(await api.rows("/v1/query", {"anonymous_id": VISITORS[0]})) == 2

    async def test_a_forgotten_user_is_gone_from_the_shards(self, api, ask, wait_until):
        events = [VISIT | {"user_id": f"user_{number % 3}"} for number in range(30)]
        await api.post("/v1/batch", {"events": events})

        await api.post("/v1/forget", {"user_id": "user_1"})

        count = "SELECT count() FROM events_local"
        await wait_until(lambda: ask(count) == [(20,)])
        assert await api.rows("/v1/query", {"user_id": "user_1"}) == []

    async def test_a_users_own_visitors_are_gone_from_the_shards(self, api, ask, wait_until):
        ties = [("own", "ann"), ("shared", "ann"), ("shared", "bob")]
        events = [VISIT | {"anonymous_id": visitor, "user_id": user} for visitor, user in ties]
        events += [VISIT | {"anonymous_id": visitor} for visitor in ("own", "shared")]
        await api.post("/v1/batch", {"events": events})

        await api.post("/v1/forget", {"user_id": "ann", "linked": True})

        left = "SELECT anonymous_id, user_id FROM events_local ORDER BY ALL"
        await wait_until(lambda: ask(left) == [("shared", ""), ("shared", "bob")])

    async def test_expired_days_are_removed_from_the_shards(self, api, ask):
        await api.post("/v1/track", VISIT | {"timestamp": "2026-05-01T10:00:00Z"})
        await api.post("/v1/track", VISIT)
        [project_id] = ask("SELECT DISTINCT project_id FROM events")[0]

        removed = await api.store.expire(project_id, first_day=api.clock().date().replace(day=2))

        assert removed == 1
        assert ask("SELECT toString(toDate(timestamp)) FROM events_local") == [("2026-05-10",)]

    async def test_a_project_is_deleted_from_the_shards_and_another_one_stays(self, api, ask):
        other = api.make_key(KeyKind.SK, project="other")
        await api.post("/v1/track", VISIT, key=other)
        [[kept]] = ask("SELECT DISTINCT project_id FROM events")
        await api.post("/v1/batch", {"events": [VISIT] * 10})
        [[gone]] = ask(f"SELECT DISTINCT project_id FROM events WHERE project_id != {kept}")

        assert await api.store.count_project(gone) == 10
        assert await api.store.delete_project(gone) == 10

        assert ask("SELECT project_id FROM events_local") == [(kept,)]


class TestTwoShards:
    """Both shards are one table, so each row is seen by both."""

    @pytest.fixture
    def cluster(self):
        return "two"

    @pytest.fixture
    def shards_of(self, front, database):
        """The shard of every insert so far."""

        def list_shards():
            inserts = front.list_statements("INSERT INTO `events`", database=database)
            return [insert["settings"]["insert_shard_id"] for insert in inserts]

        return list_shards

    async def test_names_of_all_shards_are_listed_once(self, api, ask):
        mail = {"event": "signup", "url": f"{MAIL}&utm_campaign=spring"}
        for number, visitor in enumerate(VISITORS[:12]):
            event = (VISIT, mail)[number % 2]
            await api.post("/v1/track", event | {"anonymous_id": visitor})
        [[project_id]] = ask("SELECT DISTINCT project_id FROM events")

        found = await api.store.list_names(
            project_id,
            except_events=["$pageview"],
            source_rules=["utm_explicit"],
            since=api.clock.now - timedelta(days=30),
            limit=10,
        )

        assert sorted(found) == [
            ("campaigns", "spring", "", False),
            ("event names", "signup", "", False),
            ("event names", "visit", "", False),
            ("sources", "news", "email", False),
        ]

    async def test_a_request_lands_whole_on_the_shard_of_its_first_visitor(
        self, api, ask, shards_of
    ):
        batch = [VISIT | {"anonymous_id": visitor} for visitor in VISITORS]

        for visitor in VISITORS[:12]:
            first = VISIT | {"anonymous_id": visitor}
            await api.post("/v1/batch", {"events": [first, *batch]})
            await api.post("/v1/track", first)

        shards = shards_of()
        assert len(shards) == 24
        assert shards[::2] == shards[1::2]
        assert set(shards) == {"1", "2"}
        assert ask("SELECT count() FROM events_local") == [(12 * (len(batch) + 2),)]

    async def test_a_shard_that_hangs_does_not_delay_the_other(
        self, api, front, database, shards_of, wait_until
    ):
        async def send(visitor: str) -> None:
            await api.post("/v1/track", VISIT | {"anonymous_id": visitor})

        for visitor in VISITORS:
            await send(visitor)
        of_each_shard = {
            shard: visitor for visitor, shard in zip(VISITORS, shards_of(), strict=True)
        }
        inserts = len(shards_of())
        front.plant({"database": database, "kind": "hang", "delay_s": 2, "match": "INSERT"})

        hangs = asyncio.create_task(send(of_each_shard["1"]))
        await wait_until(lambda: len(shards_of()) > inserts)
        await send(of_each_shard["2"])

        assert not hangs.done()
        await hangs

    @pytest.mark.parametrize(
        "window",
        [
            pytest.param({}, id="whole-days"),
            pytest.param({"from": "2026-05-10T09:30:00Z"}, id="an-edge"),
        ],
    )
    async def test_events_of_shards_add_up_and_visitors_are_merged(self, window, api):
        days = ["2026-05-10", "2026-05-11"]
        batch = [
            {"event": "visit", "anonymous_id": visitor, "timestamp": f"{day}T10:00:00Z"}
            for visitor in VISITORS
            for day in days
        ]
        await api.post("/v1/batch", {"events": batch})

        [row] = await api.rows("/v1/sources", window)
        uniques = await api.rows("/v1/stats", {"metric": "uniques", **window})

        assert (row["events"], row["uniques"]) == (2 * len(batch), len(VISITORS))
        assert uniques == [{"value": len(VISITORS)}]

    @pytest.fixture
    def divide(self, front, database):
        """Gives each shard only some of the events, by a condition."""

        def plant(rows):
            every = {"database": database, "match": "", "times": 100_000}
            front.plant(every | {"kind": "divide", "rows": rows})

        return plant

    @pytest.mark.parametrize("since", ["26.9", "99.1"], ids=["shared", "not shared"])
    async def test_people_whose_events_lie_on_two_shards_are_answered_as_on_one(
        self, api, divide, monkeypatch, since
    ):
        monkeypatch.setattr(clients, "SHARING_VERSION", since)
        events = [
            {**event, "event_id": f"{minute}", "timestamp": f"2026-05-10T12:{minute:02}:00Z"}
            for minute, event in enumerate(PEOPLE)
        ]
        await api.post("/v1/batch", {"events": events})

        divide("shardNum() = 1")
        together = [(await api.get(path, asked)).json() for path, asked in ABOUT_PEOPLE]
        divide("shardNum() = toMinute(timestamp) % 2 + 1")
        apart = [(await api.get(path, asked)).json() for path, asked in ABOUT_PEOPLE]

        assert all(answer["rows"] for answer in apart)
        assert apart == together
        sums, funnel = apart[3]["rows"], apart[5]["rows"]
        assert {row["source"]: row["value"] for row in sums} == {"facebook": 49, "direct": 7}
        people = [(row["group"], row["people"]) for row in funnel]
        assert people[:3] == [("facebook", 2), ("facebook", 2), ("facebook", 1)]
        assert people[3:] == [("news", 1), ("news", 0), ("news", 0)]
